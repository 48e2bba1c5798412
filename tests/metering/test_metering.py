import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.metering.metering import Metering
from edge_agent.model.measurements import (
    Change,
    Counter,
    EnergyInterval,
    HouseholdDay,
    HouseholdInterval,
    HouseQuantity,
    MeterPoint,
    Outcome,
    Quality,
    Quantity,
    Reading,
    Role,
    Snapshot,
    Value,
)

Q = Quantity
T0 = 1_800_000_000
METER = frozenset({Q.POWER_W, Q.IMPORT_WH, Q.EXPORT_WH})
GRID = MeterPoint("grid", "Grid", "grid", Role.GRID, "", METER)
PV = MeterPoint("pv", "Roof", "pv", Role.PV, "", frozenset({Q.GENERATION_W, Q.GENERATION_WH, Q.STATUS}))
PLUG = MeterPoint("plug", "Plug", "plug", Role.PLUG, "", frozenset({Q.POWER_W, Q.SWITCH_ON}))
PLUG_WITH_COUNTER = MeterPoint("plug", "Plug", "plug", Role.PLUG, "", frozenset({Q.POWER_W, Q.IMPORT_WH}))
POINTS = (GRID, PV, PLUG)


def readings(at: float, **values: Value | None) -> dict[Quantity, Reading]:
    """Readings of one poll; None is a value that could not be read."""
    return {
        Q(name): Reading(value, "", Quality.OK, at) if value is not None else Reading(None, "", Quality.ERROR, at, "no answer")
        for name, value in values.items()
    }


def poll(metering: Metering, second: float, dead: Iterable[str] = (), ahead_s: float = 0.0) -> list[Outcome]:
    """A poll of a house that imports 360 W, generates 720 W and has a plug of 36 W, by a clock that is ahead."""
    at, hours = T0 + second + ahead_s, second / 3600
    house: Mapping[str, Mapping[str, Value]] = {
        "grid": {"power_w": 360.0, "import_wh": 5_000 + 360 * hours, "export_wh": 70.0},
        "pv": {"generation_w": 720.0, "generation_wh": 9_000 + 720 * hours, "status": "running"},
        "plug": {"power_w": 36.0, "switch_on": True},
    }
    found: list[Outcome] = []
    for point_id, values in house.items():
        found += metering.update(point_id, readings(at, **{name: None if point_id in dead else value for name, value in values.items()}), at)
    return found + metering.tick(at)


def run(metering: Metering, seconds: Iterable[int], dead: Iterable[str] = (), ahead_s: float = 0.0) -> list[Outcome]:
    return [outcome for second in seconds for outcome in poll(metering, second, dead, ahead_s)]


def energies(outcomes: Sequence[Outcome], point_id: str) -> list[tuple[int, str, float | None]]:
    intervals = [outcome for outcome in outcomes if isinstance(outcome, EnergyInterval) and outcome.point_id == point_id]
    return [(interval.end - T0, interval.quantity.value, interval.energy_wh) for interval in intervals]


def totals(outcomes: Sequence[Outcome], quantity: HouseQuantity) -> dict[int, float]:
    found: dict[int, float] = {}
    for outcome in outcomes:
        if isinstance(outcome, HouseholdInterval) and quantity in outcome.values:
            assert outcome.end - T0 not in found, "given twice"
            found[outcome.end - T0] = outcome.values[quantity]
    return found


def test_an_interval_is_cut_at_the_quarter_hour() -> None:
    found = run(Metering(POINTS, 900, 10), range(0, 1830, 10))
    assert energies(found, "grid") == [(900, "import_wh", 90), (900, "export_wh", 0), (1800, "import_wh", 90), (1800, "export_wh", 0)]
    assert energies(found, "plug") == [(900, "import_wh", 9), (1800, "import_wh", 9)]
    assert totals(found, HouseQuantity.CONSUMPTION_WH) == {900: 270, 1800: 270}
    assert totals(found, HouseQuantity.CONSUMPTION_W) == {900: 1080, 1800: 1080}


