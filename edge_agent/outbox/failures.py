"""What SQLite's errors mean for whoever runs the agent: which kind it is, what is wrong, and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_agent.model.errors import StorageDamaged, StorageError, StorageFull

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}  # a bad sector


def failure(path: Path, error: sqlite3.Error) -> StorageError:
    """The error in our words: StorageFull, StorageDamaged, or a plain StorageError."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return StorageFull(f"{path}: the disk is full; make room on the file system of {path.parent}")
    if code & 0xFF in _DAMAGED or code in _UNREADABLE or "decode to UTF-8" in str(error):
        return StorageDamaged(f"{path}: is damaged or no queue ({error}); what can be read of it is salvaged when the agent starts")
    return StorageError(_unusable(path, str(error)))


def _unusable(path: Path, text: str) -> str:
    folder = path.parent
    if path.is_dir():
        return f"{path}: is a folder; `storage.path:` must name a file"
    if not folder.is_dir():
        return f"{path}: the folder {folder} does not exist; create it, writable for the agent's user"
    if "readonly" in text or "unable to open" in text:
        return f"{path}: cannot be written ({text}); check that {folder} belongs to the agent's user and is not on a read-only file system"
    if "locked" in text:
        return f"{path}: another program has the queue open; stop the other agent or close that program"
    return f"{path}: {text}; check the disk of {folder}"
