"""What reads of a damaged queue goes into a new one; the damaged file stays beside it, under a dated name, as it was.

The new file is complete on the disk before it takes the other's place, so a power cut in between finds one of the two.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from edge_agent.model.errors import StorageError, StorageFull
from edge_agent.outbox import counters
from edge_agent.outbox.aside import replace, set_aside
from edge_agent.outbox.failures import failure
from edge_agent.outbox.pages import PAGE, Found, rows_on
from edge_agent.outbox.reserve import Reserve
from edge_agent.outbox.schema import connect
from edge_agent.outbox.write_ahead import newer_pages

_LATEST = 1 << 40  # no instant and no seq of ours is larger


class Salvaged(NamedTuple):
    """Where the damaged file is now, and what of it is in the new one. `lost`: events whose series could not be read."""

    aside: Path
    events: int
    letters: int
    lost: int


def is_text(path: Path) -> bool:
    """True for a file that somebody wrote: not damaged, but named by mistake."""
    with path.open("rb") as file:
        beginning = file.read(PAGE)
    return bool(beginning) and b"\0" not in beginning and not beginning.startswith(b"SQLite format")


def salvage(path: Path, day: str) -> Salvaged:
    """Replaces a damaged queue by what can be read of it, on a full disk in the place of the reserve. `day` names the file set aside.

    Raises OSError or StorageError; then the damaged file is where it was.
    """
    fresh = path.with_name(path.name + ".salvage")
    try:
        events, letters, lost = _filled(fresh, path)
    except StorageFull:
        if not Reserve(path).release():
            raise
        events, letters, lost = _filled(fresh, path)
    aside = set_aside(path, f"damaged-{day}")
    replace(fresh, path)
    return Salvaged(aside, events, letters, lost)


def _filled(fresh: Path, path: Path) -> tuple[int, int, int]:
    """A new queue of what can be read, complete on the disk: how many events and dead letters are in it, and how many events were lost."""
    _remove(fresh)
    try:
        with contextlib.closing(connect(fresh)) as db:
            lost = _pour(path, db)
            events, letters = (int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in ("events", "dead"))
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the file goes without its log
    except (sqlite3.Error, StorageError) as error:
        _remove(fresh)
        raise failure(fresh, error) if isinstance(error, sqlite3.Error) else error from None
    return events, letters, lost


def _remove(fresh: Path) -> None:
    for file in (fresh, fresh.with_name(fresh.name + "-wal")):
        file.unlink(missing_ok=True)


def _pour(path: Path, db: sqlite3.Connection) -> int:
    db.execute("BEGIN")
    with _pages(path) as (numbers, read):
        for number in numbers:
            for found in rows_on(number, read):
                _keep(db, found)
    unknown = "series NOT IN (SELECT id FROM series)"
    lost = db.execute(f"DELETE FROM events WHERE {unknown}").rowcount
    db.execute(f"DELETE FROM dead WHERE {unknown} OR seq IN (SELECT seq FROM events)")
    db.execute(f"DELETE FROM sent WHERE {unknown}")
    db.execute("DELETE FROM troubled WHERE seq NOT IN (SELECT seq FROM events)")
    counters.count(db, "salvages", 1)
    db.execute("COMMIT")
    return lost


@contextlib.contextmanager
def _pages(path: Path) -> Iterator[tuple[list[int], Callable[[int], bytes]]]:
    """The numbers of the file's pages, and what reads one of them: its newest content, from the log or from the file."""
    log_path = path.with_name(path.name + "-wal")
    log = log_path.read_bytes() if log_path.exists() else b""
    newer = newer_pages(log)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        numbers = sorted({*range(1, os.fstat(handle).st_size // PAGE + 1), *newer})

        def read(number: int) -> bytes:
            if number in newer:
                return log[newer[number] : newer[number] + PAGE]
            try:
                return os.pread(handle, PAGE, (number - 1) * PAGE) if number > 0 else b""
            except OSError:  # a bad sector
                return b""

        yield numbers, read
    finally:
        os.close(handle)


_SERIES = "INSERT OR IGNORE INTO series (device_id, device_name, source, type, id) VALUES (?, ?, ?, ?, ?)"
_SENT_AT = "UPDATE series SET sent_at = ? WHERE id = ?"


def _keep(db: sqlite3.Connection, found: Found) -> None:
    """Puts a row into the table whose shape it has; the other pages hold SQLite's own."""
    seq, values = found
    match values:
        case (None, int(series), int(at), int() | float() as value) if seq is not None and _plausible(seq, at, value):
            db.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)", (seq, series, at, value))
        case (None, int(series), int(at), int() | float() as value, int(), str(), int()) if seq is not None and _plausible(seq, at, value):
            db.execute("INSERT OR IGNORE INTO dead VALUES (?, ?, ?, ?, ?, ?, ?)", (seq, series, at, value, *values[4:]))
        case (None, "refused" | "failing", int(), int(), str(), int()) if seq is not None:
            db.execute("INSERT OR IGNORE INTO troubled VALUES (?, ?, ?, ?, ?, ?)", (seq, *values[1:]))
        case (None, str(), str(), str(), str(), int() | None as sent_at) if seq is not None:
            db.execute(_SERIES, (*values[1:5], seq))
            db.execute(_SENT_AT, (sent_at, seq))
        case (str(), str(), str(), str(), int()) if seq is None:  # the index of the series holds all that names them
            db.execute(_SERIES, values)
        case (int(at), int(), int() | float() as value, 0 | 1) if seq is None and _plausible(1, at, value):
            db.execute("INSERT OR IGNORE INTO sent VALUES (?, ?, ?, ?)", values)
        case (str(), int(value)) if seq is None and 0 <= value < _LATEST:
            db.execute("INSERT OR IGNORE INTO counters VALUES (?, ?)", values)
        case (str(key), str(value)) if seq is None and key != "format" and _parses(value):
            db.execute("INSERT OR IGNORE INTO state VALUES (?, ?)", values)
        case _:
            pass


def _plausible(seq: int, at: int, value: float) -> bool:
    return 0 < seq < _LATEST and 0 <= at < _LATEST and math.isfinite(value)


def _parses(state: str) -> bool:
    """State that is no JSON any more would be thrown away by whoever asks for it."""
    with contextlib.suppress(ValueError):
        json.loads(state)
        return True
    return not state.startswith(("{", "["))