def test_gauges_are_taken_at_the_interval_s_end() -> None:
    found = run(Metering(POINTS, 900, 7), range(3, 1000, 7))
    assert [outcome for outcome in found if isinstance(outcome, Snapshot)] == [
        Snapshot("grid", Q.POWER_W, T0 + 900, 360.0),
        Snapshot("pv", Q.GENERATION_W, T0 + 900, 720.0),
        Snapshot("plug", Q.POWER_W, T0 + 900, 36.0),
    ]


def test_a_gauge_after_the_boundary_is_not_taken_for_it() -> None:
    metering = Metering([PLUG], 900, 10)
    metering.update("plug", readings(T0 + 895, power_w=5.0), T0 + 895)
    found = metering.update("plug", readings(T0 + 905, power_w=99.0), T0 + 905)
    assert [outcome.value for outcome in found if isinstance(outcome, Snapshot)] == [5.0]


def test_a_stale_gauge_is_not_taken() -> None:
    metering = Metering([PLUG], 900, 10)
    metering.update("plug", readings(T0 + 860, power_w=5.0), T0 + 860)
    found = metering.update("plug", readings(T0 + 905, power_w=99.0), T0 + 905)
    assert not [outcome for outcome in found if isinstance(outcome, Snapshot)]


def test_the_gauge_of_a_device_that_falls_silent_is_taken_when_it_is_given_up() -> None:
    metering = Metering([PLUG], 900, 10)
    metering.update("plug", readings(T0 + 890, power_w=5.0), T0 + 890)
    assert metering.tick(T0 + 959) == []
    assert metering.tick(T0 + 960)[0] == Snapshot("plug", Q.POWER_W, T0 + 900, 5.0)


def test_a_gauge_is_dated_anew_with_the_clock() -> None:
    metering = Metering([PLUG], 60, 10)
    metering.update("plug", readings(T0 + 40, power_w=5.0), T0 + 40)
    metering.shift(3600)
    found = metering.update("plug", readings(T0 + 3665, power_w=9.0), T0 + 3665)
    assert [outcome for outcome in found if isinstance(outcome, Snapshot)] == [Snapshot("plug", Q.POWER_W, T0 + 3660, 5.0)]


def test_each_gauge_is_taken_once_where_intervals_are_short() -> None:
    found = run(Metering([GRID, PV, PLUG], 10, 5), range(0, 100, 5))
    ends = [outcome.end for outcome in found if isinstance(outcome, Snapshot) and outcome.point_id == "plug"]
    assert ends == list(range(T0 + 10, T0 + 100, 10))


def test_after_a_pause_another_interval_length_keeps_to_its_own_grid() -> None:
    before = Metering(POINTS, 60, 10)
    run(before, range(0, 200, 10))
    found = poll(Metering(POINTS, 900, 10, json.loads(json.dumps(before.state()))), 915)
    assert {outcome.end for outcome in found if not isinstance(outcome, Change)} == {T0 + 900}


def test_another_interval_length_keeps_to_its_own_grid() -> None:
    before = Metering(POINTS, 60, 10)
    run(before, range(0, 200, 10))
    after = Metering(POINTS, 900, 10, json.loads(json.dumps(before.state())))
    found = run(after, range(200, 1900, 10))
    assert {outcome.end % 900 for outcome in found if not isinstance(outcome, Change)} == {0}
    assert totals(found, HouseQuantity.CONSUMPTION_WH) == {1800: 270}


def test_a_dead_inverter_delays_its_own_totals_only() -> None:
    metering = Metering(POINTS, 900, 10)
    run(metering, range(0, 900, 10))
    found = run(metering, range(900, 4500, 10), dead=["pv"])
    assert set(totals(found, HouseQuantity.IMPORT_WH)) == {900, 1800, 2700, 3600}
    assert set(totals(found, HouseQuantity.IMPORT_W)) == {900, 1800, 2700, 3600}
    assert totals(found, HouseQuantity.CONSUMPTION_WH) == {}
    assert set(totals(found, HouseQuantity.CONSUMPTION_W)) == {900}
    assert metering.missing() == {"pv": "has been silent since 2027-01-15T08:14:50Z"}


