"""The whole agent in this process, on a clock that is set while it runs."""

from __future__ import annotations

import asyncio
import time

from edge_agent.agent import Agent
from edge_agent.config import load_site
from edge_agent.demo.cloud import LocalCloud
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, energies, meter
from tests.simulators import RegisterServer


class SettableClock:
    """The machine's clock with a wall time that a test can set."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


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
        await until(lambda: len(energies(cloud, "grid-meter")) >= known + 2, 20)

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
    await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 20)
    clock.offset = -6.0
    known = energies(cloud, "grid-meter")
    await until(lambda: max(energies(cloud, "grid-meter")) > max(known) + 1, 30)
    stop.set()
    await agent
    assert all(0 < value < 20 for value in energies(cloud, "grid-meter").values())
