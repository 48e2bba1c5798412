"""The newest event of each device and type: it goes live though it is old, so that the cloud knows how things stand.

Kept in memory beside the queue's file, and counted when first asked for, since that reads the whole queue.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from edge_agent.model.events import Event
from edge_agent.outbox.rows import Key, Queued

_SENT_AHEAD = "SELECT device_id, type, max(sent_at) FROM series WHERE sent_at IS NOT NULL GROUP BY device_id, type"
_SINCE = "SELECT seq, series, at FROM events WHERE at >= ?"


class _One(NamedTuple):
    at: int
    seq: int | None  # None: it has been sent


class Newest:
    """What is known of each device and type; `forget` makes it count anew."""

    def __init__(self) -> None:
        self._known: dict[Key, _One] | None = None
        self._since = 0.0

    def forget(self) -> None:
        """Something came back that may be newer."""
        self._known = None

    def put(self, events: Sequence[Event], first: int) -> None:
        """These came in, at places from `first` on."""
        if self._known is not None:
            for seq, event in enumerate(events, first):
                key = (event.device_id, event.type)
                if key not in self._known or event.at >= self._known[key].at:
                    self._known[key] = _One(event.at, seq)

    def sent(self, taken: Iterable[Queued]) -> None:
        """These have left the queue: what is older than them is not the newest for that."""
        if self._known is not None:
            for queued in taken:
                known = self._known.get(queued.key)
                if known is not None and known.seq == queued.seq:
                    self._known[queued.key] = _One(known.at, None)

    def dropped(self, seqs: Iterable[int]) -> None:
        """The same for those that made room."""
        gone = set(seqs)
        self._known = self._known and {key: _One(one.at, None if one.seq in gone else one.seq) for key, one in self._known.items()}

    def between(self, db: sqlite3.Connection, names: Mapping[int, tuple[str, str, str, str]], since: float, before: float) -> set[int]:
        """The seqs of those that are dated `since` or later and before `before`."""
        if self._known is None or since < self._since:
            self._known = _counted(db, names, since)
            self._since = since
        return {one.seq for one in self._known.values() if one.seq is not None and since <= one.at < before}


def _counted(db: sqlite3.Connection, names: Mapping[int, tuple[str, str, str, str]], since: float) -> dict[Key, _One]:
    """Those that are not older than `since`; row by row, for to sort a long backlog takes 50 MB."""
    found: dict[Key, _One] = {(device, kind): _One(sent, None) for device, kind, sent in db.execute(_SENT_AHEAD)}
    for seq, series, at in db.execute(_SINCE, (since,)):
        device, _, _, kind = names[series]
        known = found.get((device, kind))
        if known is None or at > known.at or (at == known.at and known.seq is not None):
            found[device, kind] = _One(at, seq)
    return found
