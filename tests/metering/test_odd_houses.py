"""Houses as they are found: what is metered there, from the polls to the events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from edge_agent.cloud.mapping import to_events
from edge_agent.cloud.vocabulary import Decisions, HouseholdDevice
from edge_agent.metering.metering import Metering
from edge_agent.model.measurements import HouseholdInterval, HouseQuantity, MeterPoint, Outcome, Quality, Quantity, Reading, Role

Q, H = Quantity, HouseQuantity
T0 = 1_800_000_000
HOURS = 2
METER = (Q.POWER_W, Q.IMPORT_WH, Q.EXPORT_WH)
Powers = Mapping[str, Mapping[Quantity, float]]  # by point; of a counter the watts that it counts


def point(point_id: str, role: Role, *quantities: Quantity) -> MeterPoint:
    return MeterPoint(point_id, point_id, point_id.partition(".")[0], role, "", frozenset(quantities))


def lived(
    points: Sequence[MeterPoint], powers: Powers, shown: Callable[[str, Quantity, int, float], float] | None = None
) -> tuple[Metering, list[Outcome]]:
    """Two hours of steady powers; `shown` changes what a point shows at a second."""
    metering, found = Metering(points, 900, 10), list[Outcome]()
    for second in range(0, HOURS * 3600 + 1, 10):
        for one in points:
            values = {quantity: watts * second / 3600 if quantity.is_counter else watts for quantity, watts in powers[one.id].items()}
            if shown is not None:
                values = {quantity: shown(one.id, quantity, second, value) for quantity, value in values.items()}
            readings = {quantity: Reading(value, "", Quality.OK, T0 + second) for quantity, value in values.items()}
            found += metering.update(one.id, readings, T0 + second)
        found += metering.tick(T0 + second)
    return metering, found


def totals(outcomes: Sequence[Outcome]) -> dict[HouseQuantity, float]:
    """The watts that the energies of two hours make, and the last powers and rates."""
    found: dict[HouseQuantity, list[float]] = {}
    for outcome in outcomes:
        for quantity, value in outcome.values.items() if isinstance(outcome, HouseholdInterval) else ():
            found.setdefault(quantity, []).append(value)
    return {quantity: sum(values) / HOURS if quantity.value.endswith("_wh") else values[-1] for quantity, values in found.items()}


def event_types(points: Sequence[MeterPoint], outcomes: Sequence[Outcome]) -> set[tuple[str, str]]:
    by_id = {one.id: one for one in points}
    events = [event for outcome in outcomes for event in to_events(outcome, by_id, HouseholdDevice(), Decisions())]
    return {(event.device_id, event.type) for event in events}


def test_a_house_with_nothing_but_one_plug() -> None:
    points = [point("plug", Role.PLUG, Q.POWER_W, Q.SWITCH_ON)]
    metering, found = lived(points, {"plug": {Q.POWER_W: 60.0, Q.SWITCH_ON: 1.0}})
    assert event_types(points, found) == {("plug", "ENERGY_CONSUMPTION"), ("plug", "POWER_CONSUMPTION"), ("plug", "SWITCH_STATE")}
    assert totals(found) == {}
    assert metering.missing() == {"grid": "nobody measures at the grid's connection: give one meter role: grid (or house)"}


def test_two_grid_meters_are_two_connections() -> None:
    points = [point("flat", Role.GRID, *METER), point("heating", Role.GRID, *METER), point("pv", Role.PV, Q.GENERATION_W, Q.GENERATION_WH)]
    powers = {
        "flat": {Q.POWER_W: -700.0, Q.IMPORT_WH: 0.0, Q.EXPORT_WH: 700.0},
        "heating": {Q.POWER_W: 1500.0, Q.IMPORT_WH: 1500.0, Q.EXPORT_WH: 0.0},
        "pv": {Q.GENERATION_W: 1000.0, Q.GENERATION_WH: 1000.0},
    }
    metering, found = lived(points, powers)
    result = totals(found)
    assert (result[H.IMPORT_WH], result[H.EXPORT_WH], result[H.CONSUMPTION_WH]) == pytest.approx((1500, 700, 1800))
    assert result[H.CONSUMPTION_W] == 1800
    assert metering.missing() == {}


def test_a_battery_without_a_state_of_charge_is_metered_all_the_same() -> None:
    points = [point("grid", Role.GRID, *METER), point("battery", Role.BATTERY, *METER)]
    powers = {
        "grid": {Q.POWER_W: 1200.0, Q.IMPORT_WH: 1200.0, Q.EXPORT_WH: 0.0},
        "battery": {Q.POWER_W: 800.0, Q.IMPORT_WH: 800.0, Q.EXPORT_WH: 0.0},
    }
    metering, found = lived(points, powers)
    assert totals(found)[H.CONSUMPTION_WH] == pytest.approx(400)
    assert {kind for device, kind in event_types(points, found) if device == "battery"} == {"ENERGY_IMPORT", "ENERGY_EXPORT"}
    assert metering.missing() == {}


def test_a_meter_that_does_not_net_its_phases_gives_the_same_consumption() -> None:
    """One phase exports 600 W, the others import 1,000 W: such a meter counts both, another only the difference."""
    points = [point("grid", Role.GRID, *METER), point("pv", Role.PV, Q.GENERATION_W, Q.GENERATION_WH)]
    sun = {Q.GENERATION_W: 900.0, Q.GENERATION_WH: 900.0}
    _, apart = lived(points, {"grid": {Q.POWER_W: 400.0, Q.IMPORT_WH: 1000.0, Q.EXPORT_WH: 600.0}, "pv": sun})
    _, netted = lived(points, {"grid": {Q.POWER_W: 400.0, Q.IMPORT_WH: 400.0, Q.EXPORT_WH: 0.0}, "pv": sun})
    assert totals(apart)[H.CONSUMPTION_WH] == totals(netted)[H.CONSUMPTION_WH] == pytest.approx(1300)
    assert totals(apart)[H.EXPORT_WH] == pytest.approx(600), "what the grid's own meter counts"


def test_several_inverters_and_batteries_beside_a_hybrid() -> None:
    points = [
        point("grid", Role.GRID, *METER),
        point("east", Role.PV, Q.GENERATION_W, Q.GENERATION_WH),
        point("west", Role.PV, Q.AC_OUTPUT_W, Q.AC_OUTPUT_WH),
        point("hy.pv", Role.PV, Q.GENERATION_W, Q.GENERATION_WH, Q.AC_OUTPUT_W, Q.AC_OUTPUT_WH),
        point("hy.battery", Role.BATTERY, *METER),
        point("ac", Role.BATTERY, *METER),
        point("car", Role.CHARGER, Q.POWER_W, Q.IMPORT_WH),
    ]
    powers = {
        "grid": {Q.POWER_W: -900.0, Q.IMPORT_WH: 0.0, Q.EXPORT_WH: 900.0},
        "east": {Q.GENERATION_W: 1000.0, Q.GENERATION_WH: 1000.0},
        "west": {Q.AC_OUTPUT_W: 500.0, Q.AC_OUTPUT_WH: 500.0},
        "hy.pv": {Q.GENERATION_W: 3000.0, Q.GENERATION_WH: 3000.0, Q.AC_OUTPUT_W: 1900.0, Q.AC_OUTPUT_WH: 1900.0},
        "hy.battery": {Q.POWER_W: 1000.0, Q.IMPORT_WH: 1000.0, Q.EXPORT_WH: 0.0},
        "ac": {Q.POWER_W: -200.0, Q.IMPORT_WH: 0.0, Q.EXPORT_WH: 200.0},
        "car": {Q.POWER_W: 2000.0, Q.IMPORT_WH: 2000.0},
    }
    metering, found = lived(points, powers)
    result = totals(found)
    assert result[H.CONSUMPTION_WH] == pytest.approx(1000 + 500 + 1900 + 200 - 900), "the car is a part of it, the battery behind the hybrid is not"
    assert result[H.CONSUMPTION_W] == 2700
    assert result[H.GENERATION_WH] == pytest.approx(4500)
    assert result[H.LOSS_WH] == pytest.approx(100), "3,000 W of sun, 1,000 W of them into the battery, 1,900 W into the house"
    assert metering.balance_facts().lost_today_wh == pytest.approx(100 * HOURS)
    assert metering.missing() == {}


def test_a_hybrid_that_does_not_tell_what_it_gives_to_the_house_shows_no_loss() -> None:
    points = [
        point("grid", Role.GRID, *METER),
        point("hy.pv", Role.PV, Q.GENERATION_W, Q.GENERATION_WH),
        point("hy.battery", Role.BATTERY, *METER),
    ]
    powers = {
        "grid": {Q.POWER_W: 100.0, Q.IMPORT_WH: 100.0, Q.EXPORT_WH: 0.0},
        "hy.pv": {Q.GENERATION_W: 3000.0, Q.GENERATION_WH: 3000.0},
        "hy.battery": {Q.POWER_W: 1000.0, Q.IMPORT_WH: 1000.0, Q.EXPORT_WH: 0.0},
    }
    metering, found = lived(points, powers)
    assert totals(found)[H.CONSUMPTION_WH] == pytest.approx(2100)
    assert metering.balance_facts().lost_today_wh is None


def test_losses_are_no_event_and_outlive_a_restart() -> None:
    points = [
        point("grid", Role.GRID, *METER),
        point("hy.pv", Role.PV, Q.GENERATION_WH, Q.AC_OUTPUT_WH),
        point("hy.battery", Role.BATTERY, Q.IMPORT_WH, Q.EXPORT_WH),
    ]
    metering, found = Metering(points, 900, 900), list[Outcome]()
    watts = {"grid": (100, 0), "hy.pv": (3000, 1900), "hy.battery": (1000, 0)}
    begin = 1_799_971_200  # midnight
    for second in range(0, 86_400 + 3601, 900):
        for one in points:
            first, second_w = watts[one.id]
            quantities = (Q.GENERATION_WH, Q.AC_OUTPUT_WH) if one.role is Role.PV else (Q.IMPORT_WH, Q.EXPORT_WH)
            values = dict(zip(quantities, (first * second / 3600, second_w * second / 3600), strict=True))
            readings = {quantity: Reading(value, "", Quality.OK, begin + second) for quantity, value in values.items()}
            found += metering.update(one.id, readings, begin + second)
    assert not [kind for _, kind in event_types(points, found) if "LOSS" in kind]
    facts = Metering(points, 900, 900, json.loads(json.dumps(metering.state()))).balance_facts()
    assert facts == metering.balance_facts()
    assert (facts.lost_yesterday_wh, facts.lost_today_wh) == pytest.approx((2400, 100))


def test_a_carried_remainder_is_told() -> None:
    points = [point("grid", Role.GRID, *METER)]
    metering, _ = lived(points, {"grid": {Q.POWER_W: 0.0, Q.IMPORT_WH: 0.0, Q.EXPORT_WH: 4.0}})
    facts = metering.balance_facts()
    assert facts.carried_wh == pytest.approx(-8)
    assert facts.carried_since == T0 + 900


def test_a_device_that_jumps_between_two_counters_counts_one_of_them() -> None:
    points = [point("grid", Role.GRID, *METER)]

    def shown(_: str, quantity: Quantity, second: int, value: float) -> float:
        return value + (800_000 if quantity is Q.IMPORT_WH and second % 20 else 0)

    _, found = lived(points, {"grid": {Q.POWER_W: 360.0, Q.IMPORT_WH: 360.0, Q.EXPORT_WH: 0.0}}, shown)
    assert totals(found)[H.IMPORT_WH] == pytest.approx(360, abs=2)


def test_a_counter_that_goes_back_by_a_step_and_returns_counts_once() -> None:
    points = [point("grid", Role.GRID, Q.IMPORT_WH)]
    counts = [100.0, 101.0, 100.0, 101.0, 102.0]

    def shown(_point: str, _quantity: Quantity, second: int, _value: float) -> float:
        return counts[min(second // 10, 4)]

    _, found = lived(points, {"grid": {Q.IMPORT_WH: 0.0}}, shown)
    assert totals(found)[H.IMPORT_WH] * HOURS == pytest.approx(2)
