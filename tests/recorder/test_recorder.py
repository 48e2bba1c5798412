"""A device is recorded, and its recording replayed: the same readings, the same changes at their time."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.codec.topics import topic_filter
from edge_agent.demo.broker import Broker
from edge_agent.demo.replay import replay
from edge_agent.devices import Devices
from edge_agent.drivers.mqtt_hub import Arrival, MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import DeviceError, EdgeAgentError
from edge_agent.model.measurements import Role, Sample
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.setup import Connection, DeviceSetup
from edge_agent.recording.file import read_recording, recorded_setup, recording_text, value_text
from edge_agent.recording.recorder import Recorded, finished, listen, record_alone, recorder_of
from tests.conftest import Mosquitto, until
from tests.end_to_end.gateway import SDM630
from tests.simulators import RegisterServer, serving

RECORDINGS = Path(__file__).parents[1] / "recordings"
SHELLY = {name: one.default or "" for name, one in load_profile("shelly-gen2-switch").spec.parameters.items()}
WHOLE = {"input": {0: [0] * 76, 342: [0] * 16}, "holding": {64512: [0x0012, 0xD687, 0x0079]}}


def meter(server: RegisterServer, **more: object) -> DeviceSetup:
    connection = Connection("tcp", "127.0.0.1", server.port)
    setup = DeviceSetup("meter", "Meter", load_profile("eastron-sdm630"), connection, role=Role.GRID, poll_interval_s=0.2)
    return replace(setup, **more)  # type: ignore[arg-type]


async def record(setup: DeviceSetup, seconds: float, anonymous: bool = False, port: int = 0) -> Recorded:
    settings = MqttSettings("127.0.0.1", port) if port else None
    devices = Devices([], settings, SystemClock(), {})
    try:
        return await record_alone(devices, setup, SystemClock(), seconds, anonymous, asyncio.Event())
    finally:
        await devices.close()


@asynccontextmanager
async def replayed(file: Path, rtu: bool = False, broker: str = "") -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """What the replay says where it is, while it runs."""
    said: list[str] = []
    task = asyncio.create_task(replay(file, 0, rtu, broker, said.append))
    await until(lambda: task.done() or any(line.startswith("  - ") for line in said))
    try:
        yield "\n".join(said), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def port_of(said: str) -> int:
    found = re.search(r"127\.0\.0\.1:(\d+)", said)
    assert found, said
    return int(found[1])


def save(folder: Path, recorded: Recorded) -> Path:
    path = folder / "meter.recording.yaml"
    path.write_text(recording_text(recorded.section, recorded.head, recorded.refused), encoding="utf-8")
    return path


async def read_replayed(file: Path, said: str) -> Sample:
    recording = read_recording(file)
    scheme = "rtu+tcp" if "rtu+tcp" in said else "tcp"
    devices = Devices([], MqttSettings("127.0.0.1", port_of(said)), SystemClock(), {})
    setup = recorded_setup(recording)
    driver = devices.mqtt_driver(setup)
    if setup.profile.spec.transport == "modbus":
        driver_at = devices.modbus_driver(recorded_setup(recording, Connection(scheme, "127.0.0.1", port_of(said))))
        await driver.close()
        sample = await driver_at.read()
    else:
        async with asyncio.timeout(10):
            while (sample := await driver.read()).error or any(
                sample.readings[point].value is None for point, text in recording.expected.items() if text is not None
            ):
                await asyncio.sleep(0.05)
    await devices.close()
    return sample


def texts(sample: Sample) -> dict[str, str | None]:
    return {name: value_text(reading) for name, reading in sample.readings.items()}


# Modbus


@pytest.mark.parametrize("rtu", [False, True])
async def test_recorded_meter_reads_the_same_when_it_is_replayed(tmp_path: Path, rtu: bool) -> None:
    async with serving({1: WHOLE}) as server:
        await server.put(1, "input", 52, -402.6, "f32")
        recorded = await record(meter(server), 0)
        file = save(tmp_path, recorded)
        assert server.functions <= {3, 4}
    assert recorded.section.expected["power_total"] == "-402.600006 W"
    assert recorded.section.expected["serial_number"] == "1234567"
    assert recorded.section.means["power_w"] == "-402.600006 W"
    async with replayed(file, rtu) as (said, _):
        sample = await read_replayed(file, said)
    assert not sample.error
    assert texts(sample) == recorded.section.expected


async def test_recording_is_of_the_device_and_not_of_the_house(tmp_path: Path) -> None:
    async with serving({1: WHOLE}) as server:
        await server.put(1, "input", 52, 100.0, "f32")
        recorded = await record(meter(server, invert=True, scale=40.0), 0)
    assert recorded.section.means["power_w"] == "100 W"


async def test_changes_are_recorded_and_replayed_at_their_time(tmp_path: Path) -> None:
    async with serving({1: WHOLE}) as server:
        await server.put(1, "input", 52, 1000.0, "f32")
        recording = asyncio.create_task(record(meter(server), 1.2))
        await until(lambda: server.count("input", 52) >= 2)
        await server.put(1, "input", 52, 2000.0, "f32")
        recorded = await recording
    (change,) = recorded.section.changes
    assert change.registers == {1: {"input": {52: "0x44FA"}}}  # the words that are the same in both numbers are left out
    assert 0 < change.after <= 1.2
    assert recorded.section.expected["power_total"] == "1000 W"
    file = save(tmp_path, recorded)
    loop = asyncio.get_running_loop()
    async with replayed(file) as (said, _):
        began = loop.time()
        devices = Devices([], None, SystemClock(), {})
        driver = devices.modbus_driver(recorded_setup(recorded.section, Connection("tcp", "127.0.0.1", port_of(said))))
        assert (await driver.read()).readings["power_total"].value == 1000
        while (await driver.read()).readings["power_total"].value != 2000:
            assert loop.time() - began < 10
            await asyncio.sleep(0.02)
        assert loop.time() - began > change.after - 0.3
        await devices.close()


async def test_registers_that_the_device_refuses_are_told_in_comments(tmp_path: Path) -> None:
    async with serving({1: {**WHOLE, "input": {0: [0] * 76}}}) as server:
        recorded = await record(meter(server), 0)
    assert "unit 1 input 342-357: exception 2" in recorded.refused
    assert "# The device refuses:\n#   unit 1 input 342-357: exception 2\n" in save(tmp_path, recorded).read_text()
    assert recorded.section.expected["energy_sum"] is None


async def test_other_units_of_the_line_are_not_in_the_recording() -> None:
    async with serving({1: WHOLE, 2: WHOLE}) as server:
        devices = Devices([], None, SystemClock(), {})
        recorder = recorder_of(devices, meter(server), SystemClock())
        other = devices.modbus_driver(meter(server, id="other", unit=2))
        await recorder.begin()
        await other.read()
        recorded = await finished(recorder, meter(server), SystemClock(), 0, False)
        await recorder.close()
        await devices.close()
    assert set(recorded.section.registers) == {1}


async def test_what_another_driver_of_the_device_hears_is_recorded_too() -> None:
    """As beside a running agent: after the first round nothing more is asked."""
    async with serving({1: WHOLE}) as server:
        devices = Devices([meter(server)], None, SystemClock(), {})
        recorder = recorder_of(devices, meter(server), SystemClock())
        await recorder.begin()
        asked = len(server.requests)
        await listen(recorder, SystemClock(), 0.5, None, asyncio.Event())
        assert len(server.requests) == asked
        await server.put(1, "input", 52, 5.0, "f32")
        await devices.drivers["meter"].read()
        recorded = await finished(recorder, meter(server), SystemClock(), 0, False)
        await recorder.close()
        await devices.close()
        assert server.connections == 1
    assert [change.registers for change in recorded.section.changes] == [{1: {"input": {52: "0x40A0"}}}]


async def test_anonymous_recording_holds_no_serial_number(tmp_path: Path) -> None:
    async with serving({1: WHOLE}) as server:
        plain, masked = await record(meter(server), 0), await record(meter(server), 0, anonymous=True)
    assert "0xD687" in save(tmp_path, plain).read_text()
    assert "serial number stands in it (serial_number)" in save(tmp_path, plain).read_text()
    text = save(tmp_path, masked).read_text()
    assert "0xD687" not in text
    assert "1234567" not in text
    assert "was taken out" in text
    assert masked.section.expected["serial_number"] == "0"
    async with replayed(tmp_path / "meter.recording.yaml") as (said, _):
        assert texts(await read_replayed(tmp_path / "meter.recording.yaml", said)) == masked.section.expected


async def test_device_that_cannot_be_read_is_not_recorded() -> None:
    async with serving({1: SDM630}) as server:
        setup = meter(server)
    with pytest.raises(DeviceError, match="nothing listens"):
        await record(setup, 0)


async def test_recording_crosses_the_socket_as_it_is() -> None:
    async with serving({1: WHOLE}) as server:
        recorded = await record(meter(server), 0)
    assert Recorded.from_json(recorded.to_json()) == recorded


# MQTT


@pytest.fixture
def charger(monkeypatch: pytest.MonkeyPatch) -> DeviceSetup:
    monkeypatch.setattr("edge_agent.demo.replay.PAUSE_S", 0.2)  # so that its tick is heard soon
    return recorded_setup(read_recording(RECORDINGS / "go-e-charger.yaml"))


async def test_recorded_charger_reads_the_same_when_it_is_replayed(tmp_path: Path, charger: DeviceSetup) -> None:
    async with replayed(RECORDINGS / "go-e-charger.yaml") as (said, _):
        recorded = await record(charger, 1.0, port=port_of(said))
    assert recorded.section.topic == charger.topic
    retained = {(one.topic, one.payload) for one in read_recording(RECORDINGS / "go-e-charger.yaml").messages if one.retained}
    assert {(one.topic, one.payload) for one in recorded.section.messages if one.retained} == retained
    assert any(not one.retained for one in recorded.section.messages)
    file = save(tmp_path, recorded)
    async with replayed(file) as (said, _):
        assert texts(await read_replayed(file, said)) == recorded.section.expected


async def test_charger_is_recorded_beside_a_running_agent(charger: DeviceSetup) -> None:
    """The broker gives what it retained to each who subscribes on the agent's connection: it is recorded once."""
    async with replayed(RECORDINGS / "go-e-charger.yaml") as (said, _):
        devices = Devices([charger], MqttSettings("127.0.0.1", port_of(said)), SystemClock(), {})
        await until(lambda: devices.drivers["recorded"].serial)
        recorder = recorder_of(devices, charger, SystemClock())
        await listen(recorder, SystemClock(), 1.0, None, asyncio.Event())
        recorded = await finished(recorder, charger, SystemClock(), 1.0, False)
        await recorder.close()
        assert not (await devices.drivers["recorded"].read()).error
        await devices.close()
    retained = [(one.topic, one.payload) for one in recorded.section.messages if one.retained]
    assert retained
    assert len(retained) == len(set(retained))


