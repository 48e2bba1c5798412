"""Brings what waits in the queue to the cloud: live first, then the backlog.

Here is the loop: up to four calls at once, started while the gate is open, settled when they are accepted. What goes next is
`choice`'s, what an answer means for its events `conclusions`'.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from edge_agent.model.clock import Clock
from edge_agent.model.errors import StorageError
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.backlog import Part
from edge_agent.uplink.choice import Choice, Job
from edge_agent.uplink.client import CONNECTIONS, MoostClient
from edge_agent.uplink.conclusions import Conclusions
from edge_agent.uplink.gate import Cause, Gate
from edge_agent.uplink.intake import Intake
from edge_agent.uplink.settings import UploadSettings
from edge_agent.uplink.settling import Settling
from edge_agent.uplink.spread import BacklogStart, Spread
from edge_agent.uplink.troubles import Troubles
from edge_agent.uplink.upload_status import UploadStatus
from edge_agent.uplink.verdict import Kind, Verdict

log = logging.getLogger(__name__)


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
        self._client, self._clock = client, clock
        self._gate = Gate(clock, chance)
        self._intake = Intake(outbox, clock, Spread(client.account.building_id, interval_s), settings.backfill_after_s)
        self._start = start or BacklogStart()
        self._nudge = asyncio.Event()
        self._troubles = Troubles()
        self._choice = Choice(self._intake, self._troubles, self._gate, self._start, clock, settings.backfill_after_s)
        self._jobs: dict[asyncio.Task[Verdict], Job] = {}
        self._settling = Settling(outbox, clock)
        shared = (self._gate, self._intake, self._troubles, self._settling, self._start)
        self._conclusions = Conclusions(outbox, clock, client.account.building_id, *shared, settings.batch_size)
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
        done, doubtful, now = self._conclusions, self._gate.doubtful, self._clock.now()
        held_s = self._start.wait_s(self._clock.monotonic()) if self._intake.backlog else 0.0
        return UploadStatus(
            at=now,
            state=f"waiting: {self._gate.reason}" if doubtful else "running",
            refused=self._gate.cause in (Cause.REFUSED, Cause.CREDENTIALS),
            accepted_at=done.accepted_at,
            next_try_at=now + self._gate.wait_s if doubtful else None,
            in_flight=len(self._jobs),
            suspects=self._troubles.suspects,
            failing=self._troubles.failing,
            batch_size=done.batch_size,
            accepted_live=done.accepted_live,
            accepted_historical=done.accepted_historical,
            buried=done.buried,
            stopped_at=now - self._gate.lasted_s if doubtful else None,
            backlog_starts_at=now + held_s if held_s else None,
            events_per_s=done.progress.events_per_s,
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
                        await self._conclusions.load()
                        loaded = True
                    shut = await self._step()
                except StorageError as error:
                    self._gate.fail(Cause.STORAGE, str(error))
                await self._rest(shut)
        finally:
            stopping.cancel()
            await self._finish()

    async def _step(self) -> bool:
        """Draws the conclusions of what is done, then starts what may start. True when the gate was shut."""
        for task in [task for task in self._jobs if task.done()]:
            await self._conclusions.draw(self._jobs.pop(task), task.result())
        await self._settle_in_time()
        await self._settling.note_doubt()
        if self._gate.wait_s > 0:
            self._intake.stale()  # by then some will be too old for the live call
            return True
        await self._intake.take_live(self._in_hand())
        while len(self._jobs) < (1 if self._gate.doubtful else CONNECTIONS):
            job = await self._choice.next(list(self._jobs.values()), self._in_hand(), self._conclusions.batch_size)
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
            waiting = [self._intake.held_back_s, self._start.wait_s(now) if self._intake.backlog else None, self._troubles.due_in_s(now)]
            ahead += [seconds for seconds in waiting if seconds or not self._jobs]
        return min((max(0.001, seconds) for seconds in ahead if seconds is not None), default=None)

    async def _finish(self) -> None:
        try:
            if self._jobs:
                await asyncio.wait(self._jobs, timeout=self.finish_s)
            self._settling.possibly_doubled += sum(len(job.part) for task, job in self._jobs.items() if not task.done() or task.result().in_doubt)
            await self._settling.end()
        except StorageError as error:
            again = f"{self._settling.waiting} events that the cloud has are still in the queue and go again"
            log.error("%s; %s", error, again if self._settling.waiting else "the next start takes this one for one that died")
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
            await self._intake.take_old(self._in_hand(), self._conclusions.batch_size, after=part[-1].seq)

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
                await self._settling.begin(self._conclusions.batch_size)
            except StorageError as error:
                return Verdict(Kind.LATER, str(error))
        return refused

    async def _settle_in_time(self) -> None:
        """Settles a group that is full or has waited long enough, or what could not be written before, instead of sending it again."""
        if self._settling.failed:
            if self._gate.wait_s == 0:
                await self._settling.settle()
                self._gate.succeed()
        elif self._settling.due_in_s == 0 or self._settling.is_full(self._conclusions.batch_size, self._old_under_way()):
            await self._settling.settle()

    def _old_under_way(self) -> int:
        return sum(len(job.part) for job in self._jobs.values() if not job.live)
