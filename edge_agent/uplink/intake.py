"""What of the queue is in memory: live events in their order, and the part of the backlog that goes next.

Bounded whatever waits: ninety days of backlog take no more memory than an hour's. Events that are under way
or next in line ("in hand") are never taken twice. Knows no call and no failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from edge_agent.model.clock import Clock
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.rows import Key, Queued
from edge_agent.uplink.backlog import Backlog, Part
from edge_agent.uplink.spread import Spread

NEWEST_LIVE_S = 86400.0  # the newest value of a device and type goes live up to this age
TAKE = 1000  # live events held in memory


class Intake:
    """Takes from the queue what the uploader is about to send. Every `take` raises StorageError when the file cannot be read."""

    def __init__(self, outbox: Outbox, clock: Clock, spread: Spread, live_for_s: float) -> None:
        """`live_for_s`: what is older belongs to the backlog."""
        self._outbox, self._clock, self._spread, self._live_for_s = outbox, clock, spread, live_for_s
        self.backlog = Backlog()
        self.live_stale = True  # the queue may hold live events that are not in memory yet
        self.backlog_stale = True  # the same for old ones
        self._live: dict[Key, deque[Queued]] = {}
        self._live_more = False  # the queue holds more live events than were taken

    def stale(self) -> None:
        """Something is new in the queue, or time has made something old."""
        self.live_stale = self.backlog_stale = True

    @property
    def held(self) -> int:
        """How many events are in memory, without those under way."""
        return sum(map(len, self._live.values())) + sum(map(len, self.backlog))

    @property
    def live_keys(self) -> AbstractSet[Key]:
        """The devices and types of which live events are in memory."""
        return self._live.keys()

    # live

    async def take_live(self, in_hand: Iterable[Part]) -> None:
        """Looks into the queue for live events, when it may hold others than are in memory."""
        old_before = self._clock.now() - self._live_for_s
        if any(queue[0].at < old_before and not queue[0].promoted for queue in self._live.values()):
            self.stale()  # they have become old in memory
        if not (self.live_stale or (self._live_more and sum(map(len, self._live.values())) < TAKE // 30)):
            return
        now = self._clock.now()
        self.live_stale = False
        taken = await self._outbox.take_live(now - self._live_for_s, now - NEWEST_LIVE_S, TAKE)
        known = self._known(in_hand)
        self._live = {}
        for queued in taken:
            if queued.seq not in known:
                self._live.setdefault(queued.key, deque()).append(queued)
        self._live_more = len(taken) >= TAKE

    def next_live(self, busy: AbstractSet[Key], order: Callable[[Queued], tuple[int, ...]]) -> Queued | None:
        """The first by `order` of those whose device and type is not `busy` and whose moment has come."""
        now = self._clock.now()
        heads = [queue[0] for key, queue in self._live.items() if key not in busy and not self._spread.waits(queue[0], now)]
        if not heads:
            return None
        chosen = min(heads, key=order)
        queue = self._live[chosen.key]
        queue.popleft()
        if not queue:
            del self._live[chosen.key]
        return chosen

    @property
    def held_back_s(self) -> float | None:
        """Seconds until the building's moment in the interval, for which live events may wait; None without any."""
        return self._spread.held_s(self._clock.now()) if self._live else None

    # the backlog

    async def take_old(self, in_hand: Iterable[Part], limit: int, after: int = 0) -> None:
        """Takes the oldest `limit` old events that lie behind `after`, when none are in memory and the queue may hold some."""
        if self.backlog or not self.backlog_stale:
            return
        now = self._clock.now()
        self.backlog_stale = False  # before the queue is asked: new events may come meanwhile
        taken = await self._outbox.take_old(now - self._live_for_s, now - NEWEST_LIVE_S, limit, after)
        known = self._known(in_hand)
        part = tuple(queued for queued in taken if queued.seq not in known)
        self.backlog_stale |= bool(part)
        self.backlog.add(part)

    def _known(self, in_hand: Iterable[Part]) -> set[int]:
        return {queued.seq for part in (*in_hand, *self.backlog) for queued in part}
