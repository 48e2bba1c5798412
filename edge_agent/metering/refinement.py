"""A coarse counter between its steps: its value goes on by the integral of power, and the counter holds it.

At each reading the counter's true value lies from what it shows up to a step above. The refined value moves by what
power says, and is pushed only as far as it would leave that range otherwise. So whatever power says, the refined value is never
further from the truth than a step, as the counter itself; and where power is right, it is pushed until its distance from
the truth fits all steps that were seen, and then no more: so the sum of a day, the difference of two such values, is
right though neither is known. Where it lies in the range that the steps leave open cannot be told apart: to keep both
ends of that range would push it no less, for what moves alike and stops at the same walls keeps its order. Pure.
"""

from __future__ import annotations

from typing import Any

from edge_agent.metering.stored import number

REFINED_WH = 10.0  # a counter of smaller steps is as good as power can make it


class Refinement:
    """The refined value of one counter, as `ahead_wh` above what it shows.

    What the first step holds that was counted before anybody looked cannot be told apart: of it, only what power saw
    is counted. Until then `ahead_wh` is what was given away.
    """

    __slots__ = ("_step_wh", "_stepped", "ahead_wh")

    def __init__(self, step_wh: float) -> None:
        self._step_wh = step_wh
        self._stepped = False  # a step was seen, so what it holds is known
        self.ahead_wh = 0.0

    def refined(self, grown_wh: float, power_wh: float, *, covered: bool, missed: bool = False) -> float:
        """What to count for a reading of the counter that grew by `grown_wh`, while power makes it `power_wh`.

        `covered`: power was known all the time; `missed`: neither it nor the counter was, so the value may lie anywhere.
        """
        before_wh, first = self.ahead_wh, grown_wh > 0 and not self._stepped
        self._stepped = self._stepped or first
        if first and covered:  # the counter has just passed a step: no more than `power_wh` ago
            self.ahead_wh = min(power_wh, self._step_wh) / 2
            most_wh = grown_wh + self.ahead_wh - before_wh
            return max(min(power_wh, most_wh), most_wh - self._step_wh, 0.0)
        ahead_wh = before_wh + power_wh - grown_wh
        if missed and ahead_wh < 0:
            self.ahead_wh = self._step_wh / 2
        else:
            self.ahead_wh = min(max(ahead_wh, 0.0), self._step_wh)
        return grown_wh + self.ahead_wh - before_wh

    def begin_anew(self) -> None:
        """Another level of the counter is the truth."""
        self._stepped, self.ahead_wh = False, 0.0

    def begin_at_zero(self) -> None:
        """The counter counts from 0 again: what it did not show of the time before stays counted."""
        self._stepped, self.ahead_wh = True, 0.0

    def state(self) -> list[Any]:
        """What `restore` takes, as JSON has it."""
        return [self._stepped, self.ahead_wh]

    def restore(self, state: list[Any]) -> None:
        """Goes on where `state` was taken."""
        stepped, ahead_wh = state
        self._stepped, self.ahead_wh = bool(stepped), min(max(number(ahead_wh), 0.0), self._step_wh)
