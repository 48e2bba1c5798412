"""The time during which one site file is in force: polling, metering, storing, uploading.

SIGHUP ends a shift and starts another on the same queue; what was learnt and counted goes over in the queue's
state. What a number means is decided on the floors below; here is only who runs when, and what is stored together.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from edge_agent import __version__
from edge_agent.cloud.mapping import to_events
from edge_agent.config import Site
from edge_agent.devices import Devices
from edge_agent.handover import RESTORED, sent_until
from edge_agent.inspection import Answer, describe_sample
from edge_agent.memory import Memory, loaded
from edge_agent.metering.agreement import Agreement
from edge_agent.metering.metering import Metering
from edge_agent.model.clock import Clock
from edge_agent.model.errors import EdgeAgentError, StorageError
from edge_agent.model.events import Event
from edge_agent.model.measurements import Change, MeterPoint, Outcome, Quantity, Reading, Role, Sample
from edge_agent.outbox.outbox import Outbox
from edge_agent.profiles.meaning import meanings, measurements, meter_points
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.pulse import Pulse
from edge_agent.status.document import Status
from edge_agent.status.facts import DeviceFacts
from edge_agent.status.gather import Known, status_of
from edge_agent.status.history import History
from edge_agent.status.seen import HISTORY_STATE, Seen
from edge_agent.status.updates import read_updates
from edge_agent.timekeeping.dating import CLOCK, HELD, Dating
from edge_agent.timekeeping.held import RESOLUTION_S
from edge_agent.timekeeping.trust import NOBODY, ClockState, Evidence
from edge_agent.unknown_values import UnknownValues
from edge_agent.uplink.spread import BacklogStart

log = logging.getLogger(__name__)

T = TypeVar("T")

JUDGE_S = 10.0  # between two looks at a clock that is not trusted
UPLOAD_ANYWAY_S = 900.0  # what is queued has a right date: it does not wait longer than this for a clock that never comes
GATHER_S = 0.5  # what changes within this time of each other is stored in one transaction
CLOSING_S = 5.0  # and what closes an interval, device after device, within this time, or a hundredth of a shorter interval
RETRY_STORE_S = 10.0  # between attempts to write a queue that could not be written
LOOK_S = 60.0  # between two looks at what keeps house totals away
TURN_S = 60.0  # a loop that takes longer to turn hangs
READ_S = 120.0  # a device that takes longer for one round hangs: a slow bus of many units needs some ten seconds


EvidenceOfTime = Callable[[], Awaitable[Evidence]]


async def no_evidence() -> Evidence:
    """Of a clock that nobody but its maker knows anything about: it is taken as it is."""
    return NOBODY


class Shift:
    """The time during which one site file is in force."""

    def __init__(
        self,
        site: Site,
        clock: Clock,
        outbox: Outbox,
        metering_state: Any,
        memory: Memory,
        dating: Dating,
        history: History | None = None,
        sent_until: float = 0.0,
        backlog_start: BacklogStart | None = None,
    ) -> None:
        from edge_agent.building import BuildingKeeper
        from edge_agent.uplink.client import MoostClient
        from edge_agent.uplink.daily_check import DailyCheck
        from edge_agent.uplink.reconcile import MOST_DAYS, Question
        from edge_agent.uplink.uploader import Uploader

        self._site = site
        self._clock = clock
        self._outbox = outbox
        self._memory = memory
        self._sent_until = sent_until  # by the gateway that this one was restored from
        self._closed = False
        self._dating = dating
        self._first_trust = asyncio.Event()
        self._missing: dict[str, str] = {}
        self._told: set[str] = set()
        self._look_at = clock.monotonic() + LOOK_S
        self._asked: set[asyncio.Task[Any]] = set()
        self._setups = {setup.id: setup for setup in site.devices}
        self._rows = {setup.id: meanings(setup) for setup in site.devices}
        self._points: dict[str, MeterPoint] = {}
        self._agreements: dict[str, Agreement] = {}
        self._metering = self._new_metering(metering_state)
        self._devices = Devices(site.devices, site.mqtt, clock, memory.serials)
        memory.remind(self._devices.drivers)
        self._client = MoostClient(site.account, clock)
        self._building = BuildingKeeper(site, clock, self._client, outbox, lambda: self._points.values())
        self.uploader = Uploader(outbox, self._client, site.upload, clock, site.interval_s, start=backlog_start)
        question = Question(site.time_zone, site.decisions.interval_timestamp, MOST_DAYS)
        self._check = DailyCheck(self._client, outbox, clock, question, self.uploader.wake)
        self._pending: list[Event] = []
        self._flushing: asyncio.Task[None] | None = None
        self._store_at = 0.0  # monotonic
        self._storing = asyncio.Lock()
        self._storage_failed = False
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._seen = Seen(self._rows, history)
        self._faults: dict[str, str] = {}
        self._unknown = UnknownValues()
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
        state = loaded(await outbox.load_state("metering"))
        memory = Memory.from_state(loaded(await outbox.load_state("memory")), site.devices)
        stored_time = {key: loaded(await outbox.load_state(key)) for key in (CLOCK, HELD)}
        slowest_s = max([site.poll_interval_s, *(setup.poll_interval_s for setup in site.devices)])
        dating = Dating(clock, stored_time, _newest_at(state), site.interval_s, slowest_s)
        history = History.restored(loaded(await outbox.load_state(HISTORY_STATE))) if site.web else None
        shift = cls(site, clock, outbox, state, memory, dating, history, sent_until(await outbox.load_state(RESTORED)), backlog_start)
        log.info("edge-agent %s: %d devices, building %s, queue %s", __version__, len(site.devices), site.account.building_id, site.database)
        stop = asyncio.Event()
        shift._judge(await evidence())
        upload = asyncio.create_task(shift._upload(stop), name="upload")
        alone = {"register": shift._building.run(lambda: shift._devices.hub), "time": shift._keep_time(evidence)}
        loops = [*shift._poll_loops(), *(asyncio.create_task(loop, name=name) for name, loop in alone.items())]
        if site.upload.verify:
            loops.append(asyncio.create_task(shift._check.run(), name="verify"))
        for task in (upload, *loops):
            task.add_done_callback(shift._on_end_of_loop)
        try:
            yield shift
        finally:
            shift.failure.cancel()
            shift._closed = True
            await _cancel([*loops, *shift._reading.values(), *shift._asked])
            stop.set()
            await shift._end(upload)

    def _on_end_of_loop(self, task: asyncio.Task[None]) -> None:
        """A loop that fails is a fault of ours: the agent must not go on without it, looking healthy."""
        if not task.cancelled() and (error := task.exception()) is not None and not self.failure.done():
            self.failure.set_exception(error)

    # how it stands, for whoever watches it

    async def show_life(self) -> None:
        """Lets the uploader and the queue's thread turn; `pulse` tells when they do not."""
        self.uploader.turn()
        with contextlib.suppress(StorageError):  # it answers; that it cannot write is known from storing
            await self._outbox.call(lambda _: None)
        self.pulse.beat("the queue", TURN_S)

    @property
    def site(self) -> Site:
        """The site file in force."""
        return self._site

    @property
    def device_facts(self) -> Mapping[str, DeviceFacts]:
        """What is known of each device's polls."""
        return self._seen.devices

    def monotonic(self) -> float:
        """The time by which the facts are dated."""
        return self._clock.monotonic()

    async def _end(self, upload: asyncio.Task[None]) -> None:
        """Stores the open interval, lets an upload in flight settle, and lets go of the devices."""
        async with self._storing:  # so that what is cancelled only sleeps
            if self._flushing is not None:
                self._flushing.cancel()
        await self._store()
        await asyncio.gather(asyncio.wait([upload], timeout=self.uploader.finish_s + 1), self._devices.close())
        await _cancel([upload])
        await self._client.close()

    # polling

    def _poll_loops(self) -> list[asyncio.Task[None]]:
        """One loop for all devices of one poll interval, so that they wake together (a tenth of the idle cost)."""
        periods: dict[float, list[DeviceSetup]] = {}
        for setup in self._site.devices:
            periods.setdefault(setup.poll_interval_s, []).append(setup)
        return [asyncio.create_task(self._poll(setups, period), name=f"poll {period:g} s") for period, setups in periods.items()]

    async def _poll(self, setups: list[DeviceSetup], period: float) -> None:
        """Reads each device on the wall clock's multiples of `period`; one that is slow misses its turn, the others do not."""
        due = self._clock.now()
        while True:
            for setup in setups:
                if setup.id not in self._reading:
                    task = asyncio.create_task(self._read(setup), name=f"read {setup.id}")
                    self._reading[setup.id] = task
            if self._dating.watch():
                self._take(self._metering.tick(self._clock.now()))
                self._seen.look(self._points.values(), self._clock.now(), self._clock.monotonic())
            self._report_missing()
            now = self._clock.now()
            due = (math.floor(max(now, due if due - now < period else 0) / period + 1e-6) + 1) * period
            self.pulse.beat(f"polling every {period:g} s", max(0.0, due - now) + TURN_S)
            await self._clock.sleep(max(0.0, due - now))

    async def _read(self, setup: DeviceSetup) -> None:
        try:
            async with asyncio.timeout(READ_S):
                set_before, sample = self._dating.interruptions(), await self._devices.drivers[setup.id].read()
            if set_before == self._dating.interruptions():  # else a value from before it may bear a date from after it
                self._use(setup, sample)
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

    def _use(self, setup: DeviceSetup, sample: Sample) -> None:
        if self._closed:
            return
        self._seen.sample(setup.id, sample, self._clock.monotonic())
        trusted = self._dating.watch()
        self._learn_roles(setup)
        for unknown in self._unknown.new_in(sample):
            log.warning("%s", unknown)
        for point_id, readings in measurements(self._rows[setup.id], sample).items():
            if point_id not in self._points:
                continue
            if trusted:
                self._meter(point_id, readings, sample.at)
            else:
                self._dating.hold(point_id, readings, sample)

    def _meter(self, point_id: str, readings: Mapping[Quantity, Reading], at: float) -> None:
        self._take(self._metering.update(point_id, readings, at))
        for found in self._agreements[point_id].update(readings):
            log.warning("%s", found)

    # time

    async def _keep_time(self, evidence: EvidenceOfTime) -> None:
        """Asks about a clock that is not trusted until it is; what is held meanwhile is stored as often as intervals are."""
        stored_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(min(JUDGE_S, self._dating.settle_s))
            if self._dating.watch():
                continue
            self._judge(await evidence())
            if self._clock.monotonic() - stored_at >= self._site.interval_s:
                stored_at = self._clock.monotonic()
                await self._store()

    def _judge(self, evidence: Evidence) -> None:
        """Goes on with metering when the clock is trusted, first with what was held."""
        trust = self._dating.judge(evidence)
        if trust is None:
            return
        if trust.wrong_by_s:
            self._metering.shift(trust.wrong_by_s)
        self._metering.begin(self._clock.now())
        self._seen.clock_was_set(self._clock.now())
        for agreement in self._agreements.values():
            agreement.restart()
        self._meter_held()
        self._first_trust.set()

    def _meter_held(self) -> None:
        ticked_at = 0.0
        for at, point_id, readings in self._dating.release():
            if at - ticked_at >= RESOLUTION_S:
                self._take(self._metering.tick(at))
                ticked_at = at
            if point_id in self._points:
                self._meter(point_id, readings, at)

    def clock_state(self) -> ClockState:
        """Whether the clock is trusted, and why or why not, for people."""
        return self._dating.state()

    async def _upload(self, stop: asyncio.Event) -> None:
        """Waits with uploads for the clock, since it tells what is live; but not for ever."""
        self.pulse.beat("uploading", UPLOAD_ANYWAY_S + TURN_S)
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._first_trust, stop)]
        try:
            await asyncio.wait(waiting, timeout=UPLOAD_ANYWAY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(waiting)
        await self.uploader.run(stop)

    def _learn_roles(self, setup: DeviceSetup) -> None:
        """A device that tells what it is (SunSpec) may lack a role of its profile: what is not there is not waited for."""
        roles = self._devices.drivers[setup.id].roles
        if not setup.profile.roles or roles is None or sorted(roles) == self._memory.roles.get(setup.id):
            return
        self._memory.roles[setup.id] = sorted(roles)
        self._metering = self._new_metering(self._metering.state())
        self._building.points_changed()

    def _new_metering(self, state: Any) -> Metering:
        """Metering of the measuring points that are there, as far as is known."""
        there = {setup.id: self._memory.roles.get(setup.id) or list(Role) for setup in self._site.devices}
        points = [point for setup in self._site.devices for point in meter_points(setup) if point.role in there[setup.id]]
        self._points = {point.id: point for point in points}
        self._agreements = {point.id: self._agreements.get(point.id) or Agreement(point) for point in points}
        site, decisions = self._site, self._site.decisions
        metering = Metering(
            points,
            site.interval_s,
            site.poll_interval_s,
            state,
            excess_intervals=decisions.excess_intervals,
            day_coverage=decisions.day_coverage,
            day_spread=decisions.day_spread,
            now=self._clock.now() if self._dating.watch() else None,
            time_zone=site.time_zone,
        )
        for point, reason in metering.dropped.items():
            log.warning("%s: stored meter readings are not used: %s", point, reason)
        return metering

    def _report_missing(self) -> None:
        """Says once why there are no house totals, and once that the reason is gone; a passing one is not worth a line."""
        if self._clock.monotonic() < self._look_at:
            return
        self._look_at = self._clock.monotonic() + LOOK_S
        if not self._dating.watch():
            return  # it says so itself
        missing = self._metering.missing()
        lasting = missing.keys() & self._missing.keys()
        for what in sorted(lasting - self._told):
            log.warning("no house totals: %s: %s", what, missing[what])
        for what in sorted(self._told - missing.keys()):
            log.info("house totals: %s is no longer in the way", what)
        self._missing, self._told = missing, (self._told & missing.keys()) | lasting

    def _missing_now(self) -> dict[str, str]:
        return self._metering.missing() | self._dating.missing()

    async def read_now(self, device: str) -> list[Answer]:
        """One reading of a device (of all: empty) now, as `read` shows it. Raises EdgeAgentError for an unknown one."""
        chosen = [self._setup(device)] if device else list(self._setups.values())
        return list(await self._while_open(asyncio.gather(*(self._read_and_describe(setup) for setup in chosen))))

    async def _read_and_describe(self, setup: DeviceSetup) -> Answer:
        sample = await self._devices.drivers[setup.id].read()
        self._use(setup, sample)
        return describe_sample(setup, sample) | {"findings": self.findings(setup.id)}

    async def status(self, uptime_s: float) -> Status:
        """How everything stands now, from what is known; `uptime_s`: how long the agent has been running."""
        return status_of(
            Known(
                site=self._site,
                now=self._clock.now(),
                monotonic=self._clock.monotonic(),
                uptime_s=uptime_s,
                rows=self._rows,
                points=list(self._points.values()),
                seen=self._seen,
                token_left_s=self._client.token_left_s,
                building=self._building.state,
                balance=self._metering.balance_facts(),
                clock=self.clock_state(),
                updates=read_updates(),
                findings={device: self.findings(device) for device in self._setups},
                uploads=self.uploader.status(),
                queue=await self._outbox.stats(),
                storage_failed=self._storage_failed,
                totals_missing=self._missing_now(),
                building_problems=self._building.problems(),
                verification=self._check.summary,
            )
        )

    def charts(self) -> dict[str, Any]:
        """What the page's charts show."""
        return self._seen.history.charts(self._clock.now()) if self._seen.history is not None else {}

    def last_reading(self, device: str) -> Answer:
        """The newest sample of a device, point by point, as `read` shows it; nothing is asked. Raises EdgeAgentError for an unknown one."""
        setup = self._setup(device)
        sample = self._seen.devices[device].sample
        if sample is None:
            raise EdgeAgentError(f"{device} has not been read yet")
        return describe_sample(setup, sample) | {"findings": self.findings(device)}

    def findings(self, device: str) -> list[str]:
        """What stands against a device's values now, in words: its power and its counter disagree."""
        watched = [self._agreements[point.id] for point in self._points.values() if point.device_id == device]
        return [str(found) for agreement in watched for found in agreement.found.values()]

    async def _while_open(self, work: Awaitable[T]) -> T:
        """Work that a command asked for; ends with the shift. Raises EdgeAgentError when the shift ended first."""
        task = asyncio.ensure_future(work)
        self._asked.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._closed:
                raise EdgeAgentError("the site file was read anew meanwhile; ask again") from None
            raise
        finally:
            self._asked.discard(task)

    def _setup(self, device: str) -> DeviceSetup:
        if device not in self._setups:
            raise EdgeAgentError(f"there is no device {device!r}; known: {', '.join(self._setups)}")
        return self._setups[device]

    async def record(self, device: str, seconds: float, anonymous: bool) -> Answer:
        """A recording of a device, made beside its polls. Raises EdgeAgentError for an unknown one, or one that cannot be read."""
        return await self._while_open(self._record(self._setup(device), seconds, anonymous))

    async def _record(self, setup: DeviceSetup, seconds: float, anonymous: bool) -> Answer:
        from edge_agent.recorder import finished, listen, recorder_of

        recorder = recorder_of(self._devices, setup, self._clock)
        began = self._clock.monotonic()
        try:
            while busy := self._reading.get(setup.id):
                await asyncio.wait([busy])
            first = self._reading[setup.id] = asyncio.create_task(recorder.begin(), name=f"record {setup.id}")  # in place of its polls
            first.add_done_callback(lambda _: self._reading.pop(setup.id, None))
            await first
            await listen(recorder, self._clock, seconds, None, asyncio.Event())
            recorded = await finished(recorder, setup, self._clock, self._clock.monotonic() - began, anonymous)
        finally:
            await recorder.close()
        return recorded.to_json()

    async def plans(self, device: str) -> list[Answer]:
        """The requests of one poll of a device (of all: empty), as `read --plan` shows them. Raises EdgeAgentError for an unknown one."""
        from edge_agent.planning import plans

        return await self._while_open(plans(self._site.devices, device, self._devices.drivers))

    async def verify(self, days: int) -> Answer:
        """What the platform counted in so many days against what was sent, as `verify` shows it."""
        return (await self._while_open(self._check.check(days))).to_json()

    async def check_balance(self, seconds: float) -> Answer:
        """The balance of the house over so many seconds, as `read --balance` shows it."""
        from edge_agent.balance_check import watch

        return await self._while_open(watch(self._site.devices, self._devices.drivers, self._clock, seconds, self._use))

    # storing

    def _take(self, outcomes: Sequence[Outcome]) -> None:
        """Turns what metering found into events, to be stored with what closes at the same time."""
        self._seen.outcomes(outcomes, self._points)
        site = self._site
        events = (event for outcome in outcomes for event in to_events(outcome, self._points, site.household, site.decisions))
        found = [event for event in events if event.at > self._sent_until]
        if found:
            self._pending += found
            changed = any(isinstance(outcome, Change) for outcome in outcomes)
            wait_s = GATHER_S if changed else max(GATHER_S, min(CLOSING_S, site.interval_s / 100))
            due = self._clock.monotonic() + wait_s
            self._store_at = due if self._flushing is None else min(due, self._store_at)
            if self._flushing is None:
                self._flushing = asyncio.create_task(self._flush(), name="store")
                self._flushing.add_done_callback(self._on_end_of_loop)

    async def _flush(self) -> None:
        try:
            while (left_s := self._store_at - self._clock.monotonic()) > 0:
                await self._clock.sleep(min(left_s, GATHER_S))
            while self._pending and not await self._store():
                await self._clock.sleep(RETRY_STORE_S)
        finally:
            self._flushing = None

    async def _store(self) -> bool:
        """The pending events and the state they follow from, in one transaction; on failure both wait for the next."""
        async with self._storing:
            events = list(self._pending)
            self._memory.note(self._devices.drivers)
            state = {"metering": json.dumps(self._metering.state()), "memory": self._memory.to_json(), **self._dating.to_store()}
            history = self._seen.to_store(everything=self._closed)
            try:
                await self._outbox.commit(events, state | history)
            except StorageError as error:
                return self._not_stored(error)
            del self._pending[: len(events)]
            self._seen.stored()
            if self._storage_failed:
                log.info("the queue can be written again")
                self._storage_failed = False
        self.uploader.wake()
        return True

    @property
    def holds_unstored(self) -> bool:
        """True while events are held in memory because the queue cannot be written."""
        return self._storage_failed

    def _not_stored(self, error: StorageError) -> bool:
        if not self._storage_failed:
            log.error("%s; %d events are held in memory until the queue can be written", error, len(self._pending))
        self._storage_failed = True
        return False


def _newest_at(metering_state: Any) -> float:
    """The newest date in the stored state, in UTC epoch seconds; 0 when there is none."""
    now = metering_state.get("now") if isinstance(metering_state, dict) else None
    return float(now) if isinstance(now, int | float) else 0.0


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
