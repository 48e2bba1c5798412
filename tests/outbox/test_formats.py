"""The file through updates and their rollback: every earlier format is delivered, and its program reads what this one writes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import __version__
from edge_agent.model.errors import StorageError
from edge_agent.model.events import Event
from edge_agent.outbox.queue import Queue
from edge_agent.outbox.schema import FORMAT, OLDEST_PROGRAM

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = sorted(path.parent.name for path in FIXTURES.glob("*/queue.db"))
WRITTEN = 160 - 8 - 4 - 1  # put in by fixtures/make.py, less what was accepted and buried


@pytest.fixture(params=RELEASES)
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A queue that a released version left behind."""
    return Path(shutil.copy(FIXTURES / request.param / "queue.db", tmp_path / "q.db"))


def whole(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row but the note of the format."""
    tables = ("series", "events", "troubled", "dead", "counters", "state")
    with sqlite3.connect(path) as db:
        rows = {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
    db.close()
    rows["state"] = [row for row in rows["state"] if row[0] != "format"]
    return rows


def test_a_queue_of_any_release_keeps_every_row(older: Path) -> None:
    before = whole(older)
    Queue(older).close()
    assert whole(older) == before


def test_a_queue_of_any_release_is_delivered_also_for_devices_that_are_gone(older: Path) -> None:
    with Queue.opened(older) as queue:
        assert queue.state("metering") == '{"grid-meter": 39}'
        assert [(one.kind, one.reason) for one in queue.troubled()] == [("refused", "deviceName: does not match"), ("failing", "broken")]
        assert [letter["reason"] for letter in queue.dead_letters(10)] == ["type: is not known"]
        assert queue.retry_dead() == 1
        taken = queue.take_old(1e12, 1e12, 1000) + [one.queued for one in queue.troubled()]
        assert len(taken) == WRITTEN + 1
        assert sum(queued.event.device_name == "A device that was taken out" for queued in taken) == 37
        queue.accept(taken, historical=True)
        stats = queue.stats()
        assert (stats["waiting"], stats["dead"], stats["accepted_historical"], stats["accepted_live"]) == (0, 0, 8 + WRITTEN + 1, 4)


_OLDER_PROGRAM = """
import sys
from pathlib import Path
import edge_agent
assert edge_agent.__file__.startswith(sys.argv[2]), edge_agent.__file__
from edge_agent.model.events import Event
from edge_agent.outbox.queue import Queue
with Queue.opened(Path(sys.argv[1])) as queue:
    taken = queue.take_old(1e12, 1e12, 5)
    queue.accept(taken[:3], True)
    queue.set_aside(taken[3], "failing", 500, "broken", 1.0)
    queue.bury(taken[4], 400, "bad", 1.0)
    queue.put([Event("new", "New", "GATEWAY", "ENERGY_GENERATION", 4.5, 2000000000)], {"metering": "rolled back"})
    print(len(queue.take_old(1e12, 1e12, 1000)), queue.stats()["waiting"])
"""


@pytest.mark.parametrize("release", RELEASES)
def test_after_a_rollback_the_older_program_goes_on_with_the_file_and_after_the_update_this_one(tmp_path: Path, release: str) -> None:
    path, program = tmp_path / "q.db", str(FIXTURES / release / "program.zip")
    with Queue.opened(path) as queue:
        queue.put([Event("a", "A", "GATEWAY", "ENERGY_GENERATION", 1.5, at) for at in range(10)], {"metering": "new"})
    command = [sys.executable, "-c", _OLDER_PROGRAM, str(path), program]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": program}, cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.split()) == (0, ["6", "7"]), ran.stderr
    with Queue.opened(path) as queue:
        assert queue.state("metering") == "rolled back"
        assert [queued.at for queued in queue.take_old(1e12, 1e12, 100)] == [5, 6, 7, 8, 9, 2000000000]
        assert [one.queued.at for one in queue.troubled()] == [3]
        assert len(queue.dead_letters(10)) == 1


def test_the_file_names_its_format_and_the_oldest_program_that_may_read_it(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        assert queue.state("format") == f'{{"format": {FORMAT}, "program": "{__version__}", "oldest_program": "{OLDEST_PROGRAM}"}}'


def test_the_format_before_this_one_is_kept_as_a_fixture() -> None:
    """A new format needs the file and the program of the one before it: run tests/outbox/fixtures/make.py with each release."""
    assert OLDEST_PROGRAM in RELEASES


def newer(path: Path, oldest: int, told: str) -> bytes:
    """Turns a queue into one of the future, and gives its bytes."""
    with Queue.opened(path) as queue:
        queue.put([Event("a", "A", "GATEWAY", "ENERGY_GENERATION", 1.5, 1)], {})
    db = sqlite3.connect(path)
    db.execute("UPDATE state SET value = ? WHERE key = 'format'", (told,))
    db.execute("CREATE TABLE future (x)")
    db.execute(f"PRAGMA user_version={oldest}")
    db.commit()
    db.close()
    return path.read_bytes()


def test_a_newer_file_that_still_names_this_format_is_used_and_stays_newer(tmp_path: Path) -> None:
    told = f'{{"format": {FORMAT + 1}, "program": "9.0.0", "oldest_program": "{__version__}"}}'
    newer(tmp_path / "q.db", FORMAT, told)
    with Queue.opened(tmp_path / "q.db") as queue:
        assert [queued.at for queued in queue.take_old(10, 10, 10)] == [1]
        assert queue.state("format") == told


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (f'{{"format": {FORMAT + 2}, "program": "9.1.0", "oldest_program": "9.0.0"}}', "needs edge-agent 9.0.0 or newer"),
        ("in a new way", f"needs a program of format {FORMAT + 1}"),
    ],
)
def test_a_file_too_new_is_refused_with_the_command_that_helps_and_not_touched(tmp_path: Path, told: str, said: str) -> None:
    path = tmp_path / "q.db"
    before = newer(path, FORMAT + 1, told)
    with pytest.raises(StorageError, match=f"{said}, this is {__version__}; `sudo apt install edge-agent`.* not touched"):
        Queue(path)
    assert path.read_bytes() == before
    assert not (tmp_path / "q.db-wal").exists()


def test_a_migration_that_cannot_be_written_leaves_the_older_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shutil.copy(FIXTURES / OLDEST_PROGRAM / "queue.db", tmp_path / "q.db"))
    before = whole(path)
    monkeypatch.setitem(sys.modules["edge_agent.outbox.schema"].__dict__["_ADDED"], FORMAT, "CREATE TABLE half (x); CREATE TABLE half (x);")
    with pytest.raises(StorageError, match="already exists"):
        Queue(path)
    assert whole(path) == before
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    db.close()
