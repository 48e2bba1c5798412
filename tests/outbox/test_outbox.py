"""The queue behind the agent's loop: grouped transactions, failures that stay with their caller, closing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_agent.model.errors import StorageError
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox, Queue


def event(device: str, at: int, value: float = 1.5) -> Event:
    return Event(device, "Meter", "SMART_METER", "ENERGY_CONSUMPTION", value, at)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    outbox = await Outbox.open(tmp_path / "q.db")
    yield outbox
    await outbox.close()


@contextlib.asynccontextmanager
async def held(outbox: Outbox) -> AsyncIterator[None]:
    """Keeps the queue's thread busy while the block runs, so that what it asks for waits together."""
    go, began, loop = threading.Event(), asyncio.Event(), asyncio.get_running_loop()

    def wait(queue: Queue) -> None:
        loop.call_soon_threadsafe(began.set)
        assert go.wait(5)

    holding = asyncio.create_task(outbox.call(wait))
    await began.wait()
    yield
    await asyncio.sleep(0)
    go.set()
    await holding


async def test_what_was_committed_is_taken_by_the_uploader(outbox: Outbox) -> None:
    await outbox.commit([event("a", 100), event("b", 9000)], {"metering": "{}"})
    assert [queued.at for queued in await outbox.take_live(5000, 5000, 10)] == [9000]
    (old,) = await outbox.take_old(5000, 5000, 10)
    await outbox.accept([old], historical=True)
    assert (await outbox.stats())["waiting"] == 1
    assert await outbox.load_state("metering") == "{}"


async def test_what_waits_together_is_one_transaction_in_the_order_asked_for(outbox: Outbox) -> None:
    seen: list[str] = []
    async with held(outbox):
        trace = asyncio.create_task(outbox.call(lambda queue: queue._db.set_trace_callback(seen.append)))
        waiting = [asyncio.create_task(outbox.commit([event("a", at)], {"last": str(at)})) for at in range(50)]
    await asyncio.gather(trace, *waiting)
    assert seen.count("COMMIT") == 1
    assert [queued.at for queued in await outbox.take_old(1e9, 1e9, 100)] == list(range(50))
    assert await outbox.load_state("last") == "49"


async def test_one_that_fails_in_a_group_harms_no_other(outbox: Outbox) -> None:
    async with held(outbox):
        good = asyncio.create_task(outbox.commit([event("a", 1)], {}))
        bad = asyncio.create_task(outbox.commit([event("b", 2, math.nan)], {"bad": "1"}))
        other = asyncio.create_task(outbox.commit([event("c", 3)], {}))
    await asyncio.gather(good, other)
    with pytest.raises(ValueError, match="b ENERGY_CONSUMPTION"):
        await bad
    assert [queued.at for queued in await outbox.take_old(1e9, 1e9, 100)] == [1, 3]
    assert await outbox.load_state("bad") is None


async def test_a_commit_whose_caller_was_cancelled_is_done_all_the_same(outbox: Outbox) -> None:
    async with held(outbox):
        task = asyncio.create_task(outbox.commit([event("a", 1)], {}))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [queued.at for queued in await outbox.take_old(1e9, 1e9, 100)] == [1]


async def test_the_loop_goes_on_while_the_disk_is_slow(outbox: Outbox) -> None:
    async with held(outbox):
        task = asyncio.create_task(outbox.commit([event("a", 1)], {}))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
    await task


async def test_nothing_to_store_is_no_transaction(outbox: Outbox) -> None:
    seen: list[str] = []
    await outbox.call(lambda queue: queue._db.set_trace_callback(seen.append))
    seen.clear()
    await outbox.commit([], {})
    assert seen == []


async def test_closing_finishes_what_was_asked_for(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path / "q.db")
    tasks = [asyncio.create_task(outbox.commit([event("a", at)], {})) for at in range(20)]
    await asyncio.sleep(0)
    await outbox.close()
    await asyncio.gather(*tasks)
    with Queue.opened(tmp_path / "q.db") as queue:
        assert queue.stats()["waiting"] == 20


async def test_a_closed_outbox_says_so(tmp_path: Path) -> None:
    outbox = await Outbox.open(tmp_path / "q.db")
    await outbox.close()
    await outbox.close()
    with pytest.raises(StorageError, match="is closed"):
        await outbox.commit([event("a", 1)], {})


async def test_a_file_that_cannot_be_opened_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist; create it"):
        await Outbox.open(tmp_path / "nowhere" / "q.db")


async def test_a_file_that_cannot_be_read_any_more_is_said_in_words(outbox: Outbox) -> None:
    await outbox.call(lambda queue: queue._db.execute("DROP TABLE dead"))
    with pytest.raises(StorageError, match="no such table: dead"):
        await outbox.dead_letters(10)
    await outbox.commit([event("a", 1)], {})


async def test_dead_letters_go_back_through_the_facade(outbox: Outbox) -> None:
    await outbox.commit([event("a", 1)], {})
    (queued,) = await outbox.take_old(10, 10, 1)
    await outbox.set_aside(queued, "refused", 400, "bad", 5)
    assert [one.reason for one in await outbox.troubled()] == ["bad"]
    await outbox.bury(queued, 400, "bad", 5)
    assert [letter["reason"] for letter in await outbox.dead_letters(10)] == ["bad"]
    assert await outbox.retry_dead() == 1
    assert [row["state"] for row in await outbox.waiting(10)] == ["waiting"]
