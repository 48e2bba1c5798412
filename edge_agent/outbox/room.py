"""What goes when the queue has reached its size: dead letters, then the fineness of what is old, and last the oldest events.

Each works on the queue's connection in the caller's transaction, on a bounded number of rows, and counts what it took.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from edge_agent.model.events import QueueRules
from edge_agent.outbox import counters
from edge_agent.outbox.doubt import Kept
from edge_agent.outbox.thinning import HOUR_S, thinned

OLD_S = 86400  # what is younger, before the newest event, is never merged: it may go live yet
_LETTERS_AT_ONCE = 100
_EVENTS_AT_ONCE = 1000
_ROWS_AT_ONCE = 2000  # looked at for merging: some hours of a large house
_MERGED_TO = "merged_to"  # the place up to which the backlog has been merged

_OLDEST_LETTERS = "SELECT seq FROM dead ORDER BY buried_at, seq LIMIT ?"
_UNMERGED = """
SELECT seq, series, at, value FROM events WHERE seq > ? AND at <= ? AND NOT at BETWEEN ? AND ? AND seq NOT IN (SELECT seq FROM troubled)
ORDER BY seq LIMIT ?"""


def drop_letters(db: sqlite3.Connection) -> int:
    """The dead letters that were buried first; gives how many."""
    dropped = db.execute(f"DELETE FROM dead WHERE seq IN ({_OLDEST_LETTERS})", (_LETTERS_AT_ONCE,)).rowcount
    if dropped:
        counters.count(db, "dropped_letters", dropped)
    return dropped


def merge_old(db: sqlite3.Connection, types: Mapping[int, str], rules: QueueRules, kept: Kept, newest_at: int) -> list[int]:
    """The next hours of old events become one event an hour and series; gives the seqs of those that are gone.

    `kept`: these may be on their way to the cloud, so they stay as they are.
    """
    until = (newest_at - OLD_S) // HOUR_S * HOUR_S
    while True:
        after = max(kept.to, counters.get(db, _MERGED_TO))
        rows = db.execute(_UNMERGED, (after, until, kept.at - OLD_S, kept.at, _ROWS_AT_ONCE)).fetchall()
        if not rows:
            return []
        result = thinned([row for row in rows if row[0] not in kept.places], types, rules)
        counters.put(db, _MERGED_TO, rows[-1][0])
        db.executemany("UPDATE events SET at = ?, value = ? WHERE seq = ?", [(at, value, seq) for seq, _, at, value in result.changed])
        db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in result.gone])
        if result.gone:
            counters.count(db, "merged", len(result.gone))
            return result.gone


def drop_events(db: sqlite3.Connection) -> list[int]:
    """The oldest events; gives their seqs."""
    seqs = [row[0] for row in db.execute("SELECT seq FROM events ORDER BY seq LIMIT ?", (_EVENTS_AT_ONCE,))]
    if seqs:
        db.execute("DELETE FROM events WHERE seq <= ?", (seqs[-1],))
        db.execute("DELETE FROM troubled WHERE seq <= ?", (seqs[-1],))
        counters.count(db, "dropped", len(seqs))
    return seqs
