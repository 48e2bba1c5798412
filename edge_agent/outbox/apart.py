"""Events that wait behind the others, and those that are dead letters. Works on the queue's connection, in the caller's transaction."""

from __future__ import annotations

import sqlite3

from edge_agent.outbox import counters
from edge_agent.outbox.rows import Kind, Queued

_SET_ASIDE = (
    "INSERT INTO troubled VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "kind = excluded.kind, attempts = attempts + 1, status = excluded.status, reason = excluded.reason, last_at = excluded.last_at"
)
_BURY = "INSERT INTO dead SELECT seq, series, at, value, ?, ?, ? FROM events WHERE seq = ?"


def set_aside(db: sqlite3.Connection, queued: Queued, kind: Kind, status: int, reason: str, at: float) -> None:
    """It stays in the queue, but apart; another time counts."""
    db.execute(_SET_ASIDE, (queued.seq, kind, status, reason, int(at)))


def bury(db: sqlite3.Connection, queued: Queued, status: int, reason: str, at: float) -> int:
    """A dead letter of an event, which is still in the queue; gives 1, or 0 where it is not."""
    counters.count(db, "buried", 1)
    return db.execute(_BURY, (status, reason, int(at), queued.seq)).rowcount


def retry(db: sqlite3.Connection) -> int:
    """Puts all dead letters back at their old places; gives their number."""
    back = db.execute("INSERT INTO events SELECT seq, series, at, value FROM dead").rowcount
    db.execute("DELETE FROM dead")
    if back:
        counters.count(db, "requeued", back)
    return back
