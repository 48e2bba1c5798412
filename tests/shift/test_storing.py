"""Events on their way to disk: stored once, whoever stops waiting for it."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox, Queue
from edge_agent.shift.storing import Storing
from tests.conftest import HandClock


async def test_a_write_that_nobody_waits_for_any_more_is_not_repeated(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path / "q.db")
    storing = Storing(outbox, HandClock(), 900, lambda: {"metering": "{}"}, lambda: None, lambda _: None)
    go, began, loop = threading.Event(), asyncio.Event(), asyncio.get_running_loop()

    def slow_disk(_: Queue) -> None:
        loop.call_soon_threadsafe(began.set)
        assert go.wait(30)

    disk = asyncio.create_task(outbox.call(slow_disk))
    await began.wait()
    storing.add([Event("a", "Meter", "SMART_METER", "ENERGY_CONSUMPTION", 1.5, 900)], changed=False)
    keeping_time = asyncio.create_task(storing.store())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    keeping_time.cancel()
    await asyncio.gather(keeping_time, return_exceptions=True)
    assert keeping_time.cancelled()
    closing = asyncio.create_task(storing.close())
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(disk, closing)
    assert (await outbox.stats())["waiting"] == 1
    await outbox.close()