def test_what_a_dead_inverter_counted_arrives_late_with_its_own_ends() -> None:
    metering = Metering(POINTS, 900, 10)
    run(metering, range(0, 900, 10))
    run(metering, range(900, 4500, 10), dead=["pv"])
    found = poll(metering, 4505)
    assert {end: wh for end, _, wh in energies(found, "pv")} == pytest.approx({900 * number: 180 for number in range(1, 6)})
    assert all(outcome.estimated for outcome in found if isinstance(outcome, EnergyInterval) and outcome.point_id == "pv")
    assert totals(found, HouseQuantity.CONSUMPTION_WH) == pytest.approx({900 * number: 270 for number in range(1, 6)})
    assert metering.missing() == {}


def test_energy_counted_while_the_agent_was_away_arrives() -> None:
    before = Metering(POINTS, 900, 10)
    run(before, range(0, 1000, 10))
    after = Metering(POINTS, 900, 10, json.loads(json.dumps(before.state())))
    found = poll(after, 7300)
    imported = {end: wh for end, name, wh in energies(found, "grid") if name == "import_wh"}
    assert imported == pytest.approx({900 * number: 90 for number in range(2, 9)})
    assert {wh for _, _, wh in energies(found, "plug")} == {None}


@settings(max_examples=60, deadline=None)
@given(
    waits=st.lists(st.integers(min_value=1, max_value=400), min_size=5, max_size=60),
    dead=st.lists(st.sampled_from(["", "grid", "pv", "plug"]), min_size=60, max_size=60),
    restarts=st.sets(st.integers(min_value=0, max_value=59)),
)
def test_restarts_change_nothing(waits: list[int], dead: list[str], restarts: set[int]) -> None:
    def outcomes(restarts: set[int]) -> list[Outcome]:
        metering, second = Metering(POINTS, 60, 10), 0
        found: list[Outcome] = []
        for index, wait in enumerate(waits):
            if index in restarts:
                metering = Metering(POINTS, 60, 10, json.loads(json.dumps(metering.state())))
            second += wait
            found += [outcome for outcome in poll(metering, second, [dead[index]]) if not isinstance(outcome, Change)]  # states are told again
        return found

    assert outcomes(restarts) == outcomes(set())


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(1, 90), st.sampled_from([0] * 8 + [-7200, -1200, -70, -3, 3, 70, 1200, 7200]), st.booleans()), min_size=5, max_size=80
    ),
)
def test_no_value_comes_twice_whatever_the_clock_does(steps: list[tuple[int, int, bool]]) -> None:
    """Whether or not the step of the clock was noticed; what it dated over an hour ahead is forgotten, for nothing may stay frozen."""
    metering, offset, true = Metering(POINTS, 60, 10), 0, 0
    seen: set[tuple[str, str, str, int]] = set()
    for wait, step, noticed in steps:
        true += wait
        offset += step
        if step and noticed:
            metering.shift(step)
        at = T0 + true + offset
        if any(end > at + 3600 for *_, end in seen):
            seen.clear()
        found = metering.update("grid", readings(at, power_w=36.0, import_wh=true / 100, export_wh=0.0), at)
        found += metering.update("pv", readings(at, generation_w=36.0, generation_wh=true / 100), at) + metering.tick(at)
        for outcome in found:
            if isinstance(outcome, Change):
                continue
            names = outcome.values if isinstance(outcome, HouseholdInterval) else [outcome.quantity]
            for name in names:
                point_id = "" if isinstance(outcome, HouseholdInterval | HouseholdDay) else outcome.point_id
                key = (type(outcome).__name__, point_id, name.value, outcome.end)
                assert key not in seen
                seen.add(key)


def test_readings_in_any_order_give_the_newest_only() -> None:
    metering = Metering([GRID], 60, 10)
    found: list[Outcome] = []
    for at, wh in [(0, 0), (30, 3), (20, 2), (50, 5), (50, 5), (10, 1), (70, 7), (60, 6), (120, 12)]:
        found += metering.update("grid", readings(T0 + at, power_w=0.0, import_wh=float(wh), export_wh=0.0), T0 + 130)
    assert [(end, wh) for end, name, wh in energies(found, "grid") if name == "import_wh"] == [(60, 6), (120, 6)]


def test_an_unchanged_value_that_is_dated_anew_proves_that_nothing_flowed() -> None:
    metering = Metering([GRID], 900, 10)
    found: list[Outcome] = []
    for second in range(0, 1810, 10):
        found += metering.update("grid", readings(T0 + second, import_wh=500.0), T0 + second)
    assert energies(found, "grid") == [(900, "import_wh", 0), (1800, "import_wh", 0)]


def test_a_reading_from_the_future_is_not_believed() -> None:
    metering = Metering([GRID], 60, 10)
    metering.update("grid", readings(T0, import_wh=0.0), T0)
    assert metering.update("grid", readings(T0 + 500, import_wh=9.0), T0 + 10) == []
    found = metering.update("grid", readings(T0 + 60, import_wh=6.0), T0 + 60)
    assert energies(found, "grid") == [(60, "import_wh", 6)]


def test_power_stands_in_for_a_counter_that_the_device_has_not() -> None:
    metering = Metering([GRID], 60, 10)
    found: list[Outcome] = []
    for second in range(0, 190, 10):
        found += metering.update("grid", readings(T0 + second, power_w=-360.0, import_wh=None, export_wh=None), T0 + second)
    assert energies(found, "grid") == [(60 * number, name, wh) for number in (1, 2, 3) for name, wh in (("import_wh", 0), ("export_wh", 6))]


def test_a_counter_that_appears_later_takes_over_without_a_repeat() -> None:
    metering = Metering([GRID], 60, 10)
    found: list[Outcome] = []
    for second in range(0, 250, 10):
        counter = 100 + second / 10 if second >= 90 else None
        found += metering.update("grid", readings(T0 + second, power_w=360.0, import_wh=counter, export_wh=0.0), T0 + second)
    assert [(end, wh) for end, name, wh in energies(found, "grid") if name == "import_wh"] == [(60, 6), (120, None), (180, 6), (240, 6)]


def test_a_counter_that_takes_over_with_an_older_reading_repeats_nothing() -> None:
    metering = Metering([PLUG_WITH_COUNTER], 60, 10)
    found: list[Outcome] = []
    for second in range(0, 80, 10):
        found += metering.update("plug", readings(T0 + second, power_w=360.0), T0 + second)
    for second in (55, 130, 190):
        found += metering.update("plug", readings(T0 + second, import_wh=100 + second / 10), T0 + 190)
    assert energies(found, "plug") == [(60, "import_wh", 6), (120, "import_wh", None), (180, "import_wh", 6)]


def test_a_new_site_file_keeps_what_it_can() -> None:
    before = Metering(POINTS, 900, 10)
    run(before, range(0, 1000, 10))
    without = Metering([GRID, PLUG], 900, 10, json.loads(json.dumps(before.state())))
    run_without: list[Outcome] = without.update("grid", readings(T0 + 1800, power_w=1.0, import_wh=5_180.0, export_wh=70.0), T0 + 1800)
    assert totals(run_without, HouseQuantity.CONSUMPTION_WH) == {1800: 90}
    again = Metering(POINTS, 900, 10, json.loads(json.dumps(without.state())))
    found = again.update("pv", readings(T0 + 2700, generation_w=1.0, generation_wh=9_540.0), T0 + 2700)
    assert {end: wh for end, _, wh in energies(found, "pv")} == pytest.approx({1800: 180, 2700: 180})


