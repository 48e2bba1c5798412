"""A cloud, an account for it and an uploader with its queue, on loopback; time runs fast but is real."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, LocalCloud
from edge_agent.model.clock import Clock, ScaledClock
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient, Patience
from edge_agent.uplink.settings import MoostAccount, UploadSettings
from edge_agent.uplink.spread import BacklogStart
from edge_agent.uplink.uploader import Uploader

NOON = 1_800_000_000.0 - 1_800_000_000 % 86400 + 43200
NOW = NOON + 600  # in the middle of a quarter-hour: nothing is held for the spread
SETTINGS = UploadSettings()
PATIENCE = Patience(connect_s=10.0, answer_s=10.0, batch_s=10.0)  # a machine that is busy is no silent cloud
IMPATIENCE = Patience(connect_s=5.0, answer_s=2.0, batch_s=2.0)


def account_of(cloud: LocalCloud) -> MoostAccount:
    return MoostAccount(cloud.url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, CLIENT_SECRET)


def event(device: str, at: float, value: float = 1.0, type: str = "ENERGY_CONSUMPTION") -> Event:
    return Event(device, f"The {device}", "SMART_METER", type, value, int(at))


@dataclass
class Rig:
    """An uploader at work on a queue."""

    cloud: LocalCloud
    outbox: Outbox
    clock: Clock
    client: MoostClient
    uploader: Uploader

    async def commit(self, *events: Event) -> None:
        await self.outbox.commit(events, {})
        self.uploader.wake()

    async def until_sent(self, timeout_s: float = 60.0) -> None:
        """Until nothing waits any more but what is dead."""
        async with asyncio.timeout(timeout_s):
            while (await self.outbox.stats())["waiting"]:
                await asyncio.sleep(0.01)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The uploader runs while the block does; its errors are the test's."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.uploader.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task


@contextlib.asynccontextmanager
async def rig(
    cloud: LocalCloud,
    folder: Path,
    *,
    clock: Clock | None = None,
    settings: UploadSettings = SETTINGS,
    interval_s: float = 900.0,
    account: MoostAccount | None = None,
    chance: Callable[[], float] = random.random,
    start_chance: Callable[[], float] = lambda: 0.0,
    patience: Patience = PATIENCE,
) -> AsyncIterator[Rig]:
    """An uploader for the cloud with its queue in `folder`; without a clock of the test's, time runs 50 times faster from NOW on.

    A backlog starts at once, unless `start_chance` says otherwise.
    """
    clock = clock or ScaledClock(50.0, NOW)
    outbox = await Outbox.open(folder / "queue.db")
    client = MoostClient(account or account_of(cloud), clock, patience)
    try:
        yield Rig(cloud, outbox, clock, client, Uploader(outbox, client, settings, clock, interval_s, chance, BacklogStart(start_chance)))
    finally:
        await client.close()
        await outbox.close()
