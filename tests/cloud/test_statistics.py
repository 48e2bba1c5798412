"""What the platform counted against what was sent: losses, doubles, and what is neither."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cloud.statistics import NoStatistics, SentValue, compare, hour_of, read_statistics
from edge_agent.demo.statistics import hourly

VIENNA = ZoneInfo("Europe/Vienna")
HOUR, QUARTER = 3600, 900
GENERATION, CONSUMPTION, GRID = "ENERGY_GENERATION", "ENERGY_CONSUMPTION", "GRID_ENERGY_CONSUMPTION"
SINCE = int(datetime(2026, 3, 28, tzinfo=VIENNA).timestamp())  # a day before clocks go forward
UNTIL = int(datetime(2026, 3, 30, tzinfo=VIENNA).timestamp())
Dated = Literal["end", "start"]


def varying(at: int) -> float:
    return 100.0 + at // QUARTER * 37 % 91


def household(dated: Dated = "end", energy: Any = varying) -> list[SentValue]:
    """Every quarter-hour's energies from two hours before SINCE until UNTIL."""
    ends = range(SINCE - 2 * HOUR + QUARTER, UNTIL + QUARTER, QUARTER)
    shift = QUARTER if dated == "start" else 0
    return [SentValue(kind, end - shift, energy(end)) for end in ends for kind in (GENERATION, CONSUMPTION, GRID)]


def counted(sent: list[SentValue], dated: Dated = "end", zone: ZoneInfo = VIENNA) -> dict[tuple[str, int], float]:
    """What a platform with these events counts."""
    events = [{"source": "GATEWAY", "type": one.type, "value": one.value, "timestamp": one.at} for one in sent]
    query = {"eventTypes": f"{GENERATION},{CONSUMPTION},{GRID}", "from": "2026-03-27", "to": "2026-03-31"}
    return read_statistics(hourly(events, query, zone, dated))


def hour(number: int) -> int:
    return SINCE + number * HOUR


def of_hour(one: SentValue, number: int, kind: str = CONSUMPTION) -> bool:
    return one.type == kind and hour(number) < one.at <= hour(number + 1)


@pytest.mark.parametrize("dated", ["end", "start"])
def test_what_arrived_agrees_over_a_daylight_saving_switch(dated: Dated) -> None:
    sent = household(dated)
    result = compare(sent, counted(sent, dated), VIENNA, dated, SINCE, UNTIL)
    assert (result.hours, result.agreeing, result.findings, result.shifted) == (3 * 46, 3 * 46, (), False)
    assert result.uncounted == 3, "the last hour may still be counted"


def test_a_lost_hour_a_lost_interval_and_a_double_are_told_apart() -> None:
    sent = household()
    there = [one for one in sent if not of_hour(one, 5) and not (of_hour(one, 9, GENERATION) and one.at == hour(9) + QUARTER)]
    there += [one for one in sent if of_hour(one, 20, GRID)]
    result = compare(sent, counted(there), VIENNA, "end", SINCE, UNTIL)
    assert [(one.what, one.type, one.hour) for one in result.findings] == [
        ("missing", CONSUMPTION, hour(5)),
        ("partly missing", GENERATION, hour(9)),
        ("too much", GRID, hour(20)),
    ]
    missing, partly, double = result.findings
    assert (missing.since, missing.until, missing.counted_wh) == (hour(5) + QUARTER, hour(6), 0)
    assert partly.sent_wh - partly.counted_wh == pytest.approx(varying(hour(9) + QUARTER))
    assert double.counted_wh == pytest.approx(2 * double.sent_wh)
    assert (result.agreeing, result.shifted) == (result.hours - 3, False)


@pytest.mark.parametrize(("ours", "theirs"), [("end", "start"), ("start", "end")])
def test_the_other_end_of_an_interval_is_a_shift_and_no_loss(ours: Dated, theirs: Dated) -> None:
    sent = household(ours)
    result = compare(sent, counted(sent, theirs), VIENNA, ours, SINCE, UNTIL)
    assert (result.shifted, result.dated, result.findings) == (True, theirs, ())


def test_a_loss_is_found_through_a_shift_with_the_events_that_the_platform_means() -> None:
    sent = household()
    lost = [one for one in sent if one.type == CONSUMPTION and hour(5) <= one.at < hour(6)]
    result = compare(sent, counted([one for one in sent if one not in lost], "start"), VIENNA, "end", SINCE, UNTIL)
    assert result.shifted
    assert [(one.what, one.hour, one.since, one.until) for one in result.findings] == [("missing", hour(5), hour(5), hour(6) - QUARTER)]


