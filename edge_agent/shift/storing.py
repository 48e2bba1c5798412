"""Brings events to disk, with the state they follow from, in one transaction; holds them while the disk cannot take them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from edge_agent.model.clock import Clock
from edge_agent.model.errors import StorageError
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox

log = logging.getLogger(__name__)

GATHER_S = 0.5  # what changes within this time of each other is stored in one transaction
CLOSING_S = 5.0  # and what closes an interval, device after device, within this time, or a hundredth of a shorter interval
MOST_HELD = 100_000  # events in memory, some 20 MB: weeks of a large house
RETRY_S = 10.0  # between attempts to write a queue that could not be written


class Storing:
    """The events of one shift that are not on disk yet."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        interval_s: float,
        state: Callable[[], Mapping[str, str]],
        on_stored: Callable[[], None],
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """`state` gives what the events follow from, JSON by key; `on_end` is told when the task that gathers ends."""
        self._outbox = outbox
        self._clock = clock
        self._state = state
        self._on_stored = on_stored
        self._on_end = on_end
        self._closing_s = max(GATHER_S, min(CLOSING_S, interval_s / 100))
        self._pending: list[Event] = []
        self._dropped = 0  # of those that could not be stored, and are not counted on disk yet
        self._store_at = 0.0  # monotonic
        self._gathering: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self.failed = False  # the queue cannot be written: events are held in memory

    def add(self, events: Sequence[Event], changed: bool) -> None:
        """Events to store, with what else comes soon; of what closes an interval more is to be expected than of what `changed`."""
        self._pending += events
        due = self._clock.monotonic() + (GATHER_S if changed else self._closing_s)
        self._store_at = due if self._gathering is None else min(due, self._store_at)
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather(), name="store")
            self._gathering.add_done_callback(self._on_end)

    async def _gather(self) -> None:
        try:
            while (left_s := self._store_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(min(left_s, GATHER_S))
            while self._pending and not await self.store():
                await self._clock.sleep(RETRY_S)
        finally:
            self._gathering = None

    async def store(self) -> bool:
        """All that is there, now, and the state also without events; on failure both wait for the next time.

        It goes on when its caller is cancelled: what is being written would be written again.
        """
        return await asyncio.shield(asyncio.create_task(self._store(), name="write"))

    async def _store(self) -> bool:
        async with self._lock:
            events, dropped = list(self._pending), self._dropped
            try:
                await self._outbox.commit(events, self._state(), dropped)
            except StorageError as error:
                if not self.failed:
                    log.error("%s; %d events are held in memory until the queue can be written", error, len(events))
                self.failed = True
                self._drop_oldest()
                return False
            del self._pending[: len(events)]
            self._dropped -= dropped
            if self.failed:
                log.info("the queue can be written again")
                self.failed = False
        self._on_stored()
        return True

    def _drop_oldest(self) -> None:
        """What no memory can hold; counted in the queue once it can be written."""
        if (more := len(self._pending) - MOST_HELD) > 0:
            if not self._dropped:
                log.error("more events wait for the queue than memory holds; the oldest are dropped and counted")
            del self._pending[:more]
            self._dropped += more

    async def close(self) -> None:
        """Stores a last time, without waiting for more."""
        async with self._lock:  # so that what is cancelled only sleeps
            if self._gathering is not None:
                self._gathering.cancel()
        await self.store()
