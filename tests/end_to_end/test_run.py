"""`edge-agent run` as its user runs it: signals, restarts, outages, and bad news from outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time

import pytest

from edge_agent.demo.cloud import Answer, LocalCloud, Request
from tests.conftest import Mosquitto, until
from tests.end_to_end.gateway import SDM630, Gateway, count_up, energies, meter, running
from tests.simulators import RegisterServer, misbehaving, serving

INTERVAL_WH = 4.0


async def test_house_is_read_metered_queued_and_uploaded(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: len(energies(cloud, "household", "GRID_ENERGY_CONSUMPTION")) >= 3, 60)
        assert await gateway.stop() == 0
    received = energies(cloud, "household", "GRID_ENERGY_CONSUMPTION")
    assert all(end % 2 == 0 for end in received)
    assert sum(received.values()) == pytest.approx(INTERVAL_WH * len(received), rel=0.1)
    types = {(event["source"], event["type"]) for event in cloud.received()}
    assert {("GATEWAY", "GRID_POWER_CONSUMPTION"), ("GATEWAY", "ENERGY_CONSUMPTION"), ("SMART_METER", "ENERGY_CONSUMPTION")} <= types
    assert meter_server.functions <= {3, 4}


async def test_energy_counted_while_the_agent_was_down_arrives(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 60)
        await gateway.stop()
    await asyncio.sleep(5)
    async with running(gateway):
        before = max(energies(cloud, "grid-meter"))
        await until(lambda: max(energies(cloud, "grid-meter")) >= before + 10, 60)
        await gateway.stop()
    received = energies(cloud, "grid-meter")
    ends = sorted(received)
    assert ends == list(range(ends[0], ends[-1] + 2, 2)), "an interval is missing"
    assert sum(received.values()) == pytest.approx(INTERVAL_WH * len(received), rel=0.1)


async def test_killed_agent_loses_no_interval_and_repeats_only_what_was_in_flight(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer
) -> None:
    kills = 3
    gateway.write_site([meter(meter_server)])

    def received() -> dict[int, float]:
        return energies(cloud, "grid-meter", repeated=4 * kills)  # what waits two seconds to be settled, longer on a busy machine

    for _ in range(kills):
        async with running(gateway):
            enough = len(received()) + 2
            while len(received()) < enough:
                await asyncio.sleep(0.01)
            await gateway.stop(how=signal.SIGKILL)
    ends = sorted(received())
    assert ends == list(range(ends[0], ends[-1] + 2, 2)), "an interval is missing"


async def test_sigterm_ends_it_in_time_while_a_device_and_the_cloud_hang(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    async def hang(_: object) -> None:
        await asyncio.sleep(30)

    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 60)
        meter_server.fault = hang
        cloud.fault = lambda request: Answer(500) if request.path.startswith("/events") else None
        await asyncio.sleep(1)
        assert await gateway.stop(within_s=5) == 0


async def test_faulty_site_file_is_refused_on_sighup_and_the_old_one_stays(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 60)
        gateway.write_site([meter(meter_server, role="gird")])
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: "the one from before stays in force" in gateway.logged)
        known = len(energies(cloud, "grid-meter"))
        await until(lambda: len(energies(cloud, "grid-meter")) > known + 1, 60)
        await gateway.stop()
    assert "agent.yaml:5: devices[0].role" in gateway.logged


async def test_new_site_file_is_taken_over_on_sighup(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway), serving({1: SDM630}) as other:
        counting = asyncio.create_task(count_up(other))
        await until(lambda: energies(cloud, "grid-meter"), 60)
        gateway.write_site([meter(meter_server), meter(other, "oven", "consumer")])
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: energies(cloud, "oven"), 60)
        await gateway.stop()
        counting.cancel()
    ends = sorted(energies(cloud, "grid-meter"))
    assert ends == list(range(ends[0], ends[-1] + 2, 2)), "the first meter lost an interval"


async def test_running_agent_never_loads_what_reads_files(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    """Python itself notes what the agent loads: at a start, for a new site file, and for what commands ask of it."""
    gateway.write_site([meter(meter_server)])
    async with running(gateway, {"PYTHONPROFILEIMPORTTIME": "1"}), serving({1: SDM630}) as other:
        await until(lambda: energies(cloud, "grid-meter"), 30)
        gateway.write_site([meter(meter_server), meter(other, "oven", "consumer")])
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: "2 devices" in gateway.logged, 30)
        output = gateway.folder / "grid-meter.yaml"
        code, _, errors = await gateway.command("record", "grid-meter", "--minutes", "0", "--output", str(output))
        assert code == 0, errors
        await gateway.stop()
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", gateway.logged, re.MULTILINE))
    assert {"httpx._client", "pymodbus.client", "edge_agent.recording.recorder"} <= loaded
    assert not {"pydantic", "pydantic_core", "ruamel", "ruamel.yaml", "edge_agent.web"} & loaded


async def test_dead_device_does_not_delay_the_others(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server, "oven", "consumer"), meter(meter_server, "grid-meter").replace("127.0.0.1", "127.0.0.9")])
    async with running(gateway):
        await until(lambda: len(energies(cloud, "oven")) >= 2, 60)
        await gateway.stop()
    assert "grid-meter" in gateway.logged
    assert "127.0.0.9" in gateway.logged
    assert not [event for event in cloud.received() if event["source"] == "GATEWAY" and event["type"].startswith("ENERGY")]


async def test_device_that_answers_garbage_leaves_no_number(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    async with misbehaving(lambda request, transaction: [(0, os.urandom(40))]) as garbled:
        oven = meter(meter_server, "oven", "consumer").replace(str(meter_server.port), str(garbled.port))
        gateway.write_site([meter(meter_server), oven])
        async with running(gateway):
            await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 60)
            await gateway.stop()
        assert garbled.requests
    assert not [event for event in cloud.received() if event["deviceId"] == "oven" and event["type"] != "DEVICE_STATUS"]
    assert "oven" in gateway.logged


async def test_other_device_at_a_known_address_is_refused_with_words(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 60)
        await gateway.stop()
    await meter_server.put(1, "holding", 64512, 4712, "u32")
    known = len(energies(cloud, "grid-meter"))
    async with running(gateway):
        await until(lambda: "4712" in gateway.logged, 60)
        await gateway.stop()
    assert len(energies(cloud, "grid-meter")) == known
    assert "4711" in gateway.logged


async def test_cloud_that_answers_html_loses_nothing(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    page = Answer(200, b"<html>Please log in to the hotel's network</html>", {"Content-Type": "text/html"})
    cloud.fault = lambda request: page
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await asyncio.sleep(6)
        stats = await gateway.queue()
        assert stats["waiting"] > 0
        assert stats["dead"] == 0
        cloud.fault = lambda request: None
        await until(lambda: len(energies(cloud, "grid-meter")) >= 3, 40)
        await gateway.stop()
    ends = sorted(energies(cloud, "grid-meter"))
    assert ends == list(range(ends[0], ends[-1] + 2, 2))


async def test_unwritable_database_folder_is_said_in_one_line(gateway: Gateway, meter_server: RegisterServer) -> None:
    (gateway.folder / "file").write_text("")
    gateway.write_site([meter(meter_server)], storage="{path: file/edge-agent.db}")
    await gateway.start()
    assert gateway.process is not None
    assert await gateway.process.wait() == 3
    assert "make it writable or set storage.path" in gateway.logged
    assert "Traceback" not in gateway.logged


async def test_second_agent_on_one_queue_is_refused_with_the_pid_of_the_first(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer
) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: cloud.events, 60)
        assert gateway.process is not None
        code, _, errors = await gateway.command("run")
        assert code == 3
        assert f"pid {gateway.process.pid}" in errors
        await gateway.stop()


async def test_read_and_queue_ask_the_running_agent(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: cloud.events, 60)
        connections = meter_server.connections
        code, out, errors = await gateway.command("read", "grid-meter", "--json")
        assert code == 0, errors
        (device,) = json.loads(out)
        power = next(point for point in device["points"] if point["point"] == "power_total")
        assert (power["value"], power["unit"], power["quality"], power["means"]) == (7200.0, "W", "ok", "grid-meter power_w")
        assert power["raw"] == "0x45E1 0x0000"
        assert meter_server.connections == connections, "the command opened a connection of its own"
        code, out, _ = await gateway.command("queue", "list")
        assert code == 0
        code, out, _ = await gateway.command("queue")
        assert "upload     running" in out
        await gateway.stop()
    code, out, errors = await gateway.command("read")
    assert code == 0, errors
    assert "7200 W" in out
    assert (await gateway.queue())["accepted_live"] > 0


async def test_refused_event_becomes_a_dead_letter_and_can_be_retried(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    def refuse(request: Request) -> Answer | None:
        return Answer(400, {"message": "no such rule"}) if b'"GRID_POWER_CONSUMPTION"' in request.body else None

    cloud.fault = refuse
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 60)
        code, out, _ = await gateway.command("queue", "dead")
        assert code == 0
        assert "GRID_POWER_CONSUMPTION" in out
        assert "no such rule" in out
        cloud.fault = lambda request: None
        code, out, _ = await gateway.command("queue", "retry")
        assert code == 0
        await until(lambda: any(event["type"] == "GRID_POWER_CONSUMPTION" for event in cloud.received()), 60)
        await gateway.stop()


async def test_mqtt_and_modbus_make_one_house(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer, mosquitto: Mosquitto) -> None:
    plug = "{id: washer, name: Washer, profile: tasmota-energy-plug, topic: washer, type: WASHING_MACHINE}"
    gateway.write_site([meter(meter_server), plug], mqtt=f"{{broker: 'mqtt://127.0.0.1:{mosquitto.port}'}}")

    def publish(topic: str, payload: str, *options: str) -> None:
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(mosquitto.port), "-t", topic, "-m", payload, *options]
        subprocess.run(command, check=True, timeout=10)

    async with running(gateway):
        publish("tele/washer/LWT", "Online", "-r")
        await until(lambda: energies(cloud, "grid-meter"), 60)
        began = time.monotonic()
        for _ in range(16):
            total = 10 + (time.monotonic() - began) * 0.002
            publish("tele/washer/SENSOR", json.dumps({"ENERGY": {"Total": total, "Power": 7200}}))
            await asyncio.sleep(0.5)
        publish("stat/washer/POWER", "ON")
        publish("tele/washer/SENSOR", '{"ENERGY": {"Total": "broken", "Power": NaN}}')
        publish("tele/washer/SENSOR", "no JSON at all")
        await until(lambda: any(event["type"] == "SWITCH_STATE" for event in cloud.received()), 60)
        await until(lambda: len(energies(cloud, "washer")) >= 2, 60)
        await gateway.stop()
    assert {event["source"] for event in cloud.received() if event["deviceId"] == "washer"} == {"WASHING_MACHINE"}
    assert all(value == pytest.approx(INTERVAL_WH, abs=1.5) for value in energies(cloud, "washer").values())


async def test_building_is_registered_with_its_devices(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    cloud.buildings.clear()
    gateway.write_site([meter(meter_server)], building="{zip: 01067, city: Dresden, country_code: DE}")
    async with running(gateway):
        await until(lambda: any(building.get("devices") for building in cloud.buildings.values()), 60)
        await gateway.stop()
    (building,) = cloud.buildings.values()
    assert (building["zip"], building["countryCode"]) == ("01067", "DE")
    assert [(device["id"], device["type"]) for device in building["devices"]] == [("grid-meter", "SMART_METER")]
