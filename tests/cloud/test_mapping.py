import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cloud.mapping import to_events
from edge_agent.cloud.vocabulary import Decisions, DeviceType, HouseholdDevice
from edge_agent.model.events import Event
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
    Role,
    Snapshot,
    Value,
)

Q, H = Quantity, HouseQuantity
END = 1_800_000_900
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("openapi.json").read_text("utf-8"))["components"]["schemas"]["Event"]["properties"]
POINTS = {role.value: MeterPoint(role.value, role.value.title(), role.value, role, "", frozenset(Quantity)) for role in Role}
GUIDE_ONLY = Decisions(outside_the_table=False)


def events(outcome: Outcome, decisions: Decisions | None = None) -> list[tuple[str, str, float, int]]:
    found = to_events(outcome, POINTS, HouseholdDevice(), decisions or Decisions())
    return [(event.source, event.type, event.value, event.at) for event in found]


def energy(role: Role, quantity: Quantity, wh: float | None = 12.34567) -> EnergyInterval:
    return EnergyInterval(role.value, quantity, END, wh)


@pytest.mark.parametrize(
    ("role", "quantity", "expected"),
    [
        (Role.GRID, Q.IMPORT_WH, ("SMART_METER", "ENERGY_CONSUMPTION")),
        (Role.GRID, Q.EXPORT_WH, None),
        (Role.HOUSE, Q.IMPORT_WH, ("SMART_METER", "ENERGY_CONSUMPTION")),
        (Role.PV, Q.GENERATION_WH, ("INVERTER", "ENERGY_GENERATION")),
        (Role.PV, Q.AC_OUTPUT_WH, None),
        (Role.PV, Q.AC_INPUT_WH, None),
        (Role.BATTERY, Q.IMPORT_WH, ("BATTERY", "ENERGY_IMPORT")),
        (Role.BATTERY, Q.EXPORT_WH, ("BATTERY", "ENERGY_EXPORT")),
        (Role.CHARGER, Q.IMPORT_WH, ("CAR_CHARGER", "ENERGY_CONSUMPTION")),
        (Role.HEAT_PUMP, Q.IMPORT_WH, ("HEAT_PUMP", "ENERGY_CONSUMPTION")),
        (Role.PLUG, Q.IMPORT_WH, ("SMART_PLUG", "ENERGY_CONSUMPTION")),
        (Role.CONSUMER, Q.IMPORT_WH, ("ENERGY_MEASUREMENT", "ENERGY_CONSUMPTION")),
    ],
)
def test_energies_by_role(role: Role, quantity: Quantity, expected: tuple[str, str] | None) -> None:
    assert events(energy(role, quantity)) == ([(*expected, 12.346, END)] if expected else [])


@pytest.mark.parametrize(
    ("role", "quantity", "value", "expected"),
    [
        (Role.PLUG, Q.POWER_W, 36.04, ("SMART_PLUG", "POWER_CONSUMPTION", 36.0)),
        (Role.PLUG, Q.POWER_W, -0.04, ("SMART_PLUG", "POWER_CONSUMPTION", 0.0)),
        (Role.PLUG, Q.POWER_W, -0.4, None),
        (Role.HEAT_PUMP, Q.POWER_W, -2000.0, None),
        (Role.PV, Q.GENERATION_W, -1000.0, None),
        (Role.GRID, Q.POWER_W, -1000.0, ("SMART_METER", "POWER_CONSUMPTION", 0.0)),
        (Role.PV, Q.GENERATION_W, 1000.0, ("INVERTER", "POWER_GENERATION", 1000.0)),
        (Role.PV, Q.AC_OUTPUT_W, 900.0, None),
        (Role.BATTERY, Q.POWER_W, 900.0, None),
        (Role.THERMOSTAT, Q.TEMPERATURE_C, -3.217, ("THERMOSTAT", "TEMPERATURE", -3.22)),
        (Role.HEAT_PUMP, Q.WATER_TEMPERATURE_C, 48.5, ("HEAT_PUMP", "WATER_TEMPERATURE", 48.5)),
        (Role.HEAT_PUMP, Q.TEMPERATURE_C, 48.5, None),
        (Role.WATER_HEATER, Q.WATER_TEMPERATURE_C, 60.0, ("WATER_HEATER", "WATER_TEMPERATURE", 60.0)),
        (Role.PLUG, Q.POWER_W, math.nan, None),
    ],
)
def test_gauges_by_role(role: Role, quantity: Quantity, value: float, expected: tuple[str, str, float] | None) -> None:
    assert events(Snapshot(role.value, quantity, END, value)) == ([(*expected, END)] if expected else [])


