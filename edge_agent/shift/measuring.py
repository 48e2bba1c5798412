"""From what the devices say to events: roles, clock, metering, mapping. No loop and no disk.

A shift tells it each reading and each round; what it finds goes to `emit`. What must outlive a restart is in
`to_store`, and belongs into the same transaction as the events that follow from it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from edge_agent.cloud.mapping import to_events
from edge_agent.config import Site
from edge_agent.memory import Memory
from edge_agent.metering.agreement import Agreement
from edge_agent.metering.metering import Metering
from edge_agent.model.clock import Clock
from edge_agent.model.events import Event
from edge_agent.model.measurements import Change, MeterPoint, Outcome, Quantity, Reading, Role, Sample
from edge_agent.profiles.meaning import Meaning, measurements, meter_points
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.status.seen import Seen
from edge_agent.timekeeping.dating import Dating
from edge_agent.timekeeping.held import RESOLUTION_S
from edge_agent.timekeeping.trust import Evidence
from edge_agent.unknown_values import UnknownValues

log = logging.getLogger(__name__)

LOOK_S = 60.0  # between two looks at what keeps house totals away


class Measuring:
    """The measuring points of a site, as far as their devices have them."""

    def __init__(
        self,
        site: Site,
        clock: Clock,
        dating: Dating,
        memory: Memory,
        rows: Mapping[str, tuple[Meaning, ...]],
        seen: Seen,
        metering_state: Any,
        sent_until: float,
        emit: Callable[[Sequence[Event], bool], None],
    ) -> None:
        """`emit` is given events, and whether they tell of a change.

        `sent_until` (UTC epoch seconds): what is dated until then was sent by the gateway that this one was restored from.
        """
        self._site = site
        self._clock = clock
        self._dating = dating
        self._memory = memory
        self._rows = rows
        self._seen = seen
        self._sent_until = sent_until
        self._emit = emit
        self._unknown = UnknownValues()
        self._missing: dict[str, str] = {}
        self._told: set[str] = set()
        self._look_at = clock.monotonic() + LOOK_S
        self.points: dict[str, MeterPoint] = {}
        self._agreements: dict[str, Agreement] = {}
        self.metering = self._new_metering(metering_state)

    # what comes in

    def use(self, setup: DeviceSetup, sample: Sample) -> None:
        """One reading of a device: metered when it can be dated, else held."""
        self._seen.sample(setup.id, sample, self._clock.monotonic())
        trusted = self._dating.watch()
        for unknown in self._unknown.new_in(sample):
            log.warning("%s", unknown)
        for point_id, readings in measurements(self._rows[setup.id], sample).items():
            if point_id not in self.points:
                continue
            if trusted:
                self._meter(point_id, readings, sample.at)
            else:
                self._dating.hold(point_id, readings, sample)

    def tick(self) -> None:
        """A round of polls has begun: closes what is overdue, and says what is missing."""
        if self._dating.watch():
            self._take(self.metering.tick(self._clock.now()))
            self._seen.look(self.points.values(), self._clock.now(), self._clock.monotonic())
        self._report_missing()

    def judge(self, evidence: Evidence) -> bool:
        """Whether the clock has become worth trust by this evidence; then metering goes on, first with what was held."""
        trust = self._dating.judge(evidence)
        if trust is None:
            return False
        if trust.wrong_by_s:
            self.metering.shift(trust.wrong_by_s)
        self.metering.begin(self._clock.now())
        self._seen.clock_was_set(self._clock.now())
        for agreement in self._agreements.values():
            agreement.restart()
        self._meter_held()
        return True

    def _meter_held(self) -> None:
        ticked_at = 0.0
        for at, point_id, readings in self._dating.release():
            if at - ticked_at >= RESOLUTION_S:
                self._take(self.metering.tick(at))
                ticked_at = at
            if point_id in self.points:
                self._meter(point_id, readings, at)

    def _meter(self, point_id: str, readings: Mapping[Quantity, Reading], at: float) -> None:
        self._take(self.metering.update(point_id, readings, at))
        for found in self._agreements[point_id].update(readings):
            log.warning("%s", found)

    def _take(self, outcomes: Sequence[Outcome]) -> None:
        self._seen.outcomes(outcomes, self.points)
        site = self._site
        events = (event for outcome in outcomes for event in to_events(outcome, self.points, site.household, site.decisions))
        if found := [event for event in events if event.at > self._sent_until]:
            self._emit(found, any(isinstance(outcome, Change) for outcome in outcomes))

    # which measuring points there are

    def learn_roles(self, setup: DeviceSetup, roles: Iterable[Role] | None) -> bool:
        """A device that tells what it is (SunSpec) may lack a role of its profile: what is not there is not waited for. Whether that is news."""
        if not setup.profile.roles or roles is None or sorted(roles) == self._memory.roles.get(setup.id):
            return False
        self._memory.roles[setup.id] = sorted(roles)
        self.metering = self._new_metering(self.metering.state())
        return True

    def _new_metering(self, state: Any) -> Metering:
        """Metering of the measuring points that are there, as far as is known."""
        site, decisions = self._site, self._site.decisions
        there = {setup.id: self._memory.roles.get(setup.id) or list(Role) for setup in site.devices}
        points = [point for setup in site.devices for point in meter_points(setup) if point.role in there[setup.id]]
        self.points = {point.id: point for point in points}
        self._agreements = {point.id: self._agreements.get(point.id) or Agreement(point) for point in points}
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

    # what is known

    def to_store(self) -> dict[str, str]:
        """What must outlive a restart, as JSON by key of the queue's state."""
        return {"metering": json.dumps(self.metering.state()), **self._dating.to_store()}

    def findings(self, device: str) -> list[str]:
        """What stands against a device's values now, in words: its power and its counter disagree."""
        watched = [self._agreements[point.id] for point in self.points.values() if point.device_id == device]
        return [str(found) for agreement in watched for found in agreement.found.values()]

    def missing(self) -> dict[str, str]:
        """Why there are no house totals, by role, measuring point or `clock`."""
        return self.metering.missing() | self._dating.missing()

    def _report_missing(self) -> None:
        """Says once why there are no house totals, and once that the reason is gone; a passing one is not worth a line."""
        if self._clock.monotonic() < self._look_at:
            return
        self._look_at = self._clock.monotonic() + LOOK_S
        if not self._dating.watch():
            return  # it says so itself
        missing = self.metering.missing()
        lasting = missing.keys() & self._missing.keys()
        for what in sorted(lasting - self._told):
            log.warning("no house totals: %s: %s", what, missing[what])
        for what in sorted(self._told - missing.keys()):
            log.info("house totals: %s is no longer in the way", what)
        self._missing, self._told = missing, (self._told & missing.keys()) | lasting
