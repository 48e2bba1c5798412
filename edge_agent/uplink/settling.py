"""What the cloud has accepted and the queue does not know yet. Live events leave the queue in groups, to spare the flash.

What is not settled may be sent a second time after a power cut, so a group and what is under way beside it are
never more than one batch, and a group waits for seconds only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edge_agent.model.clock import Clock
from edge_agent.model.errors import StorageError
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.queue import Queue
from edge_agent.outbox.rows import Queued
from edge_agent.uplink.backlog import Part
from edge_agent.uplink.choice import Job
from edge_agent.uplink.client import CONNECTIONS

GROUP_S = 2.0  # a group's first event waits no longer
_GROUP = 100  # nor do more wait for each other


class Settling:
    """The accepted jobs that are not settled yet, and the doubles that are not counted yet."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox, self._clock = outbox, clock
        self.jobs: list[Job] = []
        self.possibly_doubled = 0  # counted with the next group: a write for each failed call would wear the flash
        self._doubtful: set[int] = set()  # their places, as far as the queue does not know them
        self._noted = 0  # so many of them, should the agent die
        self.failed = False  # the queue could not be written
        self._since = 0.0
        self._writing = asyncio.Lock()
        self.begun = False  # the queue knows that events may be under way

    async def begin(self, batch_size: int) -> None:
        """Before the first event is sent: should the agent die, the next start counts what was under way. Raises StorageError."""
        async with self._writing:
            if not self.begun:
                await self._outbox.call(lambda queue: queue.begin_sending(batch_size + CONNECTIONS))
                self.begun = True

    def doubt(self, part: Part) -> None:
        """The cloud may have it, or a part of it."""
        self.possibly_doubled += len(part)
        self._doubtful.update(queued.seq for queued in part)

    async def note_doubt(self) -> None:
        """Before anything is sent again. Writes twice what may be doubled, so that a long outage costs a few writes. Raises StorageError."""
        async with self._writing:
            if self._doubtful:
                places, most = frozenset(self._doubtful), 2 * self.possibly_doubled if self.possibly_doubled > self._noted else None
                await self._outbox.call(lambda queue: queue.note_doubt(places, most))
                self._noted = most or self._noted
                self._doubtful -= places

    async def end(self) -> None:
        """Settles, and nothing is under way any more. Raises StorageError."""
        await self.settle()
        async with self._writing:
            if self.begun:
                await self._outbox.call(lambda queue: queue.end_sending())
                self.begun = False

    def add(self, job: Job) -> None:
        """The cloud has it."""
        if not self.jobs:
            self._since = self._clock.monotonic()
        self.jobs.append(job)

    @property
    def waiting(self) -> int:
        """How many events the queue still holds although the cloud has them."""
        return sum(len(job.part) for job in self.jobs)

    def is_full(self, batch_size: int, old_under_way: int) -> bool:
        """True when no more may be added: with what is under way, live and `old_under_way` of the backlog, it would be more than a batch."""
        return self.waiting >= min(_GROUP, max(1, batch_size - CONNECTIONS - old_under_way))

    @property
    def due_in_s(self) -> float | None:
        """Seconds until the group must be settled; None without one."""
        return max(0.0, self._since + GROUP_S - self._clock.monotonic()) if self.jobs else None

    async def settle(self) -> None:
        """All leave the queue in one transaction. Raises StorageError; then they stay here, and are not sent again."""
        async with self._writing:
            jobs, doubled = list(self.jobs), self.possibly_doubled
            if not jobs and not doubled:
                return
            try:
                await self._outbox.call(lambda queue: _accept(queue, jobs, doubled))
            except StorageError:
                self.failed = True
                raise
            self.failed = False
            del self.jobs[: len(jobs)]
            self.possibly_doubled -= doubled
            self._noted = 0 if doubled else self._noted
            self._since = self._clock.monotonic()


def _accept(queue: Queue, jobs: Sequence[Job], possibly_doubled: int) -> None:
    live: list[Queued] = [queued for job in jobs if job.live for queued in job.part]
    old = [queued for job in jobs if not job.live for queued in job.part]
    queue.accept(live, historical=False, possibly_doubled=possibly_doubled)
    queue.accept(old, historical=True)