def test_a_point_that_was_never_read_is_named() -> None:
    metering = Metering(POINTS, 900, 10)
    for second in range(0, 1000, 10):
        metering.update("grid", readings(T0 + second, power_w=1.0, import_wh=1.0, export_wh=1.0), T0 + second)
    assert metering.missing() == {"pv": "has not been read yet"}


def test_a_counter_that_a_device_no_longer_tells_is_named() -> None:
    metering = Metering([GRID], 900, 10)
    for second in range(0, 2800, 10):
        metering.update("grid", readings(T0 + second, power_w=1.0, import_wh=1.0, export_wh=1.0 if second < 1000 else None), T0 + second)
        assert second > 2700 or not metering.missing(), "it may only be late"
    assert metering.missing() == {"grid": "answers, but has given no export_wh that can be used since 2027-01-15T08:30:00Z"}


def test_a_counter_that_is_told_once_an_hour_is_not_called_missing_between() -> None:
    metering = Metering([replace(GRID, stale_after_s=4000), PV], 900, 10)
    for second in range(0, 7300, 10):
        hourly = 1.0 if second % 3600 == 0 else None
        metering.update("pv", readings(T0 + second, generation_w=1.0, generation_wh=1.0), T0 + second)
        metering.update("grid", readings(T0 + second, power_w=1.0, import_wh=hourly, export_wh=hourly), T0 + second)
        assert not metering.missing()


def test_a_negative_consumption_that_is_carried_is_named() -> None:
    metering = Metering([GRID], 60, 10)
    for second in range(0, 130, 10):
        metering.update("grid", readings(T0 + second, import_wh=0.0, export_wh=second / 10), T0 + second)
    assert metering.missing() == {"remainder": "-12.0 Wh of negative consumption are carried; if they grow, a sign or role is wrong"}


def test_a_house_without_a_grid_meter_says_so() -> None:
    assert "role: grid" in Metering([PLUG], 900, 10).missing()["grid"]


def test_the_order_of_polls_does_not_matter_to_sums() -> None:
    metering = Metering([GRID, PV], 60, 10)
    found: list[Outcome] = []
    for second in range(0, 6000, 7):
        found += metering.update("pv", readings(T0 + second, generation_wh=second / 50), T0 + second)
        found += metering.update("grid", readings(T0 + second + 3, import_wh=0.0, export_wh=(second + 3) / 100), T0 + second + 3)
    consumed = totals(found, HouseQuantity.CONSUMPTION_WH)
    assert min(consumed) == 120  # the grid's meter was read from 3 s on
    assert sum(consumed.values()) == pytest.approx((max(consumed) - 60) / 100, abs=0.01)


def stored(metering: Metering) -> Any:
    return json.loads(json.dumps(metering.state()))


DAY = 86_400


def test_a_clock_that_was_ahead_and_is_set_right_freezes_nothing() -> None:
    metering = Metering(POINTS, 900, 10)
    run(metering, range(0, 3600, 10), ahead_s=3650 * DAY)
    metering.shift(-3650 * DAY)
    found = run(metering, range(3600, 3600 + 7200, 10))
    ends = set(range(4500, 10_800, 900))
    assert {end for end, _, wh in energies(found, "grid") if wh is not None} >= ends
    assert {outcome.end - T0 for outcome in found if isinstance(outcome, Snapshot)} >= ends
    assert set(totals(found, HouseQuantity.CONSUMPTION_WH)) >= ends
    assert set(totals(found, HouseQuantity.CONSUMPTION_W)) >= ends