def test_a_house_that_always_draws_the_same_shows_no_shift() -> None:
    sent = household(energy=lambda _: 50.0)
    result = compare(sent, counted(sent, "start"), VIENNA, "end", SINCE, UNTIL)
    assert (result.shifted, result.findings) == (False, ())


def test_many_losses_are_no_shift() -> None:
    sent = household()
    there = [one for one in sent if not (one.at % HOUR == 0 and hour(3) < one.at < hour(30))]
    result = compare(sent, counted(there), VIENNA, "end", SINCE, UNTIL)
    assert not result.shifted
    assert {one.what for one in result.findings} == {"partly missing"}


def test_what_lies_outside_the_counted_hours_is_not_called_lost() -> None:
    sent = household()
    there = [one for one in sent if one.type == CONSUMPTION and hour(10) < one.at <= hour(20)]
    result = compare(sent, counted(there), VIENNA, "end", SINCE, UNTIL)
    assert result.findings == ()
    assert (result.hours, result.uncounted) == (9, 3 * 47 - 9)


def test_statistics_in_kilowatt_hours_are_understood() -> None:
    sent = household()
    thousandth = {key: round(energy / 1000, 4) for key, energy in counted(sent).items()}
    result = compare(sent, thousandth, VIENNA, "end", SINCE, UNTIL)
    assert (result.unit, result.findings) == ("kWh", ())


def test_rounding_is_no_loss_and_a_sleeping_house_s_quarter_hour_is() -> None:
    sent = household(energy=lambda _: 12.4)
    assert compare(sent, {key: round(energy) for key, energy in counted(sent).items()}, VIENNA, "end", SINCE, UNTIL).findings == ()
    there = [one for one in sent if one.at != hour(7) + QUARTER]
    assert len(compare(sent, counted(there), VIENNA, "end", SINCE, UNTIL).findings) == 3


def test_our_own_beginning_is_not_compared() -> None:
    sent = household()
    remembered = [one for one in sent if one.at > hour(4) + 2 * QUARTER]
    result = compare(remembered, counted(sent), VIENNA, "end", SINCE, UNTIL)
    assert result.findings == ()
    assert result.hours == 3 * (46 - 5)


def test_nothing_sent_and_nothing_counted_say_nothing() -> None:
    assert compare([], counted(household()), VIENNA, "end", SINCE, UNTIL).hours == 0
    assert compare(household(), {}, VIENNA, "end", SINCE, UNTIL).findings == ()


@given(at=st.integers(0, 2**31), zone=st.sampled_from(["Europe/Vienna", "Asia/Kolkata", "Asia/Kathmandu", "UTC", "America/St_Johns"]))
def test_an_hour_begins_when_the_house_s_clock_strikes(at: int, zone: str) -> None:
    start = hour_of(at, ZoneInfo(zone))
    assert 0 <= at - start < HOUR
    if at > 10**9:  # before, some zones were off by seconds
        assert datetime.fromtimestamp(start, ZoneInfo(zone)).minute == 0


@given(lost=st.sets(st.integers(1, 45), max_size=6), zone=st.sampled_from([VIENNA, ZoneInfo("Asia/Kolkata")]))
def test_exactly_the_lost_hours_are_found(lost: set[int], zone: ZoneInfo) -> None:
    sent = household()
    begin = hour_of(SINCE + HOUR, zone)
    starts = {begin + number * HOUR for number in lost}
    there = [one for one in sent if hour_of(one.at - 1, zone) not in starts]
    result = compare(sent, counted(there, zone=zone), zone, "end", begin, begin + 46 * HOUR)
    found = {one.hour for one in result.findings if one.what == "missing"}
    counted_hours = {hour_of(one.at - 1, zone) for one in there}
    assert found == {start for start in starts if start < max(counted_hours)}
    assert all(one.what == "missing" for one in result.findings)


@pytest.mark.parametrize(
    "body",
    [None, {}, "text", [1], [{"energyConsumption": 5}], [{"startTimestamp": "2026"}], [{"startTimestamp": 1774652400000}],
     [{"startTimestamp": True}], [{"startTimestamp": 1774652400, "energyConsumption": "5"}],
     [{"startTimestamp": 1774652400, "energyConsumption": 10**400}], [{"startTimestamp": 1774652400, "energyConsumption": float("nan")}]],
)  # fmt: skip
def test_an_answer_that_is_no_statistics_is_refused(body: object) -> None:
    with pytest.raises(NoStatistics):
        read_statistics(body)


def test_absent_and_null_are_left_out() -> None:
    body = [{"startTimestamp": SINCE, "energyConsumption": 5, "energyGeneration": None, "somethingElse": "x"}]
    assert read_statistics(body) == {(CONSUMPTION, SINCE): 5.0}
