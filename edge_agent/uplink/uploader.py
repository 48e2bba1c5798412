"""Brings what waits in the queue to the cloud: live first, then the backlog; decides what becomes of each event.

Up to four calls run at once. A refused event is a suspect until another one of the building is accepted,
since the cloud refuses an unknown building with the same status as a bad event. One that the cloud keeps
failing on steps behind the others. Nothing leaves the queue but by acceptance or as a dead letter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from edge_agent.model.clock import Clock
from edge_agent.model.errors import StorageError
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.rows import Queued
from edge_agent.uplink.backlog import Part, named_places
from edge_agent.uplink.burials import Burials
from edge_agent.uplink.choice import Choice, Job
from edge_agent.uplink.client import CONNECTIONS, MoostClient
from edge_agent.uplink.gate import Cause, Gate
from edge_agent.uplink.intake import Intake
from edge_agent.uplink.progress import Progress
from edge_agent.uplink.settling import Settling
from edge_agent.uplink.spread import BacklogStart, Spread
from edge_agent.uplink.troubles import Troubles
from edge_agent.uplink.verdict import Kind, Verdict

log = logging.getLogger(__name__)

_BATCH_SIZE_STATE = "uplink.batch_size"


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """What is older than `backfill_after_s` goes through the historical call, `batch_size` events at once. `verify`: the daily check."""

    backfill_after_s: float = 3600.0
    batch_size: int = 500
    verify: bool = True


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """How uploads stand, for people. Instants are UTC epoch seconds, counts are since this start of the agent."""

    at: float
    state: str  # "running", or why it waits
    refused: bool  # it waits because the cloud refuses the credentials or all events
    accepted_at: float | None
    next_try_at: float | None
    in_flight: int
    suspects: int
    failing: int
    batch_size: int
    accepted_live: int
    accepted_historical: int
    buried: int
    stopped_at: float | None  # since when uploads have been failing
    backlog_starts_at: float | None  # the random moment after an interruption, while the backlog waits for it
    events_per_s: float | None  # the backlog's pace; None until a part of it was accepted
    calls: int  # with events, answered or not
    calls_s: float  # how long all of them took together

    def time_left_s(self, waiting: int) -> float | None:
        """Seconds until so many waiting events are delivered; None where nobody can say."""
        return waiting / self.events_per_s if self.events_per_s and self.stopped_at is None else None

    def as_answer(self, waiting: int) -> dict[str, Any]:
        """The same as JSON, with the time that so many waiting events need."""
        return asdict(self) | {"time_left_s": self.time_left_s(waiting)}


class Uploader:
    """One building's uploads. `run` works until stopped; `wake` tells it of new events."""

    def __init__(
        self,
        outbox: Outbox,
        client: MoostClient,
        settings: UploadSettings,
        clock: Clock,
        interval_s: float,
        chance: Callable[[], float] = random.random,
        start: BacklogStart | None = None,
    ) -> None:
        """`interval_s`: the reporting interval, on whose start the uploads of a fleet are spread.

        `chance` gives [0, 1): the back-off's jitter. `start` says when the backlog may go, also where another uploader began to wait for it.
        """
        self._outbox, self._client, self._settings, self._clock = outbox, client, settings, clock
        self._gate = Gate(clock, chance)
        self._intake = Intake(outbox, clock, Spread(client.account.building_id, interval_s), settings.backfill_after_s)
        self._backlog = self._intake.backlog
        self._start = start or BacklogStart()
        self._progress = Progress()
        self._nudge = asyncio.Event()
        self._troubles = Troubles()
        self._choice = Choice(self._intake, self._troubles, self._gate, self._start, clock, settings.backfill_after_s)
        self._burials = Burials()
        self._jobs: dict[asyncio.Task[Verdict], Job] = {}
        self._settling = Settling(outbox, clock)
        self._batch_size = settings.batch_size
        self._accepted_at: float | None = None
        self._accepted_live = self._accepted_historical = self._buried = 0
        self._calls, self._calls_s = 0, 0.0
        self.on_turn: Callable[[], None] = lambda: None
        self.finish_s = 2.0  # real seconds for calls under way when the uploader is stopped; what is given up may arrive twice

    def wake(self) -> None:
        """New events are in the queue."""
        self._intake.stale()
        self._nudge.set()

    def turn(self) -> None:
        """Lets the loop turn once, though nothing is new: `on_turn` shows that it can."""
        self._nudge.set()

    def status(self) -> UploadStatus:
        """How uploads stand now."""
        doubtful, now = self._gate.doubtful, self._clock.now()
        held_s = self._start.wait_s(self._clock.monotonic()) if self._backlog else 0.0
        return UploadStatus(
            at=now,
            state=f"waiting: {self._gate.reason}" if doubtful else "running",
            refused=self._gate.cause in (Cause.REFUSED, Cause.CREDENTIALS),
            accepted_at=self._accepted_at,
            next_try_at=now + self._gate.wait_s if doubtful else None,
            in_flight=len(self._jobs),
            suspects=self._troubles.suspects,
            failing=self._troubles.failing,
            batch_size=self._batch_size,
            accepted_live=self._accepted_live,
            accepted_historical=self._accepted_historical,
            buried=self._buried,
            stopped_at=now - self._gate.lasted_s if doubtful else None,
            backlog_starts_at=now + held_s if held_s else None,
            events_per_s=self._progress.events_per_s,
            calls=self._calls,
            calls_s=self._calls_s,
        )

    # the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Uploads until `stop` is set; then lets what is under way finish for up to `finish_s` and returns, when cancelled at once."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._nudge.set())
        loaded = False
        try:
            while not stop.is_set():
                self._nudge.clear()
                self.on_turn()
                shut = True
                try:
                    if not loaded:
                        await self._load()
                        loaded = True
                    shut = await self._step()
                except StorageError as error:
                    self._gate.fail(Cause.STORAGE, str(error))
                await self._rest(shut)
        finally:
            stopping.cancel()
            await self._finish()

    async def _load(self) -> None:
        """What an earlier run has learnt."""
        size = await self._outbox.load_state(_BATCH_SIZE_STATE)
        if size is not None:
            self._batch_size = min(self._batch_size, max(1, int(json.loads(size))))
        for known in await self._outbox.troubled():
            self._troubles.set_aside(known.queued, known.kind == "refused", self._clock.monotonic(), known.attempts)

    async def _step(self) -> bool:
        """Draws the conclusions of what is done, then starts what may start. True when the gate was shut."""
        for task in [task for task in self._jobs if task.done()]:
            await self._conclude(self._jobs.pop(task), task.result())
        await self._settle_in_time()
        if self._gate.wait_s > 0:
            self._intake.stale()  # by then some will be too old for the live call
            return True
        await self._intake.take_live(self._in_hand())
        while len(self._jobs) < (1 if self._gate.doubtful else CONNECTIONS):
            job = await self._choice.next(list(self._jobs.values()), self._in_hand(), self._batch_size)
            if job is None:
                break
            self._begin(job)
        await self._take_ahead()
        if not self._jobs:
            await self._settling.settle()
        return False

    async def _rest(self, shut: bool) -> None:
        """Until something happens: an answer, new events, the stop, or the time for the next attempt."""
        delay = self._pause_s(shut)
        if delay is None:
            await self._nudge.wait()
            return
        timer = asyncio.ensure_future(self._clock.sleep(delay))
        timer.add_done_callback(lambda done: None if done.cancelled() else self._nudge.set())
        try:
            await self._nudge.wait()
        finally:
            timer.cancel()

    def _pause_s(self, shut: bool) -> float | None:
        """Seconds to the next thing that time alone brings; None when there is none.

        What has become due since the step looked counts, too, when nothing is under way whose end would bring another step.
        """
        now = self._clock.monotonic()
        ahead = [None if self._settling.failed else self._settling.due_in_s]
        if shut:
            ahead.append(self._gate.wait_s)
        else:
            waiting = [self._intake.held_back_s, self._start.wait_s(now) if self._backlog else None, self._troubles.due_in_s(now)]
            ahead += [seconds for seconds in waiting if seconds or not self._jobs]
        return min((max(0.001, seconds) for seconds in ahead if seconds is not None), default=None)

    async def _finish(self) -> None:
        try:
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=self.finish_s)
            self._settling.possibly_doubled += sum(len(job.part) for task, job in self._jobs.items() if not task.done() or task.result().in_doubt)
            await self._settling.end()
        except StorageError as error:
            log.error("%s; %d events that the cloud has are still in the queue and go again", error, self._settling.waiting)
        finally:
            for task in self._jobs:
                task.cancel()
            await asyncio.gather(*self._jobs, return_exceptions=True)
            self._jobs.clear()

    def _in_hand(self) -> Iterable[Part]:
        """What must not be taken twice."""
        return [job.part for job in (*self._jobs.values(), *self._settling.jobs)]

    async def _take_ahead(self) -> None:
        """Takes the next part of the backlog while one is under way."""
        part = next((job.part for job in self._jobs.values() if not job.live), None)
        if part is not None and not self._gate.doubtful:
            await self._intake.take_old(self._in_hand(), self._batch_size, after=part[-1].seq)

    # sending and settling

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._send(job), name="upload live" if job.live else "upload backlog")
        task.add_done_callback(lambda _: self._nudge.set())
        self._jobs[task] = job

    async def _send(self, job: Job) -> Verdict:
        """Sends and, when a part of the backlog is accepted, settles at once: what lies between the two is what a power cut doubles."""
        began = self._clock.monotonic()
        verdict = await self._prepare()
        if verdict is None:
            verdict = await (self._client.send_live(job.part[0]) if job.live else self._client.send_batch(job.part))
        self._calls += 1
        self._calls_s += self._clock.monotonic() - began
        if verdict.accepted:
            self._settling.add(job)
            if not job.live:
                try:
                    await self._settling.settle()
                except StorageError as error:
                    self._gate.fail(Cause.STORAGE, str(error))
        return verdict

    async def _prepare(self) -> Verdict | None:
        """Before the first event leaves: a token, for without one nothing can be in doubt, and the mark that something may be. What is in the way."""
        if self._settling.begun:
            return None
        refused = await self._client.log_in()
        if refused is None:
            try:
                await self._settling.begin(self._batch_size)
            except StorageError as error:
                return Verdict(Kind.LATER, str(error))
        return refused

    async def _settle_in_time(self) -> None:
        """Settles a group that is full or has waited long enough, or what could not be written before, instead of sending it again."""
        if self._settling.failed:
            if self._gate.wait_s == 0:
                await self._settling.settle()
                self._gate.succeed()
        elif self._settling.due_in_s == 0 or self._settling.is_full(self._batch_size, self._old_under_way()):
            await self._settling.settle()

    def _old_under_way(self) -> int:
        return sum(len(job.part) for job in self._jobs.values() if not job.live)

    async def _conclude(self, job: Job, verdict: Verdict) -> None:
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
            self._accepted_live += 1
        else:
            self._accepted_historical += len(job.part)
            self._progress.note(len(job.part), self._clock.monotonic() - job.begun_at)
            self._intake.backlog_stale = True
        self._accepted_at = self._clock.now()
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
        """Finds the bad ones of a batch: by the answer's map when it names places, else by halving."""
        named = named_places(verdict.errors, len(part))
        if not named:
            self._backlog.halve(part)
        elif len(named) == len(part):
            self._backlog.put_first(part[1:])
            await self._suspect(part[0], verdict.status, named[0])
        else:
            self._backlog.put_first(tuple(queued for place, queued in enumerate(part) if place not in named))
            for place, text in named.items():
                await self._set_aside(part[place], True, verdict.status, text)

    async def _suspect(self, queued: Queued, status: int, reason: str) -> None:
        """Refused by itself: for good if others were accepted since it was refused before, else the building may be to blame."""
        trouble = self._troubles.get(queued)
        if trouble is not None and trouble.refused and trouble.cleared:
            await self._bury(queued, status, reason)
            return
        await self._set_aside(queued, True, status, reason)
        building = self._client.account.building_id
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
            self._backlog.put_first(tuple(queued for place, queued in enumerate(job.part) if place not in named))
        for place, text in named.items():
            await self._bury(job.part[place], 0, text)

    async def _bury(self, queued: Queued, status: int, reason: str) -> None:
        await self._outbox.bury(queued, status, reason, self._clock.now())
        self._troubles.forget([queued])
        self._buried += 1
        self._burials.note(queued, reason)

    async def _shrink(self, part: Part) -> None:
        """Too large: fewer at once from now on, also after a restart."""
        self._batch_size = max(1, min(self._batch_size, len(part) // 2))
        self._backlog.put_first(part)
        log.info("the cloud calls %d events at once too many: at most %d from now on", len(part), self._batch_size)
        await self._outbox.commit([], {_BATCH_SIZE_STATE: json.dumps(self._batch_size)})

    # failures

    async def _later(self, job: Job, verdict: Verdict) -> None:
        if verdict.in_doubt:
            self._settling.possibly_doubled += len(job.part)
        known = self._troubles.get(job.part[0])
        accepted = self._accepted_live + self._accepted_historical
        if verdict.status >= 500 and self._troubles.strike(job.part, accepted, lambda: self._blocks_only_its_own(job.part[0])):
            if len(job.part) > 1:
                self._backlog.halve(job.part)
            else:
                await self._set_aside(job.part[0], known is not None and known.refused, verdict.status, verdict.reason)
            if known is not None:
                return  # it has a pace of its own and says nothing about the cloud
        elif not job.live and known is None:
            self._backlog.put_back(job.part)
        self._intake.live_stale = True  # a live event is still in the queue, in its order
        unauthorized = verdict.kind is Kind.UNAUTHORIZED
        cause = Cause.CREDENTIALS if unauthorized else Cause.FAILED if verdict.reached else Cause.UNREACHED
        self._gate.fail(cause, verdict.reason, "; the queue keeps what waits", verdict.retry_after_s)

    def _blocks_only_its_own(self, queued: Queued) -> bool:
        """True when others of its device and type wait behind it, and nothing else by which the cloud could show that it is fine."""
        return not self._backlog and self._intake.live_keys == {queued.key}
