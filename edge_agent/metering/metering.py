"""The whole of metering behind one door: polls go in, outcomes come out, and the state can be stored.

The clock is passed in, nothing here waits or reads a file. Whoever stores `state()` in one transaction with
the outcomes that came with it can neither lose nor double an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.metering.balance import balance, hybrids
from edge_agent.metering.cutter import BRIDGE_S
from edge_agent.metering.days import NOT_SPREAD, DayRule, Days, Spread
from edge_agent.metering.household import BalanceFacts, Household
from edge_agent.metering.point import PointMeter
from edge_agent.metering.stored import DAMAGED, damage, instant
from edge_agent.model.clock import utc_text
from edge_agent.model.measurements import DayEnergy, EnergyInterval, MeterPoint, Outcome, Quantity, Reading

VERSION = 2


class Metering:
    """Meters all points of a site on a grid of `interval_s` seconds. `state` is what `state()` gave before.

    Days begin at midnight in `time_zone`, and so do counters that start again each day.

    Whoever feeds it has a clock that can be believed; `begin` says so when that is not known at the start (`now`).
    """

    def __init__(
        self,
        points: Sequence[MeterPoint],
        interval_s: int,
        poll_s: float,
        state: Mapping[str, Any] | None = None,
        *,
        excess_intervals: int = 2,
        now: float | None = None,
        time_zone: str = "UTC",
        day_coverage: float = 0.97,
        day_spread: float = 0.25,
    ) -> None:
        found, zone = hybrids(points), ZoneInfo(time_zone)
        self._interval_s = interval_s
        meters = {point.id: partial(PointMeter, point, point.device_id in found, interval_s, poll_s, zone) for point in points}
        self._points = {point_id: meter() for point_id, meter in meters.items()}
        self._balance = balance(points)
        self._days = Days(interval_s, DayRule(zone, day_coverage, day_spread))
        household = partial(Household, self._balance, interval_s, excess_intervals, self._days)
        self._household = household()
        self._now = 0.0
        self._kept: dict[str, Any] = {}  # states of points that the site file does not have now, with the time they were left
        self.dropped: dict[str, str] = {}  # what of `state` could not be used, by measuring point, and why
        if isinstance(state, Mapping) and state.get("version") == VERSION:
            self._restore(state, meters, household)
        elif state:
            self.dropped["state"] = "what was stored is not of this version; it begins anew"
        if now is not None:
            self.begin(now)

    def begin(self, now: float) -> None:
        """The clock is right from `now` on: what is dated far ahead of it was dated by a wrong one."""
        self._forget_future(now)
        self._now = now

    def update(self, point_id: str, readings: Mapping[Quantity, Reading], now: float) -> list[Outcome]:
        """One poll of one point at `now` (UTC epoch seconds). Returns what it completes: mostly nothing."""
        self._now = now
        point = self._points[point_id]
        outcomes = point.update(readings, now)
        return self._with_totals(point, outcomes) if outcomes or point.closed else outcomes

    def tick(self, now: float) -> list[Outcome]:
        """Gives up on silent devices and closes what is overdue at `now`. Call it every few seconds."""
        self._now = now
        outcomes: list[Outcome] = []
        for point in self._points.values():
            found = point.tick(now)
            if found or point.closed:
                outcomes += self._with_totals(point, found)
        return outcomes

    def _forget_future(self, now: float) -> None:
        for point in self._points.values():
            point.forget_future(now)
        self._household.forget_future(now)
        self._days.forget_future(now)

    def _with_totals(self, point: PointMeter, outcomes: list[Outcome]) -> list[Outcome]:
        totals: list[Outcome] = []
        for outcome in outcomes:
            if isinstance(outcome, EnergyInterval):
                totals += self._day_energies(outcome)
        totals += self._household.energies(outcome for outcome in outcomes if isinstance(outcome, EnergyInterval))
        for end, watts in point.take_closed():
            totals += self._household.powers(point.id, end, watts)
        return outcomes + totals

    def _day_energies(self, interval: EnergyInterval) -> list[DayEnergy]:
        """The days of a point that an interval completes."""
        parts = None if interval.energy_wh is None else (interval.energy_wh,)
        spread = Spread(interval.energy_wh or 0.0, interval.bridged) if interval.estimated else NOT_SPREAD
        days = self._days.add(f"{interval.point_id} {interval.quantity}", interval.end, parts, spread=spread)
        return [DayEnergy(interval.point_id, interval.quantity, day.end, day.sums[0] if day.sums else None, day.reason) for day in days]

    def shift(self, offset_s: float) -> None:
        """Re-dates what was metered in this process: the wall clock was set by that many seconds (positive: it was late)."""
        self._now += offset_s
        for point in self._points.values():
            point.shift(offset_s)
        self._forget_future(self._now)

    def missing(self) -> dict[str, str]:
        """Why house totals are not there: by role or measuring point, in words. Empty when all is well."""
        reasons = dict(self._balance.missing)
        awaited: dict[str, list[str]] = {}
        for point_id, _, quantity in (key.rpartition(" ") for key in self._household.waiting()):
            awaited.setdefault(point_id, []).append(quantity)
        waits_since = self._household.waits_since or self._now
        for point_id, point in self._points.items():
            if point.asleep(self._now):
                continue
            if (since := point.silent_since(self._now)) is not None and (point_id in awaited or self._balance.uses(point_id)):
                reasons[point_id] = f"has been silent since {utc_text(since)}"
            elif point_id in awaited and not point.was_read:
                reasons[point_id] = "has not been read yet"
            elif point_id in awaited and self._now - waits_since > max(self._interval_s, point.rhythm_s):
                reasons[point_id] = f"answers, but has given no {' and no '.join(awaited[point_id])} that can be used since {utc_text(waits_since)}"
        if self._household.mistake:
            reasons["remainder"] = self._household.mistake
        elif self._household.remainder_wh < 0:
            reasons["remainder"] = f"{self._household.remainder_wh:.1f} Wh of negative consumption are carried; if they grow, a sign or role is wrong"
        return reasons

    def balance_facts(self) -> BalanceFacts:
        """What the house's totals leave out: carried and lost energy."""
        return self._household.facts()

    def state(self) -> dict[str, Any]:
        """Everything that must outlive a restart, as JSON has it."""
        points = {point_id: point.state() for point_id, point in self._points.items()}
        return {
            "version": VERSION,
            "now": self._now,
            "points": points,
            "kept": self._kept,
            "household": self._household.state(),
            "days": self._days.state(),
        }

    def _restore(self, state: Mapping[str, Any], meters: Mapping[str, Callable[[], PointMeter]], household: Callable[[], Household]) -> None:
        """Takes over what is sound. What is damaged begins anew, and `dropped` says why."""
        try:
            self._now = instant(state["now"])
            left = {point_id: {"since": self._now, "state": kept} for point_id, kept in state["points"].items()}
            stored = {**state["kept"], **left}
        except DAMAGED as error:
            self.dropped["state"] = damage(error)
            return
        same = {point_id for point_id, kept in stored.items() if self._restored(point_id, kept, meters)}
        try:
            restored = household()
            restored.restore(state["household"])
            self._household = restored
        except DAMAGED as error:
            self.dropped["household"] = damage(error)
        try:
            self._days.restore(state.get("days", {}))
        except DAMAGED as error:
            self.dropped["days"] = damage(error)
        if any(self._balance.uses(point_id) for point_id in self._points.keys() & stored.keys() - same):
            self._household.forget_remainder()

    def _restored(self, point_id: str, kept: Mapping[str, Any], meters: Mapping[str, Callable[[], PointMeter]]) -> bool:
        """Whether the point goes on as it was left; the state of one that the site file does not have now is kept."""
        try:
            if point_id not in self._points:
                if self._now - instant(kept["since"]) < BRIDGE_S:
                    self._kept[point_id] = kept
                return False
            meter = meters[point_id]()
            same = meter.restore(kept["state"])
        except DAMAGED as error:
            self.dropped[point_id] = damage(error)
            return False
        self._points[point_id] = meter
        return same
