"""The time during which one site file is in force: its loops, from the first poll to the last event on disk.

SIGHUP ends a shift and starts another on the same queue; what was learnt and counted goes over in the queue's
state. What a reading becomes is decided in `measuring`, what is stored together in `storing`, what commands hear in
`answers`; here is only who runs when.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from edge_agent import __version__
from edge_agent.building import BuildingKeeper
from edge_agent.config import Site
from edge_agent.devices import Devices
from edge_agent.handover import RESTORED, sent_until
from edge_agent.memory import Memory, loaded
from edge_agent.model.clock import Clock
from edge_agent.model.errors import StorageError
from edge_agent.model.measurements import Sample
from edge_agent.outbox.outbox import Outbox
from edge_agent.profiles.meaning import meanings
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.pulse import Pulse
from edge_agent.shift.answers import Answers
from edge_agent.shift.measuring import Measuring
from edge_agent.shift.storing import Storing
from edge_agent.status.facts import DeviceFacts
from edge_agent.status.history import History
from edge_agent.status.seen import HISTORY_STATE, Seen
from edge_agent.timekeeping.dating import CLOCK, HELD, Dating
from edge_agent.timekeeping.trust import NOBODY, ClockState, Evidence
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.daily_check import DailyCheck
from edge_agent.uplink.reconcile import MOST_DAYS, Question
from edge_agent.uplink.spread import BacklogStart
from edge_agent.uplink.uploader import Uploader

log = logging.getLogger(__name__)

JUDGE_S = 10.0  # between two looks at a clock that is not trusted
UPLOAD_ANYWAY_S = 900.0  # what is queued has a right date: it does not wait longer than this for a clock that never comes
TURN_S = 60.0  # a loop that takes longer to turn hangs
READ_S = 120.0  # a device that takes longer for one round hangs: a slow bus of many units needs some ten seconds


EvidenceOfTime = Callable[[], Awaitable[Evidence]]


async def no_evidence() -> Evidence:
    """Of a clock that nobody but its maker knows anything about: it is taken as it is."""
    return NOBODY


class Shift:
    """The time during which one site file is in force."""

    def __init__(
        self, site: Site, clock: Clock, outbox: Outbox, stored: Mapping[str, Any], sent_until: float, backlog_start: BacklogStart | None
    ) -> None:
        """`stored` is the queue's state by key; `sent_until`: see `Measuring`."""
        self.site = site
        self.clock = clock
        self.outbox = outbox
        self.rows = {setup.id: meanings(setup) for setup in site.devices}
        self.seen = Seen(self.rows, History.restored(stored[HISTORY_STATE]) if site.web else None)
        self._memory = Memory.from_state(stored["memory"], site.devices)
        self.devices = Devices(site.devices, site.mqtt, clock, self._memory.serials)
        self._memory.remind(self.devices.drivers)
        self.client = MoostClient(site.account, clock)
        self.uploader = Uploader(outbox, self.client, site.upload, clock, site.interval_s, start=backlog_start)
        self._storing = Storing(outbox, clock, site.interval_s, self._to_store, self._on_stored, self._on_end_of_loop)
        slowest_s = max([site.poll_interval_s, *(setup.poll_interval_s for setup in site.devices)])
        self._dating = Dating(clock, stored, _newest_at(stored["metering"]), site.interval_s, slowest_s)
        self.measuring = Measuring(site, clock, self._dating, self._memory, self.rows, self.seen, stored["metering"], sent_until, self._storing.add)
        self.building = BuildingKeeper(site, clock, self.client, outbox, lambda: self.measuring.points.values())
        question = Question(site.time_zone, site.decisions.interval_timestamp, MOST_DAYS)
        self.check = DailyCheck(self.client, outbox, clock, question, self.uploader.wake)
        self.answers = Answers(self)
        self._closed = False
        self._first_trust = asyncio.Event()
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._faults: dict[str, str] = {}
        self.pulse = Pulse()
        self.uploader.on_turn = lambda: self.pulse.beat("uploading", TURN_S)
        for loop in ("uploading", "the queue"):
            self.pulse.beat(loop, TURN_S)
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls, site: Site, clock: Clock, outbox: Outbox, evidence: EvidenceOfTime = no_evidence, backlog_start: BacklogStart | None = None
    ) -> AsyncIterator[Shift]:
        """Runs the loops while the block does; leaves everything that was measured on disk. `backlog_start` is the one of the shift before."""
        for warning in site.warnings:
            log.warning("%s", warning)
        stored = {key: loaded(await outbox.load_state(key)) for key in ("metering", "memory", CLOCK, HELD, HISTORY_STATE)}
        shift = cls(site, clock, outbox, stored, sent_until(await outbox.load_state(RESTORED)), backlog_start)
        log.info("edge-agent %s: %d devices, building %s, queue %s", __version__, len(site.devices), site.account.building_id, site.database)
        stop = asyncio.Event()
        shift._judge(await evidence())
        upload = asyncio.create_task(shift._upload(stop), name="upload")
        loops = [asyncio.create_task(loop, name=name) for name, loop in shift._loops(evidence)]
        for task in (upload, *loops):
            task.add_done_callback(shift._on_end_of_loop)
        try:
            yield shift
        finally:
            shift.failure.cancel()
            shift._closed = True
            await _cancel([*loops, *shift._reading.values(), *shift.answers.close()])
            stop.set()
            await shift._end(upload)

    def _loops(self, evidence: EvidenceOfTime) -> Iterable[tuple[str, Coroutine[Any, Any, None]]]:
        """One loop for all devices of one poll interval, so that they wake together (a tenth of the idle cost); and those of the house."""
        periods: dict[float, list[DeviceSetup]] = {}
        for setup in self.site.devices:
            periods.setdefault(setup.poll_interval_s, []).append(setup)
        for period, setups in periods.items():
            yield f"poll {period:g} s", self._poll(setups, period)
        yield "register", self.building.run(lambda: self.devices.hub)
        yield "time", self._keep_time(evidence)
        if self.site.upload.verify:
            yield "verify", self.check.run()

    def _on_end_of_loop(self, task: asyncio.Task[None]) -> None:
        """A loop that fails is a fault of ours: the agent must not go on without it, looking healthy."""
        if not task.cancelled() and (error := task.exception()) is not None and not self.failure.done():
            self.failure.set_exception(error)

    async def _end(self, upload: asyncio.Task[None]) -> None:
        """Stores the open interval, lets an upload in flight settle, and lets go of the devices."""
        await self._storing.close()
        await asyncio.gather(asyncio.wait([upload], timeout=self.uploader.finish_s + 1), self.devices.close())
        await _cancel([upload])
        await self.client.close()

    # how it stands, for whoever watches it

    async def show_life(self) -> None:
        """Lets the uploader and the queue's thread turn; `pulse` tells when they do not."""
        self.uploader.turn()
        with contextlib.suppress(StorageError):  # it answers; that it cannot write is known from storing
            await self.outbox.call(lambda _: None)
        self.pulse.beat("the queue", TURN_S)

    @property
    def device_facts(self) -> Mapping[str, DeviceFacts]:
        """What is known of each device's polls."""
        return self.seen.devices

    @property
    def holds_unstored(self) -> bool:
        """True while events are held in memory because the queue cannot be written."""
        return self._storing.failed

    def monotonic(self) -> float:
        """The time by which the facts are dated."""
        return self.clock.monotonic()

    def clock_state(self) -> ClockState:
        """Whether the clock is trusted, and why or why not, for people."""
        return self._dating.state()

    # polling

    async def _poll(self, setups: list[DeviceSetup], period: float) -> None:
        """Reads each device on the wall clock's multiples of `period`; one that is slow misses its turn, the others do not."""
        due = self.clock.now()
        while True:
            for setup in setups:
                if setup.id not in self._reading:
                    task = asyncio.create_task(self._read(setup), name=f"read {setup.id}")
                    self._reading[setup.id] = task
            self.measuring.tick()
            now = self.clock.now()
            due = (math.floor(max(now, due if due - now < period else 0) / period + 1e-6) + 1) * period
            self.pulse.beat(f"polling every {period:g} s", max(0.0, due - now) + TURN_S)
            await self.clock.sleep(max(0.0, due - now))

    async def _read(self, setup: DeviceSetup) -> None:
        try:
            async with asyncio.timeout(READ_S):
                await self.read(setup)
            self._faults.pop(setup.id, None)
        except Exception as error:  # a fault of ours in one device's data must not end the others
            self._report_fault(setup.id, f"{type(error).__name__}: {error}")
        finally:
            self._reading.pop(setup.id, None)

    def _report_fault(self, device: str, fault: str) -> None:
        """Says once what went wrong inside the agent while it read a device; with its traceback when debugging."""
        if self._faults.get(device) != fault:
            log.error(
                "%s: a fault in the program (%s); please report it. The other devices go on", device, fault, exc_info=log.isEnabledFor(logging.DEBUG)
            )
        self._faults[device] = fault

    async def read(self, setup: DeviceSetup) -> Sample:
        """One reading of a device, whoever asks for it; what can be dated is metered."""
        set_before, sample = self._dating.interruptions(), await self.devices.drivers[setup.id].read()
        if set_before == self._dating.interruptions() and not self._closed:  # else a value from before it may bear a date from after it
            self._use(setup, sample)
        return sample

    def _use(self, setup: DeviceSetup, sample: Sample) -> None:
        if self.measuring.learn_roles(setup, self.devices.drivers[setup.id].roles):
            self.building.points_changed()
        self.measuring.use(setup, sample)

    async def instead_of_polls(self, device: str, work: Coroutine[Any, Any, None]) -> None:
        """Asks a device for something else while its polls wait."""
        while busy := self._reading.get(device):
            await asyncio.wait([busy])
        task = self._reading[device] = asyncio.create_task(work, name=f"instead of polls: {device}")
        task.add_done_callback(lambda _: self._reading.pop(device, None))
        await task

    # time

    async def _keep_time(self, evidence: EvidenceOfTime) -> None:
        """Asks about a clock that is not trusted until it is; what is held meanwhile is stored as often as intervals are."""
        stored_at = self.clock.monotonic()
        while True:
            await self.clock.sleep(min(JUDGE_S, self._dating.settle_s))
            if self._dating.watch():
                continue
            self._judge(await evidence())
            if self.clock.monotonic() - stored_at >= self.site.interval_s:
                stored_at = self.clock.monotonic()
                await self._storing.store()

    def _judge(self, evidence: Evidence) -> None:
        if self.measuring.judge(evidence):
            self._first_trust.set()

    async def _upload(self, stop: asyncio.Event) -> None:
        """Waits with uploads for the clock, since it tells what is live; but not for ever."""
        self.pulse.beat("uploading", UPLOAD_ANYWAY_S + TURN_S)
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._first_trust, stop)]
        try:
            await asyncio.wait(waiting, timeout=UPLOAD_ANYWAY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(waiting)
        await self.uploader.run(stop)

    # storing

    def _to_store(self) -> dict[str, str]:
        """What goes over to the next shift, JSON by key of the queue's state."""
        self._memory.note(self.devices.drivers)
        return {**self.measuring.to_store(), "memory": self._memory.to_json(), **self.seen.to_store(everything=self._closed)}

    def _on_stored(self) -> None:
        self.seen.stored()
        self.uploader.wake()


def _newest_at(metering_state: Any) -> float:
    """The newest date in the stored state, in UTC epoch seconds; 0 when there is none."""
    now = metering_state.get("now") if isinstance(metering_state, dict) else None
    return float(now) if isinstance(now, int | float) else 0.0


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
