"""Brings what waits in the queue to the cloud: live first, then the backlog; decides what becomes of each event.

Up to four calls run at once. Of each device and event type at most one live event is under way, so that
an off never overtakes its on. A refused event is a suspect until another one of the building is accepted,
since the cloud refuses an unknown building with the same status as a bad event. One that the cloud keeps
failing on steps behind the others. Nothing leaves the queue but by acceptance or as a dead letter.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.model.clock import Clock, utc_text
from edge_agent.model.errors import StorageError
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.queue import Key, Queued
from edge_agent.uplink.client import CONNECTIONS, MoostClient
from edge_agent.uplink.gate import Cause, Gate
from edge_agent.uplink.verdict import Kind, Verdict

log = logging.getLogger(__name__)

NEWEST_LIVE_S = 86400.0  # the newest value of a device and type goes live up to this age
STRIKES = 3  # so many 500s, while others are fine, and an event steps behind (a batch is halved)
STRIKES_ALONE = 9  # as many when there are no others to tell: some minutes, so that a short outage changes no order
_SPREAD_S = 60.0
_TAKE = 1000  # live events held in memory
_SUSPECTS = 8  # events that may be refused one after the other before suspects are tried again
_FAILING_S, _FAILING_CAP_S = 60.0, 3600.0  # how soon one that stepped behind is tried again
_FINISH_S = 2.0  # for calls under way when the uploader is stopped
_BATCH_SIZE_STATE = "uplink.batch_size"
# the guide's "on change": sent when it happens, not spread over the interval's first minute
_ON_CHANGE = frozenset({"CHARGING_MODE", "DEVICE_STATUS", "SWITCH_STATE", "STATE_OF_CHARGE_RATE"})


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

    part: tuple[Queued, ...]
    live: bool


@dataclass(slots=True)
class _Trouble:
    """What an event that was refused or failed on waits for."""

    queued: Queued
    refused: bool
    attempts: int
    reason: str
    try_at: float = 0.0  # monotonic; for a failing one
    cleared: bool = False  # another one was accepted since: the next refusal is for good
    tried_at: float = 0.0


@dataclass(slots=True)
class _Strikes:
    """How often the cloud failed on the same bytes: in `all`, and (`count`) while it took others."""

    all: int = 0
    count: int = 0
    accepted: int = -1  # how many had been accepted at the last one that counted


def spread_offset_s(building_id: str, interval_s: float) -> float:
    """When in an interval this building sends: stable, within the first minute or the first tenth of a shorter interval."""
    share = int.from_bytes(hashlib.sha256(building_id.encode()).digest()[:8]) / 2**64
    return share * min(_SPREAD_S, interval_s / 10)


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
        self._interval_s = interval_s
        self._offset_s = spread_offset_s(client.account.building_id, interval_s)
        self._gate = Gate(clock, chance)
        self._nudge = asyncio.Event()
        self._stale = True  # the queue may hold live events that are not in `_live` yet
        self._more = False  # it holds more than were taken
        self._backlog = True  # the queue may hold old events
        self._live: dict[Key, deque[Queued]] = {}
        self._parts: deque[tuple[Queued, ...]] = deque()
        self._jobs: dict[asyncio.Task[Verdict], _Job] = {}
        self._troubles: dict[int, _Trouble] = {}
        self._strikes: dict[int, _Strikes] = {}
        self._unsettled: list[_Job] = []  # accepted, but the queue could not be written
        self._batch_size = settings.batch_size
        self._accepted_at: float | None = None
        self._counts = {"live": 0, "historical": 0, "buried": 0}

    def wake(self) -> None:
        """New events are in the queue."""
        self._stale = self._backlog = True
        self._nudge.set()

    def status(self) -> UploadStatus:
        """How uploads stand now."""
        wait_s = self._gate.wait_s
        return UploadStatus(
            state=f"waiting: {self._gate.reason}" if self._gate.doubtful else "running",
            accepted_at=self._accepted_at,
            next_try_at=self._clock.now() + wait_s if self._gate.doubtful else None,
            in_flight=len(self._jobs),
            suspects=self._suspects,
            failing=sum(not trouble.refused for trouble in self._troubles.values()),
            batch_size=self._batch_size,
            accepted_live=self._counts["live"],
            accepted_historical=self._counts["historical"],
            buried=self._counts["buried"],
        )

    @property
    def _suspects(self) -> int:
        return sum(trouble.refused for trouble in self._troubles.values())

    # the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Uploads until `stop` is set; then lets what is under way finish for a moment and returns."""
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
            trouble = _Trouble(known.queued, known.kind == "refused", known.attempts, known.reason)
            self._troubles[known.queued.seq] = trouble

    async def _step(self) -> None:
        """Draws the conclusions of what is done, then starts what may start."""
        for task in [task for task in self._jobs if task.done()]:
            await self._conclude(self._jobs.pop(task), task.result())
        if self._gate.wait_s > 0:
            self._stale = self._backlog = True  # by then some will be too old for the live call
            return
        if self._unsettled:
            await self._settle_late()
        if self._stale or (self._more and sum(map(len, self._live.values())) < _TAKE // 30):
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
        now = self._clock.monotonic()
        due = [trouble.try_at - now for trouble in self._troubles.values() if not trouble.refused]
        if self._live and self._held_s() > 0:
            due.append(self._held_s())
        ahead = [max(0.001, seconds) for seconds in due if seconds > 0]
        return min(ahead) if ahead else None

    async def _finish(self) -> None:
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=_FINISH_S)
        for task in self._jobs:
            task.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        self._jobs.clear()

    # choosing

    async def _next(self) -> _Job | None:
        """What goes next: live, a cleared suspect, the backlog, one that stepped behind."""
        if self._gate.cause is Cause.REFUSED and self._suspects >= _SUSPECTS:
            return self._next_trouble()
        live = self._next_live()
        if live is not None:
            return _Job((live,), live=True)
        if not any(not job.live for job in self._jobs.values()):
            cleared = next((one for one in self._free_troubles() if one.refused and one.cleared), None)
            if cleared is not None:
                return self._again(cleared)
            if not self._parts and self._backlog:
                await self._take_old()
            if self._parts:
                return self._next_part()
        return self._next_trouble()

    def _next_part(self) -> _Job:
        part = self._parts.popleft()
        if self._gate.cause is Cause.REFUSED and len(part) > 1:  # one event is enough to ask whether the building is accepted
            self._parts.appendleft(part[1:])
            part = part[:1]
        return _Job(part, live=False)

    def _next_live(self) -> Queued | None:
        busy = {queued.key for job in self._jobs.values() if job.live for queued in job.part}
        held = self._held_s() > 0
        fresh_since = self._clock.now() - 2 * self._interval_s
        heads = [
            queue[0]
            for key, queue in self._live.items()
            if key not in busy and not (held and _spread(queue[0], self._interval_s) and queue[0].at >= fresh_since)
        ]
        if not heads:
            return None
        chosen = min(heads, key=self._probe_order if self._gate.doubtful else _order)
        queue = self._live[chosen.key]
        queue.popleft()
        if not queue:
            del self._live[chosen.key]
        return chosen

    def _probe_order(self, queued: Queued) -> tuple[bool, bool, int, int]:
        """In doubt another device, another type and one that has not failed yet say more than the next of the same."""
        suspects = [trouble.queued.key for trouble in self._troubles.values() if trouble.refused]
        strikes = self._strikes.get(queued.seq)
        devices = {device for device, _ in suspects}
        return queued.key[0] in devices, queued.key in suspects, strikes.count if strikes else 0, queued.seq

    def _held_s(self) -> float:
        """Seconds until this building's turn in the interval; 0 once it has begun."""
        return max(0.0, self._offset_s - self._clock.now() % self._interval_s)

    def _free_troubles(self) -> list[_Trouble]:
        flying = {queued.seq for job in self._jobs.values() for queued in job.part}
        return [trouble for seq, trouble in self._troubles.items() if seq not in flying]

    def _next_trouble(self) -> _Job | None:
        """When nothing else waits: one that stepped behind and is due; else, the building in doubt, the suspect that was tried longest ago."""
        free, now = self._free_troubles(), self._clock.monotonic()
        due = [one for one in free if not one.refused and one.try_at <= now]
        if not due and self._gate.doubtful and (self._accepted_at is None or self._suspects >= _SUSPECTS):
            due = [one for one in free if one.refused]
        return self._again(min(due, key=lambda one: one.tried_at)) if due else None

    def _again(self, trouble: _Trouble) -> _Job:
        trouble.tried_at = self._clock.monotonic()
        return _Job((trouble.queued,), live=trouble.queued.at >= self._clock.now() - self._settings.backfill_after_s)

    # taking from the queue

    async def _take_live(self) -> None:
        now = self._clock.now()
        self._stale = False
        taken = await self._outbox.take_live(now - self._settings.backfill_after_s, now - NEWEST_LIVE_S, _TAKE)
        reserved = {queued.seq for part in self._all_parts() for queued in part}
        self._live = {}
        for queued in taken:
            if queued.seq not in reserved:
                self._live.setdefault(queued.key, deque()).append(queued)
        self._more = len(taken) >= _TAKE

    async def _take_ahead(self) -> None:
        """Takes the next part of the backlog while one is under way."""
        under_way = [job for job in self._jobs.values() if not job.live]
        if under_way and self._backlog and not self._parts and not self._gate.doubtful:
            await self._take_old(after=under_way[0].part[-1].seq)

    async def _take_old(self, after: int = 0) -> None:
        now = self._clock.now()
        taken = await self._outbox.take_old(now - self._settings.backfill_after_s, now - NEWEST_LIVE_S, self._batch_size, after)
        reserved = {queued.seq for part in self._all_parts() for queued in part if queued.seq > after}
        part = tuple(queued for queued in taken if queued.seq not in reserved) if reserved else tuple(taken)
        self._backlog = bool(part)
        if part:
            self._parts.append(part)

    def _all_parts(self) -> Iterable[Sequence[Queued]]:
        yield from (job.part for job in self._jobs.values())
        yield from (job.part for job in self._unsettled)
        yield from self._parts

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
        if verdict.accepted:
            self._accepted(job)
            return
        match verdict.kind:
            case Kind.REFUSED:
                await self._refused(job, verdict)
            case Kind.TOO_LARGE:
                await self._too_large(job, verdict)
            case _:
                await self._later(job, verdict)

    def _accepted(self, job: _Job) -> None:
        self._counts["live" if job.live else "historical"] += len(job.part)
        self._accepted_at = self._clock.now()
        if self._strikes or self._troubles:
            for queued in job.part:
                self._strikes.pop(queued.seq, None)
                self._troubles.pop(queued.seq, None)
        if not job.live:
            self._backlog = True
        if self._unsettled:
            return  # the gate stays closed until the queue takes it
        was_stopped = self._gate.stopped
        if self._gate.doubtful:
            self._stale = True
        self._gate.succeed()
        for trouble in self._troubles.values():
            trouble.cleared = True
            if was_stopped:
                trouble.try_at = 0.0  # it may have been the cloud's fault

    # refusals

    async def _refused(self, job: _Job, verdict: Verdict) -> None:
        if len(job.part) > 1:
            await self._split_refused(job.part, verdict)
            return
        await self._suspect(job.part[0], verdict.status, verdict.reason)

    async def _split_refused(self, part: tuple[Queued, ...], verdict: Verdict) -> None:
        """Finds the bad ones: by the answer's map when it names places, else by halving."""
        named = _named(verdict.errors, len(part))
        if len(named) == len(part):
            self._parts.appendleft(part[1:])
            await self._suspect(part[0], verdict.status, named[0])
        elif named:
            self._parts.appendleft(tuple(queued for place, queued in enumerate(part) if place not in named))
            for place, text in named.items():
                await self._set_aside(part[place], True, verdict.status, text)
        else:
            self._halve(part)

    def _halve(self, part: tuple[Queued, ...]) -> None:
        middle = (len(part) + 1) // 2
        self._parts.extendleft((part[middle:], part[:middle]))

    async def _suspect(self, queued: Queued, status: int, reason: str) -> None:
        """Refused by itself: for good if others were accepted since it was refused before, else the building may be to blame."""
        trouble = self._troubles.get(queued.seq)
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
        known = self._troubles.get(queued.seq)
        attempts = known.attempts + 1 if known else 1
        now = self._clock.monotonic()
        wait_s = min(_FAILING_CAP_S, _FAILING_S * 2.0 ** min(attempts - 1, 10))
        self._troubles[queued.seq] = _Trouble(queued, refused, attempts, reason, now + wait_s, tried_at=now)

    async def _bury(self, queued: Queued, status: int, reason: str) -> None:
        await self._outbox.bury(queued, status, reason, self._clock.now())
        self._troubles.pop(queued.seq, None)
        self._counts["buried"] += 1
        log.warning("the cloud refuses %s %s of %s for good: %s (see `edge-agent queue dead`)", *queued.key, utc_text(queued.at), reason)

    async def _too_large(self, job: _Job, verdict: Verdict) -> None:
        """Fewer at once from now on, also after a restart."""
        if len(job.part) == 1:
            await self._suspect(job.part[0], verdict.status, verdict.reason)
            return
        self._batch_size = max(1, min(self._batch_size, len(job.part) // 2))
        self._halve(job.part)
        log.info("the cloud calls %d events at once too many: at most %d from now on", len(job.part), self._batch_size)
        await self._outbox.commit([], {_BATCH_SIZE_STATE: json.dumps(self._batch_size)})

    # failures

    async def _later(self, job: _Job, verdict: Verdict) -> None:
        unauthorized = verdict.kind is Kind.UNAUTHORIZED
        cause = Cause.CREDENTIALS if unauthorized else Cause.FAILED if verdict.reached else Cause.UNREACHED
        apart = job.part[0].seq in self._troubles
        struck = verdict.status >= 500 and await self._strike(job, verdict)
        if struck and apart:
            return  # it has a pace of its own and says nothing about the cloud
        if not struck:
            self._put_back(job)
        self._gate.fail(cause, verdict.reason, "; the queue keeps what waits", verdict.retry_after_s)

    def _put_back(self, job: _Job) -> None:
        """To be sent again, the same bytes."""
        if not job.live and job.part[0].seq not in self._troubles:
            place = 1 if len(job.part) == 1 else 0  # a single one lets the next try whether the cloud is fine
            self._parts.insert(place, job.part)
        self._stale = True  # live events are still in the queue, in their order

    async def _strike(self, job: _Job, verdict: Verdict) -> bool:
        """Counts a 500 against the same bytes. True when they were dealt with: halved, or stepped behind the others."""
        first, known = job.part[0], self._troubles.get(job.part[0].seq)
        accepted = self._counts["live"] + self._counts["historical"]
        strikes = self._strikes.setdefault(first.seq, _Strikes())
        strikes.all += 1
        if accepted > strikes.accepted or len(job.part) > 1:
            strikes.count, strikes.accepted = strikes.count + 1, accepted
        if known is None and strikes.count < STRIKES and not (strikes.all >= STRIKES_ALONE and self._blocks_only_its_own(first)):
            return False
        del self._strikes[first.seq]
        if len(job.part) > 1:
            self._halve(job.part)
        else:
            await self._set_aside(first, known is not None and known.refused, verdict.status, verdict.reason)
        return True

    def _blocks_only_its_own(self, queued: Queued) -> bool:
        """True when others of its device and type wait behind it, and nothing else by which the cloud could show that it is fine."""
        return not self._parts and self._live.keys() == {queued.key}


def _order(queued: Queued) -> tuple[bool, int]:
    return not queued.promoted, queued.seq


def _spread(queued: Queued, interval_s: float) -> bool:
    """True for an event of an interval, false for one that tells of a change."""
    return queued.names[3] not in _ON_CHANGE and queued.at % interval_s == 0


def _named(errors: Mapping[str, str], size: int) -> dict[int, str]:
    """The places that a refused batch's map names, when all its keys are places."""
    places = {int(key): text for key, text in errors.items() if key.isascii() and key.isdigit() and int(key) < size}
    return places if len(places) == len(errors) else {}