@pytest.mark.parametrize(
    ("role", "quantity", "value", "expected"),
    [
        (Role.CHARGER, Q.STATUS, DeviceStatus.FAULT, ("CAR_CHARGER", "DEVICE_STATUS", 4)),
        (Role.GRID, Q.STATUS, "offline", ("SMART_METER", "DEVICE_STATUS", -1)),
        (Role.CHARGER, Q.SWITCH_ON, True, ("CAR_CHARGER", "SWITCH_STATE", 1)),
        (Role.PLUG, Q.SWITCH_ON, False, ("SMART_PLUG", "SWITCH_STATE", 0)),
        (Role.CHARGER, Q.CHARGING_MODE, ChargingMode.MINIMAL_AND_SOLAR, ("CAR_CHARGER", "CHARGING_MODE", 5)),
        (Role.CHARGER, Q.CHARGING_MODE, ChargingMode.PASSIVE, None),
        (Role.BATTERY, Q.CHARGING_MODE, "discharge", ("BATTERY", "CHARGING_MODE", 3)),
        (Role.HEAT_PUMP, Q.CHARGING_MODE, "no_control", ("HEAT_PUMP", "CHARGING_MODE", 5)),
        (Role.PLUG, Q.CHARGING_MODE, "always", None),
        (Role.BATTERY, Q.SOC_PERCENT, 51.0, ("BATTERY", "STATE_OF_CHARGE_RATE", 51)),
        (Role.CAR, Q.SOC_PERCENT, 51.0, ("CAR", "STATE_OF_CHARGE_RATE", 51)),
    ],
)
def test_changes_by_role(role: Role, quantity: Quantity, value: Value, expected: tuple[str, str, float] | None) -> None:
    assert events(Change(role.value, quantity, END + 0.7, value)) == ([(*expected, END)] if expected else [])


def test_what_is_absent_is_not_sent() -> None:
    assert events(energy(Role.GRID, Q.IMPORT_WH, None)) == []
    assert events(HouseholdInterval(END, {}, {H.CONSUMPTION_WH: "away"})) == []


def test_pairs_outside_the_guide_s_table_can_be_switched_off() -> None:
    assert events(energy(Role.PV, Q.GENERATION_WH), GUIDE_ONLY) == []
    assert events(Change("battery", Q.SOC_PERCENT, END, 51.0), GUIDE_ONLY) == []
    assert events(energy(Role.BATTERY, Q.IMPORT_WH), GUIDE_ONLY) != []


def test_energies_can_be_dated_at_the_interval_s_start() -> None:
    start = Decisions(interval_timestamp="start")
    assert events(energy(Role.PLUG, Q.IMPORT_WH), start)[0][3] == END - 900
    assert events(Snapshot("plug", Q.POWER_W, END, 1.0), start)[0][3] == END
    house = HouseholdInterval(END, {H.EXCESS_WH: 1.0, H.CONSUMPTION_WH: 1.0, H.CONSUMPTION_W: 1.0})
    assert {kind: at for _, kind, _, at in events(house, start)} == {
        "ENERGY_EXCESS": END - 1800,
        "ENERGY_CONSUMPTION": END - 900,
        "POWER_CONSUMPTION": END,
    }


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (DayEnergy("grid", Q.IMPORT_WH, END, 7.5), ("SMART_METER", "ENERGY_CONSUMPTION_YESTERDAY", 7.5)),
        (DayEnergy("pv", Q.GENERATION_WH, END, 7.5), ("INVERTER", "ENERGY_GENERATION_YESTERDAY", 7.5)),
        (DayEnergy("battery", Q.IMPORT_WH, END, 7.5), ("BATTERY", "ENERGY_IMPORT_YESTERDAY", 7.5)),
        (DayEnergy("battery", Q.EXPORT_WH, END, 7.5), ("BATTERY", "ENERGY_EXPORT_YESTERDAY", 7.5)),
        (DayEnergy("grid", Q.EXPORT_WH, END, 7.5), None),
        (DayEnergy("plug", Q.IMPORT_WH, END, None, "only half of the day is known"), None),
        (HouseholdDay(H.CONSUMPTION_WH, END, 7.5), ("GATEWAY", "ENERGY_CONSUMPTION_YESTERDAY", 7.5)),
        (HouseholdDay(H.GENERATION_WH, END, 7.5), ("GATEWAY", "ENERGY_GENERATION_YESTERDAY", 7.5)),
        (HouseholdDay(H.IMPORT_WH, END, 7.5), ("GATEWAY", "GRID_ENERGY_CONSUMPTION_YESTERDAY", 7.5)),
        (HouseholdDay(H.EXPORT_WH, END, 7.5), ("GATEWAY", "ENERGY_EXCESS_YESTERDAY", 7.5)),
        (HouseholdDay(H.SELF_CONSUMPTION_PERCENT, END, 7.554), ("GATEWAY", "SELF_CONSUMPTION_RATE_YESTERDAY", 7.55)),
        (HouseholdDay(H.SELF_SUFFICIENCY_PERCENT, END, 7.5), ("GATEWAY", "SELF_SUFFICIENCY_RATE_YESTERDAY", 7.5)),
        (HouseholdDay(H.SELF_SUFFICIENCY_PERCENT, END, None, "is no share"), None),
    ],
)
def test_days_are_dated_at_their_midnight_whatever_dates_the_intervals(outcome: Outcome, expected: tuple[str, str, float] | None) -> None:
    for decisions in (Decisions(), Decisions(interval_timestamp="start")):
        assert events(outcome, decisions) == ([(*expected, END)] if expected else [])


