import json
import re
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cloud import vocabulary
from edge_agent.cloud.vocabulary import (
    CHARGING_MODE_IDS,
    DEFAULT_TYPES,
    EVENT_RULES,
    FEEDS,
    HOUSE_EVENTS,
    STATUS_IDS,
    DeviceType,
    EventType,
    device_type_of,
    is_outside_the_table,
)
from edge_agent.model.measurements import DeviceStatus, Role

API: dict[str, Any] = json.loads(Path(__file__).with_name("openapi.json").read_text("utf-8"))
EVENT: dict[str, Any] = API["components"]["schemas"]["Event"]["properties"]

# the guide's table of what the platform's own services provide
MOOST_PROVIDED = {
    "EXPECTED_OUTSIDE_TEMPERATURE", "EXPECTED_OUTSIDE_TEMPERATURE_4DAYS", "POWER_GENERATION_FORECAST_1H", "POWER_GENERATION_FORECAST_24H",
    "POWER_GENERATION_FORECAST_TOMORROW", "POWER_CONSUMPTION_FORECAST_1H", "POWER_CONSUMPTION_FORECAST_24H", "ENERGY_BASE_CONSUMPTION",
    "GRID_ENERGY_BASE_CONSUMPTION", "DYNAMIC_TARIFF_PRICE", "DYNAMIC_TARIFF_PRICE_FORECAST_1H", "ENERGY_CONSUMPTION_FORECAST_1H",
    "ENERGY_GENERATION_FORECAST_1H",
}  # fmt: skip


def test_every_event_type_is_in_the_schema() -> None:
    assert {event.value for event in EventType} <= set(EVENT["type"]["enum"])


def test_every_device_type_is_in_the_schema_and_all_but_the_platform_itself_are_known() -> None:
    assert {device.value for device in DeviceType} == set(EVENT["source"]["enum"]) - {"MOOST"}


def test_there_are_the_guide_s_26_types_and_none_that_the_platform_provides() -> None:
    assert len(EventType) == 26
    assert set(EVENT_RULES) == set(EventType)
    assert not MOOST_PROVIDED & {event.value for event in EventType}


def test_every_role_has_a_device_type_and_every_status_an_id() -> None:
    assert set(DEFAULT_TYPES) == set(Role)
    assert set(STATUS_IDS) == set(DeviceStatus)
    assert set(STATUS_IDS.values()) == set(range(-1, 5))


def test_ids_of_charging_modes_are_in_the_guide_s_range_and_distinct() -> None:
    for modes in CHARGING_MODE_IDS.values():
        assert set(modes.values()) <= set(range(8))
        assert len(set(modes.values())) == len(modes)


def test_a_point_s_quantity_feeds_at_most_one_event() -> None:
    for role in Role:
        for device in DeviceType:
            quantities = [feed.quantity for feed in FEEDS if role in feed.roles]
            assert len(quantities) == len(set(quantities)), (role, device)


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
    ("check", "schema", "good", "bad"),
    [
        ("device_id_problem", EVENT["deviceId"], ["abc", "a:b._-9", "x" * 64], ["ab", "x" * 65, "a b c", "grün", "abc\n", ""]),
        ("device_name_problem", EVENT["deviceName"], ["Küche", "x" * 100, "a / b"], ["", "x" * 101, "a\nb", "abc\n", "a\rb", "a\u2028b"]),
        ("customer_id_problem", EVENT["customerId"], ["656730be2bc9719e6e5ed51d"], ["656730be", "x" * 25, "656730be2bc9719e6e5ed51-"]),
        ("building_id_problem", EVENT["customerBuildingId"], ["99900000C048ADA6", "x" * 100, "a:b"], ["", "x" * 101, "a b"]),
        ("client_id_problem", {"pattern": "^[a-zA-Z0-9]{1,100}$"}, ["6cUo"], ["", "6c-Uo", "x" * 101]),
    ],
)
def test_names_are_held_to_the_schema_s_patterns(check: str, schema: dict[str, str], good: list[str], bad: list[str]) -> None:
    problem = getattr(vocabulary, check)
    assert [problem(text) for text in good] == [None] * len(good)
    assert all(re.fullmatch(schema["pattern"], text) for text in good)
    assert all(repr(text) in problem(text) for text in bad)


def test_the_gateway_is_no_device_that_a_site_file_may_name() -> None:
    assert vocabulary.device_type_problem("OVEN") is None
    assert vocabulary.device_type_problem("GATEWAY") is not None
    assert vocabulary.device_type_problem("MOOST") is not None
