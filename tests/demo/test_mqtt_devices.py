"""The simulated charger and plug, read by the shipped profiles over the demo's broker."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable

import pytest

from edge_agent.demo.broker import Broker
from edge_agent.demo.house import House, watt_hours
from edge_agent.demo.mqtt_devices import CHARGER_TOPIC, CHARGER_TOTAL, PLUG_TOPIC, PLUG_TOTAL, charger_keys, go_e_charger, plug_sensor, tasmota_plug
from edge_agent.drivers.mqtt import MqttDriver
from edge_agent.drivers.mqtt_hub import MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import SystemClock
from edge_agent.model.measurements import Quality, Quantity, Reading
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.meaning import meanings, measurements
from edge_agent.profiles.setup import DeviceSetup

SPRING_MORNING = 1_776_501_900
CLOCK = SystemClock()


def house_after(seconds: float) -> House:
    house = House(1, SPRING_MORNING)
    house.advance(SPRING_MORNING + seconds)
    return house


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker() as running:
        yield running


async def heard(driver: MqttDriver, setup: DeviceSetup, enough: Callable[[dict[Quantity, Reading]], bool]) -> dict[Quantity, Reading]:
    """The device's measurements as soon as they are enough."""
    deadline = time.monotonic() + 10
    while True:
        (readings,) = measurements(meanings(setup), await driver.read()).values()
        if enough(readings):
            return readings
        assert time.monotonic() < deadline, readings
        await asyncio.sleep(0.02)


def complete(readings: dict[Quantity, Reading]) -> bool:
    return all(reading.quality is Quality.OK for reading in readings.values())


def driver_for(profile: str, topic: str, broker: Broker) -> tuple[MqttDriver, DeviceSetup, MqttHub]:
    loaded = load_profile(profile)
    parameters = {name: spec.default or "" for name, spec in loaded.spec.parameters.items()} | {"topic": topic}
    setup = DeviceSetup("device", "Device", loaded, topic=topic, parameters=parameters)
    hub = MqttHub(MqttSettings("127.0.0.1", broker.port), CLOCK)
    return MqttDriver(setup, hub, CLOCK), setup, hub


async def test_charger_is_read_from_its_retained_keys_and_its_tick(broker: Broker) -> None:
    house = house_after(2700)
    device = asyncio.create_task(go_e_charger(broker.port, lambda: house, CLOCK, 0.05))
    driver, setup, hub = driver_for("go-e-charger", CHARGER_TOPIC, broker)
    await asyncio.sleep(0)

    def tick() -> bool:
        house.advance(house.at + 1)
        return True

    readings = await heard(driver, setup, lambda readings: tick() and complete(readings) and bool(driver.serial))
    assert readings[Quantity.STATUS].value == "running"
    assert readings[Quantity.SWITCH_ON].value is True
    assert readings[Quantity.POWER_W].number == pytest.approx(house.flows.car / 1000, rel=0.02)
    assert readings[Quantity.IMPORT_WH].number == pytest.approx(CHARGER_TOTAL + watt_hours(house.totals.car), abs=20)
    assert driver.serial == "222819"
    device.cancel()
    await asyncio.gather(device, return_exceptions=True)
    await driver.close()
    await hub.close()


async def test_plug_answers_when_asked_and_leaves_its_will(broker: Broker) -> None:
    house = house_after(900)
    device = asyncio.create_task(tasmota_plug(broker.port, lambda: house, CLOCK))
    deadline = time.monotonic() + 10
    while not broker.client_ids:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    driver, setup, hub = driver_for("tasmota-energy-plug", PLUG_TOPIC, broker)
    readings = await heard(driver, setup, complete)
    assert readings[Quantity.POWER_W].number == round(house.flows.washing_machine / 1000)
    assert readings[Quantity.IMPORT_WH].number == pytest.approx(math.floor(PLUG_TOTAL + watt_hours(house.totals.washing_machine)))
    assert readings[Quantity.SWITCH_ON].value is True
    device.cancel()
    await asyncio.gather(device, return_exceptions=True)
    await driver.close()
    await hub.close()


def test_charger_says_what_the_car_does() -> None:
    house = House(1, SPRING_MORNING, car_home_after_s=60)
    states: list[int] = []
    for _ in range(6 * 60):
        keys = charger_keys(house, SPRING_MORNING)
        if not states or states[-1] != keys["car"]:
            states.append(keys["car"])
        assert len(keys["nrg"]) == 16
        assert sum(keys["nrg"][7:11]) == pytest.approx(keys["nrg"][11], abs=2)
        assert (keys["acu"] is None) == (keys["car"] == 1), "null means no car, not 0 A"
        house.advance(house.at + 20)
    assert states == [1, 3, 2, 4]


def test_plug_that_passes_no_power_says_so() -> None:
    assert plug_sensor(house_after(0))["ENERGY"]["Power"] == 0


def test_payloads_have_the_shapes_of_the_real_ones() -> None:
    house = house_after(900)
    sensor = json.loads(json.dumps(plug_sensor(house)))
    assert sensor["Time"] == "2026-04-18T10:00:00"
    assert set(sensor["ENERGY"]) >= {
        "TotalStartTime",
        "Total",
        "Yesterday",
        "Today",
        "Period",
        "Power",
        "ApparentPower",
        "Factor",
        "Voltage",
        "Current",
    }
    assert round(sensor["ENERGY"]["Total"], 3) == sensor["ENERGY"]["Total"]
    assert charger_keys(house, SPRING_MORNING)["utc"] == "2026-04-18T09:00:00.000.000"


def test_counters_of_charger_and_plug_never_fall() -> None:
    house = house_after(0)
    before = (0.0, 0.0)
    for _ in range(180):
        house.advance(house.at + 60)
        now = (charger_keys(house, 0)["eto"], plug_sensor(house)["ENERGY"]["Total"])
        assert now >= before
        assert all(new >= old for new, old in zip(now, before, strict=True))
        before = now
