"""How often the disk is written: once for the closing of an interval, however slowly the devices answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from edge_agent.cloud.queue_rules import queue_rules
from edge_agent.config import load_site
from edge_agent.demo.cloud import LocalCloud
from edge_agent.outbox.outbox import Outbox
from edge_agent.shift import Shift, no_evidence
from tests.conftest import HandClock, until
from tests.end_to_end.gateway import SDM630, Gateway, meter
from tests.simulators import RegisterServer, Request, serving

QUARTER = 900.0
BEGIN = 1_800_000_000.0 // QUARTER * QUARTER


@contextlib.asynccontextmanager
async def ticking(clock: HandClock) -> AsyncIterator[None]:
    """The clock runs as time does; a test only makes it jump over what does not matter."""

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            clock.forward(now - last)
            last = now

    ticker = asyncio.create_task(tick())
    yield
    ticker.cancel()
    await asyncio.gather(ticker, return_exceptions=True)


async def count_up(meters: tuple[RegisterServer, ...], clock: HandClock) -> None:
    while True:
        for server in meters:
            await server.put(1, "input", 72, (clock.now() - BEGIN) / 1000, "f32")
        await asyncio.sleep(0.02)


async def test_the_closing_of_an_interval_is_one_write_transaction(gateway: Gateway, cloud: LocalCloud) -> None:
    async def slow(_: Request) -> None:
        await asyncio.sleep(0.4)

    clock, statements = HandClock(BEGIN + 1), list[str]()
    async with serving({1: SDM630}) as first, serving({1: SDM630}) as second, serving({1: SDM630}) as third:
        devices = [meter(first), meter(second, "oven", "consumer"), meter(third, "pump", "heat_pump")]
        gateway.write_site(devices, reporting="{interval: 15m, poll_interval: 10s}")
        site = load_site(gateway.site)
        site.database.parent.mkdir()
        outbox = await Outbox.open(site.database, site.max_size, queue_rules(site.decisions))
        third.fault = slow
        cloud.stop()  # what is accepted is written too; here only what is stored counts
        counting = asyncio.create_task(count_up((first, second, third), clock))
        async with ticking(clock), Shift.started(site, clock, outbox, no_evidence):
            await until(lambda: third.count("input", 72) >= 1, 30)
            await outbox.call(lambda queue: queue._db.set_trace_callback(statements.append))
            for closing in (1, 2, 3):
                clock.forward(BEGIN + closing * QUARTER - 3 - clock.now())
                async with asyncio.timeout(60):
                    while not any(row["device_id"] == "pump" and row["at"] == BEGIN + closing * QUARTER for row in await outbox.waiting(1000)):
                        await asyncio.sleep(0.1)
            await outbox.call(lambda queue: queue._db.set_trace_callback(None))
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
        waiting = await outbox.waiting(1000)
        await outbox.close()
    last = [row for row in waiting if row["at"] == BEGIN + 3 * QUARTER]
    assert {row["device_id"] for row in last} == {"grid-meter", "oven", "pump", "household"}
    writes = [group for group in "\n".join(statements).split("BEGIN") if "INSERT INTO events" in group]
    assert len(writes) == 3, [group.count("INSERT INTO events") for group in writes]
    assert all("'metering'" in group for group in writes), "with the counters that it follows from"
