"""The energies of one measuring point: from a counter, or from power where there is none."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Any

from edge_agent.metering.counters import AHEAD_S, CounterTrack
from edge_agent.metering.cutter import Cut, Cutter
from edge_agent.metering.shape import PowerBeside, trapezoid
from edge_agent.metering.stored import instant, number
from edge_agent.model.clock import utc_text
from edge_agent.model.measurements import Counter, EnergyInterval, Quantity

NOISE_W = 20.0  # the mean by which a consumer's power may be below zero in an interval,
NOISE_SHARE = 0.02  # or this share of what it draws; more is no noise of its meter


class CounterEnergy:
    """One energy of one measuring point, from its counter."""

    __slots__ = ("_cutter", "_interval_s", "_point_id", "_power", "_track", "quantity")

    def __init__(
        self, point_id: str, quantity: Quantity, counter: Counter, interval_s: int, gap_s: float, time_zone: tzinfo = UTC, *, power_sign: int = 0
    ) -> None:
        """`power_sign`: the direction of the power that `note_power` is told; 0: there is none."""
        self._point_id, self.quantity, self._interval_s = point_id, quantity, interval_s
        self._track = CounterTrack(counter, gap_s, time_zone)
        self._cutter = Cutter(interval_s, gap_s)
        self._power = PowerBeside(power_sign, counter.step_wh, interval_s, gap_s) if power_sign else None

    @property
    def was_read(self) -> bool:
        """Whether the counter has ever had a value."""
        return self._track.at is not None

    @property
    def level(self) -> float:
        """What the counter has been seen to show."""
        return self._track.wh

    def begin_after(self, end: int) -> None:
        """Leaves the intervals up to `end` to what stood in for the counter."""
        self._cutter.begin_after(end)

    def note_power(self, at: float, watts: float) -> None:
        """A reading of the power beside the counter."""
        if self._power is not None:
            self._power.note(at, watts)

    def feed(self, at: float, wh: float) -> list[EnergyInterval]:
        """A reading of the counter. Returns the intervals that it completes."""
        steps, share = self._track.feed(at, wh), None
        if not steps:
            return []
        if self._power is not None:
            steps, share = self._power.shaped(steps)
        cuts = [cut for step in steps for cut in self._cutter.add(*step, share)]
        if self._power is not None:
            self._power.begin(steps[-1].at)
        return _intervals(self._point_id, self.quantity, cuts, self._interval_s) if cuts else []

    def overdue(self, now: float) -> list[EnergyInterval]:
        """Nothing: a counter bridges any silence, so its intervals wait."""
        return []

    def shift(self, offset_s: float) -> None:
        """Re-dates what was read since `restore`: the wall clock was set by that many seconds."""
        self._track.shift(offset_s)
        self._cutter.shift(offset_s)
        if self._power is not None:
            self._power.forget()

    def begin_anew(self) -> None:
        """Another counter is read from now on: nothing is counted across."""
        self._track.begin_anew()
        self._cutter.begin_anew()
        if self._power is not None:
            self._power.begin_anew()

    def forget_future(self, now: float) -> None:
        """Begins anew with what is dated too far ahead of `now`."""
        self._track.forget_future(now)
        self._cutter.forget_future(now)
        if self._power is not None:
            self._power.forget_future(now)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        found: dict[str, Any] = {"counter": self._track.state(), "cut": self._cutter.state()}
        if self._power is not None:
            found["power"] = self._power.state()
        return found

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken; the state of another kind of energy is no use."""
        if "counter" in state:
            self._track.restore(state["counter"])
            self._cutter.restore(state["cut"])
        if self._power is not None and "power" in state and "counter" in state:
            self._power.restore(state["power"])


