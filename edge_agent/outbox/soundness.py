"""Whether a queue's file is what was written: asked once at the start, before a damaged page harms more."""

from __future__ import annotations

import sqlite3

# What SQLite's own checks do not look at. A REAL column gives whole numbers as 'real' too.
_CHECKS = {
    "events": "typeof(series) != 'integer' OR typeof(at) != 'integer' OR typeof(value) != 'real' OR series NOT IN (SELECT id FROM series)",
    "dead": "typeof(at) != 'integer' OR typeof(value) != 'real' OR typeof(reason) != 'text' OR series NOT IN (SELECT id FROM series)",
    "sent": "typeof(at) != 'integer' OR typeof(value) != 'real' OR series NOT IN (SELECT id FROM series)",
    "series": "typeof(device_id) != 'text' OR typeof(device_name) != 'text' OR typeof(source) != 'text' OR typeof(type) != 'text'",
    "troubled": "kind NOT IN ('refused', 'failing') OR typeof(attempts) != 'integer' OR seq NOT IN (SELECT seq FROM events)",
    "counters": "typeof(name) != 'text' OR typeof(value) != 'integer'",
    "state": "typeof(key) != 'text' OR typeof(value) != 'text'",
}
_TEXTS = "SELECT kind || reason FROM troubled UNION ALL SELECT reason FROM dead UNION ALL SELECT key || value FROM state"


def damage(db: sqlite3.Connection) -> str | None:
    """What is broken, None when nothing is found. Raises sqlite3.Error where that cannot be read."""
    for check in ("quick_check(1)", "integrity_check(series)"):  # the second compares the series with their index
        found = str(db.execute(f"PRAGMA {check}").fetchone()[0])
        if found != "ok":
            return found.replace("\n", " ")
    for _ in db.execute(_TEXTS):  # fails where a text is none
        pass
    for table, condition in _CHECKS.items():
        if db.execute(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {condition})").fetchone()[0]:
            return f"a row of {table} is none that was written"
    return None
