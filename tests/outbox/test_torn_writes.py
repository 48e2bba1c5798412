"""Power cuts without root or kernel: what SQLite had not synced is lost or torn, in any order. What was told to be stored is stored."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest

from edge_agent.outbox.opening import Opening
from tests.outbox.cut_worker import PER_PUT, RULES
from tests.outbox.test_power_cuts import energy, put_in

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def images(folder: Path, work: str, cuts: int, seed: int) -> list[Path]:
    """The disk after each cut. Where Python does not use the system's SQLite the test is skipped, in CI it fails."""
    command = [sys.executable, "-m", "tests.outbox.torn_worker", str(folder / "q.db"), str(folder / "images"), work, str(cuts), str(seed)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], env=dict(os.environ), capture_output=True, text=True, timeout=300)
    if "libsqlite3.so.0: cannot open" in ran.stderr or "an SQLite of its own" in ran.stderr:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("Python does not use the system's libsqlite3.so.0")
    assert ran.returncode == 0, ran.stderr
    return sorted((folder / "images").iterdir(), key=lambda image: int(image.name))


@pytest.mark.parametrize(("work", "cuts"), [("mixed", 300), ("merge", 300)])
def test_what_was_told_is_there_whatever_was_torn(work: str, cuts: int) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        found = images(Path(name), work, cuts, seed=1)
        assert len(found) == cuts
        torn = merged = 0
        sums: dict[int, Decimal] = {}
        for image in found:
            told = json.loads((image / "told.json").read_text())
            torn += told["unsynced"] > 1
            with contextlib.closing(Opening(image / "q.db", rules=RULES).queue()) as queue:
                if not told["put"]:
                    continue  # cut while the file was made: there is nothing in it yet
                stats, stored = queue.stats(), int(queue.state("last") or 0)
                assert stats["salvages"] == 0, f"{image.name}: a power cut is no damage"
                assert told["put"] <= stored <= told["put"] + 1, f"{image.name}: an interval that was stored is gone"
                assert stats["accepted_historical"] >= told["accept"], f"{image.name}: what was taken out is back"
                assert stats["waiting"] + stats["accepted_historical"] + stats["merged"] + stats["dropped"] == stored * PER_PUT
                if work == "merge" and not stats["dropped"]:
                    sums[stored] = sums.get(stored) or put_in(stored)
                    assert energy(queue) == sums[stored]
                merged += stats["merged"]
        assert torn > cuts / 2, "the cuts came while it wrote"
        assert merged or work != "merge"
