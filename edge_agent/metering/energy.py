"""From steps of energy to energies of intervals on the UTC grid.

One running total per energy; its value at a boundary lies on the line between the two steps around it, and
an interval's energy is the difference of two boundaries, each rounded to a milliwatt-hour. So any run of
intervals adds up to what was counted, and rounding does not drift. Decisions: an interval that was not
covered from its beginning is absent, never an undercount; an end that was given away once never comes again.
"""

from __future__ import annotations

from datetime import UTC, tzinfo
from math import floor
from typing import Any, NamedTuple

from edge_agent.metering.counters import AHEAD_S, CounterTrack
from edge_agent.metering.stored import boundary, instant, number, text
from edge_agent.model.clock import utc_text
from edge_agent.model.measurements import Counter, EnergyInterval, Quantity

NOISE_W = 20.0  # the mean by which a consumer's power may be below zero in an interval,
NOISE_SHARE = 0.02  # or this share of what it draws; more is no noise of its meter
BRIDGE_S = 31 * 86_400.0  # over a longer silence a mean says nothing, and a wrong clock would fill the disk


def grid_end(at: float, interval_s: int) -> int:
    """The first boundary after `at`."""
    return (floor(at / interval_s) + 1) * interval_s


class Cut(NamedTuple):
    """The energy of the interval that ends at `end`."""

    end: int
    energy_wh: float | None
    estimated: bool
    reason: str


