"""Bounded files: what goes in which order, and a disk that is really full."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from edge_agent.model.errors import StorageFull
from edge_agent.model.events import Event, QueueRules
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.queue import Queue
from edge_agent.outbox.reserve import Reserve
from tests.disks import fill, small_disk

RULES = QueueRules(merged={"ENERGY_CONSUMPTION": "sum", "POWER_CONSUMPTION": "mean"})
QUARTER = 900
PER_CLOSING = 41


def closing(interval: int, points: int = 20) -> list[Event]:
    """What the closing of an interval brings: an energy and a power of each point, and one state."""
    at = interval * QUARTER
    found = [Event("plug", "Plug", "SMART_PLUG", "SWITCH_STATE", interval % 2, at)]
    for point in range(points):
        names = (f"meter-{point}", f"Meter {point}", "SMART_METER")
        found.append(Event(*names, "ENERGY_CONSUMPTION", round(interval * 0.1 + point, 3), at))
        found.append(Event(*names, "POWER_CONSUMPTION", 40.5 + point, at))
    return found


def energy_of(events: list[Event]) -> Decimal:
    return sum((Decimal(repr(event.value)) for event in events if event.type == "ENERGY_CONSUMPTION"), Decimal())


def everything(queue: Queue) -> list[Event]:
    return [queued.event for queued in queue.take_old(1e12, 1e12, 10**6)]


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def test_old_backlog_is_merged_before_anything_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Event] = []
    with Queue.opened(tmp_path / "q.db", 2_000_000, RULES) as queue:
        for interval in range(1, 1800):
            sent += closing(interval)
            queue.put(closing(interval), {})
        stats = queue.stats()
        assert stats["merged"] > 10_000
        assert stats["dropped"] == 0
        assert stats["waiting"] + stats["merged"] == len(sent)
        left = everything(queue)
    assert energy_of(left) == energy_of(sent)
    assert [event for event in left if event.type == "SWITCH_STATE"] == [event for event in sent if event.type == "SWITCH_STATE"]
    day = [event for event in sent if event.at > 1799 * QUARTER - 86400]
    assert left[-len(day) :] == day, "the last day is as fine as it was measured"
    assert [record.getMessage().rpartition("; ")[0] for record in caplog.records] == [
        f"{tmp_path}/q.db: the queue has reached storage.max_size; old events are merged by the hour"
    ]


def test_dead_letters_go_first_then_fineness_then_the_oldest_events(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Queue.opened(tmp_path / "q.db", 1_000_000, RULES) as queue:
        queue.put([Event("bad", "Bad", "SMART_METER", "SWITCH_STATE", 1, at) for at in range(500)], {})
        with queue.transaction():
            for queued in queue.take_old(1e12, 1e12, 500):
                queue.bury(queued, 400, "refused", 1.0)
        queue.taken = 0  # as after a restart: nothing is on its way
        for interval in range(1, 3000):
            queue.put(closing(interval), {})
        stats = queue.stats()
        assert stats["dead"] == 0
        assert stats["dropped"] > 0
        assert stats["waiting"] + stats["merged"] + stats["dropped"] == 2999 * PER_CLOSING
    said = [record.getMessage() for record in caplog.records]
    assert ["dead letters" in said[0], "merged" in said[1], "oldest events are dropped" in said[2], len(said)] == [True, True, True, 3]


def test_what_is_on_its_way_to_the_cloud_is_never_merged(tmp_path: Path) -> None:
    """Else the cloud would have its energy twice: by itself, and in the hour."""
    with Queue.opened(tmp_path / "q.db", 1_000_000, RULES) as queue:
        for interval in range(1, 400):
            queue.put(closing(interval), {})
        taken = queue.take_old(1e12, 1e12, 500)
        for interval in range(400, 800):
            queue.put(closing(interval), {})
        assert queue.stats()["merged"] > 0
        assert queue.take_old(1e12, 1e12, 500) == taken


@pytest.mark.parametrize("max_size", [1_000_000, 2_500_000])
def test_all_files_together_stay_within_the_size(tmp_path: Path, max_size: int) -> None:
    most = 0
    with Queue.opened(tmp_path / "q.db", max_size, RULES) as queue:
        for interval in range(1, 2500):
            queue.put(closing(interval), {"metering": "x" * 5000})
            if interval % 10 == 0:
                queue.accept(queue.take_old(1e12, 1e12, 5), historical=True)
            most = max(most, size_of(tmp_path))
        assert queue.stats()["merged"] > 0
        assert queue.stats()["size_bytes"] == size_of(tmp_path)
    assert most <= max_size


def test_a_lowered_bound_is_reached_in_several_transactions(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db", None, RULES) as queue:
        for first in range(1, 2000, 100):
            queue.put([event for interval in range(first, first + 100) for event in closing(interval)], {})
    with Queue.opened(tmp_path / "q.db", 1_000_000, RULES) as queue:
        most = 0
        for interval in range(2001, 2060):
            queue.put(closing(interval), {})
            most = max(most, (tmp_path / "q.db-wal").stat().st_size)
        assert not queue._space.is_short()
        assert most < 4_000_000


# a full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8_000_000) as folder:
        yield folder


async def test_a_full_disk_stops_neither_acknowledging_nor_storing(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outbox = await Outbox.open(disk / "q.db", rules=RULES)
    try:
        for interval in range(1, 200):
            await outbox.commit(closing(interval), {"metering": "x" * 5000})
        filler = fill(disk)
        for interval in range(200, 1200):
            await outbox.commit(closing(interval), {"metering": f"{interval} " + "x" * 5000})
            if interval % 20 == 0:
                await outbox.accept(await outbox.take_old(1e12, 1e12, 50), historical=True)
        stats = await outbox.stats()
        assert stats["accepted_historical"] == 50 * 50
        assert stats["merged"] > 0
        assert stats["waiting"] + stats["merged"] + stats["dropped"] + stats["accepted_historical"] == 1199 * PER_CLOSING
        assert (await outbox.load_state("metering") or "").startswith("1199 ")
        assert not (disk / "q.db.reserve").exists()
        filler.unlink()
        await outbox.commit(closing(1200), {})
        assert (disk / "q.db.reserve").exists()
    finally:
        await outbox.close()
    said = [record.getMessage() for record in caplog.records]
    assert sum("the queue makes do with its reserve. Make room" in line for line in said) == 1
    assert said[-1].endswith("the disk has space again")
    assert len(said) <= 4, said


async def commit_all(outbox: Outbox, intervals: range) -> None:
    for interval in intervals:
        await outbox.commit(closing(interval), {"interval": str(interval)})


async def test_a_disk_without_even_the_reserve_is_said_and_costs_nothing_committed(disk: Path) -> None:
    outbox = await Outbox.open(disk / "q.db", rules=RULES)
    try:
        await outbox.commit(closing(1), {})
        (disk / "q.db.reserve").unlink()
        filler = fill(disk)
        with pytest.raises(StorageFull, match=r"the disk is full; make room on the file system of .*disk"):
            await commit_all(outbox, range(2, 400))
        stored = int(await outbox.load_state("interval") or 1)
        assert (await outbox.stats())["waiting"] == stored * PER_CLOSING
        filler.unlink()
        await outbox.commit(closing(stored + 1), {})
        assert (await outbox.stats())["waiting"] == (stored + 1) * PER_CLOSING
    finally:
        await outbox.close()


async def test_what_waits_together_on_a_full_disk_is_stored_together(disk: Path) -> None:
    outbox = await Outbox.open(disk / "q.db", rules=RULES)
    try:
        await outbox.commit(closing(1), {})
        fill(disk)
        await asyncio.gather(*(outbox.commit(closing(interval), {}) for interval in range(2, 150)))
        assert (await outbox.stats())["waiting"] == 149 * PER_CLOSING
    finally:
        await outbox.close()


async def test_after_a_restart_on_a_full_disk_the_queue_makes_its_own_room(disk: Path) -> None:
    """There is no reserve left then: what comes in takes the place of what is old."""
    outbox = await Outbox.open(disk / "q.db", rules=RULES)
    await commit_all(outbox, range(1, 400))
    await outbox.close()
    (disk / "q.db.reserve").unlink()
    fill(disk, leave=300_000)
    outbox = await Outbox.open(disk / "q.db", rules=RULES)
    try:
        await commit_all(outbox, range(400, 1200))
        stats = await outbox.stats()
        assert stats["merged"] > 0
        assert stats["waiting"] + stats["merged"] + stats["dropped"] == 1199 * PER_CLOSING
    finally:
        await outbox.close()


def test_reserve_is_not_made_where_a_link_leads(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    (tmp_path / "q.db.reserve").symlink_to(planted)
    reserve = Reserve(tmp_path / "q.db")
    assert not reserve.keep()
    assert reserve.keep()
    assert not planted.exists()
    assert (tmp_path / "q.db.reserve").is_file()