def test_a_clock_that_was_ahead_and_is_set_right_while_the_agent_is_down_freezes_nothing() -> None:
    before = Metering(POINTS, 900, 10)
    run(before, range(0, 3600, 10), ahead_s=3650 * DAY)
    after = Metering(POINTS, 900, 10, stored(before), now=T0 + 3600)
    found = run(after, range(3600, 3600 + 7200, 10))
    ends = set(range(5400, 10_800, 900))
    assert {end for end, _, wh in energies(found, "grid") if wh is not None} == ends
    assert {outcome.end - T0 for outcome in found if isinstance(outcome, Snapshot)} >= ends
    assert set(totals(found, HouseQuantity.CONSUMPTION_WH)) == ends
    assert after.missing() == {}


def test_what_was_stored_by_a_right_clock_is_not_dated_anew() -> None:
    before = Metering([GRID], 900, 10)
    for second in range(0, 7200, 10):
        before.update("grid", readings(T0 + second, import_wh=second / 10, export_wh=0.0), T0 + second)
    late = T0 + 6000  # an older reading: it adds nothing
    after = Metering([GRID], 900, 10, stored(before), now=late)
    after.update("grid", readings(late, import_wh=760.0, export_wh=0.0), late)
    after.shift(2 * DAY)
    now = T0 + 6010 + 2 * DAY
    found = after.update("grid", readings(now, import_wh=2_200.0, export_wh=0.0), now)
    imported = [(end, wh) for end, name, wh in energies(found, "grid") if name == "import_wh"]
    assert [end for end, _ in imported] == list(range(7200, now - T0, 900))
    assert max(wh or 0 for _, wh in imported[1:]) < 15, "two days of energy in one interval"


def test_energy_of_a_restart_by_a_late_clock_is_spread_when_it_is_set() -> None:
    before = Metering([GRID], 900, 10)
    for second in range(0, 1000, 10):
        before.update("grid", readings(T0 + second, import_wh=second / 10, export_wh=0.0), T0 + second)
    after = Metering([GRID], 900, 10, stored(before), now=T0 + 1000)
    after.update("grid", readings(T0 + 1000, import_wh=200.0, export_wh=0.0), T0 + 1000)
    after.shift(7200)
    found = after.update("grid", readings(T0 + 8210, import_wh=201.0, export_wh=0.0), T0 + 8210)
    imported = [outcome for outcome in found if isinstance(outcome, EnergyInterval) and outcome.quantity is Q.IMPORT_WH]
    assert [outcome.end - T0 for outcome in imported] == list(range(1800, 8200, 900))
    assert all(outcome.estimated and 12 < (outcome.energy_wh or 0) < 15 for outcome in imported)


def test_a_late_input_is_still_awaited_after_the_clock_was_set_right() -> None:
    metering = Metering(POINTS, 900, 10)
    run(metering, range(0, 1000, 10), ahead_s=3650 * DAY)
    metering.shift(-3650 * DAY)
    run(metering, range(1000, 4600, 10), dead=["pv"])
    assert metering.missing() == {"pv": "has been silent since 2027-01-15T08:16:30Z"}
    found = poll(metering, 4605)
    assert set(totals(found, HouseQuantity.CONSUMPTION_WH)) == {1800, 2700, 3600, 4500}


def test_nothing_is_counted_across_a_change_of_what_feeds_a_point() -> None:
    before = Metering([replace(GRID, source="sdm630")], 900, 10)
    for second in range(0, 7200, 10):
        before.update("grid", readings(T0 + second, power_w=-360.0, import_wh=5_000.0, export_wh=20_000 + second / 10), T0 + second)
    after = Metering([replace(GRID, source="sdm630 invert")], 900, 10, stored(before), now=T0 + 7200)
    found: list[Outcome] = []
    for second in range(7200, 9900, 10):
        found += after.update("grid", readings(T0 + second, power_w=360.0, import_wh=20_000 + second / 10, export_wh=5_000.0), T0 + second)
    assert [(end, wh) for end, name, wh in energies(found, "grid") if name == "import_wh"] == [(8100, 90), (9000, 90)]