class Cutter:
    """Cuts one running total at the boundaries. `gap_s` is the longest step that is not called an estimate."""

    __slots__ = (
        "_at_here",
        "_closed_until",
        "_end",
        "_estimated",
        "_gap_s",
        "_interval_s",
        "_reason",
        "_start_at",
        "_start_here",
        "_start_wh",
        "_total_wh",
        "at",
    )

    def __init__(self, interval_s: int, gap_s: float) -> None:
        self._interval_s = interval_s
        self._gap_s = gap_s
        self.at: float | None = None  # up to when energy is known; UTC epoch seconds
        self._total_wh = 0.0
        self._end = 0  # of the open interval
        self._start_wh: float | None = None  # the total at its beginning; None: not covered from there
        self._start_at = 0.0
        self._closed_until = 0  # the last end that was given away
        self._estimated = False
        self._reason = ""
        self._at_here = self._start_here = False  # dated since `restore`, so by the clock that `shift` speaks of

    def add(self, at: float, energy_wh: float | None, note: str = "") -> list[Cut]:
        """A step from the last one up to `at`. Returns the intervals that it completes."""
        self._at_here = True
        if self.at is None:
            self._begin(at)
            return []
        span = at - self.at
        if note:
            self._estimated, self._reason = True, note
        if energy_wh is None or span > BRIDGE_S:
            if span > self._gap_s:
                return self._lose(at, note or f"nothing was measured from {utc_text(self.at)} to {utc_text(at)}")
            energy_wh = 0.0
        cuts: list[Cut] = []
        total = self._total_wh + energy_wh
        while at >= self._end:
            unread = self._end < self.at or (span > self._gap_s and at != self._end)
            self._close(cuts, self._total_at(self._end, at, total), unread, note)
        self._total_wh, self.at = total, at
        return cuts

    def begin_after(self, end: int) -> None:
        """Nothing up to `end` will be given away."""
        self._closed_until = max(self._closed_until, end)

    def _begin(self, at: float) -> None:
        self.at, self._start_here = at, True
        self._end = max(grid_end(at, self._interval_s), self._closed_until + self._interval_s)
        self._start_at, self._start_wh = float(self._end - self._interval_s), None
        self._reason = f"measured only from {utc_text(at)} on"
        if at == self._start_at:
            self._start_wh, self._reason = self._total_wh, ""

    def _total_at(self, boundary: int, at: float, total: float) -> float:
        """The total at a boundary, on the line of the step from `self.at` to `at`.

        After the wall clock was set, the boundary may lie before that step: then on the line since the interval began.
        """
        assert self.at is not None
        if boundary == at:
            return total
        if boundary >= self.at:
            return self._total_wh + (total - self._total_wh) * (boundary - self.at) / (at - self.at)
        if self._start_wh is None or boundary <= self._start_at:
            return self._total_wh
        return self._start_wh + (self._total_wh - self._start_wh) * (boundary - self._start_at) / (self.at - self._start_at)

    def _close(self, cuts: list[Cut], boundary_wh: float, gap: bool, note: str) -> None:
        boundary_wh = round(boundary_wh, 3)
        if self._end > self._closed_until:
            energy = None if self._start_wh is None else round(boundary_wh - self._start_wh, 3)
            cuts.append(Cut(self._end, energy, (self._estimated or gap) and energy is not None, self._reason))
            self._closed_until = self._end
        # a boundary inside a gap was read by nobody: the interval after it is an estimate too
        self._start_wh, self._start_at, self._estimated, self._reason = boundary_wh, float(self._end), gap or bool(note), note
        self._start_here = True
        self._end += self._interval_s

    def _lose(self, at: float, reason: str) -> list[Cut]:
        """The energy up to `at` cannot be known: every interval that it touches is absent."""
        cuts = self.give_up(at, reason)
        self.at, self._start_here = at, True
        self._start_wh, self._start_at, self._reason = None, float(self._end - self._interval_s), reason
        if at == self._start_at:
            self._start_wh, self._estimated, self._reason = self._total_wh, False, ""
        return cuts

    def give_up(self, now: float, reason: str) -> list[Cut]:
        """Closes as absent whatever ends up to `now`."""
        cuts: list[Cut] = []
        if now - self._end > BRIDGE_S:
            self._end = grid_end(now - BRIDGE_S, self._interval_s)
        while self.at is not None and now >= self._end:
            if self._end > self._closed_until:
                cuts.append(Cut(self._end, None, False, reason))
                self._closed_until = self._end
            self._start_wh, self._start_at, self._reason = None, float(self._end), reason
            self._end += self._interval_s
        return cuts

    def shift(self, offset_s: float) -> None:
        """Re-dates what was metered since `restore`: the wall clock was set by that many seconds.

        An open interval that began before, by a clock that was right, reaches up to the new date: its energy is spread.
        Else the open interval becomes the one that it nearly was. Where that was given away already (the clock went
        back), what is metered until its end has been reported under that date before and is not sent again.
        """
        if self.at is None or not self._at_here:
            return
        self.at += offset_s
        if abs(offset_s) > 1.0 and self._start_wh is not None:
            self._estimated, self._reason = True, f"the clock was set by {offset_s:+.0f} s"
        if not self._start_here and self._start_wh is not None and self._start_at < self.at <= self._start_at + BRIDGE_S:
            return
        self._start_at += offset_s
        nearest = round(self._start_at / self._interval_s) * self._interval_s
        self._end = self._closed_until if nearest < self._closed_until else nearest + self._interval_s

    def begin_anew(self) -> None:
        """Something else is metered from now on. What was given away stays so."""
        self.at = None

    def forget_future(self, now: float) -> None:
        """What is dated too far ahead of `now` was dated by a wrong clock: it is unknown, and metering begins here."""
        if self.at is not None and self.at > now + AHEAD_S:
            self.at = None
        if self._closed_until > now + AHEAD_S:
            nearest = round(self._start_at / self._interval_s) * self._interval_s
            self._closed_until = floor(now / self._interval_s) * self._interval_s
            if self.at is not None:
                self._closed_until = min(self._closed_until, nearest)
                self._end = nearest + self._interval_s

    def state(self) -> list[Any]:
        """What `restore` takes, as JSON has it."""
        interval = [self._interval_s, self._end, self._closed_until, self._start_at, self._start_wh]
        return [self.at, self._total_wh, *interval, self._estimated, self._reason]

    def restore(self, state: list[Any]) -> None:
        """Goes on where `state` was taken; with another interval length, from the next boundary of the new one."""
        at, total_wh, interval_s, open_end, closed_until, start_at, start_wh, estimated, reason = state
        self.at, self._total_wh = None if at is None else instant(at), number(total_wh)
        self._end, self._closed_until = boundary(open_end), boundary(closed_until)
        self._start_at, self._start_wh = instant(start_at), None if start_wh is None else number(start_wh)
        self._estimated, self._reason = bool(estimated), text(reason)
        if self.at is not None and self.at - self._end > BRIDGE_S:
            raise ValueError(f"the interval that ends at {open_end!r} cannot be open at {at!r}")
        self._at_here = self._start_here = False
        if self.at is not None and interval_s != self._interval_s:
            self._closed_until -= self._closed_until % self._interval_s
            self._begin(self.at)


