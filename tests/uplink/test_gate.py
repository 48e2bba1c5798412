"""When to try again: full jitter below a cap that fits the cause, Retry-After, and two log lines an outage."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.uplink.gate import PACES, Cause, Gate
from tests.conftest import HandClock


def waits(cause: Cause, chance: float, times: int) -> list[float]:
    """How long the gate stays closed after each of so many failures in a row."""
    clock = HandClock()
    gate = Gate(clock, lambda: chance)
    found = []
    for _ in range(times):
        gate.fail(cause, "why")
        found.append(gate.wait_s)
        clock.forward(gate.wait_s)
    return found


@given(st.sampled_from(Cause), st.floats(0, 1, exclude_max=True), st.integers(1, 60))
def test_no_wait_is_above_its_cap(cause: Cause, chance: float, times: int) -> None:
    assert all(0 <= wait <= PACES[cause].cap_s for wait in waits(cause, chance, times))


def test_waits_double_up_to_the_cap() -> None:
    assert waits(Cause.FAILED, 1.0, 10) == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 300])
    assert waits(Cause.UNREACHED, 1.0, 4) == pytest.approx([0.5, 1, 2, 2])


def test_the_jitter_is_full() -> None:
    assert waits(Cause.FAILED, 0.0, 3) == [0, 0, 0]
    assert waits(Cause.FAILED, 0.5, 3) == pytest.approx([0.5, 1, 2])


def test_calls_that_fail_together_count_as_one_failure() -> None:
    clock = HandClock()
    gate = Gate(clock, lambda: 1.0)
    for _ in range(4):
        gate.fail(Cause.FAILED, "why")
    assert gate.wait_s == pytest.approx(1.0)
    assert not gate.stopped


def test_no_attempt_comes_before_the_cloud_asks_for_it() -> None:
    clock = HandClock()
    gate = Gate(clock, lambda: 0.5)
    gate.fail(Cause.FAILED, "why", retry_after_s=120)
    assert 120 <= gate.wait_s <= 121
    gate.fail(Cause.FAILED, "another call, without a wish")
    assert gate.wait_s >= 120


def test_success_starts_anew() -> None:
    clock = HandClock()
    gate = Gate(clock, lambda: 1.0)
    for _ in range(5):
        gate.fail(Cause.FAILED, "why")
        clock.forward(gate.wait_s)
    gate.succeed()
    assert (gate.doubtful, gate.wait_s, gate.reason) == (False, 0.0, "")
    gate.fail(Cause.FAILED, "why")
    assert gate.wait_s == pytest.approx(1.0)


def test_the_network_gone_after_a_failing_cloud_is_looked_for_at_its_own_pace() -> None:
    clock = HandClock()
    gate = Gate(clock, lambda: 1.0)
    for _ in range(9):
        gate.fail(Cause.FAILED, "500")
        clock.forward(gate.wait_s)
    gate.fail(Cause.UNREACHED, "no network")
    assert gate.wait_s <= 2.0


def test_a_clock_set_back_changes_no_wait() -> None:
    clock = HandClock()
    gate = Gate(clock, lambda: 1.0)
    gate.fail(Cause.FAILED, "why")
    clock.set_wall(0.0)
    assert gate.wait_s == pytest.approx(1.0)


def test_an_outage_is_two_lines_and_a_single_failure_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = HandClock()
    gate = Gate(clock, lambda: 1.0)
    gate.fail(Cause.FAILED, "once")
    gate.succeed()
    assert caplog.messages == []
    for _ in range(20):
        gate.fail(Cause.UNREACHED, "no network", "; the queue keeps what waits")
        clock.forward(3)
    gate.succeed()
    gate.succeed()
    assert caplog.messages == ["uploads: stopped: no network; the queue keeps what waits", "uploads: going on after 60 s"]


def test_refused_credentials_are_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    Gate(HandClock()).fail(Cause.CREDENTIALS, "the credentials are refused")
    assert len(caplog.messages) == 1
