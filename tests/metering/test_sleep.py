import json
from collections.abc import Iterable
from dataclasses import replace
from math import pi, sin

import pytest

from edge_agent.metering.metering import Metering
from edge_agent.metering.sleep import Sleep
from edge_agent.model.measurements import (
    Counter,
    CounterKind,
    EnergyInterval,
    HouseholdInterval,
    HouseQuantity,
    MeterPoint,
    Outcome,
    Quality,
    Quantity,
    Reading,
    Role,
    Snapshot,
)

Q, H = Quantity, HouseQuantity
DAY, HOUR = 86_400, 3600
T0 = 1_799_971_200  # midnight, UTC
GRID = MeterPoint("grid", "Grid", "grid", Role.GRID, "", frozenset({Q.POWER_W, Q.IMPORT_WH, Q.EXPORT_WH}))
ROOF = MeterPoint("roof", "Roof", "roof", Role.PV, "", frozenset({Q.GENERATION_W, Q.GENERATION_WH}), stale_after_s=180, offline_after_s=360)


def sun_w(second: float) -> float:
    """From 6:00 to 18:00."""
    hour = second % DAY / HOUR
    return max(0.0, 4000 * sin((hour - 6) / 12 * pi)) if 6 < hour < 18 else 0.0


def counted_wh(second: float) -> float:
    """The integral of `sun_w`."""
    days, rest = divmod(second, DAY)
    hour = min(max(rest / HOUR, 6.0), 18.0)
    return 4000 * 24 / pi * days + 4000 * 12 / pi * (1 - _cos((hour - 6) / 12 * pi))


def _cos(angle: float) -> float:
    return sin(angle + pi / 2)


