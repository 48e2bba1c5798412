"""What a power says about the energy that a counter counts beside it: how it flowed between two steps of the counter.

The counter decides how much flowed, the power only when. So a sum over intervals is always the counter's, however
wrong the power is scaled; and where no power was read, energy is spread evenly over the time that it lacks. Pure.
"""

from __future__ import annotations

from typing import Any

from edge_agent.metering.counters import AHEAD_S, Step
from edge_agent.metering.cutter import Share, grid_end
from edge_agent.metering.refinement import REFINED_WH, Refinement
from edge_agent.metering.stored import boundary, instant, number

Noted = tuple[float, float]  # when, and how many watts
MOST_MARKS = 672  # boundaries that are remembered of one gap: beyond a week energy is spread evenly


def trapezoid(before_w: float, after_w: float, span_s: float) -> tuple[float, float]:
    """Wh above and below zero of a line from one power to another, both as positive numbers."""
    if before_w >= 0 and after_w >= 0:
        return (before_w + after_w) * span_s / 7200, 0.0
    if before_w <= 0 and after_w <= 0:
        return 0.0, -(before_w + after_w) * span_s / 7200
    rise = abs(before_w) + abs(after_w)
    up, down = max(before_w, after_w), -min(before_w, after_w)
    return up * up / rise * span_s / 7200, down * down / rise * span_s / 7200


class PowerShape:
    """The integral of a power since the counter's last step, and what it was at the boundaries between."""

    __slots__ = ("_at", "_gap_s", "_interval_s", "_marks", "_read_at", "_sign", "_unknown_s", "_watts", "wh")

    def __init__(self, sign: int, interval_s: int, gap_s: float) -> None:
        """Of a power the part of that `sign` counts. Two readings more than `gap_s` apart tell nothing of the time between."""
        self._sign, self._interval_s, self._gap_s = sign, interval_s, gap_s
        self._at: float | None = None  # up to when it is integrated
        self._read_at: float | None = None
        self._watts = 0.0
        self.wh = 0.0
        self._unknown_s = 0.0
        self._marks: dict[int, tuple[float, float]] = {}  # at a boundary: Wh until there, and seconds without power

    def note(self, at: float, watts: float) -> None:
        """A reading of the power."""
        watts = max(0.0, watts * self._sign)
        if self._at is not None and at > self._at:
            self._go_on(self._at, at, watts)
        if self._read_at is None or at > self._read_at:
            self._at, self._read_at, self._watts = at, at, watts

    def _go_on(self, since: float, at: float, watts: float) -> None:
        known = self._read_at is not None and at - self._read_at <= self._gap_s
        more_wh, more_s = ((self._watts + watts) * (at - since) / 7200, 0.0) if known else (0.0, at - since)
        if at // self._interval_s != since // self._interval_s:
            self._mark(since, at, more_wh, more_s)
        self._at = at
        self.wh += more_wh
        self._unknown_s += more_s

    def _mark(self, since: float, at: float, more_wh: float, more_s: float) -> None:
        """Notes what was reached at each boundary between two instants."""
        end = grid_end(since, self._interval_s)
        if at - end < MOST_MARKS * self._interval_s and len(self._marks) < MOST_MARKS:
            for mark in range(end, int(at) + 1, self._interval_s):
                share = (mark - since) / (at - since)
                self._marks[mark] = self.wh + more_wh * share, self._unknown_s + more_s * share

    def until(self, at: float) -> None:
        """The counter was read at `at`: the last power holds until then."""
        if self._at is not None and at > self._at:
            self._go_on(self._at, at, self._watts)

    def covers(self, since: float) -> bool:
        """Whether the power is known from the counter's last step, at `since`, on."""
        return self._read_at is not None and self._at is not None and self._at > since and self._unknown_s == 0

    def share(self, end: int, energy_wh: float) -> float | None:
        """Which share of the energy of this step had flowed at a boundary; None where power tells nothing."""
        if end not in self._marks:
            return None
        until_wh, until_s = self._marks[end]
        rest_w = max(energy_wh - self.wh, 0.0) / self._unknown_s if self._unknown_s else 0.0
        whole = self.wh + rest_w * self._unknown_s
        return (until_wh + rest_w * until_s) / whole if whole > 0 else None

    def begin(self, at: float) -> None:
        """The counter's step at `at` is done: the next begins."""
        if self._at is None or self._at < at:
            self._at = at
        self.wh, self._unknown_s = self._watts * (self._at - at) / 3600, 0.0
        self._marks.clear()

    def forget(self) -> None:
        """What was read until now says nothing about what comes."""
        self._at = self._read_at = None
        self.wh = self._unknown_s = 0.0
        self._marks.clear()

    def state(self) -> list[Any]:
        """What `restore` takes, as JSON has it."""
        return [self._at, self._read_at, self._watts, self.wh, self._unknown_s, *([end, *mark] for end, mark in self._marks.items())]

    def restore(self, state: list[Any]) -> None:
        """Goes on where `state` was taken."""
        at, read_at, watts, wh, unknown_s, *marks = state
        self._at, self._read_at = None if at is None else instant(at), None if read_at is None else instant(read_at)
        self._watts, self.wh, self._unknown_s = number(watts), number(wh), number(unknown_s)
        self._marks = {boundary(end): (number(until_wh), number(until_s)) for end, until_wh, until_s in marks}


