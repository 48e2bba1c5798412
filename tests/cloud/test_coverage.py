"""All that metering can find, in every house: exactly the customer's 26 event types come out, each from where its rule says."""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.cloud.mapping import to_events
from edge_agent.cloud.vocabulary import EVENT_RULES, TYPES_OF_ROLES, Decisions, DeviceType, EventType, HouseholdDevice
from edge_agent.model.measurements import (
    Change,
    ChargingMode,
    DayEnergy,
    DeviceStatus,
    EnergyInterval,
    HouseholdDay,
    HouseholdInterval,
    HouseQuantity,
    MeterPoint,
    Outcome,
    Quantity,
    Snapshot,
    Value,
)

MIDNIGHT = 1_774_652_400
STATES: dict[Quantity, list[Value]] = {
    Quantity.STATUS: [one.value for one in DeviceStatus],
    Quantity.CHARGING_MODE: [one.value for one in ChargingMode],
    Quantity.SWITCH_ON: [True, False],
    Quantity.SOC_PERCENT: [50.0],
}


def of_points() -> Iterator[tuple[MeterPoint, Outcome]]:
    for role, types in TYPES_OF_ROLES.items():
        for device in ["", *sorted(types)]:
            point = MeterPoint(f"{role}.{device}", "Point", "point", role, device, frozenset(Quantity))
            for quantity in Quantity:
                if quantity.is_counter:
                    yield point, EnergyInterval(point.id, quantity, MIDNIGHT, 5.0)
                elif quantity in STATES:
                    yield from ((point, Change(point.id, quantity, MIDNIGHT, value)) for value in STATES[quantity])
                else:
                    yield point, Snapshot(point.id, quantity, MIDNIGHT, 5.0)
            for energy in (Quantity.IMPORT_WH, Quantity.EXPORT_WH, Quantity.GENERATION_WH):
                yield point, DayEnergy(point.id, energy, MIDNIGHT, 5.0)


def of_the_house() -> list[Outcome]:
    days = [HouseholdDay(quantity, MIDNIGHT, 5.0) for quantity in HouseQuantity]
    return [HouseholdInterval(MIDNIGHT, {quantity: 5.0 for quantity in HouseQuantity}), *days]


def sent(decisions: Decisions) -> set[tuple[str, str]]:
    """Every pair of device type and event type that can come out."""
    home = HouseholdDevice()
    found = {(event.source, event.type) for point, outcome in of_points() for event in to_events(outcome, {point.id: point}, home, decisions)}
    return found | {(event.source, event.type) for outcome in of_the_house() for event in to_events(outcome, {}, home, decisions)}


def test_every_type_is_sent_and_no_other() -> None:
    assert {event for _, event in sent(Decisions())} == set(EventType) == set(EVENT_RULES)


def test_each_comes_only_from_device_types_that_its_rule_admits() -> None:
    for device, event in sent(Decisions()):
        assert EVENT_RULES[EventType(event)].admits(DeviceType(device)), (device, event)


def test_only_what_the_guide_s_table_names_is_sent_where_the_site_file_says_so() -> None:
    pairs = sent(Decisions(outside_the_table=False))
    assert pairs < sent(Decisions())
    for device, event in pairs:
        assert device in EVENT_RULES[EventType(event)].devices, (device, event)
    assert {event for _, event in pairs} == set(EventType)
