import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cloud import vocabulary
from edge_agent.cloud.vocabulary import (
    ALL,
    CHARGING_MODE_IDS,
    DAY_EVENTS,
    DEFAULT_TYPES,
    EVENT_RULES,
    FEEDS,
    HOUSE_DAY_EVENTS,
    HOUSE_EVENTS,
    STATUS_IDS,
    TYPES_OF_ROLES,
    DeviceType,
    EventType,
    device_type_of,
    event_type_of,
    is_outside_the_table,
)
from edge_agent.model.measurements import DeviceStatus, Quantity, Role

API: dict[str, Any] = json.loads(Path(__file__).with_name("openapi.json").read_text("utf-8"))
EVENT: dict[str, Any] = API["components"]["schemas"]["Event"]["properties"]

GUIDE = list(csv.DictReader(Path(__file__).with_name("guide.csv").read_text("utf-8").splitlines()))  # both tables of event types in the guide
CUSTOMER = {row["event type"]: row for row in GUIDE if row["provided by"] == "customer"}
MOOST_PROVIDED = {row["event type"] for row in GUIDE if row["provided by"] == "MOOST"}
RHYTHMS = {"Every 15 min": "interval", "Every 30 min": "half hour", "Once a day": "day", "On change": "change"}


def test_every_event_type_is_in_the_schema() -> None:
    assert {event.value for event in EventType} <= set(EVENT["type"]["enum"])


def test_every_device_type_is_in_the_schema_and_all_but_the_platform_itself_are_known() -> None:
    assert {device.value for device in DeviceType} == set(EVENT["source"]["enum"]) - {"MOOST"}


def test_the_event_types_are_those_that_the_guide_asks_of_a_customer() -> None:
    assert set(EVENT_RULES) == {event.value for event in EventType} == set(CUSTOMER)
    assert len(CUSTOMER) == 26
    assert len(MOOST_PROVIDED) == 13
    assert not MOOST_PROVIDED & set(EVENT_RULES)


@pytest.mark.parametrize("event", EventType)
def test_unit_interval_and_device_types_are_those_of_the_guide(event: EventType) -> None:
    rule, row = EVENT_RULES[event], CUSTOMER[event]
    assert rule.unit == row["unit"].split()[0]
    assert rule.rhythm == RHYTHMS[row["interval"]]
    assert rule.devices == (ALL if row["device types"] == "ALL" else set(row["device types"].split()))


def test_a_device_type_beyond_the_guide_s_row_is_not_in_it_and_not_the_household() -> None:
    for event, rule in EVENT_RULES.items():
        assert DeviceType.GATEWAY not in rule.beyond, event
        assert not rule.beyond or rule.beyond - rule.devices, event


def test_what_is_sent_has_a_source_and_what_is_not_a_reason() -> None:
    fed = {feed.event for feed in FEEDS} | set(HOUSE_EVENTS.values())
    fed |= {DAY_EVENTS[event] for event in fed if event in DAY_EVENTS}
    for event, rule in EVENT_RULES.items():
        assert (event in fed) == (not rule.unsent), event


def test_the_household_s_days_are_those_of_its_intervals() -> None:
    by_interval = {event for event in HOUSE_EVENTS.values() if event in DAY_EVENTS}
    assert set(HOUSE_DAY_EVENTS.values()) == by_interval


def fed(role: Role, device: DeviceType) -> set[EventType]:
    return {event for quantity in Quantity if (event := event_type_of(role, device, quantity))}


def test_no_point_of_any_role_and_type_sends_what_the_rules_do_not_admit() -> None:
    for role, device in itertools.product(Role, DeviceType):
        assert all(EVENT_RULES[event].admits(device) for event in fed(role, device))


def test_a_role_s_own_device_type_fits_it_and_every_device_type_fits_some_role() -> None:
    assert all(DEFAULT_TYPES[role] in TYPES_OF_ROLES[role] for role in Role)
    assert frozenset.union(*TYPES_OF_ROLES.values()) == ALL - {DeviceType.GATEWAY}


def test_what_flows_through_a_point_is_sent_under_every_type_that_fits_its_role() -> None:
    for role, types in TYPES_OF_ROLES.items():
        own = fed(role, DEFAULT_TYPES[role]) - {EventType.CHARGING_MODE, EventType.TEMPERATURE, EventType.WATER_TEMPERATURE}
        for device in types:
            assert own <= fed(role, device), (role, device)


def test_every_role_has_a_device_type_and_every_status_an_id() -> None:
    assert set(DEFAULT_TYPES) == set(Role)
    assert set(STATUS_IDS) == set(DeviceStatus)
    assert set(STATUS_IDS.values()) == set(range(-1, 5))


def test_ids_of_charging_modes_are_in_the_guide_s_range_and_distinct() -> None:
    for modes in CHARGING_MODE_IDS.values():
        assert set(modes.values()) <= set(range(8))
        assert len(set(modes.values())) == len(modes)


def test_house_events_are_the_gateway_s() -> None:
    assert not [event for event in HOUSE_EVENTS.values() if is_outside_the_table(DeviceType.GATEWAY, event)]


@pytest.mark.parametrize(
    ("device", "event", "outside"),
    [
        (DeviceType.BATTERY, EventType.STATE_OF_CHARGE_RATE, True),
        (DeviceType.INVERTER, EventType.ENERGY_GENERATION, True),
        (DeviceType.CAR, EventType.STATE_OF_CHARGE_RATE, False),
        (DeviceType.BATTERY, EventType.ENERGY_IMPORT, False),
        (DeviceType.DISHWASHER, EventType.ENERGY_CONSUMPTION, False),
    ],
)
def test_pairs_outside_the_guide_s_table_are_known(device: DeviceType, event: EventType, outside: bool) -> None:
    assert is_outside_the_table(device, event) is outside


def test_a_named_device_type_goes_before_the_role_s() -> None:
    assert device_type_of(Role.PLUG) == "SMART_PLUG"
    assert device_type_of(Role.PLUG, "DISHWASHER") == "DISHWASHER"


@pytest.mark.parametrize(
    ("role", "device", "problem"),
    [
        (Role.PLUG, "DISHWASHER", None),
        (Role.THERMOSTAT, "THERMAL_STORAGE", None),
        (Role.PLUG, "BATTERY", "BATTERY does not fit role plug; write role: battery with it"),
        (Role.CONSUMER, "SOLAR_PANEL", "SOLAR_PANEL does not fit role consumer; write role: pv with it"),
        (Role.GRID, "GATEWAY", "GATEWAY does not fit role grid; write one of ENERGY_MEASUREMENT, SMART_METER"),
    ],
)
def test_a_device_type_that_does_not_fit_its_role_is_told(role: Role, device: str, problem: str | None) -> None:
    assert vocabulary.device_type_problem(role, device) == problem
