"""The queue itself, for one thread: what is put in stays, in order, until the cloud has it or someone is told.

Used by `Outbox` in the agent and directly by commands when no agent runs. Events of a series (device
and type) leave in the order of `seq`, the order in which they came. Knows no network: the uploader says
what was accepted, refused or failed. Plain sqlite3; the caller's transaction groups several operations.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from edge_agent.model.errors import StorageDamaged
from edge_agent.model.events import NO_RULES, Event, QueueRules
from edge_agent.outbox import apart, counters, doubt, listing, room, sent
from edge_agent.outbox.failures import failure
from edge_agent.outbox.newest import Newest
from edge_agent.outbox.rows import DeadLetter, Kind, Queued, Sent, Stats, Troubled, Waiting
from edge_agent.outbox.schema import connect
from edge_agent.outbox.series import Series
from edge_agent.outbox.soundness import damage
from edge_agent.outbox.space import Space

log = logging.getLogger(__name__)

_ROUNDS = 20  # of making room in one transaction
MOST_DEAD = 10_000  # dead letters: enough to see what the cloud refuses, never a burden to what it would take


_PUT = "INSERT INTO events (seq, series, at, value) VALUES (?, ?, ?, ?)"
_LIVE = "SELECT seq, series, at, value FROM events WHERE seq >= ? AND at >= ? AND seq NOT IN (SELECT seq FROM troubled) ORDER BY seq LIMIT ?"
_OLD = "SELECT seq, series, at, value FROM events WHERE seq > ? AND at < ? AND seq NOT IN (SELECT seq FROM troubled) ORDER BY seq LIMIT ?"
_NOTE_SENT_AHEAD = "UPDATE series SET sent_at = max(ifnull(sent_at, 0), ?) WHERE device_id = ? AND type = ?"


class Queue:
    """One open queue file. Every method is a transaction of its own, or part of the one `transaction` holds open."""

    def __init__(self, path: Path, max_size: int | None = None, rules: QueueRules = NO_RULES) -> None:
        """Opens or makes the file; `max_size` in bytes bounds it (the oldest dead letters go, then events, counted). Raises StorageError."""
        self.path = path
        self._rules = rules
        self._db = connect(path)
        self._depth = 0
        self._full: set[str] = set()
        self._changes = 0  # of the connection, when the transaction began
        try:
            self._space = Space(self._db, path, max_size)
            # up to the seq `taken` parts of the backlog were taken, in this run or before, and may be on their way to the cloud
            self.taken, self._kept_at, _ = doubt.kept(self._db)
            self.doubtful: set[int] = set()  # the same of live events, as far as their calls have failed
            self._load()
        except sqlite3.Error as error:
            self._db.close()
            raise failure(path, error) from None

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path, max_size: int | None = None, rules: QueueRules = NO_RULES) -> Iterator[Self]:
        """The queue for as long as the block runs. Raises StorageError."""
        queue = cls(path, max_size, rules)
        try:
            yield queue
        except sqlite3.Error as error:
            raise failure(path, error) from None
        finally:
            queue.close()

    def use_rules(self, rules: QueueRules) -> None:
        """What is merged or remembered from here on."""
        self._rules = rules

    def check(self) -> None:
        """Reads the whole file. Raises StorageDamaged when it is not what was written."""
        try:
            found = damage(self._db)
        except sqlite3.Error as error:
            raise failure(self.path, error) from None
        if found is not None:
            raise StorageDamaged(f"{self.path}: is damaged ({found})")

    def close(self) -> None:
        """Writes the log back into the file and lets go of it."""
        self._db.close()

    def _load(self) -> None:
        """What is kept in memory beside the file; read again after a rollback, before the next transaction."""
        self._loaded = False
        db = self._db
        self._series = Series(db)
        self._next = 1 + max(db.execute(f"SELECT ifnull(max(seq), 0) FROM {table}").fetchone()[0] for table in ("events", "dead"))
        self._newest = Newest()
        self._live_from = (0, 0)  # the lowest seq that may be as young as the instant beside it
        self._any_troubled = bool(db.execute("SELECT count(*) FROM troubled").fetchone()[0])
        self._dead = int(db.execute("SELECT count(*) FROM dead").fetchone()[0])
        self._loaded = True

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what the block does. Raises StorageError when the file cannot be written; nothing changed then."""
        if self._depth:
            yield
            return
        self._depth = 1
        try:
            self._begin()
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                raise failure(self.path, error) from None
            raise
        finally:
            self._depth = 0

    def _begin(self) -> None:
        if self._db.in_transaction:  # a rollback failed
            self._db.execute("ROLLBACK")
        if not self._loaded:
            self._load()
        self._changes = self._db.total_changes
        self._db.execute("BEGIN")

    def _roll_back(self) -> None:
        self._loaded &= self._db.total_changes == self._changes  # else what is in memory may be of what is undone
        if self._db.in_transaction:  # a full disk has rolled back already
            with contextlib.suppress(sqlite3.Error):  # what failed first is what is told; the next transaction begins with another attempt
                self._db.execute("ROLLBACK")

    # putting in

    def put(self, events: Sequence[Event], state: Mapping[str, str], dropped: int = 0) -> None:
        """Adds events, in their order, and the state they follow from; counts those that were `dropped` before they came here.

        Raises ValueError for a value that is not finite.
        """
        for event in events:
            if not math.isfinite(event.value):
                raise ValueError(f"{event.device_id} {event.type}: {event.value} is no value for the cloud")
        if changed := self._space.keep_reserve():
            log.warning("%s: %s", self.path, changed)
            self._full.clear()
        with self.transaction():
            if events:
                self._make_room(max(event.at for event in events))
                rows = [(self._next + place, self._series.number(self._db, event), event.at, event.value) for place, event in enumerate(events)]
                self._db.executemany(_PUT, rows)
                self._newest.put(events, self._next)
                self._next += len(rows)
            if dropped:
                counters.count(self._db, "dropped", dropped)
            self._db.executemany("INSERT INTO state VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", state.items())

    def _make_room(self, newest_at: int) -> None:
        """Where there is more than may be: the oldest dead letters go, then old events are merged by the hour, then the oldest go."""
        for _ in range(_ROUNDS):  # a bound that was lowered is reached in several transactions
            if not self._space.is_short():
                return
            if self._dead and (letters := room.drop_letters(self._db)):
                self._dead -= letters
                self._say_full("its oldest dead letters are dropped and counted")
            elif merged := room.merge_old(self._db, self._series.types, self._rules, doubt.Kept(self.taken, self._kept_at, self.doubtful), newest_at):
                self._newest.dropped(merged)
                self._say_full("old events are merged by the hour; energies keep their sums")
            elif dropped := room.drop_events(self._db):
                self._newest.dropped(dropped)
                self._say_full("its oldest events are dropped and counted")
            else:
                return

    def _say_full(self, what: str) -> None:
        if what not in self._full:
            why = "the disk is full" if self._space.in_need else "the queue has reached storage.max_size"
            log.warning("%s: %s; %s", self.path, why, what)
            self._full.add(what)

    def release_reserve(self) -> bool:
        """Gives the reserve back on a full disk; False when that was done before."""
        released = self._space.release_reserve()
        if released:
            log.error("%s: the disk is full; the queue makes do with its reserve. Make room on the file system of %s", self.path, self.path.parent)
        return released

    def state(self, key: str) -> str | None:
        """What was last stored under `key`."""
        row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def forget(self, key: str) -> None:
        """What was stored under `key` is gone."""
        with self.transaction():
            self._db.execute("DELETE FROM state WHERE key = ?", (key,))

    # taking out

    def take_live(self, since: float, newest_since: float, limit: int) -> list[Queued]:
        """The oldest `limit` events dated `since` or later, and before them the newest of each device and type that has only older ones.

        The latter are `promoted` and not older than `newest_since`. Troubled events are left out. Nothing is removed.
        """
        with self.transaction():
            promoted = self._newest.between(self._db, self._series.names, newest_since, since)
            taken = [queued._replace(promoted=True) for queued in self._by_seq(promoted)]
            return taken + self._queued(self._db.execute(_LIVE, (self._first_live(since), since, limit)))

    def take_old(self, before: float, newest_since: float, limit: int, after: int = 0) -> list[Queued]:
        """The oldest `limit` events dated before `before` with a seq above `after`, without promoted and troubled ones. Nothing is removed."""
        with self.transaction():
            live = self._newest.between(self._db, self._series.names, newest_since, before)
            rows = self._db.execute(_OLD, (after, before, limit + len(live)))
            taken = [queued for queued in self._queued(rows) if queued.seq not in live][:limit]
            self.taken = max(self.taken, taken[-1].seq) if taken else self.taken
            return taken

    def _queued(self, rows: Iterable[tuple[int, int, int, float]]) -> list[Queued]:
        names = self._series.names
        return [Queued(seq, names[series], value, at) for seq, series, at, value in rows]

    def _by_seq(self, seqs: Iterable[int]) -> list[Queued]:
        query = "SELECT seq, series, at, value FROM events WHERE seq = ? AND seq NOT IN (SELECT seq FROM troubled)"
        return [queued for seq in sorted(seqs) for queued in self._queued(self._db.execute(query, (seq,)))]

    def _first_live(self, since: float) -> int:
        """A seq below which everything is older than `since`: a long backlog is searched once, then only as time moves on."""
        seq, known = self._live_from
        query = "SELECT seq FROM events WHERE seq >= ? AND at >= ? ORDER BY seq LIMIT 1"
        row = self._db.execute(query, (seq if since >= known else 0, since)).fetchone()
        self._live_from = (self._next if row is None else row[0], math.floor(since))
        return self._live_from[0]

    def troubled(self) -> list[Troubled]:
        """Those that wait apart, oldest first."""
        query = "SELECT seq, series, at, value, kind, attempts, status, reason, last_at FROM troubled JOIN events USING (seq) ORDER BY seq"
        with self.transaction():
            return [Troubled(self._queued([row[:4]])[0], *row[4:]) for row in self._db.execute(query)]

    # settling

    def accept(self, taken: Sequence[Queued], historical: bool, possibly_doubled: int = 0) -> None:
        """The cloud has them: they leave the queue and are counted, and with them the copies it may have of these or earlier ones."""
        with self.transaction():
            if possibly_doubled:
                doubt.counted(self._db, possibly_doubled)
            if not taken:
                return
            self._remove(taken)
            counters.count(self._db, "accepted_historical" if historical else "accepted_live", len(taken))
            remembered = [(queued, self._series.get(queued.names)) for queued in taken if queued.names[2:] in self._rules.remembered]
            sent.note(self._db, [(queued.at, series, queued.value) for queued, series in remembered if series is not None])
            if not historical:
                self._note_sent_ahead(taken)

    def begin_sending(self, most: int) -> None:
        """From here on up to `most` events may be with the cloud unbeknown: if this run dies, the next one counts them."""
        with self.transaction():
            doubt.begin(self._db, most)

    def note_doubt(self, places: Iterable[int], most: int | None) -> None:
        """The events at these places may be at the cloud, with copies that `accept` will be told of later: `most`, should this run die before."""
        with self.transaction():
            self.doubtful.update(places)
            if most is not None:
                doubt.note(self._db, most)

    def end_sending(self) -> None:
        """Nothing is under way any more, and what may be doubled is counted."""
        with self.transaction():
            doubt.end(self._db, self.taken)

    def count_doubt(self) -> None:
        """Counts what an earlier run may have doubled that died while it sent."""
        with self.transaction():
            doubt.count(self._db)

    def _note_sent_ahead(self, taken: Sequence[Queued]) -> None:
        """What went live before older events that wait or may come back: none of those is the newest any more, also after a restart."""
        oldest = self._db.execute("SELECT min(seq) FROM events").fetchone()[0]
        ahead = [queued for queued in taken if self._dead or (oldest is not None and oldest < queued.seq)]
        self._db.executemany(_NOTE_SENT_AHEAD, [(queued.at, *queued.key) for queued in ahead])

    def set_aside(self, queued: Queued, kind: Kind, status: int, reason: str, at: float) -> None:
        """It stays in the queue, but behind the others: `troubled` lists it, the takes leave it out."""
        with self.transaction():
            apart.set_aside(self._db, queued, kind, status, reason, at)
            self._any_troubled = True

    def bury(self, queued: Queued, status: int, reason: str, at: float) -> None:
        """The cloud refuses it for good: it becomes a dead letter that keeps the reason; of `MOST_DEAD` the oldest make room for it."""
        with self.transaction():
            if self._dead >= MOST_DEAD:
                self._dead -= room.drop_letters(self._db)
            self._dead += apart.bury(self._db, queued, status, reason, at)
            self._remove([queued])

    def retry_dead(self) -> int:
        """Puts all dead letters back at their old places; gives their number."""
        with self.transaction():
            back = apart.retry(self._db)
            self._dead = 0
            if back:
                self._live_from = (0, 0)
                self._newest.forget()
            return back

    def sent(self, since: float, until: float) -> list[Sent]:
        """What the cloud has accepted of the remembered series, dated `since` or later and before `until`, of the last five weeks."""
        with self.transaction():
            return sent.span(self._db, since, until)

    def send_again(self, kind: str, since: float, until: float) -> int:
        """Puts what was sent of an event type, dated `since` or later and before `until`, back once, as history; gives the number of events."""
        with self.transaction():
            back = sent.put_back(self._db, kind, since, until, self._next)
            if back:
                self._next += back
                counters.count(self._db, "sent_again", back)
                self._newest.forget()
            return back

    def settle_until(self, at: float) -> int:
        """Takes out what is dated `at` or before, since the cloud has it from elsewhere; gives the number of events."""
        with self.transaction():
            settled = self._db.execute("DELETE FROM events WHERE at <= ?", (at,)).rowcount
            if settled:
                self._db.execute("DELETE FROM troubled WHERE seq NOT IN (SELECT seq FROM events)")
                counters.count(self._db, "settled", settled)
                self._newest.forget()
            return settled

    def copy_to(self, path: Path) -> None:
        """A consistent copy in a file of its own, which must not exist. Raises StorageError. Not within a transaction."""
        try:
            self._db.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.Error as error:
            path.unlink(missing_ok=True)
            raise failure(path, error) from None

    def _remove(self, taken: Sequence[Queued]) -> None:
        seqs = {queued.seq for queued in taken}
        first, last = min(seqs), max(seqs)
        if last - first == len(seqs) - 1:  # all that lie between, as a part of the backlog mostly is
            self._db.execute("DELETE FROM events WHERE seq BETWEEN ? AND ?", (first, last))
        else:
            self._db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in seqs])
        if self._any_troubled:
            self._db.executemany("DELETE FROM troubled WHERE seq = ?", [(seq,) for seq in seqs])
        self._newest.sent(taken)
        self.doubtful -= seqs

    # for people

    def stats(self) -> Stats:
        """How much waits since when, what became of the rest, and how large the files are."""
        return listing.stats(self._db, self.path)

    def waiting(self, limit: int) -> list[Waiting]:
        """The `limit` oldest waiting events."""
        return listing.waiting(self._db, limit)

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """The `limit` dead letters that were buried last."""
        return listing.dead_letters(self._db, limit)