def test_other_status_ids_can_be_given() -> None:
    decisions = Decisions(status_ids={DeviceStatus.RUNNING: 4})
    assert events(Change("pv", Q.STATUS, END, "running"), decisions)[0][2] == 4
    assert events(Change("pv", Q.STATUS, END, "off"), decisions) == []


def test_house_totals_are_the_gateway_s() -> None:
    house = HouseholdInterval(END, {quantity: 1.0 for quantity in H})
    assert {(source, kind) for source, kind, *_ in events(house)} == {
        ("GATEWAY", kind)
        for kind in (
            "ENERGY_CONSUMPTION", "ENERGY_GENERATION", "GRID_ENERGY_CONSUMPTION", "ENERGY_EXCESS", "SELF_CONSUMPTION_RATE",
            "SELF_SUFFICIENCY_RATE", "POWER_CONSUMPTION", "POWER_GENERATION", "GRID_POWER_CONSUMPTION", "POWER_EXCESS",
        )
    }  # fmt: skip
    event = to_events(house, POINTS, HouseholdDevice("home", "Home"), Decisions())[0]
    assert (event.device_id, event.device_name) == ("home", "Home")


def test_a_named_device_type_is_the_source() -> None:
    points = {"plug": MeterPoint("plug", "Dishes", "plug", Role.PLUG, "DISHWASHER", frozenset({Q.IMPORT_WH}))}
    assert to_events(energy(Role.PLUG, Q.IMPORT_WH, 5.0), points, HouseholdDevice(), Decisions()) == [
        Event("plug", "Dishes", "DISHWASHER", "ENERGY_CONSUMPTION", 5.0, END)
    ]


def test_a_storage_s_water_temperature_is_sent_whatever_its_role() -> None:
    points = {"tank": MeterPoint("tank", "Tank", "tank", Role.CONSUMER, "THERMAL_STORAGE", frozenset({Q.WATER_TEMPERATURE_C}))}
    found = to_events(Snapshot("tank", Q.WATER_TEMPERATURE_C, END, 55.0), points, HouseholdDevice(), Decisions())
    assert [(event.source, event.type) for event in found] == [("THERMAL_STORAGE", "WATER_TEMPERATURE")]


STATES: dict[Quantity, list[Value]] = {Q.STATUS: list(DeviceStatus), Q.CHARGING_MODE: list(ChargingMode), Q.SWITCH_ON: [True, False]}


@given(
    role=st.sampled_from(Role),
    quantity=st.sampled_from(Quantity),
    named=st.sampled_from(["", *DeviceType]),
    value=st.floats(),
    data=st.data(),
)
def test_whatever_is_metered_events_fit_the_schema(role: Role, quantity: Quantity, named: str, value: float, data: st.DataObject) -> None:
    point = MeterPoint("abc", "Name", "abc", role, named, frozenset({quantity}))
    outcome: Outcome
    if quantity.is_counter:
        outcome = EnergyInterval("abc", quantity, END, value)
    elif quantity.is_state or quantity is Q.SOC_PERCENT:
        outcome = Change("abc", quantity, END, data.draw(st.sampled_from(STATES[quantity])) if quantity.is_state else value)
    else:
        outcome = Snapshot("abc", quantity, END, value)
    for event in to_events(outcome, {"abc": point}, HouseholdDevice(), Decisions()):
        assert event.type in SCHEMA["type"]["enum"]
        assert event.source in SCHEMA["source"]["enum"]
        assert re.fullmatch(SCHEMA["deviceId"]["pattern"], event.device_id)
        assert type(event.value) is float
        assert math.isfinite(event.value)
        assert type(event.at) is int
        assert type(event.type) is type(event.source) is str
