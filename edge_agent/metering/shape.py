"""What a power says about the energy that a counter counts beside it: how it flowed between two steps of the counter.

The counter decides how much flowed, the power only when. So a sum over intervals is always the counter's, however
wrong the power is scaled; and where no power was read, energy is spread evenly over the time that it lacks. Pure.
"""

from __future__ import annotations

from typing import Any

from edge_agent.metering.counters import AHEAD_S, COARSE_WH, Step
from edge_agent.metering.cutter import grid_end
from edge_agent.metering.stored import boundary, instant, number

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

    def forget_future(self, now: float) -> None:
        """What is dated too far ahead of `now` was dated by a wrong clock."""
        if self._at is not None and self._at > now + AHEAD_S:
            self.forget()

    def state(self) -> list[Any]:
        """What `restore` takes, as JSON has it."""
        return [self._at, self._read_at, self._watts, self.wh, self._unknown_s, *([end, *mark] for end, mark in self._marks.items())]

    def restore(self, state: list[Any]) -> None:
        """Goes on where `state` was taken."""
        at, read_at, watts, wh, unknown_s, *marks = state
        self._at, self._read_at = None if at is None else instant(at), None if read_at is None else instant(read_at)
        self._watts, self.wh, self._unknown_s = number(watts), number(wh), number(unknown_s)
        self._marks = {boundary(end): (number(until_wh), number(until_s)) for end, until_wh, until_s in marks}


class Refinement:
    """A coarse counter between its steps: energy goes on by the integral of power, but never past the next step.

    `ahead_wh` is what was given away before the counter has counted it. What the first step holds that was counted
    before anybody looked cannot be told apart: of it, only what power saw is counted.
    """

    __slots__ = ("_step_wh", "_stepped", "ahead_wh")

    def __init__(self, step_wh: float) -> None:
        self._step_wh = step_wh
        self._stepped = False  # a step was seen, so what it holds is known
        self.ahead_wh = 0.0

    def refined(self, grown_wh: float, power_wh: float, covered: bool) -> float:
        """What to count for a reading of the counter that grew by `grown_wh`, while power makes it `power_wh`."""
        if grown_wh == 0:
            more_wh = min(power_wh, max(self._step_wh - self.ahead_wh, 0.0))
            self.ahead_wh += more_wh
            return more_wh
        due_wh = max(grown_wh - self.ahead_wh, 0.0)
        if not self._stepped and covered:
            due_wh = min(max(power_wh, due_wh - self._step_wh), due_wh)
            self.ahead_wh = grown_wh
        self._stepped = True
        self.ahead_wh = max(self.ahead_wh - grown_wh, 0.0)
        return due_wh

    def begin_anew(self) -> None:
        """Another level of the counter is the truth."""
        self._stepped, self.ahead_wh = False, 0.0

    def state(self) -> list[Any]:
        """What `restore` takes, as JSON has it."""
        return [self._stepped, self.ahead_wh]

    def restore(self, state: list[Any]) -> None:
        """Goes on where `state` was taken."""
        stepped, ahead_wh = state
        self._stepped, self.ahead_wh = bool(stepped), number(ahead_wh)


def shaped(steps: tuple[Step, ...], since: float | None, power: PowerShape, refinement: Refinement | None) -> tuple[Step, ...]:
    """A counter's steps, refined by power: what the counter cannot tell, power does, where it was read all the time."""
    at = steps[-1].at
    power.until(at)
    covered = since is not None and power.covers(since)
    if any(step.energy_wh is None for step in steps):
        if refinement is not None:
            refinement.begin_anew()
        if not covered or since is None:
            return steps
        counted = sum(step.energy_wh or 0.0 for step in steps)
        return (Step(at, max(power.wh, counted), steps[0].note),)
    if refinement is None or len(steps) > 1:
        return steps
    return (steps[0]._replace(energy_wh=refinement.refined(steps[0].energy_wh or 0.0, power.wh, covered)),)


def refinement_of(step_wh: float) -> Refinement | None:
    """How a counter of this step is refined; None for one that is fine enough."""
    return Refinement(step_wh) if step_wh >= COARSE_WH else None
