"""Works on a queue over a file system whose power is cut again and again: writes an image of the disk at each cut, and what was told then.

Usage: torn_worker.py QUEUE IMAGES mixed|merge CUTS SEED
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from edge_agent.outbox.queue import Queue
from tests.outbox.cut_worker import RULES, SMALL, closing
from tests.outbox.torn_vfs import Disk, TornVfs


def main() -> None:
    """Runs until enough cuts were made."""
    path, images, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    cuts, chance = int(sys.argv[4]), random.Random(int(sys.argv[5]))
    told = {"put": 0, "accept": 0, "cuts": 0}

    def perhaps_cut(disk: Disk) -> None:
        if told["cuts"] < cuts and chance.random() < 0.03:
            folder = images / str(told["cuts"])
            folder.mkdir(parents=True)
            for name, content in disk.images(chance).items():
                (folder / name).write_bytes(content)
            unsynced = sum(len(writes) for writes in disk.pending.values())
            (folder / "told.json").write_text(json.dumps(told | {"unsynced": unsynced}))
            told["cuts"] += 1

    vfs = TornVfs(perhaps_cut)  # SQLite calls it as long as it is open
    queue = Queue(path, SMALL if kind == "merge" else None, RULES)
    while told["cuts"] < cuts:
        number = told["put"] + 1
        queue.put(closing(number), {"last": str(number), "metering": "x" * (number % 7 * 1000)})
        told["put"] = number
        if not vfs.disk.synced:
            sys.exit("Python's sqlite3 has an SQLite of its own: it does not write through this")
        if kind == "mixed" and number % 3 == 0:
            queue.accept(queue.take_old(1e12, 1e12, number % 50 + 1), historical=True)
            told["accept"] = queue.stats()["accepted_historical"]
        if number % 40 == 0:
            queue._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    main()
