"""The one whose power is cut: works on the queue that each line of its input names, until the disk is gone, and says what it was told.

A line is JSON: {"path": ..., "work": "mixed" | "checkpoint" | "merge" | "migrate", "last": the last number put in}. Each answer is one
line with its monotonic time: begun, put <number>, accept <events so far>, end.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

from edge_agent.model.errors import StorageError
from edge_agent.model.events import Event, QueueRules
from edge_agent.outbox.queue import Queue

RULES = QueueRules(merged={"ENERGY_CONSUMPTION": "sum"}, remembered=frozenset({("SMART_METER", "ENERGY_CONSUMPTION")}))
PER_PUT = 12
SMALL = 120_000  # where the queue must make room


def closing(number: int) -> list[Event]:
    """What the closing of interval `number` brings."""
    return [
        Event(f"meter-{point}", f"Meter {point}", "SMART_METER", "ENERGY_CONSUMPTION", number + point / 8, number * 900) for point in range(PER_PUT)
    ]


def say(*words: object) -> None:
    """One line, dated before it is written."""
    print(*words, time.monotonic(), flush=True)


def work(path: Path, kind: str, number: int) -> None:
    """Puts in and takes out until it fails."""
    queue = Queue(path, SMALL if kind == "merge" else None, RULES)
    try:
        if kind == "checkpoint":
            queue._db.execute("PRAGMA wal_autocheckpoint=1")
        while True:
            number += 1
            queue.put(closing(number), {"last": str(number), "metering": "x" * (number % 7 * 1000)})
            say("put", number)
            if kind in ("mixed", "checkpoint") and number % 3 == 0:
                queue.accept(queue.take_old(1e12, 1e12, number % 50 + 1), historical=True)
                say("accept", queue.stats()["accepted_historical"])
    finally:
        with contextlib.suppress(StorageError):
            queue.close()


def main() -> None:
    """Answers each line of the input."""
    for line in sys.stdin:
        task = json.loads(line)
        say("begun")
        with contextlib.suppress(StorageError, OSError):
            work(Path(task["path"]), task["work"], task["last"])
        say("end")


if __name__ == "__main__":
    main()
