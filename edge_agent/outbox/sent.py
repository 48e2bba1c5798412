"""What the cloud has, of the few series that are compared with the platform's own statistics: kept for five weeks.

Works on the queue's connection, in the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from edge_agent.outbox.rows import Sent

KEPT_S = 35 * 86400

_NOTE = "INSERT INTO sent VALUES (?, ?, ?, 0) ON CONFLICT DO UPDATE SET value = excluded.value"
_SPAN = """
SELECT s.device_id, s.type, sent.at, sent.value, sent.resent FROM sent JOIN series s ON s.id = sent.series
WHERE sent.at >= ? AND sent.at < ? ORDER BY sent.at, sent.series"""
_AGAIN = "SELECT at, series, value FROM sent JOIN series s ON s.id = series WHERE s.type = ? AND at >= ? AND at < ? AND NOT resent ORDER BY at"


def note(db: sqlite3.Connection, rows: Sequence[tuple[int, int, float]]) -> None:
    """The cloud has these (instant, series, value). What is more than KEPT_S older than the newest of them goes."""
    if rows:
        db.executemany(_NOTE, rows)
        db.execute("DELETE FROM sent WHERE at < ?", (max(row[0] for row in rows) - KEPT_S,))


def span(db: sqlite3.Connection, since: float, until: float) -> list[Sent]:
    """What was sent of `since` <= instant < `until`, in the order of time."""
    return [Sent(device, kind, at, value, bool(resent)) for device, kind, at, value, resent in db.execute(_SPAN, (since, until))]


def put_back(db: sqlite3.Connection, kind: str, since: float, until: float, first: int) -> int:
    """What was sent of a type waits again, at places from `first` on, but each only once; gives the number."""
    rows = db.execute(_AGAIN, (kind, since, until)).fetchall()
    db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", [(first + place, series, at, value) for place, (at, series, value) in enumerate(rows)])
    db.executemany("UPDATE sent SET resent = 1 WHERE at = ? AND series = ?", [(at, series) for at, series, _ in rows])
    # they are history: the newest of its device and type went live long ago
    db.executemany("UPDATE series SET sent_at = max(ifnull(sent_at, 0), ?) WHERE id = ?", [(at, series) for at, series, _ in rows])
    return len(rows)