async def test_anonymous_charger_is_nowhere_in_its_recording(tmp_path: Path, charger: DeviceSetup) -> None:
    async with replayed(RECORDINGS / "go-e-charger.yaml") as (said, _):
        recorded = await record(charger, 1.0, anonymous=True, port=port_of(said))
    serial = read_recording(RECORDINGS / "go-e-charger.yaml").expected["serial"]
    assert serial
    text = save(tmp_path, recorded).read_text()
    assert serial not in text
    assert recorded.section.expected["serial"] == "1" * len(serial)
    async with replayed(tmp_path / "meter.recording.yaml") as (said, _):
        assert texts(await read_replayed(tmp_path / "meter.recording.yaml", said)) == recorded.section.expected


async def test_silent_mqtt_device_is_not_recorded(charger: DeviceSetup) -> None:
    async with replayed(RECORDINGS / "tasmota-energy-plug.yaml") as (said, _):
        with pytest.raises(DeviceError, match=r"nothing was heard on .*; check topic:, or record for longer"):
            await record(charger, 0.3, port=port_of(said))


async def test_device_that_answers_to_a_name_of_ours_answers_to_any_name_when_it_is_replayed(tmp_path: Path) -> None:
    setup = DeviceSetup("plug", "Plug", load_profile("shelly-gen2-switch"), topic="shelly", parameters=SHELLY)
    async with Broker() as broker:
        device = MqttHub(MqttSettings("127.0.0.1", broker.port), SystemClock(), "the-device")

        def answer(request: Arrival) -> None:
            asker = json.loads(request.payload)["src"]
            status = {"switch:0": {"id": 0, "output": True, "apower": 120.5, "aenergy": {"total": 1234.5}}}
            device.publish(f"{asker}/rpc", json.dumps({"id": 1, "src": "shellyplug-1", "dst": asker, "result": status}))

        device.subscribe(topic_filter("shelly/rpc", {}), 0, answer)
        await until(lambda: "shelly/rpc" in broker.filters)
        recorded = await record(setup, 1.0, port=broker.port)
        await device.close()
    assert [one.topic for one in recorded.section.messages] == ["{reply}/rpc"]
    assert '"dst": "{reply}"' in recorded.section.messages[0].payload
    assert recorded.section.means["power_w"] == "120.5 W"
    file = save(tmp_path, recorded)
    async with replayed(file) as (said, _):
        assert texts(await read_replayed(file, said)) == recorded.section.expected


