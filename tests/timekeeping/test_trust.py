"""Which clocks are believed, and what a step of one means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_agent.timekeeping.trust import GRACE_S, NOBODY, PATIENCE_S, SETTLE_S, Evidence, Timekeeper, Trust
from tests.conftest import HandClock

SET = Evidence(True, "systemd-timesyncd")
UNSET = Evidence(False, "systemd-timesyncd")
BY_RTC = Evidence(False, "systemd-timesyncd", rtc_agrees=True)
DAY = 86_400


def keeper(clock: HandClock, stored: Any = None, newest_at: float = 0.0) -> Timekeeper:
    return Timekeeper(clock, stored, newest_at)


def trusting(clock: HandClock, evidence: Evidence) -> Timekeeper:
    one = keeper(clock)
    assert one.judge(evidence) == Trust(0.0)
    return one


def restarted(before: Timekeeper, clock: HandClock) -> Timekeeper:
    return keeper(clock, json.loads(json.dumps(before.state())))


def test_clock_that_a_service_has_set_is_believed_at_once(hand_clock: HandClock) -> None:
    assert trusting(hand_clock, SET).trusted


def test_clock_is_not_believed_before_the_running_service_has_set_it(hand_clock: HandClock) -> None:
    one = keeper(hand_clock)
    hand_clock.forward(30 * DAY)
    assert one.judge(UNSET) is None
    assert one.reason.startswith("systemd-timesyncd has not set it yet; it says 2026-04-03T")


def test_clock_of_a_machine_without_a_time_service_is_taken_as_it_is(hand_clock: HandClock) -> None:
    assert trusting(hand_clock, NOBODY).trusted


def test_rtc_that_agrees_is_believed_when_the_service_has_had_its_time(hand_clock: HandClock) -> None:
    one = keeper(hand_clock)
    assert one.judge(BY_RTC) is None
    hand_clock.forward(GRACE_S)
    assert one.judge(UNSET) is None
    assert one.judge(BY_RTC) == Trust(0.0)


@pytest.mark.parametrize("evidence", [SET, NOBODY, BY_RTC])
def test_clock_before_the_program_s_own_date_is_never_believed(hand_clock: HandClock, evidence: Evidence) -> None:
    hand_clock.set_wall(1_000_000.0)
    one = keeper(hand_clock)
    hand_clock.forward(100 * DAY)
    assert one.judge(evidence) is None
    assert "this program is newer" in one.reason


def test_clock_behind_what_is_stored_is_waited_for(hand_clock: HandClock) -> None:
    one = keeper(hand_clock, newest_at=hand_clock.now() + 1800)
    for _ in range(3):
        assert one.judge(SET) is one.judge(NOBODY) is None
        hand_clock.forward(599)
    assert "what is stored is newer" in one.reason
    hand_clock.forward(3)
    assert one.judge(SET) == Trust(0.0)


def test_stored_dates_of_the_far_future_are_wrong_when_a_service_stands_by_the_clock(hand_clock: HandClock) -> None:
    one = keeper(hand_clock, newest_at=hand_clock.now() + 365 * DAY)
    hand_clock.forward(PATIENCE_S - 1)
    assert one.judge(SET) is None
    hand_clock.forward(2)
    assert one.judge(NOBODY) is None
    assert one.judge(SET) == Trust(0.0)
    assert restarted(one, hand_clock).judge(UNSET) == Trust(0.0), "what was wrong is not held against the clock again"


def test_step_is_believed_when_it_has_stood_for_a_minute(hand_clock: HandClock) -> None:
    one = trusting(hand_clock, NOBODY)
    hand_clock.set_wall(hand_clock.now() + 500)
    assert one.look() == 500
    assert not one.trusted
    assert one.judge(NOBODY) is None
    hand_clock.forward(SETTLE_S - 1)
    assert one.judge(NOBODY) is None
    hand_clock.forward(1)
    assert one.judge(NOBODY) == Trust(500.0)


def test_step_that_is_taken_back_changes_nothing(hand_clock: HandClock) -> None:
    one = trusting(hand_clock, SET)
    hand_clock.set_wall(hand_clock.now() - DAY)
    one.look()
    hand_clock.forward(20)
    hand_clock.set_wall(hand_clock.now() + DAY)
    one.look()
    assert one.judge(UNSET) == Trust(0.0)


def test_step_of_a_clock_with_a_service_is_believed_when_the_service_stands_by_it(hand_clock: HandClock) -> None:
    one = trusting(hand_clock, SET)
    hand_clock.set_wall(hand_clock.now() + 500)
    one.look()
    hand_clock.forward(DAY)
    assert one.judge(UNSET) is None
    assert one.judge(SET) == Trust(0.0), "the machine stood still: what was dated before stays"


def test_step_back_says_that_the_time_before_was_wrong(hand_clock: HandClock) -> None:
    one = trusting(hand_clock, SET)
    one.state()
    hand_clock.set_wall(hand_clock.now() - 300)
    one.look()
    hand_clock.forward(299)
    assert one.judge(SET) is None, "what is stored is newer"
    hand_clock.forward(2)
    assert one.judge(SET) == Trust(-300.0)


def test_slow_drift_is_no_step(hand_clock: HandClock) -> None:
    one = trusting(hand_clock, SET)
    for _ in range(100):
        hand_clock.set_wall(hand_clock.now() + 1.0)
        assert one.look() == 0.0
    assert one.trusted


def test_suspended_machine_makes_no_step(hand_clock: HandClock) -> None:
    one = trusting(hand_clock, SET)
    hand_clock.forward(3 * DAY)
    assert one.look() == 0.0
    assert one.trusted


def test_clock_trusted_since_boot_needs_no_service_after_a_restart_of_the_agent(hand_clock: HandClock) -> None:
    before = trusting(hand_clock, SET)
    hand_clock.forward(60)
    after = restarted(before, hand_clock)
    assert after.judge(UNSET) == Trust(0.0)
    assert after.reason == "systemd-timesyncd"


def test_new_boot_is_judged_anew(hand_clock: HandClock) -> None:
    before = trusting(hand_clock, SET)
    hand_clock.forward(60)
    state = before.state()
    hand_clock.boot_id = "another"
    hand_clock.elapsed = 5.0
    assert keeper(hand_clock, state).judge(UNSET) is None
    hand_clock.set_wall(hand_clock.now() - 120)
    assert keeper(hand_clock, state).judge(SET) is None, "what is stored is newer"


def test_clock_that_was_set_while_the_agent_was_down_has_to_stand(hand_clock: HandClock) -> None:
    before = trusting(hand_clock, NOBODY)
    state = before.state()
    hand_clock.set_wall(hand_clock.now() + 1000)
    after = keeper(hand_clock, state)
    assert after.judge(NOBODY) is None
    hand_clock.forward(SETTLE_S)
    assert after.judge(NOBODY) == Trust(1000.0)


@pytest.mark.parametrize("damaged", ["", 3, {}, {"newest_at": "x"}, {"newest_at": 1e300}, {"newest_at": 1, "offset_s": []}])
def test_damaged_state_is_judged_anew(hand_clock: HandClock, damaged: Any) -> None:
    assert keeper(hand_clock, damaged).judge(SET) == Trust(0.0)


def test_fact_says_how_long_and_why(hand_clock: HandClock) -> None:
    one = keeper(hand_clock)
    one.judge(UNSET)
    hand_clock.forward(70)
    fact = one.fact(held=7)
    assert (fact.trusted, fact.since_s, fact.offset_s, fact.held, fact.boot_id) == (False, 70, None, 7, "boot")
    one.judge(SET)
    assert one.fact(0).offset_s == hand_clock.wall - hand_clock.elapsed
