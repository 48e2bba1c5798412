"""What an agent that died may have sent: counted at the next start, and kept as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.cloud.queue_rules import queue_rules
from edge_agent.cloud.vocabulary import Decisions
from edge_agent.model.events import Event
from edge_agent.outbox.opening import Opening
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.queue import Queue

QUARTER = 900
RULES = queue_rules(Decisions())
MOST = 50
METERS = 30


def closing(interval: int) -> list[Event]:
    """What one interval brings."""
    return [Event(f"m{meter}", "Meter", "SMART_METER", "ENERGY_CONSUMPTION", interval + meter / 10, interval * QUARTER) for meter in range(METERS)]


def closings(first: int, last: int) -> list[Event]:
    return [event for interval in range(first, last) for event in closing(interval)]


async def doubled(path: Path) -> int:
    """What is thought to be doubled when the queue is opened the next time."""
    outbox = await Outbox.open(path)
    try:
        return (await outbox.stats())["possibly_doubled"]
    finally:
        await outbox.close()


@pytest.mark.parametrize(("waiting", "expected"), [(0, 0), (1, METERS), (100, MOST)])
async def test_a_run_that_died_while_it_sent_is_counted_once_by_what_waits(tmp_path: Path, waiting: int, expected: int) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put(closings(1, 1 + waiting), {})
        queue.begin_sending(MOST)
    assert await doubled(tmp_path / "q.db") == expected
    assert await doubled(tmp_path / "q.db") == expected


async def test_a_run_that_ended_or_never_sent_is_not_counted(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put(closings(1, 100), {})
    assert await doubled(tmp_path / "q.db") == 0
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.begin_sending(MOST)
        queue.end_sending()
    assert await doubled(tmp_path / "q.db") == 0


@pytest.mark.parametrize("died", [True, False], ids=["died", "given up at the stop"])
def test_what_may_have_been_sent_is_not_merged_after_a_restart(tmp_path: Path, died: bool) -> None:
    """Else the cloud would have its energy twice: by itself, and in the hour."""
    path = tmp_path / "q.db"
    with Queue.opened(path, 1_000_000, RULES) as queue:
        queue.put(closings(1, 400), {})
        queue.begin_sending(MOST)
        batch = queue.take_old(300 * QUARTER, 0, MOST)
        live = queue.take_live(396 * QUARTER, 0, MOST)
        if not died:
            queue.end_sending()
    for first in (400, 1200):  # the second start finds no mark any more, only what the first one made of it
        queue = Opening(path, 1_000_000, RULES).queue()
        queue.count_doubt()
        for interval in range(first, first + 800, 8):
            queue.put(closings(interval, interval + 8), {})
        assert queue.stats()["merged"] > 0
        assert queue.stats()["dropped"] == 0
        left = {queued.seq: queued for queued in queue.take_old(1e12, 1e12, 100_000)}
        assert [left[queued.seq] for queued in batch] == batch
        assert [left[queued.seq] for queued in live] == live
        queue.taken = MOST  # what was looked at here was not sent
        queue.close()


def test_live_events_in_doubt_are_not_merged_in_a_long_outage(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db", 1_000_000, RULES) as queue:
        queue.put(closings(1, 400), {})
        queue.begin_sending(MOST)
        live = queue.take_live(398 * QUARTER, 0, 4)
        queue.note_doubt([queued.seq for queued in live], None)
        for interval in range(400, 1600, 8):
            queue.put(closings(interval, interval + 8), {})
        assert queue.stats()["merged"] > 0
        left = {queued.seq: queued for queued in queue.take_old(1e12, 1e12, 100_000)}
        assert [left[queued.seq] for queued in live] == live
        assert live[0].seq - 1 not in left, "those beside them are merged"