class PowerBeside:
    """The power beside a counter: kept at hand, and integrated only while the counter does not tell by itself.

    That is so for a coarse counter always, for another one while it is not read or not believed.
    """

    __slots__ = ("_gap_s", "_latest", "_refinement", "_shape", "_since", "_start", "_wanted")

    def __init__(self, sign: int, step_wh: float, interval_s: int, gap_s: float) -> None:
        self._shape, self._gap_s = PowerShape(sign, interval_s, gap_s), gap_s
        self._refinement = Refinement(step_wh) if step_wh >= REFINED_WH else None
        self._wanted = self._refinement is not None
        self._since: float | None = None  # the counter's last step
        self._start: Noted | None = None  # the power by then
        self._latest: Noted | None = None  # the power since

    def note(self, at: float, watts: float) -> None:
        """A reading of the power; a second one without a step of the counter between them shows that the counter is away."""
        newest = self._latest or self._start
        if newest is not None and at <= newest[0]:
            return
        if not self._wanted and self._latest is not None:
            self._take_up()
        self._latest = at, watts
        if self._wanted:
            self._shape.note(at, watts)

    def _take_up(self) -> None:
        self._wanted = True
        self._shape.forget()
        if self._start is not None:
            self._shape.note(*self._start)
        if self._since is not None:
            self._shape.begin(self._since)
        if self._latest is not None:
            self._shape.note(*self._latest)

    def shaped(self, steps: tuple[Step, ...]) -> tuple[tuple[Step, ...], Share | None]:
        """The counter's steps, and how their energy flowed. What the counter cannot tell, power does, where it was read all the time."""
        if not self._wanted:
            return steps, None
        at = steps[-1].at
        self._shape.until(at)
        covered = self._since is not None and self._shape.covers(self._since)
        if any(step.energy_wh is None for step in steps):
            if self._refinement is not None:
                self._refinement.begin_anew()
            counted = sum(step.energy_wh or 0.0 for step in steps)
            steps = (Step(at, max(self._shape.wh, counted), steps[0].note),) if covered else steps
        elif self._refinement is not None:
            steps = (Step(at, self._refined(self._refinement, steps, covered), steps[0].note),)
        return steps, self._shape.share if len(steps) == 1 else None

    def _refined(self, refinement: Refinement, steps: tuple[Step, ...], covered: bool) -> float:
        if steps[0].note:
            refinement.begin_at_zero()
        missed = not covered and self._since is not None and steps[-1].at - self._since > self._gap_s
        return refinement.refined(sum(step.energy_wh or 0.0 for step in steps), self._shape.wh, covered=covered, missed=missed)

    def begin(self, at: float) -> None:
        """The counter's step at `at` is done: the next begins."""
        if self._wanted:
            self._shape.begin(at)
            self._wanted = self._refinement is not None
        self._since, self._start, self._latest = at, self._latest or self._start, None

    def forget(self) -> None:
        """What was read until now says nothing about what comes."""
        self._shape.forget()
        self._since = self._start = self._latest = None

    def begin_anew(self) -> None:
        """Another counter is read from now on."""
        self.forget()
        if self._refinement is not None:
            self._refinement.begin_anew()

    def forget_future(self, now: float) -> None:
        """What is dated too far ahead of `now` was dated by a wrong clock."""
        newest = self._latest or self._start
        if newest is not None and newest[0] > now + AHEAD_S:
            self.forget()

    def state(self) -> list[Any]:
        """What `restore` takes, as JSON has it."""
        refinement = None if self._refinement is None else self._refinement.state()
        return [self._wanted, self._since, self._start, self._latest, self._shape.state() if self._wanted else None, refinement]

    def restore(self, state: list[Any]) -> None:
        """Goes on where `state` was taken."""
        wanted, since, start, latest, shape, refinement = state
        self._since = None if since is None else instant(since)
        self._start, self._latest = _noted(start), _noted(latest)
        if self._refinement is not None and refinement is not None:
            self._refinement.restore(refinement)
        self._wanted = bool(wanted) or self._refinement is not None
        if shape is not None:
            self._shape.restore(shape)


def _noted(stored: Any) -> Noted | None:
    if stored is None:
        return None
    at, watts = stored
    return instant(at), number(watts)