class PowerEnergy:
    """The energies of one measuring point that has no counter for them: its power, integrated by trapezoids.

    The positive and the negative watts are each an energy of their own, where somebody wants it. At a point that
    can only draw (`one_way`), an interval with negative watts is absent.
    """

    __slots__ = ("_against_wh", "_cutters", "_gap_s", "_interval_s", "_one_way", "_point_id", "_positive", "_read_here", "_watts", "at")

    def __init__(
        self, point_id: str, positive: Quantity | None, negative: Quantity | None, interval_s: int, gap_s: float, *, one_way: bool = False
    ) -> None:
        self._point_id, self._interval_s, self._gap_s = point_id, interval_s, gap_s
        self._positive = positive
        self._cutters = {quantity: Cutter(interval_s, gap_s) for quantity in (positive, negative) if quantity is not None}
        self.at: float | None = None
        self._watts = 0.0
        self._one_way = one_way
        self._against_wh = 0.0  # what flowed the other way in the open interval
        self._read_here = False  # since `restore`

    def feed(self, at: float, watts: float) -> list[EnergyInterval]:
        """A reading of the power. Returns the intervals that it completes."""
        if self.at is not None and at <= self.at:
            return []
        span = 0.0 if self.at is None else at - self.at
        into, out = trapezoid(self._watts, watts, span)
        self._against_wh += out
        found: list[EnergyInterval] = []
        for quantity, cutter in self._cutters.items():
            energy = None if span > self._gap_s else into if quantity is self._positive else out
            if cuts := cutter.add(at, energy):
                found += _intervals(self._point_id, quantity, self._one_way_only(cuts) if self._one_way else cuts, self._interval_s)
        self.at, self._watts, self._read_here = at, watts, True
        return found

    def _one_way_only(self, cuts: list[Cut]) -> list[Cut]:
        """The intervals, absent where more than noise flowed the other way."""
        against, self._against_wh = self._against_wh, 0.0
        noise = NOISE_W * self._interval_s / 3600
        reason = f"{against:.1f} Wh flow the other way: is the meter wired the other way round? write invert: true"
        return [
            cut._replace(energy_wh=None, estimated=False, reason=reason)
            if cut.energy_wh is not None and against > max(noise, NOISE_SHARE * cut.energy_wh)
            else cut
            for cut in cuts
        ]

    def overdue(self, now: float) -> list[EnergyInterval]:
        """Without readings for longer than the largest gap, the intervals up to `now` are absent."""
        if self.at is None or now - self.at <= 2 * self._gap_s:
            return []
        reason = f"no power was read since {utc_text(self.at)}"
        found: list[EnergyInterval] = []
        for quantity, cutter in self._cutters.items():
            found += _intervals(self._point_id, quantity, cutter.give_up(now, reason), self._interval_s)
        return found

    def shift(self, offset_s: float) -> None:
        """Re-dates what was read since `restore`: the wall clock was set by that many seconds."""
        if self.at is not None and self._read_here:
            self.at += offset_s
        for cutter in self._cutters.values():
            cutter.shift(offset_s)

    def begin_anew(self) -> None:
        """Another power is read from now on: nothing is integrated across."""
        self.at, self._against_wh = None, 0.0
        for cutter in self._cutters.values():
            cutter.begin_anew()

    def forget_future(self, now: float) -> None:
        """Begins anew with what is dated too far ahead of `now`."""
        if self.at is not None and self.at > now + AHEAD_S:
            self.at = None
        for cutter in self._cutters.values():
            cutter.forget_future(now)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        return {
            "power": [self.at, self._watts, self._against_wh],
            "cuts": {quantity.value: cutter.state() for quantity, cutter in self._cutters.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken, if it integrated the same energies."""
        if set(state.get("cuts", ())) == set(self._cutters):
            at, watts, against_wh = state["power"]
            self.at, self._watts, self._against_wh = None if at is None else instant(at), number(watts), number(against_wh)
            self._read_here = False
            for quantity, cutter in self._cutters.items():
                cutter.restore(state["cuts"][quantity.value])


def _intervals(point_id: str, quantity: Quantity, cuts: list[Cut], interval_s: int) -> list[EnergyInterval]:
    return [EnergyInterval(point_id, quantity, cut.end, cut.energy_wh, cut.estimated, cut.reason, interval_s, cut.bridged) for cut in cuts]


Energy = CounterEnergy | PowerEnergy