def test_a_change_of_what_feeds_a_point_repeats_no_end() -> None:
    before = Metering([replace(PLUG, source="one")], 900, 10)
    for second in range(0, 910, 10):
        before.update("plug", readings(T0 + second, power_w=36.0), T0 + second)
    after = Metering([replace(PLUG, source="two")], 900, 10, stored(before), now=T0 + 895)
    found = [outcome for second in range(895, 2710, 10) for outcome in after.update("plug", readings(T0 + second, power_w=36.0), T0 + second)]
    assert energies(found, "plug") == [(1800, "import_wh", None), (2700, "import_wh", 9)]


def test_a_remainder_does_not_outlive_the_sign_that_made_it() -> None:
    def houses(grid_w: float, source: str, seconds: range, state: Any = None) -> tuple[Metering, list[Outcome]]:
        points = [MeterPoint("grid", "Grid", "grid", Role.GRID, "", frozenset({Q.POWER_W}), source=source), PV_BY_POWER]
        metering, found = Metering(points, 900, 10, state), []
        for second in seconds:
            found += metering.update("grid", readings(T0 + second, power_w=grid_w), T0 + second)
            found += metering.update("pv", readings(T0 + second, generation_w=1000.0), T0 + second)
        return metering, found

    wrong, found = houses(-1200.0, "meter", range(0, 7200, 10))
    assert totals(found, HouseQuantity.CONSUMPTION_WH) == {}
    mended, found = houses(1200.0, "meter invert", range(7200, 10_000, 10), stored(wrong))
    assert totals(found, HouseQuantity.CONSUMPTION_WH) == pytest.approx({8100: 550, 9000: 550, 9900: 550})
    assert mended.missing() == {}


PV_BY_POWER = MeterPoint("pv", "PV", "pv", Role.PV, "", frozenset({Q.GENERATION_W}))


def test_a_negative_consumption_that_is_too_large_is_dropped_and_named() -> None:
    metering = Metering([GRID], 900, 10)
    found: list[Outcome] = []
    for second in range(0, 2000, 10):
        found += metering.update("grid", readings(T0 + second, import_wh=0.0, export_wh=second * 1.0), T0 + second)
    reason = "-1800.0 Wh of negative consumption were dropped at 2027-01-15T08:30:00Z: a sign or role is wrong"
    assert metering.missing() == {"remainder": reason}
    assert reason in [outcome.reasons.get(HouseQuantity.CONSUMPTION_WH) for outcome in found if isinstance(outcome, HouseholdInterval)]
    after = Metering([GRID], 900, 10, stored(metering))
    assert after.missing() == {"remainder": reason}
    for second in range(2000, 4000, 10):
        found += after.update("grid", readings(T0 + second, import_wh=second - 2000.0, export_wh=2000.0), T0 + second)
    assert totals(found, HouseQuantity.CONSUMPTION_WH) == {2700: 500, 3600: 900}
    assert after.missing() == {}


def test_a_small_negative_consumption_is_carried_for_hours_only() -> None:
    metering = Metering([GRID], 900, 10)
    for second in range(0, 1000, 10):
        metering.update("grid", readings(T0 + second, import_wh=0.0, export_wh=min(second, 900) * 0.9), T0 + second)
    assert "are carried" in metering.missing()["remainder"]
    for second in range(1000, 6 * 3600 + 1000, 10):
        metering.update("grid", readings(T0 + second, import_wh=(second - 1000) / 100, export_wh=810.0), T0 + second)
    assert "nothing made up for them in hours" in metering.missing()["remainder"]
    now = T0 + 6 * 3600 + 1900
    assert totals(metering.update("grid", readings(now, import_wh=215.0, export_wh=810.0), now), HouseQuantity.CONSUMPTION_WH)
    assert metering.missing() == {}


def test_a_gauge_that_is_older_than_the_last_one_is_not_taken() -> None:
    metering = Metering([PLUG], 900, 10)
    for at, watts in ((T0 + 890, 5.0), (T0 + 885, 99.0)):
        metering.update("plug", readings(at, power_w=watts), T0 + 891)
    found = metering.update("plug", readings(T0 + 901, power_w=7.0), T0 + 901)
    assert [outcome.value for outcome in found if isinstance(outcome, Snapshot)] == [5.0]


