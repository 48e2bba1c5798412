"""Every profile against a recording of its device: what the registers or messages must read as, and what that means."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_agent.drivers import Driver
from edge_agent.drivers.modbus import ModbusDriver
from edge_agent.drivers.modbus_link import ModbusLinks
from edge_agent.drivers.mqtt import MqttDriver
from edge_agent.drivers.mqtt_hub import MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import SystemClock
from edge_agent.model.measurements import Reading, Sample
from edge_agent.profiles.library import load_profile, profile_names
from edge_agent.profiles.meaning import meanings, measurements
from edge_agent.profiles.setup import Connection, DeviceSetup
from edge_agent.recording.file import RecordingSection, read_recording, recorded_setup
from tests.conftest import Mosquitto
from tests.simulators import serving

FOLDER = Path(__file__).parent
RECORDINGS = sorted(FOLDER.glob("*.yaml"))


def text_of(reading: Reading) -> str | None:
    """A reading as recordings write it."""
    if reading.value is None:
        return None
    if isinstance(reading.value, bool):
        return "on" if reading.value else "off"
    return f"{reading.value:.9g} {reading.unit}".strip() if reading.number is not None else str(reading.value)


def same(found: str | None, expected: str | None) -> bool:
    """Equal, numbers to six digits."""
    if found is None or expected is None:
        return found is expected
    one, other = (re.fullmatch(r"([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?) ?([^\d.].*|)", text) for text in (found, expected))
    if one and other:
        return one[2] == other[2] and math.isclose(float(one[1]), float(other[1]), rel_tol=2e-6, abs_tol=1e-6)
    return found == expected


@pytest.mark.parametrize("profile", profile_names())
def test_profile_has_a_recording(profile: str) -> None:
    assert (FOLDER / f"{profile}.yaml").exists(), f"tests/recordings/{profile}.yaml is missing"
    assert read_recording(FOLDER / f"{profile}.yaml").profile == profile


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
async def test_recording_reads_as_expected(path: Path, request: pytest.FixtureRequest) -> None:
    recording = read_recording(path)
    if load_profile(recording.profile).spec.transport == "mqtt":
        broker: Mosquitto = request.getfixturevalue("mosquitto")
        setup, sample = await replay_messages(recording, broker)
    else:
        setup, sample = await replay_registers(recording)
    assert not sample.error, sample.error
    found = {name: text_of(reading) for name, reading in sample.readings.items()}
    assert set(found) == set(recording.expected), "each point of the profile has an expected reading"
    wrong = {name: (found[name], text, sample.readings[name].reason) for name, text in recording.expected.items() if not same(found[name], text)}
    assert not wrong
    rows = meanings(setup)
    values = measurements(rows, sample)
    meaning = {setup.profile.spec.points[row.point].is_: text_of(values[row.meter_point_id][row.quantity]) for row in rows}
    assert set(meaning) == set(recording.means), "each meaning of the profile has an expected value"
    assert not {name: (meaning[name], text) for name, text in recording.means.items() if not same(meaning[name], text)}


async def replay_registers(recording: RecordingSection) -> tuple[DeviceSetup, Sample]:
    units = {unit: {str(table): recording.words(unit, table) for table in tables} for unit, tables in recording.registers.items()}
    async with serving(units, rtu=recording.transport != "tcp") as server:
        setup = recorded_setup(recording, Connection(recording.transport, "127.0.0.1", server.port))
        links = ModbusLinks(SystemClock())
        driver = ModbusDriver(setup, links.get(setup.connection, setup.profile.spec.modbus), SystemClock())  # type: ignore[arg-type]
        async with closing(driver):
            sample = await driver.read()
            sample = await driver.read()  # the second round has learnt which addresses the device does not have
        await links.close()
    return setup, sample


async def replay_messages(recording: RecordingSection, broker: Mosquitto) -> tuple[DeviceSetup, Sample]:
    setup = recorded_setup(recording)
    hub = MqttHub(MqttSettings("127.0.0.1", broker.port), SystemClock())
    for message in recording.messages:
        if message.retained:
            publish(broker, message.topic, message.payload, "-r")
    driver = MqttDriver(setup, hub, SystemClock())
    async with closing(driver):
        await driver.read()
        async with asyncio.timeout(10):
            while not hub.connected:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        for message in recording.messages:
            if not message.retained:
                await asyncio.to_thread(publish, broker, message.topic, message.payload)
        async with asyncio.timeout(10):
            while True:
                sample = await driver.read()
                wanted = [name for name, text in recording.expected.items() if text is not None]
                if not sample.error and all(name in sample.readings and sample.readings[name].value is not None for name in wanted):
                    break
                await asyncio.sleep(0.05)
    await hub.close()
    return setup, sample


def publish(broker: Mosquitto, topic: str, payload: str, *options: str) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, *options]
    content = ["-m", payload] if payload else ["-n"]
    subprocess.run([*command, *content], check=True, timeout=10)


@asynccontextmanager
async def closing(driver: Driver) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await driver.close()