async def test_another_broker_is_left_as_it_was(mosquitto: Mosquitto, charger: DeviceSetup) -> None:
    async with replayed(RECORDINGS / "go-e-charger.yaml", broker=f"mqtt://127.0.0.1:{mosquitto.port}") as (said, _):
        assert f'topic: "{charger.topic}"' in said
        recorded = await record(charger, 1.0, port=mosquitto.port)
        assert any(one.retained for one in recorded.section.messages)
    with pytest.raises(DeviceError, match="nothing was heard"):
        await record(charger, 0.3, port=mosquitto.port)


async def test_broker_that_is_not_there_is_told_in_words() -> None:
    with pytest.raises(EdgeAgentError, match="is the broker running"):
        await replay(RECORDINGS / "go-e-charger.yaml", 0, False, "mqtt://127.0.0.1:1", lambda _: None)


async def test_recording_without_messages_cannot_be_replayed(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("profile: go-e-charger\norigin: documents\n")
    with pytest.raises(EdgeAgentError, match="holds no messages"):
        await replay(tmp_path / "x.yaml", 0, False, "", lambda _: None)


async def test_port_that_is_taken_is_told_in_words() -> None:
    async with serving({1: WHOLE}) as server:
        with pytest.raises(EdgeAgentError, match=f"cannot listen on port {server.port}: .*; write another --port"):
            await replay(RECORDINGS / "eastron-sdm630.yaml", server.port, False, "", lambda _: None)
