"""What becomes of events once the cloud has answered, or has not.

A refused event is a suspect until another one of the building is accepted, since the cloud refuses an unknown building with the same
status as a bad event. One that the cloud keeps failing on steps behind the others. Nothing leaves the queue but by acceptance or as a
dead letter.
"""

from __future__ import annotations

import json
import logging

from edge_agent.model.clock import Clock
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.rows import Queued
from edge_agent.uplink.backlog import Part, named_places
from edge_agent.uplink.burials import Burials
from edge_agent.uplink.choice import Job
from edge_agent.uplink.gate import Cause, Gate
from edge_agent.uplink.intake import Intake
from edge_agent.uplink.progress import Progress
from edge_agent.uplink.settling import Settling
from edge_agent.uplink.spread import BacklogStart
from edge_agent.uplink.troubles import Troubles
from edge_agent.uplink.verdict import Kind, Verdict

log = logging.getLogger(__name__)

_BATCH_SIZE_STATE = "uplink.batch_size"


class Conclusions:
    """Draws the conclusions from answers, and counts them since this start of the agent."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        building_id: str,
        gate: Gate,
        intake: Intake,
        troubles: Troubles,
        settling: Settling,
        start: BacklogStart,
        batch_size: int,
    ) -> None:
        """`batch_size`: the most events of a call, until the cloud calls that too many."""
        self._outbox, self._clock, self._building_id = outbox, clock, building_id
        self._gate, self._intake, self._troubles, self._settling, self._start = gate, intake, troubles, settling, start
        self._burials = Burials()
        self._left_by_map: Part = ()  # a refused batch without those that its answer named
        self._halved_to = 0  # up to this seq maps are not believed: what keys they have is not documented, they may count from 1
        self.batch_size = batch_size
        self.progress = Progress()
        self.accepted_at: float | None = None  # UTC epoch seconds
        self.accepted_live = self.accepted_historical = self.buried = 0

    async def load(self) -> None:
        """What an earlier run has learnt. Raises StorageError."""
        size = await self._outbox.load_state(_BATCH_SIZE_STATE)
        if size is not None:
            self.batch_size = min(self.batch_size, max(1, int(json.loads(size))))
        for known in await self._outbox.troubled():
            self._troubles.set_aside(known.queued, known.kind == "refused", self._clock.monotonic(), known.attempts)

    async def draw(self, job: Job, verdict: Verdict) -> None:
        """What follows from an answer. Raises StorageError."""
        match verdict.kind:
            case Kind.ACCEPTED:
                self._accepted(job)
            case Kind.UNWRITABLE:
                await self._bury_unwritable(job, verdict)
            case Kind.REFUSED if len(job.part) > 1:
                await self._find_refused(job.part, verdict)
            case Kind.TOO_LARGE if len(job.part) > 1:
                await self._shrink(job.part)
            case Kind.REFUSED | Kind.TOO_LARGE:
                await self._suspect(job.part[0], verdict.status, verdict.reason)
            case _:
                await self._later(job, verdict)

    def _accepted(self, job: Job) -> None:
        if job.live:
            self.accepted_live += 1
        else:
            self.accepted_historical += len(job.part)
            self.progress.note(len(job.part), self._clock.monotonic() - job.begun_at)
            self._intake.backlog_stale = True
        self.accepted_at = self._clock.now()
        self._troubles.forget(job.part)
        self._burials.accepted(job.part)
        if self._settling.failed:
            return  # the gate stays closed until the queue takes it
        if self._gate.doubtful:
            self._intake.live_stale = True
            self._start.draw(self._gate.lasted_s, self._clock.monotonic())
        self._troubles.clear(after_a_stop=self._gate.stopped)
        self._gate.succeed()

    # refusals

    async def _find_refused(self, part: Part, verdict: Verdict) -> None:
        """Finds the bad ones of a batch: by the answer's map when it names places, else, or when that did not help, by halving."""
        if part == self._left_by_map:
            self._halved_to = part[-1].seq
        named = named_places(verdict.errors, len(part)) if part[-1].seq > self._halved_to else {}
        if not named:
            self._intake.backlog.halve(part)
        elif len(named) == len(part):
            self._intake.backlog.put_first(part[1:])
            await self._suspect(part[0], verdict.status, named[0])
        else:
            self._left_by_map = tuple(queued for place, queued in enumerate(part) if place not in named)
            self._intake.backlog.put_first(self._left_by_map)
            for place, text in named.items():
                await self._set_aside(part[place], True, verdict.status, text)

    async def _suspect(self, queued: Queued, status: int, reason: str) -> None:
        """Refused by itself: for good if others were accepted since it was refused before, else the building may be to blame."""
        trouble = self._troubles.get(queued)
        if trouble is not None and trouble.refused and trouble.cleared:
            await self._bury(queued, status, reason)
            return
        await self._set_aside(queued, True, status, reason)
        building = self._building_id
        check = "check `building_id:`, `customer_id:` and whether the building is registered"
        hint = f"building {building}: the cloud refuses its events ({reason}); {check}"
        self._gate.fail(Cause.REFUSED, hint, "; the queue holds them")

    async def _set_aside(self, queued: Queued, refused: bool, status: int, reason: str) -> None:
        await self._outbox.set_aside(queued, "refused" if refused else "failing", status, reason, self._clock.now())
        self._troubles.set_aside(queued, refused, self._clock.monotonic())

    async def _bury_unwritable(self, job: Job, verdict: Verdict) -> None:
        """No cloud will ever see these: they are dead letters at once, the rest of the batch goes on."""
        named = named_places(verdict.errors, len(job.part))
        if not job.live:
            self._intake.backlog.put_first(tuple(queued for place, queued in enumerate(job.part) if place not in named))
        for place, text in named.items():
            await self._bury(job.part[place], 0, text)

    async def _bury(self, queued: Queued, status: int, reason: str) -> None:
        await self._outbox.bury(queued, status, reason, self._clock.now())
        self._troubles.forget([queued])
        self.buried += 1
        self._burials.note(queued, reason)

    async def _shrink(self, part: Part) -> None:
        """Too large: fewer at once from now on, also after a restart."""
        self.batch_size = max(1, min(self.batch_size, len(part) // 2))
        self._intake.backlog.put_first(part)
        log.info("the cloud calls %d events at once too many: at most %d from now on", len(part), self.batch_size)
        await self._outbox.commit([], {_BATCH_SIZE_STATE: json.dumps(self.batch_size)})

    # failures

    async def _later(self, job: Job, verdict: Verdict) -> None:
        if verdict.in_doubt:
            self._settling.doubt(job.part)
        known = self._troubles.get(job.part[0])
        accepted = self.accepted_live + self.accepted_historical
        if verdict.status >= 500 and self._troubles.strike(job.part, accepted, lambda: self._blocks_only_its_own(job.part[0])):
            if len(job.part) > 1:
                self._intake.backlog.halve(job.part)
            else:
                await self._set_aside(job.part[0], known is not None and known.refused, verdict.status, verdict.reason)
            if known is not None:
                return  # it has a pace of its own and says nothing about the cloud
        elif not job.live and known is None:
            self._intake.backlog.put_back(job.part)
        self._intake.live_stale = True  # a live event is still in the queue, in its order
        unauthorized = verdict.kind is Kind.UNAUTHORIZED
        cause = Cause.CREDENTIALS if unauthorized else Cause.FAILED if verdict.reached else Cause.UNREACHED
        self._gate.fail(cause, verdict.reason, "; the queue keeps what waits", verdict.retry_after_s)

    def _blocks_only_its_own(self, queued: Queued) -> bool:
        """True when others of its device and type wait behind it, and nothing else by which the cloud could show that it is fine."""
        return not self._intake.backlog and self._intake.live_keys == {queued.key}
