"""Power against counters: a steady factor is found, and nothing else is."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.metering.agreement import Agreement, Disagreement
from edge_agent.model.measurements import Counter, MeterPoint, Quality, Quantity, Reading, Role

HOUR_S = 3600
IMPORT, EXPORT, POWER = Quantity.IMPORT_WH, Quantity.EXPORT_WH, Quantity.POWER_W
Watts = Callable[[float], float]


def meter(step_wh: float = 1.0, both: bool = True, stale_after_s: float = 30.0) -> MeterPoint:
    counters = {IMPORT: Counter(step_wh=step_wh)} | ({EXPORT: Counter(step_wh=step_wh)} if both else {})
    return MeterPoint("m", "m", "m", Role.GRID, "", frozenset({POWER, *counters}), counters, stale_after_s)


def run(
    agreement: Agreement,
    point: MeterPoint,
    hours: float,
    watts: Watts,
    factor: float = 1.0,
    *,
    poll_s: float = 10.0,
    swapped: bool = False,
    start: float = 0.0,
    counted: tuple[float, float] = (5e6, 1e6),
) -> list[Disagreement]:
    """Polls a meter whose counters grow `factor` times as fast as its power, in whole steps."""
    found = []
    step = point.counters[IMPORT].step_wh
    totals = list(counted)
    for number in range(round(hours * HOUR_S / poll_s)):
        at = start + number * poll_s
        power = watts(at)
        totals[(power < 0) != swapped] += abs(power) * poll_s / 3600 * factor
        values = {POWER: power} | {quantity: total // step * step for quantity, total in zip((IMPORT, EXPORT), totals, strict=True)}
        found += agreement.update({quantity: Reading(value, "", Quality.OK, at) for quantity, value in values.items()})
    return found


def changing(at: float) -> float:
    return 1500 + 1000 * math.sin(at / 700)


@pytest.mark.parametrize("factor", [10.0, 100.0, 1000.0, 0.1, 0.01])
def test_steady_factor_is_said_once_and_stands(factor: float) -> None:
    agreement = Agreement(meter())
    [found] = run(agreement, meter(), 12, changing, factor)
    assert found.factor == factor
    assert agreement.found[POWER].factor == factor
    assert ("times as fast as power_w" if factor > 1 else "times slower than power_w") in str(found)


def test_swapped_direction_is_said_in_words() -> None:
    [found] = run(Agreement(meter()), meter(), 5, changing, swapped=True)
    assert found.factor == -1
    assert "m: its power and its counters tell opposite directions" in str(found)


def test_one_window_is_not_enough() -> None:
    assert run(Agreement(meter()), meter(), 1.9, changing, 10.0) == []


def test_finding_goes_when_power_and_counter_agree_again() -> None:
    agreement = Agreement(meter())
    run(agreement, meter(), 5, changing, 10.0)
    run(agreement, meter(), 5, changing, start=5 * HOUR_S, counted=(6e6, 1e6))
    assert agreement.found == {}


@given(
    st.floats(20, 8000),
    st.sampled_from([1.0, 10.0, 100.0, 1000.0]),
    st.floats(0.8, 1.2),
    st.sampled_from([5.0, 30.0, 60.0]),
    st.booleans(),
)
def test_sound_meter_is_never_accused(power: float, step_wh: float, factor: float, poll_s: float, both: bool) -> None:
    point = meter(step_wh, both)

    def both_ways(at: float) -> float:
        return power * math.sin(at / 5000 + 1)

    assert run(Agreement(point), point, 8, both_ways, factor, poll_s=poll_s) == []


@pytest.mark.parametrize("factor", [2.0, 3.6, 0.5, 30.0])
def test_ratio_that_is_no_power_of_ten_says_nothing(factor: float) -> None:
    assert run(Agreement(meter()), meter(), 6, changing, factor) == []


def test_coarse_counter_needs_more_than_a_few_steps() -> None:
    point = meter(step_wh=1000.0)
    assert run(Agreement(point), point, 2.4, changing, 10.0, poll_s=30.0) == [], "20 kWh are needed in a window: in an hour 15 kWh come"
    assert [found.factor for found in run(Agreement(point), point, 12, changing, 10.0, poll_s=30.0)] == [10.0]


def test_gaps_and_a_counter_that_falls_begin_a_window_anew() -> None:
    agreement = Agreement(meter())
    for hour in range(8):
        assert run(agreement, meter(), 0.9, changing, 10.0, start=hour * HOUR_S) == [], "each begins at the same counter, after a gap"


def test_small_power_says_nothing() -> None:
    assert run(Agreement(meter()), meter(), 30, lambda _: 0.4, 10.0, poll_s=60.0) == []


def test_clock_that_is_set_begins_a_window_anew() -> None:
    agreement, counted = Agreement(meter()), 5e6
    for hour in range(6):
        assert run(agreement, meter(), 0.9, changing, 10.0, start=hour * 0.9 * HOUR_S, counted=(counted, 1e6)) == []
        agreement.restart()
        counted += 2e5


def test_values_that_are_absent_are_passed_over() -> None:
    agreement = Agreement(meter())
    absent = Reading(None, "", Quality.ERROR, 5.0)
    assert agreement.update({POWER: absent, IMPORT: absent, EXPORT: absent}) == []
    assert agreement.update({}) == []
    assert len(run(agreement, meter(), 5, changing, 10.0)) == 1


def test_generation_is_held_against_its_counter() -> None:
    generation, counter = Quantity.GENERATION_W, Quantity.GENERATION_WH
    agreement = Agreement(MeterPoint("pv", "", "pv", Role.PV, "", frozenset({generation, counter}), {counter: Counter()}))
    found: list[Disagreement] = []
    for number in range(3 * 360):
        values = {generation: 2000.0, counter: 1000 + number * 2000 / 360 / 1000}
        found += agreement.update({quantity: Reading(value, "", Quality.OK, number * 10.0) for quantity, value in values.items()})
    assert found == [], "6 Wh counted are too few to tell"
    for number in range(3 * 360, 12 * 360):
        values = {generation: 2000.0, counter: 1000 + number * 2000 / 360 / 1000}
        found += agreement.update({quantity: Reading(value, "", Quality.OK, number * 10.0) for quantity, value in values.items()})
    assert [one.factor for one in found] == [0.001]


def test_what_was_counted_in_a_gap_is_no_factor() -> None:
    """A device that is away while much is consumed: what is integrated over the gap would be far too little."""
    agreement, counted = Agreement(meter()), 5e6
    for hour in range(12):
        assert run(agreement, meter(), 1 / 6, lambda _: 100.0, start=hour * HOUR_S, counted=(counted, 1e6)) == []
        counted += 1000


def test_counter_that_moves_once_a_quarter_of_an_hour_is_measured_from_move_to_move() -> None:
    point, found, counted = meter(), [], 0.0
    agreement = Agreement(point)
    for number in range(12 * 360):
        counted = number // 90 * 250.0 * 10
        values = {POWER: 1000.0, IMPORT: counted, EXPORT: 0.0}
        found += agreement.update({quantity: Reading(value, "", Quality.OK, number * 10.0) for quantity, value in values.items()})
    assert [one.factor for one in found] == [10.0]
    assert agreement.found[POWER].counted_wh == pytest.approx(10 * agreement.found[POWER].integrated_wh, rel=0.01)
