"""A power and a counter that disagree for hours: said once in the log, and shown by `read` as long as it stands."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from edge_agent.agent import Agent
from edge_agent.config import load_site
from edge_agent.demo.cloud import LocalCloud
from edge_agent.model.clock import ScaledClock
from tests.conftest import until
from tests.end_to_end.gateway import SDM630, Gateway, meter
from tests.simulators import RegisterServer, serving


async def count_ten_times_too_fast(server: RegisterServer, clock: ScaledClock) -> None:
    await server.put(1, "input", 52, 720.0, "f32")
    while True:
        await server.put(1, "input", 72, 10 + 7.2 * clock.monotonic() / 3600, "f32")
        await asyncio.sleep(0.02)


async def test_changed_register_map_is_logged_once_and_shown_by_read(gateway: Gateway, cloud: LocalCloud, caplog: pytest.LogCaptureFixture) -> None:
    clock = ScaledClock(1200, time.time())  # an hour in three seconds
    cloud.now = clock.now

    def said() -> list[str]:
        return [record.message for record in caplog.records if "times as fast as" in record.message]

    async with serving({1: SDM630}) as server:
        gateway.write_site([meter(server)], reporting="{interval: 15min, poll_interval: 5min}")
        stop = asyncio.Event()
        counting = asyncio.create_task(count_ten_times_too_fast(server, clock))
        agent = asyncio.create_task(Agent(load_site(gateway.site), clock).run(stop))
        await until(said, 40)
        code, out, errors = await gateway.command("read")
        assert (code, errors) == (0, "")
        assert "WARNING: grid-meter: its counter grows 10 times as fast as power_w says" in out
        await asyncio.sleep(4)
        assert len(said()) == 1
        stop.set()
        await agent
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting
