"""What the readings of a counter and of the power beside it leave open of a day's energy, whoever reckons with it.

At each reading the counter's true value lies from what it shows up to a step above; between two readings flowed no less
than at the lower of their powers and no more than at the higher (after a gap: anything). Two truths that fit all of this
cannot be told apart. So a method that is right to a thousandth for certain can only be, where half of what lies between
the least and the most that fit is less than that. Such differences are bounded by shortest paths, which along a row of
readings are one pass forward and one back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from tests.metering.generated_house import POLL_S


class Poll(NamedTuple):
    """A reading: what the counter shows, its bounds by all readings until then, and what flowed since the one before."""

    shown_wh: float
    lowest_wh: float
    highest_wh: float
    least_wh: float
    most_wh: float


class Knowable:
    """One counter. `open_wh` is, by the midnight that begins a day, the width of what its energy may be; infinite where the meter began anew."""

    def __init__(self, step_wh: float, sign: int, midnights: Sequence[int]) -> None:
        self._step_wh, self._sign = step_wh, sign
        self._days: Iterator[tuple[int, int]] = pairwise(midnights)
        self._begin, self._end = midnights[0] - 86_400, midnights[0]
        self._polls: list[Poll] = []
        self._at, self._watts = -inf, 0.0
        self.open_wh: dict[int, float] = {}

    def hear(self, at: float, shown_wh: float, watts: float) -> None:
        """A reading of both."""
        watts = max(0.0, watts * self._sign)
        least_wh, most_wh = 0.0, inf
        if at - self._at <= 3 * POLL_S:
            least_wh, most_wh = (limit * (at - self._at) / 3600 for limit in sorted((self._watts, watts)))
        self._at, self._watts = at, watts
        before = self._polls[-1] if self._polls else Poll(0.0, -inf, inf, 0.0, 0.0)
        lowest_wh = max(before.lowest_wh + least_wh, shown_wh)
        highest_wh = min(before.highest_wh + most_wh, shown_wh + self._step_wh)
        if shown_wh < before.shown_wh:
            lowest_wh, highest_wh = shown_wh, shown_wh + self._step_wh
        self._polls.append(Poll(shown_wh, lowest_wh, highest_wh, least_wh, most_wh))
        while at >= self._end:
            self.open_wh[self._begin] = self._open()
            self._polls = self._polls[-1:]
            self._begin, self._end = next(self._days, (self._end, self._end + 86_400))

    def _open(self) -> float:
        """The width for the polls since the day began."""
        last = self._polls[-1]
        lowest, highest, least, most = last.lowest_wh, last.highest_wh, 0.0, 0.0
        for poll, after in zip(self._polls[-2::-1], self._polls[:0:-1], strict=True):
            if after.shown_wh < poll.shown_wh:
                return inf
            lowest, highest = max(lowest - after.most_wh, poll.lowest_wh), min(highest - after.least_wh, poll.highest_wh)
            least, most = least + after.least_wh, most + after.most_wh
        return max(min(most, last.highest_wh - lowest) - max(least, last.lowest_wh - highest), 0.0)
