"""The whole agent in this process, on a clock that is set while it runs."""

from __future__ import annotations

import asyncio

import pytest

from edge_agent.agent import Agent
from edge_agent.config import load_site
from edge_agent.demo.cloud import LocalCloud
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox
from edge_agent.shift.shift import Shift
from edge_agent.timekeeping.trust import Evidence
from tests.conftest import until
from tests.end_to_end.gateway import SDM630, Gateway, energies, meter
from tests.end_to_end.settable_clock import SettableClock
from tests.simulators import RegisterServer, Request, serving


async def test_clock_that_is_set_forward_and_back_neither_doubles_nor_inflates_an_interval(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer
) -> None:
    clock = SettableClock()
    cloud.now = clock.now
    gateway.write_site([meter(meter_server)])
    stop = asyncio.Event()
    agent = asyncio.create_task(Agent(load_site(gateway.site), clock).run(stop))

    async def two_more() -> None:
        known = len(energies(cloud, "grid-meter"))
        await until(lambda: len(energies(cloud, "grid-meter")) >= known + 2, 60)

    await two_more()
    clock.offset = 1000.0
    await two_more()
    clock.offset = 996.0
    await two_more()
    stop.set()
    await agent
    received = energies(cloud, "grid-meter")
    assert max(received) - min(received) > 900
    assert len(received) < 20, "the step was filled with intervals"
    assert all(0 < value < 9 for value in received.values()), received


async def test_step_back_holds_events_until_their_time_comes_again(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    clock = SettableClock()
    cloud.now = clock.now
    gateway.write_site([meter(meter_server)])
    stop = asyncio.Event()
    agent = asyncio.create_task(Agent(load_site(gateway.site), clock).run(stop))
    await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 60)
    clock.offset = -6.0
    known = energies(cloud, "grid-meter")
    await until(lambda: max(energies(cloud, "grid-meter")) > max(known) + 1, 30)
    stop.set()
    await agent
    assert all(0 < value < 20 for value in energies(cloud, "grid-meter").values())


async def test_energy_of_a_suspension_in_the_middle_of_a_poll_is_spread_over_it(gateway: Gateway, cloud: LocalCloud) -> None:
    clock = SettableClock()
    cloud.now = clock.now
    slept_at = 0.0
    async with serving({1: SDM630}) as server:
        await server.put(1, "input", 72, 10.0, "f32")

        async def wake_up() -> None:
            await asyncio.sleep(0.05)
            await server.put(1, "input", 72, 10.4, "f32")

        async def fall_asleep(request: Request) -> None:
            nonlocal slept_at
            if request.covers(72):
                server.fault = None
                slept_at = clock.now()
                clock.suspended = 200.0
                waking.append(asyncio.create_task(wake_up()))

        gateway.write_site([meter(server)])
        stop = asyncio.Event()
        waking: list[asyncio.Task[None]] = []
        agent = asyncio.create_task(Agent(load_site(gateway.site), clock).run(stop))
        await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 30)
        server.fault = fall_asleep
        await until(lambda: slept_at and max(energies(cloud, "grid-meter")) > slept_at + 202, 30)
        stop.set()
        await agent
    received = energies(cloud, "grid-meter")
    asleep = [wh for end, wh in received.items() if slept_at + 4 < end < slept_at + 196]
    assert len(asleep) > 90
    assert all(wh == pytest.approx(4.0, rel=0.05) for wh in asleep)


@pytest.mark.parametrize("command", ["read", "read --balance"])
async def test_value_that_a_command_got_across_a_suspension_is_not_metered(gateway: Gateway, command: str) -> None:
    """It was true before, and would be dated after: what was counted while the machine was suspended would be that of a second."""
    clock = SettableClock()
    async with serving({1: SDM630}) as server:
        await server.put(1, "input", 72, 10.0, "f32")
        gateway.write_site([meter(server)], reporting="{interval: 15m, poll_interval: 15m}")
        site = load_site(gateway.site)
        site.database.parent.mkdir()
        outbox = await Outbox.open(site.database)
        async with Shift.started(site, clock, outbox) as shift:
            await until(lambda: server.count("input", 72) == 1, 30)

            async def fall_asleep(request: Request) -> None:
                if request.covers(72):
                    server.fault, clock.suspended = None, 9000.0

            server.fault = fall_asleep
            if command == "read":
                await shift.answers.read_now("")
            else:
                balance = asyncio.create_task(shift.answers.check_balance(5.0))
                await until(lambda: clock.suspended > 0, 30)
            await server.put(1, "input", 72, 10.02, "f32")
            await asyncio.sleep(1.0)
            await shift.answers.read_now("")
            if command != "read":
                await balance
        waiting = await outbox.waiting(1000)
        await outbox.close()
    asleep = [event["value"] for event in waiting if (event["device_id"], event["type"]) == ("grid-meter", "ENERGY_CONSUMPTION")]
    assert len(asleep) >= 9
    assert asleep == pytest.approx([2.0] * len(asleep), abs=0.1)


async def test_what_is_queued_is_not_called_live_by_a_clock_that_is_late(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    clock = SettableClock()
    evidence = Evidence(False, "systemd-timesyncd")

    async def told() -> Evidence:
        return evidence

    gateway.write_site([meter(meter_server)])
    site = load_site(gateway.site)
    site.database.parent.mkdir()
    outbox = await Outbox.open(site.database)
    old = int(clock.now()) - 10_800
    await outbox.commit([Event("grid-meter", "Main meter", "SMART_METER", "ENERGY_CONSUMPTION", value, old + value) for value in range(2)], {})
    await outbox.close()
    clock.offset = -10_000.0
    stop = asyncio.Event()
    agent = asyncio.create_task(Agent(site, clock, evidence=told).run(stop))
    await until(lambda: meter_server.count("input", 72) > 8, 30)
    assert not cloud.received()
    clock.offset, evidence = 0.0, Evidence(True, "systemd-timesyncd")
    await until(lambda: max(energies(cloud, "grid-meter"), default=0) > old + 10_800, 30)
    stop.set()
    await agent
    live = [request.body for request in cloud.requests if request.path == "/events/v1"]
    assert live
    assert not [body for body in live if str(old).encode() in body], "it was called live"
