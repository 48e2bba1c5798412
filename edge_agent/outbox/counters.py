"""How often what happened, since the queue's file was made; in the transaction of what happened."""

from __future__ import annotations

import sqlite3

_ADD = "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
_SET = "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"


def count(db: sqlite3.Connection, name: str, more: int) -> None:
    """So many more."""
    db.execute(_ADD, (name, more))


def put(db: sqlite3.Connection, name: str, value: int) -> None:
    """A mark that is not counted but moved."""
    db.execute(_SET, (name, value))


def get(db: sqlite3.Connection, name: str) -> int:
    """0 for what never happened."""
    row = db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])
