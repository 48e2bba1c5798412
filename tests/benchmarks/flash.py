"""What an event costs the flash: bytes handed to the device and syncs, beside one commit for each event.

Usage: flash.py [--intervals 96] [--points 60] [--folder DIR]

A day of a house: each interval its events are stored with the metering's state, then sent live and taken out. The naive way is the
plain one: each event inserted and deleted by a commit of its own, the state by another one. Bytes are the kernel's (`write_bytes`
in /proc/self/io), so the folder must be on a disk and not in memory; syncs are counted by strace.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from edge_agent.cloud.queue_rules import queue_rules
from edge_agent.cloud.vocabulary import Decisions
from edge_agent.model.events import Event
from edge_agent.outbox.queue import Queue

KINDS = (("ENERGY_CONSUMPTION", 123.456), ("POWER_CONSUMPTION", 1234.5), ("DEVICE_STATUS", 2.0))
GROUP = 100  # as the uploader settles live events
STATE = json.dumps({f"point-{number}": [1_790_000_000.5, 12345.678, 1234.5] * 4 for number in range(60)})


def closing(interval: int, points: int) -> list[Event]:
    """The events of one interval."""
    at = 1_790_000_100 + interval * 900
    return [Event(f"device-{point}", f"Device {point}", "ENERGY_MEASUREMENT", kind, value, at) for point in range(points) for kind, value in KINDS]


def ours(folder: Path, intervals: int, points: int) -> None:
    """Through the agent's queue."""
    with Queue.opened(folder / "queue.db", 256_000_000, queue_rules(Decisions())) as queue:
        queue.begin_sending(GROUP)
        for interval in range(intervals):
            queue.put(closing(interval, points), {"metering": STATE})
            while taken := queue.take_live(0, 0, GROUP):
                queue.accept(taken, historical=False)
        queue.end_sending()


def naive(folder: Path, intervals: int, points: int) -> None:
    """A commit for everything, with the same durability."""
    db = sqlite3.connect(folder / "naive.db", isolation_level=None)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE events (seq INTEGER PRIMARY KEY, body TEXT); CREATE TABLE s (v)")
    for interval in range(intervals):
        for event in closing(interval, points):
            body = json.dumps(
                {"deviceId": event.device_id, "deviceName": event.device_name, "type": event.type, "value": event.value, "at": event.at}
            )
            db.execute("INSERT INTO events (body) VALUES (?)", (body,))
        db.execute("INSERT OR REPLACE INTO s (rowid, v) VALUES (1, ?)", (STATE,))
        for (seq,) in db.execute("SELECT seq FROM events").fetchall():
            db.execute("DELETE FROM events WHERE seq = ?", (seq,))
    db.close()


def written_bytes() -> int:
    """What this process has handed to the device so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def measure(way: str, options: argparse.Namespace) -> tuple[int, int | None]:
    """Bytes and syncs of one way, in a process of its own; the syncs None without strace."""
    command = [sys.executable, __file__, "--way", way, "--intervals", str(options.intervals), "--points", str(options.points)]
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="flash-") as folder:
        count = Path(folder) / "syncs"
        traced = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(count)] if shutil.which("strace") else []
        done = subprocess.run([*traced, *command, "--folder", folder], check=True, capture_output=True, text=True)
        syncs = sum("sync(" in line for line in count.read_text().splitlines()) if traced else None
    return int(done.stdout), syncs


def main() -> None:
    """Measures both ways and prints them per event."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intervals", type=int, default=96)
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--way", choices=["ours", "naive"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        before = written_bytes()
        {"ours": ours, "naive": naive}[options.way](options.folder, options.intervals, options.points)
        print(written_bytes() - before)
        return
    events = options.intervals * options.points * len(KINDS)
    print(f"{events} events in {options.intervals} intervals\n{'':12} {'bytes/event':>12} {'syncs/event':>12} {'MB in all':>12}")
    for way in ("ours", "naive"):
        written, syncs = measure(way, options)
        print(f"{way:12} {written / events:>12,.0f} {'-' if syncs is None else f'{syncs / events:.3f}':>12} {written / 1e6:>12.1f}")


if __name__ == "__main__":
    main()
