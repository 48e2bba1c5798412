"""The queue in numbers and rows, for people: reads on its connection, changes nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_agent.outbox.rows import DeadLetter, Stats, Waiting

_SERIES = "s.device_id, s.device_name, s.source, s.type"
_WAITING = f"""
SELECT e.seq, {_SERIES}, e.value, e.at, ifnull(t.kind, 'waiting'), ifnull(t.attempts, 0), ifnull(t.reason, '')
FROM events e JOIN series s ON s.id = e.series LEFT JOIN troubled t USING (seq) ORDER BY e.seq LIMIT ?"""
_DEAD = f"""
SELECT d.seq, {_SERIES}, d.value, d.at, d.status, d.reason, d.buried_at FROM dead d JOIN series s ON s.id = d.series
ORDER BY d.buried_at DESC, d.seq DESC LIMIT ?"""


def stats(db: sqlite3.Connection, path: Path) -> Stats:
    """How much waits since when, what became of the rest, and how large the files are."""
    waiting, oldest, newest = db.execute("SELECT count(*), min(at), max(at) FROM events").fetchone()
    kinds = dict(db.execute("SELECT kind, count(*) FROM troubled GROUP BY kind").fetchall())
    counters = dict(db.execute("SELECT name, value FROM counters").fetchall())
    return Stats(
        waiting=waiting,
        refused=kinds.get("refused", 0),
        failing=kinds.get("failing", 0),
        dead=db.execute("SELECT count(*) FROM dead").fetchone()[0],
        oldest_at=oldest,
        newest_at=newest,
        accepted_live=counters.get("accepted_live", 0),
        accepted_historical=counters.get("accepted_historical", 0),
        buried=counters.get("buried", 0),
        possibly_doubled=counters.get("possibly_doubled", 0),
        requeued=counters.get("requeued", 0),
        sent_again=counters.get("sent_again", 0),
        merged=counters.get("merged", 0),
        dropped=counters.get("dropped", 0),
        dropped_letters=counters.get("dropped_letters", 0),
        salvages=counters.get("salvages", 0),
        size_bytes=sum(file.stat().st_size for file in (path, *(path.with_name(path.name + end) for end in ("-wal", ".reserve"))) if file.exists()),
    )


def waiting(db: sqlite3.Connection, limit: int) -> list[Waiting]:
    """The `limit` oldest waiting events."""
    fields = ("seq", "device_id", "device_name", "source", "type", "value", "at", "state", "attempts", "reason")
    return [Waiting(**dict(zip(fields, row, strict=True))) for row in db.execute(_WAITING, (limit,))]  # type: ignore[typeddict-item]


def dead_letters(db: sqlite3.Connection, limit: int) -> list[DeadLetter]:
    """The `limit` dead letters that were buried last."""
    fields = ("seq", "device_id", "device_name", "source", "type", "value", "at", "status", "reason", "buried_at")
    return [DeadLetter(**dict(zip(fields, row, strict=True))) for row in db.execute(_DEAD, (limit,))]  # type: ignore[typeddict-item]
