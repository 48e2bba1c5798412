"""Every device type of the platform, as a site file reaches it: which events come out under which source."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.cloud.mapping import to_events
from edge_agent.cloud.vocabulary import DeviceType
from edge_agent.config import load_site
from edge_agent.model.errors import ConfigError
from edge_agent.model.measurements import Change, ChargingMode, DeviceStatus, EnergyInterval, MeterPoint, Outcome, Quantity, Snapshot, Value
from edge_agent.profiles.meaning import meter_points

ACCOUNT = """\
moost: {customer_id: 656730be2bc9719e6e5ed51d, building_id: B1, client_id: 6cUo, client_secret_file: client-secret}
mqtt: {broker: mqtt://localhost}
devices:
"""
PLUG = "profile: tasmota-energy-plug, topic: plug"
SENSOR = "profile: zigbee2mqtt-thermostat, topic: zigbee2mqtt/sensor"
METER = "profile: eastron-sdm120, connection: 'tcp://h'"
DRAWING = {"ENERGY_CONSUMPTION", "POWER_CONSUMPTION"}
PLUGGED = DRAWING | {"SWITCH_STATE"}

# device type -> how the site file says it, and the events of that device
REACHED: dict[str, tuple[str, set[str]]] = {
    "SMART_METER": (f"{METER}, role: grid", DRAWING),
    "INVERTER": ("profile: sma-sunny-tripower, connection: 'tcp://h'", {"ENERGY_GENERATION", "POWER_GENERATION", "DEVICE_STATUS"}),
    "SOLAR_PANEL": (f"{METER}, role: pv, type: SOLAR_PANEL", {"ENERGY_GENERATION", "POWER_GENERATION"}),
    "BATTERY": ("profile: sma-sunny-island, connection: 'tcp://h'", {"ENERGY_IMPORT", "ENERGY_EXPORT", "STATE_OF_CHARGE_RATE", "DEVICE_STATUS"}),
    "CAR": ("profile: evcc-vehicle", {"STATE_OF_CHARGE_RATE", "DEVICE_STATUS"}),
    "CAR_CHARGER": ("profile: evcc-loadpoint", PLUGGED | {"DEVICE_STATUS", "CHARGING_MODE"}),
    "HEAT_PUMP": ("profile: lambda-eureka-luft, connection: 'tcp://h'", DRAWING | {"DEVICE_STATUS", "WATER_TEMPERATURE"}),
    "WATER_HEATER": (f"{PLUG}, role: water_heater", DRAWING),
    "THERMOSTAT": (SENSOR, {"TEMPERATURE", "DEVICE_STATUS"}),
    "THERMAL_ZONE": (f"{SENSOR}, type: THERMAL_ZONE", {"TEMPERATURE", "DEVICE_STATUS"}),
    "THERMAL_STORAGE": (f"{SENSOR}, type: THERMAL_STORAGE", {"WATER_TEMPERATURE", "DEVICE_STATUS"}),
    "SMART_PLUG": (PLUG, PLUGGED),
    "SWITCH": (f"{PLUG}, role: switch", PLUGGED),
    "ENERGY_MEASUREMENT": (f"{METER}, role: consumer", DRAWING),
    **{
        device: (f"{PLUG}, type: {device}", PLUGGED)
        for device in (
            "APPLIANCE", "DISHWASHER", "DRYER", "WASHING_MACHINE", "OVEN", "REFRIGERATION", "LIGHTING", "ENTERTAINMENT", "WALL_TABLET",
            "INPUT_DEVICE",
        )
    },
}  # fmt: skip

STATES: dict[Quantity, Value] = {
    Quantity.STATUS: DeviceStatus.RUNNING.value,
    Quantity.CHARGING_MODE: ChargingMode.ALWAYS.value,
    Quantity.SWITCH_ON: True,
}


def outcomes(point: MeterPoint) -> list[Outcome]:
    """One of each that metering can find at the point."""
    found: list[Outcome] = []
    for quantity in point.quantities:
        if quantity.is_counter:
            found.append(EnergyInterval(point.id, quantity, 900, 5.0))
        elif quantity.is_state or quantity is Quantity.SOC_PERCENT:
            found.append(Change(point.id, quantity, 900, STATES.get(quantity, 50.0)))
        else:
            found.append(Snapshot(point.id, quantity, 900, 5.0))
    return found


def site_of(folder: Path, line: str) -> Path:
    (folder / "agent.yaml").write_text(f"{ACCOUNT}  - {{id: one, name: One, {line}}}\n")
    (folder / "client-secret").write_text("s3cret")
    (folder / "client-secret").chmod(0o600)
    return folder / "agent.yaml"


def test_every_device_type_but_the_household_is_reached() -> None:
    assert set(REACHED) == set(DeviceType) - {"GATEWAY"}


@pytest.mark.parametrize(("device", "line", "expected"), [(device, *what) for device, what in REACHED.items()], ids=list(REACHED))
def test_a_device_of_each_type_sends_what_makes_sense_for_it(tmp_path: Path, device: str, line: str, expected: set[str]) -> None:
    site = load_site(site_of(tmp_path, line))
    points = {point.id: point for setup in site.devices for point in meter_points(setup)}
    events = [
        event for point in points.values() for outcome in outcomes(point) for event in to_events(outcome, points, site.household, site.decisions)
    ]
    assert {event.source for event in events} == {device}
    assert {event.type for event in events} == expected
    assert {event.device_id for event in events} == {"one"}


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        (f"{PLUG}, type: BATTERY", "one: type: BATTERY does not fit role plug; write role: battery with it"),
        (f"{PLUG}, type: SOLAR_PANEL", "one: type: SOLAR_PANEL does not fit role plug; write role: pv with it"),
        (f"{METER}, role: grid, type: DISHWASHER", "one: type: DISHWASHER does not fit role grid"),
        ("profile: sungrow-sh, connection: 'tcp://h', type: INVERTER", "one: type: INVERTER does not fit role battery"),
        (f"{PLUG}, type: GATEWAY", "one: type: 'GATEWAY' is no device type"),
    ],
)
def test_a_type_that_makes_no_sense_is_refused_with_what_to_write(tmp_path: Path, line: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_site(site_of(tmp_path, line))
    assert any(mistake in str(problem) for problem in refused.value.problems), refused.value


def test_a_hybrid_reduced_to_one_role_may_have_a_type_of_it(tmp_path: Path) -> None:
    site = load_site(site_of(tmp_path, "profile: sungrow-sh, connection: 'tcp://h', roles: [pv], type: SOLAR_PANEL"))
    assert [point.device_type for point in meter_points(site.devices[0])] == ["SOLAR_PANEL"]