def poll(metering: Metering, second: int, silent: Iterable[range] = (), roof: MeterPoint = ROOF) -> list[Outcome]:
    """A house that draws 500 W beside the sun's power; the inverter answers by daylight."""
    at, watts = T0 + second, 500 - sun_w(second)
    values = {Q.POWER_W: watts, Q.IMPORT_WH: 500 * second / HOUR, Q.EXPORT_WH: counted_wh(second)}
    found = metering.update("grid", {quantity: Reading(value, "", Quality.OK, at) for quantity, value in values.items()}, at)
    if sun_w(second) > 0 and not any(second in span for span in silent):
        of_the_day = Q.GENERATION_WH in roof.counters and roof.counters[Q.GENERATION_WH].kind is CounterKind.DAILY
        values = {Q.GENERATION_W: sun_w(second), Q.GENERATION_WH: counted_wh(second) - of_the_day * counted_wh(second // DAY * DAY)}
        readings = {quantity: Reading(value, "", Quality.OK, at) for quantity, value in values.items() if quantity in roof.quantities}
        found += metering.update("roof", readings, at)
    return found + metering.tick(at)


def run(metering: Metering, hours: tuple[float, float], silent: Iterable[range] = (), roof: MeterPoint = ROOF) -> list[Outcome]:
    return [outcome for second in range(int(hours[0] * HOUR), int(hours[1] * HOUR), 60) for outcome in poll(metering, second, silent, roof)]


def metered(*points: MeterPoint, state: object = None) -> Metering:
    return Metering(points or (GRID, ROOF), 900, 60, json.loads(json.dumps(state)) if state else None)


def consumption(outcomes: Iterable[Outcome], quantity: HouseQuantity = H.CONSUMPTION_WH) -> dict[float, float]:
    """By the hour of their end."""
    totals = [outcome for outcome in outcomes if isinstance(outcome, HouseholdInterval)]
    return {(total.end - T0) / HOUR: total.values[quantity] for total in totals if quantity in total.values}


def generated(outcomes: Iterable[Outcome]) -> dict[float, float | None]:
    found = [
        outcome for outcome in outcomes if isinstance(outcome, EnergyInterval) and outcome.point_id == "roof" and outcome.quantity is Q.GENERATION_WH
    ]
    return {(interval.end - T0) / HOUR: interval.energy_wh for interval in found}


def sun_wh(begin_hour: float, end_hour: float) -> float:
    return counted_wh(end_hour * HOUR) - counted_wh(begin_hour * HOUR)


def test_the_first_night_is_waited_out_and_the_second_is_not() -> None:
    metering = metered()
    run(metering, (12, 24))
    assert metering.missing()["roof"].startswith("has been silent since")
    first = run(metering, (24, 36))
    assert min(consumption(first)) < 19, "that night's totals come in the morning"
    second = run(metering, (36, 48))
    assert max(consumption(second)) == 47.75
    assert max(consumption(second, H.CONSUMPTION_W)) == 47.75
    assert {wh for hour, wh in consumption(second).items() if hour > 43} == {125}
    assert metering.missing() == {}


def test_what_it_says_of_a_sleeping_inverter_is_that_it_generates_nothing() -> None:
    metering = metered()
    run(metering, (12, 36))
    found = run(metering, (36, 52))
    assert {wh for hour, wh in generated(found).items() if hour > 42.5} == {0}
    assert not [outcome for outcome in found if isinstance(outcome, EnergyInterval) and outcome.estimated]
    assert [outcome.value for outcome in found if isinstance(outcome, Snapshot) and outcome.point_id == "roof"][-1] == 0


def test_a_network_that_fails_by_day_is_no_sleep() -> None:
    """Though the sun has just gone behind a cloud, and longer than a night."""
    metering = metered()
    run(metering, (12, 36))
    dark = Sleep(180)
    dark.restore([T0 + 36.0 * HOUR, 50.0, 9.0, T0 + 18.0 * HOUR, T0 + 30.0 * HOUR])
    assert dark.asleep_until(T0 + 37.0 * HOUR) is None
    outage = [range(39 * HOUR, 64 * HOUR)]
    found = run(metering, (36, 64), outage)
    assert max(consumption(found)) == 38.75
    late = run(metering, (64, 66), outage)
    assert sum(wh or 0 for hour, wh in generated(found + late).items() if 38 < hour <= 65) == pytest.approx(sun_wh(38, 65), abs=1)


def test_who_does_not_wake_at_the_usual_hour_is_awaited_from_then_on() -> None:
    metering = metered()
    run(metering, (12, 48))
    found = run(metering, (48, 60), [range(48 * HOUR, 60 * HOUR)])
    assert max(consumption(found)) == 54, "it woke at six the day before"
    late = run(metering, (60, 61))
    assert {hour for hour in consumption(late) if hour <= 60} == {54 + quarter / 4 for quarter in range(1, 25)}
    assert sum(wh or 0 for hour, wh in generated(late).items() if 54 < hour <= 60) == pytest.approx(sun_wh(54, 60), abs=20)


@pytest.mark.parametrize("until", [44, 48, 72 + 48])
def test_what_an_outage_that_reaches_into_the_night_hides_was_generated_by_day(until: int) -> None:
    """The network fails at three in the afternoon, until ten or for days."""
    metering = metered()
    found = run(metering, (12, 39))
    end = max(until, 54) + 7
    found += run(metering, (39, end + 1), [range(39 * HOUR, until * HOUR)])
    by_hour = generated(found)
    assert sum(wh or 0 for hour, wh in by_hour.items() if 38 < hour <= end) == pytest.approx(sun_wh(38, end), abs=1)
    night = [wh or 0 for hour, wh in by_hour.items() if hour > 39 and (hour % 24 <= 6 or hour % 24 > 18.25)]
    assert sum(night) == pytest.approx(0, abs=1)
    assert sum(wh or 0 for hour, wh in by_hour.items() if 39 < hour <= 42) == pytest.approx(sun_wh(39, 42), rel=0.02 if until < 72 else 9)


@pytest.mark.parametrize("hours", [(46.0, 52.0), (46.0, 58.0)])
def test_a_restart_in_the_night_or_after_it_changes_no_sum(hours: tuple[float, float]) -> None:
    before = metered()
    found = run(before, (12, hours[0]))
    found += run(metered(state=before.state()), (hours[1], 62))
    assert sum(wh or 0 for hour, wh in generated(found).items() if 37 < hour <= 61) == pytest.approx(sun_wh(37, 61), abs=1)
    assert {wh for hour, wh in generated(found).items() if 42.5 < hour <= 54} == {0}, "what it gave in the morning is none of the night's"


def test_an_inverter_without_a_counter_has_given_nothing_at_night() -> None:
    roof = MeterPoint("roof", "Roof", "roof", Role.PV, "", frozenset({Q.GENERATION_W}), stale_after_s=180, offline_after_s=360)
    metering = metered(GRID, roof)
    first = run(metering, (12, 36), roof=roof)
    assert None in generated(first).values()
    second = run(metering, (36, 60), roof=roof)
    assert set(generated(second)) >= {36 + quarter / 4 for quarter in range(1, 96)}
    assert None not in generated(second).values()


def test_a_counter_that_begins_at_zero_in_the_night_proves_it_too() -> None:
    roof = replace(ROOF, counters={Q.GENERATION_WH: Counter(CounterKind.DAILY)})
    metering = metered(GRID, roof)
    run(metering, (12, 36), roof=roof)
    found = run(metering, (36, 84), roof=roof)
    assert [wh for hour, wh in consumption(found).items() if hour > 43] == pytest.approx([125] * 163, abs=0.2)
    assert {hour % 24 for hour in consumption(found) if 43 < hour <= 67} == {quarter / 4 for quarter in range(96)}
    assert sum(wh or 0 for hour, wh in generated(found).items() if 42 < hour <= 66) == pytest.approx(sun_wh(42, 66), abs=1)


def test_a_night_in_which_the_counter_moved_teaches_nothing() -> None:
    sleep = Sleep(180)
    sleep.hear(T0 + 18 * HOUR, 40.0, 1000.0)
    sleep.hear(T0 + 30 * HOUR, 40.0, 9000.0)
    sleep.hear(T0 + 42 * HOUR, 40.0, 9500.0)
    assert sleep.asleep_until(T0 + 43 * HOUR) is None
    sleep.hear(T0 + 54 * HOUR, 40.0, 9500.0)
    sleep.hear(T0 + 66 * HOUR, 40.0, 9900.0)
    assert sleep.asleep_until(T0 + 67 * HOUR) == T0 + 78 * HOUR


def test_what_fell_silent_at_full_power_is_not_asleep() -> None:
    sleep = Sleep(180)
    sleep.restore([T0 + 42 * HOUR, 2000.0, 9.0, T0 + 18 * HOUR, T0 + 30 * HOUR])
    assert sleep.asleep_until(T0 + 43 * HOUR) is None


def test_hours_at_which_it_slept_are_told_once() -> None:
    sleep = Sleep(180)
    sleep.restore([T0 + 40.0 * HOUR, 2000.0, 9.0, T0 + 18.0 * HOUR, T0 + 30.0 * HOUR])
    told = list(sleep.dark_times(T0 + 60.0 * HOUR, 600))
    assert (told[0], told[-1]) == (T0 + 42 * HOUR, T0 + 54 * HOUR)
    assert max(later - earlier for earlier, later in zip(told, told[1:], strict=False)) == 600
    assert list(sleep.dark_times(T0 + 60.5 * HOUR, 600)) == []


def test_a_hybrid_is_never_asleep() -> None:
    pv = MeterPoint("hy.pv", "Hybrid", "hy", Role.PV, "", frozenset({Q.GENERATION_W, Q.GENERATION_WH}))
    battery = MeterPoint("hy.battery", "Hybrid", "hy", Role.BATTERY, "", frozenset({Q.POWER_W}))
    metering = metered(pv, battery)
    assert metering.state()["points"]["hy.pv"]["sleep"] is None
    assert metered(pv).state()["points"]["hy.pv"]["sleep"] is not None
