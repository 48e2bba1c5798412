"""The whole of metering behind one door: polls go in, outcomes come out, and the state can be stored.

The clock is passed in, nothing here waits or reads a file. Whoever stores `state()` in one transaction with
the outcomes that came with it can neither lose nor double an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.metering.balance import balance, hybrids
from edge_agent.metering.energy import BRIDGE_S
from edge_agent.metering.household import Household
from edge_agent.metering.point import PointMeter
from edge_agent.model.clock import utc_text
from edge_agent.model.measurements import EnergyInterval, MeterPoint, Outcome, Quantity, Reading

VERSION = 1


class Metering:
    """Meters all points of a site on a grid of `interval_s` seconds. `state` is what `state()` gave before."""

    def __init__(
        self,
        points: Sequence[MeterPoint],
        interval_s: int,
        poll_s: float,
        state: Mapping[str, Any] | None = None,
        *,
        excess_intervals: int = 2,
    ) -> None:
        found = hybrids(points)
        self._points = {point.id: PointMeter(point, point.device_id in found, interval_s, poll_s) for point in points}
        self._balance = balance(points)
        self._household = Household(self._balance, interval_s, excess_intervals)
        self._now = 0.0
        self._kept: dict[str, Any] = {}  # states of points that the site file does not have now, with the time they were left
        if state and state.get("version") == VERSION:
            self._restore(state)

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

    def _with_totals(self, point: PointMeter, outcomes: list[Outcome]) -> list[Outcome]:
        totals: list[Outcome] = []
        for outcome in outcomes:
            if isinstance(outcome, EnergyInterval):
                totals += self._household.energy(outcome)
        for end, watts in point.take_closed():
            totals += self._household.powers(point.id, end, watts)
        return outcomes + totals

    def shift(self, offset_s: float) -> None:
        """Re-dates what is held: the wall clock was set by that many seconds (positive: it was late)."""
        self._now += offset_s
        for point in self._points.values():
            point.shift(offset_s)

    def missing(self) -> dict[str, str]:
        """Why house totals are not there: by role or measuring point, in words. Empty when all is well."""
        reasons = dict(self._balance.missing)
        awaited = {key.rpartition(" ")[0] for key in self._household.waiting()}
        for point_id, point in self._points.items():
            if (since := point.silent_since(self._now)) is not None and (point_id in awaited or self._balance.uses(point_id)):
                reasons[point_id] = f"has been silent since {utc_text(since)}"
            elif point_id in awaited and not point.was_read:
                reasons[point_id] = "has not been read yet"
        if self._household.remainder_wh < 0:
            reasons["remainder"] = f"{self._household.remainder_wh:.1f} Wh of negative consumption are carried; if they grow, a sign or role is wrong"
        return reasons

    def state(self) -> dict[str, Any]:
        """Everything that must outlive a restart, as JSON has it."""
        points = {point_id: point.state() for point_id, point in self._points.items()}
        return {"version": VERSION, "now": self._now, "points": points, "kept": self._kept, "household": self._household.state()}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._now = state["now"]
        left = {point_id: {"since": self._now, "state": kept} for point_id, kept in state["points"].items()}
        for point_id, kept in (state["kept"] | left).items():
            if point_id in self._points:
                self._points[point_id].restore(kept["state"])
            elif self._now - kept["since"] < BRIDGE_S:
                self._kept[point_id] = kept
        self._household.restore(state["household"])
