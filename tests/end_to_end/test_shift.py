"""What goes over from one site file to the next, and what a device may turn out to be."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from pymodbus.constants import ExcCodes

from edge_agent.agent import Agent
from edge_agent.config import load_site
from edge_agent.control import ask
from edge_agent.demo.cloud import LocalCloud
from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.events import Event
from edge_agent.recording.file import read_recording
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, energies, meter, running
from tests.simulators import RegisterServer, Request, serving

INVERTER = Path(__file__).parents[1] / "recordings" / "sunspec.yaml"


async def test_read_across_a_new_site_file_doubles_nothing(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    async def slow(_: Request) -> ExcCodes | None:
        await asyncio.sleep(0.15)
        return None

    gateway.write_site([meter(meter_server)])
    meter_server.fault = slow
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 30)
        for _ in range(4):
            reading = asyncio.create_task(gateway.command("read", "--json"))
            await asyncio.sleep(0.6)
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGHUP)
            await reading
        known = len(energies(cloud, "grid-meter"))
        await until(lambda: len(energies(cloud, "grid-meter")) > known + 1, 30)
        await gateway.stop()
    seen = [(event["deviceId"], event["type"], event["timestamp"]) for event in cloud.received()]
    assert len(seen) == len(set(seen)), "an event was sent twice"


async def test_other_end_that_dates_an_interval_is_in_force_for_merging_at_once(gateway: Gateway, cloud: LocalCloud) -> None:
    nothing = '{id: grid-meter, name: Meter, profile: eastron-sdm630, connection: "tcp://127.0.0.1:1", role: grid}'
    gateway.write_site([nothing], storage="{path: state/edge-agent.db, max_size: 1MB}")
    cloud.stop()
    stop, agent = asyncio.Event(), Agent(load_site(gateway.site), SystemClock())
    running = asyncio.create_task(agent.run(stop))
    await until(lambda: agent.shift is not None, 30)
    before = agent.shift
    gateway.write_site([nothing], storage="{path: state/edge-agent.db, max_size: 1MB}", reporting="{interval: 15m, timestamp: start}")
    agent.reload()
    await until(lambda: agent.shift not in (None, before), 30)
    assert agent.shift is not None
    outbox, hour_of_first = agent.shift.outbox, 497_222
    for quarter in range(1000):
        at = hour_of_first * 3600 + quarter * 900
        await outbox.commit([Event(f"m{number}", "M", "SMART_METER", "ENERGY_CONSUMPTION", quarter + 0.5, at) for number in range(80)], {})
        if (await outbox.stats())["merged"]:
            break
    waiting = await outbox.waiting(100_000)
    stop.set()
    await running
    quarters = {row["at"] // 900 - hour_of_first * 4: row["value"] for row in waiting if row["device_id"] == "m0"}
    merged = {
        quarter: value for quarter, value in quarters.items() if value != quarter + 0.5 and quarter >= 4
    }  # the uploader holds some of the first
    assert merged
    assert all(quarter % 4 == 0 and value == 4 * quarter + 0.5 + 1.5 + 2.5 + 3.5 for quarter, value in merged.items()), merged


async def test_device_id_that_changes_its_profile_is_metered_anew(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    recording = read_recording(INVERTER)
    units = {unit: {str(table): recording.words(unit, table) for table in tables} for unit, tables in recording.registers.items()}
    async with serving(units) as inverter:
        unit = next(iter(units))
        gateway.write_site([f'{{id: grid-meter, name: Inverter, profile: sunspec, connection: "tcp://127.0.0.1:{inverter.port}", unit: {unit}}}'])
        async with running(gateway):
            await until(lambda: any(event["deviceId"] == "grid-meter.pv" for event in cloud.received()), 60)
            await gateway.stop()
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 60)
        await gateway.stop()


async def test_only_roles_that_the_device_has_are_attached_to_the_building(gateway: Gateway, cloud: LocalCloud) -> None:
    cloud.buildings.clear()
    recording = read_recording(INVERTER)
    units = {unit: {str(table): recording.words(unit, table) for table in tables} for unit, tables in recording.registers.items()}
    async with serving(units) as inverter:
        unit = next(iter(units))
        gateway.write_site(
            [f'{{id: inverter, name: Inverter, profile: sunspec, connection: "tcp://127.0.0.1:{inverter.port}", unit: {unit}}}'],
            building="{zip: 01067, city: Dresden, country_code: DE}",
        )

        def attached() -> set[str]:
            return {device["id"] for building in cloud.buildings.values() for device in building.get("devices", [])}

        async with running(gateway):
            await until(lambda: attached() == {"inverter.pv"}, 60)
            await gateway.stop()


async def test_senseless_request_is_answered_in_words(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: cloud.events, 60)
        for limit in ("many", -1):
            with pytest.raises(EdgeAgentError, match="the limit is a number"):
                await asyncio.to_thread(ask, gateway.folder / "state", {"command": "queue", "action": "list", "limit": limit})
        await gateway.stop()


async def test_running_agent_survives_a_site_file_it_cannot_work_with(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 60)
        (gateway.folder / "ca.pem").write_text("no certificate")
        gateway.write_site([meter(meter_server)], mqtt="{broker: 'mqtts://127.0.0.1:1', ca_file: ca.pem}")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: "the one from before stays in force" in gateway.logged)
        assert "ca.pem holds no certificate" in gateway.logged
        known = len(energies(cloud, "grid-meter"))
        await until(lambda: len(energies(cloud, "grid-meter")) > known, 60)
        await gateway.stop()


async def test_busy_answer_while_meeting_a_sunspec_device_takes_no_role_away(gateway: Gateway, cloud: LocalCloud) -> None:
    recording = read_recording(INVERTER.with_name("sunspec--with-battery.yaml"))
    units = {unit: {str(table): recording.words(unit, table) for table in tables} for unit, tables in recording.registers.items()}
    busy = 3

    async def sometimes_busy(request: Request) -> ExcCodes | None:
        nonlocal busy
        if request.count == 2 and request.address > 40100 and busy:
            busy -= 1
            return ExcCodes.DEVICE_BUSY
        return None

    async with serving(units) as inverter:
        inverter.fault = sometimes_busy
        unit = next(iter(units))
        gateway.write_site([f'{{id: inverter, name: Inverter, profile: sunspec, connection: "tcp://127.0.0.1:{inverter.port}", unit: {unit}}}'])
        async with running(gateway):
            await until(lambda: any(event["deviceId"] == "inverter.battery" for event in cloud.received()), 30)
            await gateway.stop()
    assert busy == 0
