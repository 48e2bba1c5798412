"""What the cloud may have although the queue does not know it: an agent that dies leaves up to a batch in doubt.

A mark on the disk says so, written before the first event of a run is sent and taken back at its end: no write for each call. Where it
still stands, the run died: as many of the waiting events as may be there twice are counted, and none of those that may have been on
their way is ever merged, so that it goes again as it was. Works on the queue's connection, in the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from edge_agent.outbox import counters

_MOST = "in_doubt"  # events under way, at any moment of the run that has the mark; 0 after its end
_UNCOUNTED = "in_doubt_uncounted"  # copies by failed calls of that run, at most, that are not counted yet
_TO, _AT = "kept_to", "kept_at"  # as in `Kept`
_BATCHES = 2  # from the front: beside the one under way others may have been put back

_WAITING = "SELECT count(*) FROM (SELECT 1 FROM events LIMIT ?)"
_FRONT = "SELECT ifnull(max(seq), 0) FROM (SELECT seq FROM events WHERE seq NOT IN (SELECT seq FROM troubled) ORDER BY seq LIMIT ?)"
_NEWEST = "SELECT ifnull(max(at), 0) FROM (SELECT at FROM events ORDER BY seq DESC LIMIT 1000)"


class Kept(NamedTuple):
    """What may have been sent stays as it is: of the backlog all up to the place `to`, of live events those at `places`.

    Of an earlier run's live events nobody knows which: all of the day before the instant `at`.
    """

    to: int
    at: int
    places: AbstractSet[int] = frozenset()


def begin(db: sqlite3.Connection, most: int) -> None:
    """From here on up to `most` events may be in doubt."""
    count(db)
    counters.put(db, _MOST, most)


def note(db: sqlite3.Connection, most: int) -> None:
    """Calls have failed that may have arrived: up to so many copies are counted by who sends them, or, if that run dies, by the next one."""
    counters.put(db, _UNCOUNTED, most)


def counted(db: sqlite3.Connection, copies: int) -> None:
    """Those that were noted are counted now."""
    counters.count(db, "possibly_doubled", copies)
    counters.put(db, _UNCOUNTED, 0)


def end(db: sqlite3.Connection, taken: int) -> None:
    """Nothing is under way any more. What was taken, up to this place, may have been sent all the same."""
    counters.put(db, _MOST, 0)
    _keep(db, Kept(taken, _newest(db)))


def count(db: sqlite3.Connection) -> None:
    """Counts what a run that died may have doubled, once."""
    if most := counters.get(db, _MOST):
        _keep(db, kept(db))
        waiting = int(db.execute(_WAITING, (most,)).fetchone()[0])
        counted(db, waiting + counters.get(db, _UNCOUNTED) if waiting else 0)
        counters.put(db, _MOST, 0)


def kept(db: sqlite3.Connection) -> Kept:
    """What must not be merged."""
    if most := counters.get(db, _MOST):
        return Kept(int(db.execute(_FRONT, (_BATCHES * most,)).fetchone()[0]), _newest(db))
    return Kept(counters.get(db, _TO), counters.get(db, _AT))


def _newest(db: sqlite3.Connection) -> int:
    return int(db.execute(_NEWEST).fetchone()[0])


def _keep(db: sqlite3.Connection, what: Kept) -> None:
    counters.put(db, _TO, what.to)
    counters.put(db, _AT, what.at)
