"""What is kept while nobody knows what time it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_agent.model.measurements import Quality, Quantity, Reading, Sample
from edge_agent.timekeeping import held as module
from edge_agent.timekeeping.held import Held

Q = Quantity
WRONG = 7.0  # what the clock says at boot


def sample(monotonic: float) -> Sample:
    return Sample("meter", WRONG + monotonic, {}, monotonic=monotonic, boot_id="boot")


def keep(held: Held, monotonic: float, wh: float, point: str = "grid", age_s: float = 0.0) -> None:
    held.keep(point, {Q.IMPORT_WH: Reading(wh, "Wh", Quality.OK, WRONG + monotonic - age_s)}, sample(monotonic))


def released(held: Held, offset_s: float) -> list[tuple[float, str, float]]:
    return [(at, point, float(readings[Q.IMPORT_WH].value or 0)) for at, point, readings in held.release(offset_s)]


def stored(held: Held) -> Any:
    return json.loads(json.dumps(held.state()))


def test_a_poll_a_minute_is_kept_and_dated_back() -> None:
    held = Held("boot", 10)
    for second in range(0, 600, 10):
        keep(held, second, second)
    found = released(held, 1e9)
    assert found[0] == (1e9, "grid", 0)
    gaps = [after[0] - before[0] for before, after in zip(found, found[1:], strict=False)]
    assert max(gaps) <= 60
    assert len(found) <= 13
    assert len(held) == 0


def test_a_poll_interval_of_minutes_keeps_every_poll() -> None:
    held = Held("boot", 120)
    for second in range(0, 1200, 120):
        keep(held, second, second)
    assert len(held) == 10


def test_reading_keeps_its_age() -> None:
    held = Held("boot", 10)
    keep(held, 100, 5.0, age_s=30)
    ((at, _, readings),) = held.release(1e9)
    assert (at, readings[Q.IMPORT_WH].at) == (1e9 + 100, 1e9 + 70)


def test_reading_that_its_device_dates_keeps_its_date() -> None:
    held = Held("boot", 10)
    held.keep("grid", {Q.IMPORT_WH: Reading(5.0, "Wh", Quality.OK, 1_800_000_000)}, sample(100))
    ((_, _, readings),) = held.release(1e9)
    assert readings[Q.IMPORT_WH].at == 1_800_000_000


def test_absent_readings_are_not_kept() -> None:
    held = Held("boot", 10)
    held.keep("grid", {Q.IMPORT_WH: Reading(None, "Wh", Quality.ERROR, 7)}, sample(0))
    assert len(held) == 0


def test_long_wait_is_covered_from_first_to_last_with_fewer_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 100)
    held = Held("boot", 10)
    for second in range(0, 7 * 86_400, 10):
        for point in ("grid", "pv"):
            keep(held, second, second, point)
        assert len(held) <= 100
    times = [at for at, point, _ in released(held, 0) if point == "pv"]
    assert times[0] == 0
    assert times[-1] > 6 * 86_400
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert max(gaps) < 3 * min(gaps), "the time is covered evenly"


def test_restart_of_the_agent_loses_nothing() -> None:
    before = Held("boot", 10)
    keep(before, 0, 1.0)
    keep(before, 60, 2.0)
    after = Held("boot", 10, stored(before))
    keep(after, 70, 3.0)
    keep(after, 120, 4.0)
    assert after.lost == 0
    assert released(after, 1e9) == [(1e9, "grid", 1), (1e9 + 60, "grid", 2), (1e9 + 120, "grid", 4)]


@pytest.mark.parametrize(("before", "after"), [("boot", "another"), ("", "")])
def test_polls_of_another_boot_cannot_be_dated(before: str, after: str) -> None:
    first = Held(before, 10)
    keep(first, 0, 1.0)
    second = Held(after, 10, stored(first))
    assert (len(second), second.lost) == (0, 1)


@pytest.mark.parametrize("damaged", [None, 3, {}, {"boot_id": "boot", "polls": [[1]]}, {"boot_id": "boot", "polls": [[1, "a", [["x", 1, 1, 1]]]]}])
def test_damaged_state_begins_anew(damaged: Any) -> None:
    assert len(Held("boot", 10, damaged)) == 0