def test_only_consumers_are_one_way() -> None:
    export = MeterPoint("grid", "Grid", "grid", Role.GRID, "", frozenset({Q.POWER_W}))
    wrong = MeterPoint("plug", "Plug", "plug", Role.PLUG, "", frozenset({Q.POWER_W}))
    metering = Metering([export, wrong], 900, 10)
    found: list[Outcome] = []
    for second in range(0, 910, 10):
        for point_id in ("grid", "plug"):
            found += metering.update(point_id, readings(T0 + second, power_w=-360.0), T0 + second)
    assert energies(found, "grid") == [(900, "import_wh", 0), (900, "export_wh", 90)]
    assert energies(found, "plug") == [(900, "import_wh", None)]


FOREIGN: list[Any] = [None, "x", 17, -1, True, 1e300, float("nan"), [], [1], {}, {"a": 1}, [[]]]


def places(state: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a state, as the way to it."""
    inside = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return [path] * bool(path) + [place for key, value in inside for place in places(value, (*path, key))]


COARSE = MeterPoint("heat", "Heat pump", "heat", Role.HEAT_PUMP, "", frozenset({Q.POWER_W, Q.IMPORT_WH}), {Q.IMPORT_WH: Counter(step_wh=1000)})


def warm(metering: Metering, seconds: Iterable[int]) -> None:
    for second in seconds:
        metering.update("heat", readings(T0 + second, power_w=2000.0, import_wh=1000.0 * (second // 1800)), T0 + second)


def used_state() -> Any:
    metering = Metering([*POINTS, COARSE], 900, 10, now=T0)
    run(metering, range(0, 900, 10))
    run(metering, range(900, 2000, 10), dead=["pv"])
    warm(metering, [*range(0, 1900, 10), 1960])
    metering.update("heat", readings(T0 + 1990, power_w=2000.0), T0 + 1990)
    metering.update("grid", readings(T0 + 2010, import_wh=3.0), T0 + 2010)  # a doubt
    return stored(metering)


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
def test_damage_anywhere_in_the_state_stops_nothing(foreign: Any) -> None:
    whole = used_state()
    for *way, last in places(whole):
        state = json.loads(json.dumps(whole))
        piece = state
        for key in way:
            piece = piece[key]
        piece[last] = foreign
        metering = Metering([*POINTS, COARSE], 900, 10, state, now=T0 + 2020)
        run(metering, range(2020, 3200, 400))
        warm(metering, range(2020, 3200, 400))
        metering.missing()
        json.dumps(metering.state())


@pytest.mark.parametrize("state", [[], [1], "x", 5, {"version": 1}, {"version": 2}, {"version": 2, "now": 0, "points": [], "kept": {}}], ids=str)
def test_a_foreign_state_begins_anew(state: Any) -> None:
    metering = Metering(POINTS, 900, 10, state, now=T0)
    found = run(metering, range(0, 910, 10))
    assert totals(found, HouseQuantity.CONSUMPTION_WH) == {900: 270}
    assert ("state" in metering.dropped) == bool(state)


def test_damage_of_one_point_costs_that_point_only() -> None:
    state = used_state()
    state["points"]["grid"]["energies"]["import_wh"]["counter"] = [1]
    metering = Metering(POINTS, 900, 10, state, now=T0 + 2020)
    assert set(metering.dropped) == {"grid"}
    assert metering.dropped["grid"].startswith("what was stored cannot be used (ValueError: ")
    found = run(metering, range(2020, 3700, 10))
    assert [end for end, name, wh in energies(found, "grid") if name == "import_wh" and wh is not None] == [3600]
    assert [wh for _, _, wh in energies(found, "plug")] == [9, 9]
