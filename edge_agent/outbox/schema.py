"""The queue's file: its tables, its version, and how it is opened so that a power cut loses nothing committed.

Knows no event and no upload: `queue.py` fills the tables. Plain DDL, because sqlite-utils would cost the
daemon 7 MB and click at its first start.

An update may be rolled back, so each format only adds to the one before, which can still read it: `PRAGMA
user_version` is the OLDEST format whose programs may use the file, all that a program of format 1 looks at;
the state `format` tells the file's own, and the programs' versions.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from edge_agent import __version__
from edge_agent.model.errors import StorageDamaged, StorageError
from edge_agent.outbox.failures import failure
from edge_agent.outbox.write_ahead import hides_commits

FORMAT = 2  # of the file as this program makes it
OLDEST_FORMAT, OLDEST_PROGRAM = 1, "0.1.0"  # whose programs can use such a file
_PAGE = 4096

# `events` is a plain rowid table in the order of arrival: 20 to 30 bytes an event. What names an event stands once, in `series`.
# `troubled` holds the few that the cloud refused or failed on; `series.sent_at` is the newest value that went ahead of older ones.
_TABLES = """
CREATE TABLE series (id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, device_name TEXT NOT NULL, source TEXT NOT NULL, type TEXT NOT NULL,
                     sent_at INTEGER, UNIQUE (device_id, device_name, source, type));
CREATE TABLE events (seq INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series, at INTEGER NOT NULL, value REAL NOT NULL);
CREATE TABLE troubled (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, attempts INTEGER NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL,
                       last_at INTEGER NOT NULL);
CREATE TABLE dead (seq INTEGER PRIMARY KEY, series INTEGER NOT NULL REFERENCES series, at INTEGER NOT NULL, value REAL NOT NULL,
                   status INTEGER NOT NULL, reason TEXT NOT NULL, buried_at INTEGER NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

# What each further format adds. Nothing of an older one may change: its statements name columns by place.
_ADDED = {
    # what the cloud has, of the series that are compared with its own statistics
    2: """
CREATE TABLE IF NOT EXISTS sent (at INTEGER NOT NULL, series INTEGER NOT NULL REFERENCES series, value REAL NOT NULL, resent INTEGER NOT NULL,
                                 PRIMARY KEY (at, series)) WITHOUT ROWID;
""",
}


def connect(path: Path) -> sqlite3.Connection:
    """Opens or makes the queue's file. Raises StorageError saying what is wrong with file or folder.

    The lock is exclusive: one connection writes and checkpoints, for SQLite up to 3.51.2 can damage a WAL that two reset.
    """
    if path.is_file() and path.stat().st_size == 0:  # SQLite would take it for a new one, and throw its log away
        raise StorageDamaged(f"{path}: is empty; what its log holds is salvaged when the agent starts")
    if _log_is_damaged(path):
        raise StorageDamaged(f"{path}: its log is damaged; what can be read is salvaged when the agent starts")
    try:
        db = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise failure(path, error) from None
    try:
        _prepare(db, path)
    except sqlite3.Error as error:
        db.close()
        raise failure(path, error) from None
    except StorageError:
        db.close()
        raise
    return db


def _log_is_damaged(path: Path) -> bool:
    """True for a log of which SQLite would drop a part; asked of a queue that this program may use, and after a crash alone: else there is none."""
    log = path.with_name(path.name + "-wal")
    try:
        with path.open("rb") as file:
            format_in_file = int.from_bytes(file.read(64)[60:])
        return 0 < format_in_file <= FORMAT and hides_commits(log.read_bytes())
    except OSError:  # there is none, or SQLite says why it cannot be read
        return False


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    found = _format(db, path)
    db.execute(f"PRAGMA page_size={_PAGE}")
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise StorageError(f"{path}: no write-ahead log on this file system (the journal stays {mode!r}); move `storage.path:` to a local disk")
    db.execute("PRAGMA synchronous=FULL")  # NORMAL would lose the last commits in a power cut
    db.execute("PRAGMA secure_delete=ON")  # what left the queue leaves no trace that a salvage would bring back
    db.execute("PRAGMA cache_size=-1024")
    db.execute("PRAGMA temp_store=MEMORY")
    if found < FORMAT:
        _migrate(db, found)
    else:
        db.execute("BEGIN IMMEDIATE")  # a file that cannot be written is found here, not at the first interval
        db.execute("ROLLBACK")


def _migrate(db: sqlite3.Connection, found: int) -> None:
    """Brings a file of format `found` (0: an empty one) to FORMAT, in one transaction."""
    added = "".join(_ADDED[number] for number in range(max(found, 1) + 1, FORMAT + 1))
    names = json.dumps({"format": FORMAT, "program": __version__, "oldest_program": OLDEST_PROGRAM})
    note = f"INSERT INTO state VALUES ('format', '{names}') ON CONFLICT DO UPDATE SET value = excluded.value"
    try:
        db.executescript(f"BEGIN IMMEDIATE;{'' if found else _TABLES}{added}{note};PRAGMA user_version={OLDEST_FORMAT};COMMIT;")
    except sqlite3.Error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    # until the first checkpoint the tables stand in the log alone
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _format(db: sqlite3.Connection, path: Path) -> int:
    """The file's format, 0 for an empty file. Raises StorageError for a file that this program must not use."""
    oldest = int(db.execute("PRAGMA user_version").fetchone()[0])
    if oldest > FORMAT:
        made: dict[str, Any] = {}
        with contextlib.suppress(sqlite3.Error):  # the future may keep it elsewhere
            made = _made_by(db)
        needed = f"needs edge-agent {made['oldest_program']} or newer" if "oldest_program" in made else f"needs a program of format {oldest}"
        raise StorageError(
            f"{path}: the queue was written by a newer edge-agent and {needed}, this is {__version__}; `sudo apt install edge-agent` brings the "
            "newest. The file was not touched"
        )
    if oldest == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StorageError(f"{path}: this is a database, but no queue of edge-agent; set `storage.path:` to another file. The file was not touched")
    return int(_made_by(db).get("format", 1)) if oldest else 0


def _made_by(db: sqlite3.Connection) -> dict[str, Any]:
    """What the file tells of the program that made its format; nothing in format 1."""
    row = db.execute("SELECT value FROM state WHERE key = 'format'").fetchone()
    with contextlib.suppress(ValueError):
        made = json.loads(row[0]) if row else {}
        return made if isinstance(made, dict) else {}
    return {}