class CounterEnergy:
    """One energy of one measuring point, from its counter."""

    __slots__ = ("_cutter", "_interval_s", "_point_id", "_quantity", "_track")

    def __init__(self, point_id: str, quantity: Quantity, counter: Counter, interval_s: int, gap_s: float, time_zone: tzinfo = UTC) -> None:
        self._point_id, self._quantity, self._interval_s = point_id, quantity, interval_s
        self._track = CounterTrack(counter, gap_s, time_zone)
        self._cutter = Cutter(interval_s, gap_s)

    @property
    def was_read(self) -> bool:
        """Whether the counter has ever had a value."""
        return self._track.at is not None

    def begin_after(self, end: int) -> None:
        """Leaves the intervals up to `end` to what stood in for the counter."""
        self._cutter.begin_after(end)

    def feed(self, at: float, wh: float) -> list[EnergyInterval]:
        """A reading of the counter. Returns the intervals that it completes."""
        steps = self._track.feed(at, wh)
        if not steps:
            return []
        cuts = [cut for step in steps for cut in self._cutter.add(*step)]
        return _intervals(self._point_id, self._quantity, cuts, self._interval_s) if cuts else []

    def overdue(self, now: float) -> list[EnergyInterval]:
        """Nothing: a counter bridges any silence, so its intervals wait."""
        return []

    def shift(self, offset_s: float) -> None:
        """Re-dates what was read since `restore`: the wall clock was set by that many seconds."""
        self._track.shift(offset_s)
        self._cutter.shift(offset_s)

    def begin_anew(self) -> None:
        """Another counter is read from now on: nothing is counted across."""
        self._track.begin_anew()
        self._cutter.begin_anew()

    def forget_future(self, now: float) -> None:
        """Begins anew with what is dated too far ahead of `now`."""
        self._track.forget_future(now)
        self._cutter.forget_future(now)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        return {"counter": self._track.state(), "cut": self._cutter.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken; the state of another kind of energy is no use."""
        if "counter" in state:
            self._track.restore(state["counter"])
            self._cutter.restore(state["cut"])


class PowerEnergy:
    """The energies of one measuring point that has no counter for them: its power, integrated by trapezoids.

    The positive and the negative watts are each an energy of their own, where somebody wants it. At a point that
    can only draw (`one_way`), an interval with negative watts is absent.
    """

    __slots__ = ("_against_wh", "_cutters", "_gap_s", "_interval_s", "_negative", "_one_way", "_point_id", "_positive", "_read_here", "_watts", "at")

    def __init__(
        self, point_id: str, positive: Quantity | None, negative: Quantity | None, interval_s: int, gap_s: float, *, one_way: bool = False
    ) -> None:
        self._point_id, self._interval_s, self._gap_s = point_id, interval_s, gap_s
        self._positive, self._negative = positive, negative
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


def trapezoid(before_w: float, after_w: float, span_s: float) -> tuple[float, float]:
    """Wh above and below zero of a line from one power to another, both as positive numbers."""
    if before_w >= 0 and after_w >= 0:
        return (before_w + after_w) * span_s / 7200, 0.0
    if before_w <= 0 and after_w <= 0:
        return 0.0, -(before_w + after_w) * span_s / 7200
    rise = abs(before_w) + abs(after_w)
    up, down = max(before_w, after_w), -min(before_w, after_w)
    return up * up / rise * span_s / 7200, down * down / rise * span_s / 7200


def _intervals(point_id: str, quantity: Quantity, cuts: list[Cut], interval_s: int) -> list[EnergyInterval]:
    return [EnergyInterval(point_id, quantity, end, energy, estimated, reason, interval_s) for end, energy, estimated, reason in cuts]


Energy = CounterEnergy | PowerEnergy
