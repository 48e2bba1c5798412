"""Brings what waits in the queue to the cloud: live first, then the backlog; decides what becomes of each event.

Up to four calls run at once. Of each device and event type at most one live event is under way, so that
an off never overtakes its on. A refused event is a suspect until another one of the building is accepted,
since the cloud refuses an unknown building with the same status as a bad event. One that the cloud keeps
failing on steps behind the others. Nothing leaves the queue but by acceptance or as a dead letter.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge_agent.model.clock import Clock
from edge_agent.model.errors import StorageError
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.rows import Key, Queued
from edge_agent.uplink.backlog import Backlog, Part, named_places
from edge_agent.uplink.burials import Burials
from edge_agent.uplink.client import CONNECTIONS, MoostClient
from edge_agent.uplink.gate import Cause, Gate
from edge_agent.uplink.spread import Spread
from edge_agent.uplink.troubles import SUSPECTS, Trouble, Troubles
from edge_agent.uplink.verdict import Kind, Verdict

log = logging.getLogger(__name__)

NEWEST_LIVE_S = 86400.0  # the newest value of a device and type goes live up to this age
_TAKE = 1000  # live events held in memory
_BATCH_SIZE_STATE = "uplink.batch_size"


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """What is older than `backfill_after_s` goes through the historical call, `batch_size` events at once."""

    backfill_after_s: float = 3600.0
    batch_size: int = 500


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """How uploads stand, for people. Instants are UTC epoch seconds."""

    state: str  # "running", or why it waits
    accepted_at: float | None
    next_try_at: float | None
    in_flight: int
    suspects: int
    failing: int
    batch_size: int
    accepted_live: int  # since this start
    accepted_historical: int
    buried: int


@dataclass(frozen=True, slots=True)
class _Job:
    """What one call carries: one live event, or a part of the backlog."""

    part: Part
    live: bool


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
    ) -> None:
        """`interval_s`: the reporting interval, on whose start the uploads of a fleet are spread. `chance` gives [0, 1): the back-off's jitter."""
        self._outbox, self._client, self._settings, self._clock = outbox, client, settings, clock
        self._gate = Gate(clock, chance)
        self._spread = Spread(client.account.building_id, interval_s)
        self._nudge = asyncio.Event()
        self._live: dict[Key, deque[Queued]] = {}
        self._live_stale = True  # the queue may hold live events that are not in `_live` yet
        self._live_more = False  # it holds more than were taken
        self._backlog = Backlog()
        self._backlog_stale = True  # the queue may hold old events that are not in `_backlog` yet
        self._troubles = Troubles()
        self._burials = Burials()
        self._jobs: dict[asyncio.Task[Verdict], _Job] = {}
        self._unsettled: list[_Job] = []  # accepted, but the queue could not be written
        self._batch_size = settings.batch_size
        self._accepted_at: float | None = None
        self._accepted_live = self._accepted_historical = self._buried = 0
        self.finish_s = 2.0  # real seconds for calls under way when the uploader is stopped; what is given up may arrive twice

    def wake(self) -> None:
        """New events are in the queue."""
        self._live_stale = self._backlog_stale = True
        self._nudge.set()

    def status(self) -> UploadStatus:
        """How uploads stand now."""
        doubtful = self._gate.doubtful
        return UploadStatus(
            state=f"waiting: {self._gate.reason}" if doubtful else "running",
            accepted_at=self._accepted_at,
            next_try_at=self._clock.now() + self._gate.wait_s if doubtful else None,
            in_flight=len(self._jobs),
            suspects=self._troubles.suspects,
            failing=self._troubles.failing,
            batch_size=self._batch_size,
            accepted_live=self._accepted_live,
            accepted_historical=self._accepted_historical,
            buried=self._buried,
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
                try:
                    if not loaded:
                        await self._load()
                        loaded = True
                    await self._step()
                except StorageError as error:
                    self._gate.fail(Cause.STORAGE, str(error))
                await self._rest()
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

    async def _step(self) -> None:
        """Draws the conclusions of what is done, then starts what may start."""
        for task in [task for task in self._jobs if task.done()]:
            await self._conclude(self._jobs.pop(task), task.result())
        if self._gate.wait_s > 0:
            self._live_stale = self._backlog_stale = True  # by then some will be too old for the live call
            return
        if self._unsettled:
            await self._settle_late()
        if self._live_stale or (self._live_more and sum(map(len, self._live.values())) < _TAKE // 30):
            await self._take_live()
        while len(self._jobs) < (1 if self._gate.doubtful else CONNECTIONS):
            job = await self._next()
            if job is None:
                break
            self._start(job)
        await self._take_ahead()

    async def _rest(self) -> None:
        """Until something happens: an answer, new events, the stop, or the time for the next attempt."""
        delay = self._pause_s()
        if delay is None:
            await self._nudge.wait()
            return
        timer = asyncio.ensure_future(self._clock.sleep(delay))
        timer.add_done_callback(lambda done: None if done.cancelled() else self._nudge.set())
        try:
            await self._nudge.wait()
        finally:
            timer.cancel()

    def _pause_s(self) -> float | None:
        """Seconds to the next thing that time alone brings; None when there is none."""
        if self._gate.wait_s > 0:
            return self._gate.wait_s
        held_s = self._spread.held_s(self._clock.now()) if self._live else 0.0
        ahead = [held_s or None, self._troubles.due_in_s(self._clock.monotonic())]
        return min((max(0.001, seconds) for seconds in ahead if seconds is not None), default=None)

    async def _finish(self) -> None:
        try:
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=self.finish_s)
            if self._unsettled:
                await self._settle_late()
        except StorageError as error:
            log.error("%s; %d events that the cloud has are still in the queue and go again", error, sum(len(job.part) for job in self._unsettled))
        finally:
            for task in self._jobs:
                task.cancel()
            await asyncio.gather(*self._jobs, return_exceptions=True)
            self._jobs.clear()

    # choosing

    async def _next(self) -> _Job | None:
        """What goes next: live, a cleared suspect, the backlog, one that stepped behind."""
        refused = self._gate.cause is Cause.REFUSED
        if refused and self._troubles.suspects >= SUSPECTS:
            return self._next_trouble()
        live = self._next_live()
        if live is not None:
            return _Job((live,), live=True)
        if not self._jobs:  # what is old waits for all that is live
            cleared = self._troubles.next_cleared(self._under_way())
            if cleared is not None:
                return self._again(cleared)
            if not self._backlog and self._backlog_stale:
                await self._take_old()
            if self._backlog:  # where the building is in doubt, one event is enough to ask
                return _Job(self._backlog.next(1 if refused else self._batch_size), live=False)
        return self._next_trouble()

    def _next_live(self) -> Queued | None:
        busy, now = {job.part[0].key for job in self._jobs.values() if job.live}, self._clock.now()
        heads = [queue[0] for key, queue in self._live.items() if key not in busy and not self._spread.waits(queue[0], now)]
        if not heads:
            return None
        chosen = min(heads, key=self._troubles.says_little if self._gate.doubtful else _by_age)
        queue = self._live[chosen.key]
        queue.popleft()
        if not queue:
            del self._live[chosen.key]
        return chosen

    def _next_trouble(self) -> _Job | None:
        """When nothing else waits: one that stepped behind; while the building is in doubt, a suspect."""
        under_way = self._under_way()
        trouble = self._troubles.next_failing(self._clock.monotonic(), under_way)
        if trouble is None and self._gate.doubtful and (self._accepted_at is None or self._troubles.suspects >= SUSPECTS):
            trouble = self._troubles.next_suspect(under_way)
        return self._again(trouble) if trouble is not None else None

    def _again(self, trouble: Trouble) -> _Job:
        trouble.tried_at = self._clock.monotonic()
        return _Job((trouble.queued,), live=trouble.queued.at >= self._clock.now() - self._settings.backfill_after_s)

    def _under_way(self) -> frozenset[int]:
        return frozenset(queued.seq for job in self._jobs.values() for queued in job.part)

    # taking from the queue

    async def _take_live(self) -> None:
        now = self._clock.now()
        self._live_stale = False
        taken = await self._outbox.take_live(now - self._settings.backfill_after_s, now - NEWEST_LIVE_S, _TAKE)
        in_hand = {queued.seq for part in self._parts_in_hand() for queued in part}
        self._live = {}
        for queued in taken:
            if queued.seq not in in_hand:
                self._live.setdefault(queued.key, deque()).append(queued)
        self._live_more = len(taken) >= _TAKE

    async def _take_ahead(self) -> None:
        """Takes the next part of the backlog while one is under way."""
        part = next((job.part for job in self._jobs.values() if not job.live), None)
        if part is not None and self._backlog_stale and not self._backlog and not self._gate.doubtful:
            await self._take_old(after=part[-1].seq)

    async def _take_old(self, after: int = 0) -> None:
        now = self._clock.now()
        self._backlog_stale = False  # before the queue is asked: new events may come meanwhile
        taken = await self._outbox.take_old(now - self._settings.backfill_after_s, now - NEWEST_LIVE_S, self._batch_size, after)
        in_hand = {queued.seq for part in self._parts_in_hand() for queued in part if queued.seq > after}
        part = tuple(queued for queued in taken if queued.seq not in in_hand)
        self._backlog_stale |= bool(part)
        self._backlog.add(part)

    def _parts_in_hand(self) -> Iterable[Part]:
        """What is under way or next in line, and so must not be taken twice."""
        yield from (job.part for job in self._jobs.values())
        yield from (job.part for job in self._unsettled)
        yield from self._backlog

    # sending and settling

    def _start(self, job: _Job) -> None:
        task = asyncio.create_task(self._send(job), name="upload live" if job.live else "upload backlog")
        task.add_done_callback(lambda _: self._nudge.set())
        self._jobs[task] = job

    async def _send(self, job: _Job) -> Verdict:
        """Sends and, when accepted, settles at once: what lies between the two is what a power cut doubles."""
        verdict = await (self._client.send_live(job.part[0]) if job.live else self._client.send_batch(job.part))
        if verdict.accepted:
            try:
                await self._outbox.accept(job.part, historical=not job.live)
            except StorageError as error:
                self._unsettled.append(job)
                self._gate.fail(Cause.STORAGE, str(error))
        return verdict

    async def _settle_late(self) -> None:
        """Settles what was accepted while the queue could not be written, instead of sending it again."""
        while self._unsettled:
            job = self._unsettled[-1]
            await self._outbox.accept(job.part, historical=not job.live)
            self._unsettled.pop()
        self._gate.succeed()

    async def _conclude(self, job: _Job, verdict: Verdict) -> None:
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

    def _accepted(self, job: _Job) -> None:
        if job.live:
            self._accepted_live += 1
        else:
            self._accepted_historical += len(job.part)
            self._backlog_stale = True
        self._accepted_at = self._clock.now()
        self._troubles.forget(job.part)
        self._burials.accepted(job.part)
        if self._unsettled:
            return  # the gate stays closed until the queue takes it
        self._live_stale |= self._gate.doubtful
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

    async def _bury_unwritable(self, job: _Job, verdict: Verdict) -> None:
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

    async def _later(self, job: _Job, verdict: Verdict) -> None:
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
        self._live_stale = True  # a live event is still in the queue, in its order
        unauthorized = verdict.kind is Kind.UNAUTHORIZED
        cause = Cause.CREDENTIALS if unauthorized else Cause.FAILED if verdict.reached else Cause.UNREACHED
        self._gate.fail(cause, verdict.reason, "; the queue keeps what waits", verdict.retry_after_s)

    def _blocks_only_its_own(self, queued: Queued) -> bool:
        """True when others of its device and type wait behind it, and nothing else by which the cloud could show that it is fine."""
        return not self._backlog and self._live.keys() == {queued.key}


def _by_age(queued: Queued) -> tuple[bool, int]:
    return not queued.promoted, queued.seq
