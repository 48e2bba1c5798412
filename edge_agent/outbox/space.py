"""How large the queue's files may be together: pages, write-ahead log and reserve. Knows nothing of what is in them.

On a full disk the reserve is given back, and from then on the file grows by no more than half of it: what comes in
has to make room in the file, and the rest is for the log, so that what the cloud has can still be taken out.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge_agent.outbox import reserve
from edge_agent.outbox.reserve import Reserve

_LOG = 2 * 1024 * 1024
_LOG_IN_NEED = 25  # pages between two checkpoints while the disk is full
_LEAST = 64  # pages that the file may always have


class Space:
    """The bounds of one open file."""

    def __init__(self, db: sqlite3.Connection, path: Path, max_size: int | None) -> None:
        """`max_size` in bytes, for all files together; None: no bound."""
        self._db = db
        self._page = int(db.execute("PRAGMA page_size").fetchone()[0])
        self._log = _LOG if max_size is None else min(_LOG, max_size // 4)
        size = reserve.SIZE if max_size is None else min(reserve.SIZE, max_size // 8)
        self._reserve = Reserve(path, size)
        self._bound = self._usual = None if max_size is None else max_size * 31 // 32 - self._log - size  # a rest, for what one transaction brings
        self._bound_log(self._log // self._page // 2)

    def is_short(self) -> bool:
        """True when there is more in the file than may be."""
        pages, free = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
        return self._bound is not None and (pages - free) * self._page > self._bound

    @property
    def in_need(self) -> bool:
        """True from the reserve's release until it could be made again."""
        return self._bound != self._usual

    def release_reserve(self) -> bool:
        """The disk is full: gives the reserve back and holds the file at its size. False when there is none, and nothing more to do."""
        if not self._reserve.release():
            return False
        self._tighten(reserve.SIZE // 2)
        return True

    def keep_reserve(self) -> str | None:
        """Makes the reserve where it is missing, as soon as there is space for it; what has changed by that, None when nothing."""
        if self._reserve.keep():
            changed = "the disk has space again" if self.in_need else None
            self._bound = self._usual
            self._bound_log(self._log // self._page // 2)
            return changed
        if self._reserve.there or self.in_need:
            return None
        self._tighten((self._reserve.free() - reserve.SIZE // 2) // 2)
        return "the disk is nearly full, without space for a reserve; the queue hardly grows any more"

    def _tighten(self, growth: int) -> None:
        pages = int(self._db.execute("PRAGMA page_count").fetchone()[0])
        self._bound = min(self._usual or 1 << 62, max(_LEAST * self._page, pages * self._page + growth))
        self._bound_log(_LOG_IN_NEED)

    def _bound_log(self, pages: int) -> None:
        """Checkpoints after so many pages, for `max_size` of SQLite's own knows nothing of the log."""
        self._db.execute(f"PRAGMA wal_autocheckpoint={max(1, pages)}")
        self._db.execute(f"PRAGMA journal_size_limit={self._log}")
