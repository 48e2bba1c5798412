"""Power cuts on a real kernel: an ext4 that is shut down while the queue writes to it. What was told to be stored is stored."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from edge_agent.outbox.opening import Opening
from edge_agent.outbox.queue import Queue
from tests.disks import CutDisk
from tests.outbox.cut_worker import PER_PUT, RULES, closing

CUTS = 210
FIXTURE = Path(__file__).parent / "fixtures" / "0.1.0" / "queue.db"


class Worker:
    """The process that writes; it outlives the cuts, its files do not."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.outbox.cut_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )

    def begin(self, path: Path, work: str, last: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"path": str(path), "work": work, "last": last}) + "\n")
        self._process.stdin.flush()
        assert self._line()[0] == "begun"

    def told(self) -> list[tuple[str, int, float]]:
        """What it was told and when, once its disk is gone."""
        lines = []
        while (line := self._line())[0] != "end":
            lines.append((line[0], int(line[1]), float(line[2])))
        return lines

    def _line(self) -> list[str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the worker died"
        return line.split()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[CutDisk]:
    with CutDisk(tmp_path) as disk:
        yield disk


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


class Told(NamedTuple):
    """Of each kind the last that was told before the cut, and the last at all."""

    surely: dict[str, int]
    perhaps: dict[str, int]


def cut(disk: CutDisk, worker: Worker, path: Path, work: str, last: int, after_s: float) -> Told:
    """Lets the worker write for `after_s` and cuts the power.

    Unlike a true cut the worker lives on for a moment, and a sync that was under way may claim a success that it had not.
    """
    worker.begin(path, work, last)
    time.sleep(after_s)
    at = time.monotonic()
    disk.power_off()
    lines = worker.told()
    disk.power_on()
    return Told({kind: number for kind, number, said_at in lines if said_at < at}, {kind: number for kind, number, _ in lines})


def begun(path: Path, last: int) -> int:
    """A new queue with the first `last` intervals in it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    with Queue.opened(path) as queue, queue.transaction():
        for number in range(1, last + 1):
            queue.put(closing(number), {"last": str(number)})
    return last


def energy(queue: Queue) -> Decimal:
    return sum((Decimal(repr(queued.value)) for queued in queue.take_old(1e12, 1e12, 10**6)), Decimal())


def put_in(last: int) -> Decimal:
    return sum((Decimal(repr(event.value)) for number in range(1, last + 1) for event in closing(number)), Decimal())


@pytest.mark.parametrize(("work", "cuts"), [("mixed", 90), ("checkpoint", 50), ("merge", 40)])
def test_what_was_told_to_be_stored_or_taken_out_is(disk: CutDisk, worker: Worker, work: str, cuts: int) -> None:
    path, chance = disk.folder / "q.db", random.Random(work)
    last, accepted = begun(path, 200 if work == "merge" else 0), 0
    commits = merged = 0
    for number in range(cuts):
        told = cut(disk, worker, path, work, last, chance.uniform(0.0, 0.08))
        with contextlib.closing(Opening(path, rules=RULES).queue()) as queue:
            stats, stored = queue.stats(), int(queue.state("last") or 0)
            assert stats["salvages"] == 0, f"cut {number}: a power cut is no damage"
            assert told.surely.get("put", last) <= stored <= told.perhaps.get("put", last) + 1, f"cut {number}: an interval that was stored is gone"
            assert stats["accepted_historical"] >= told.surely.get("accept", accepted), f"cut {number}: what was taken out is back"
            assert stats["waiting"] + stats["accepted_historical"] + stats["merged"] + stats["dropped"] == stored * PER_PUT, f"cut {number}"
            if work == "merge":
                assert stats["dropped"] or energy(queue) == put_in(stored), f"cut {number}: energy was lost or doubled in a merge"
            else:
                seqs = [queued.seq for queued in queue.take_old(1e12, 1e12, 10**6)]
                assert seqs == list(range(stats["accepted_historical"] + 1, stored * PER_PUT + 1)), f"cut {number}"
        commits += stored - last
        merged += stats["merged"]
        last, accepted = stored, stats["accepted_historical"]
        if stats["dropped"]:
            last = begun(path, 200)
    assert commits > cuts, "the cuts came while it wrote"
    assert work != "merge" or merged


def test_a_migration_is_done_or_not_begun(disk: CutDisk, worker: Worker) -> None:
    path, chance, formats = disk.folder / "q.db", random.Random(1), []
    with sqlite3.connect(FIXTURE) as db:
        before = db.execute("SELECT * FROM events ORDER BY seq").fetchall()
    db.close()
    for number in range(40):
        for file in disk.folder.glob("q.db*"):
            file.unlink()
        shutil.copy(FIXTURE, path)
        subprocess.run(["sync", "--file-system", str(disk.folder)], check=True)
        cut(disk, worker, path, "migrate", 1_000_000, chance.uniform(0.0, 0.01))
        with contextlib.closing(sqlite3.connect(path)) as db:
            formats.append(db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sent'").fetchone()[0])
            assert db.execute("SELECT count(*) FROM state WHERE key = 'format'").fetchone()[0] == formats[-1], f"cut {number}: half a migration"
        with contextlib.closing(Opening(path, rules=RULES).queue()) as queue:
            assert queue.stats()["salvages"] == 0
            rows = queue._db.execute("SELECT * FROM events WHERE at < 1800000000 ORDER BY seq").fetchall()
            assert rows[: len(before)] == before, f"cut {number}"
            assert queue.sent(0, 1e12) == []
    assert set(formats) == {0, 1}, "some cuts came before the migration, some after it"


def test_enough_cuts_are_made() -> None:
    """The promise is 200 of them; the agent's own come on top, in tests/end_to_end."""
    assert CUTS <= 90 + 50 + 40 + 40
