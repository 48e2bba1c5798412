"""What the uploader sends next: live events first, the newest state before what it follows, then the backlog.

Of each device and event type at most one live event is under way, so that an off never overtakes its on; and
at most one part of the backlog. While the cloud is in doubt, what is sent is a question: what says most goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.model.clock import Clock
from edge_agent.outbox.rows import Queued
from edge_agent.uplink.backlog import Part
from edge_agent.uplink.gate import Cause, Gate
from edge_agent.uplink.intake import Intake
from edge_agent.uplink.spread import BacklogStart
from edge_agent.uplink.troubles import SUSPECTS, Trouble, Troubles

# decision, the backlog's fair share: where live events never end, a part of it goes after so many (the newest state of a large house)
FAIR_SHARE = 100


@dataclass(frozen=True, slots=True)
class Job:
    """What one call carries: one live event, or a part of the backlog. `begun_at` is monotonic."""

    part: Part
    live: bool
    begun_at: float


class Choice:
    """Chooses among what is in memory and what waits apart."""

    def __init__(self, intake: Intake, troubles: Troubles, gate: Gate, start: BacklogStart, clock: Clock, live_for_s: float) -> None:
        """`live_for_s`: what is older belongs to the backlog."""
        self._intake, self._troubles, self._gate, self._start, self._clock = intake, troubles, gate, start, clock
        self._live_for_s = live_for_s
        self._live_run = 0  # live events begun since the last part of the backlog

    async def next(self, jobs: Sequence[Job], in_hand: Iterable[Part], batch_size: int) -> Job | None:
        """What goes beside `jobs`, which are under way; nothing `in_hand` is taken again. Raises StorageError."""
        refused = self._gate.cause is Cause.REFUSED
        if refused and self._troubles.suspects >= SUSPECTS:
            return self._trouble(jobs)
        share_due = self._live_run >= FAIR_SHARE and not self._gate.doubtful
        live = None if share_due else self._live(jobs)
        if live is not None:
            return live
        cleared = None if jobs else self._troubles.next_cleared(frozenset())
        if cleared is not None:
            return self._again(cleared)
        if not jobs or (share_due and all(job.live for job in jobs)):
            old = await self._old(in_hand, batch_size, 1 if refused else batch_size)  # is the building in doubt, one event is enough to ask
            if old is not None:
                return old
        return self._live(jobs) or self._trouble(jobs)

    def _live(self, jobs: Sequence[Job]) -> Job | None:
        busy = {job.part[0].key for job in jobs if job.live}
        live = self._intake.next_live(busy, self._troubles.says_little if self._gate.doubtful else _by_age)
        if live is None:
            return None
        self._live_run += 1
        return self._job((live,), live=True)

    async def _old(self, in_hand: Iterable[Part], batch_size: int, limit: int) -> Job | None:
        """The next part of the backlog, unless it waits for its start; the first one that is found when the agent starts does."""
        self._live_run = 0
        backlog = self._intake.backlog
        await self._intake.take_old(in_hand, batch_size)
        now = self._clock.monotonic()
        if not self._start.drawn:
            oldest = next(iter(backlog), None)
            self._start.draw(self._clock.now() - oldest[0].at if oldest else 0.0, now)
        if not backlog or (self._start.wait_s(now) > 0 and not self._gate.doubtful):
            return None
        return self._job(backlog.next(limit), live=False)

    def _trouble(self, jobs: Sequence[Job]) -> Job | None:
        """When nothing else waits: one that stepped behind; while the building is in doubt, a suspect."""
        under_way = frozenset(queued.seq for job in jobs for queued in job.part)
        trouble = self._troubles.next_failing(self._clock.monotonic(), under_way)
        if trouble is None and self._gate.doubtful and (not self._gate.proven or self._troubles.suspects >= SUSPECTS):
            trouble = self._troubles.next_suspect(under_way)
        return self._again(trouble) if trouble is not None else None

    def _again(self, trouble: Trouble) -> Job:
        trouble.tried_at = self._clock.monotonic()
        return self._job((trouble.queued,), live=trouble.queued.at >= self._clock.now() - self._live_for_s)

    def _job(self, part: Part, live: bool) -> Job:
        return Job(part, live, self._clock.monotonic())


def _by_age(queued: Queued) -> tuple[int, ...]:
    return not queued.promoted, queued.seq
