"""The day that ended, from the real program: at the house's midnight, and hours later when nobody was awake then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from edge_agent.agent import Agent
from edge_agent.config import load_site
from edge_agent.demo.cloud import LocalCloud
from edge_agent.model.clock import ScaledClock
from tests.conftest import until
from tests.end_to_end.gateway import SDM630, Gateway, meter
from tests.simulators import RegisterServer, serving

ZONE = ZoneInfo("Pacific/Chatham")  # its midnight lies three quarters into an hour of UTC
SPEED = 9000  # a day in ten seconds
WATTS = 720.0
HOUR = 3600


def midnight(at: float, days: int) -> int:
    """The beginning of the local day that lies so many days after an instant's."""
    day = datetime.fromtimestamp(at, ZONE).date() + timedelta(days=days)
    return int(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp())


async def count(server: RegisterServer, clock: ScaledClock) -> None:
    await server.put(1, "input", 52, WATTS, "f32")
    while True:
        await server.put(1, "input", 72, 10 + WATTS / 1000 * clock.monotonic() / HOUR, "f32")
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def agent(gateway: Gateway, clock: ScaledClock) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(Agent(load_site(gateway.site), clock).run(stop))
    yield
    stop.set()
    await running


async def test_yesterday_comes_once_live_and_dated_at_midnight_also_when_nobody_was_awake_then(gateway: Gateway, cloud: LocalCloud) -> None:
    clock = ScaledClock(SPEED, midnight(time.time(), 1) - 6 * HOUR)
    cloud.now = clock.now

    def yesterdays() -> dict[int, dict[str, Any]]:
        found = [received for received in cloud.events if received.event["type"] == "ENERGY_CONSUMPTION_YESTERDAY"]
        mine = [received for received in found if received.event["deviceId"] == "household"]
        assert len({received.event["timestamp"] for received in mine}) == len(mine), "a day came twice"
        return {received.event["timestamp"]: {"call": received.call, "value": received.event["value"]} for received in mine}

    async with serving({1: SDM630}) as server:
        gateway.write_site([meter(server)], reporting="{interval: 15min, poll_interval: 5min}", time_zone=str(ZONE))
        counting = asyncio.create_task(count(server, clock))
        async with agent(gateway, clock):
            await until(yesterdays, 60)
            awake = max(yesterdays())
            unread = midnight(awake + 12 * HOUR, 1)
            await until(lambda: clock.now() > unread - 3 * HOUR, 30)
        await until(lambda: clock.now() > unread + HOUR, 30)
        async with agent(gateway, clock):
            await until(lambda: unread in yesterdays(), 60)
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
    assert set(yesterdays()) >= {awake, unread}
    for end, found in yesterdays().items():
        assert end == midnight(end, 0)
        assert found == {"call": "live", "value": pytest.approx(WATTS * (end - midnight(end, -1)) / HOUR, rel=0.02)}
