"""Inverters that switch off at night: whether one that does not answer is asleep, and so generates nothing.

Without this, the house's totals would wait each night until its inverters wake. Decision: an inverter is asleep when
it fell silent at next to no power, at the hour at which it did the night before or later, and until the hour at which
it woke that morning. A night counts only when its counter proved it: it showed the same before and after. So the first
night is waited out, and so is whatever differs, such as a network that fails by day. What a counter shows after a
sleep in spite of it is never lost: it is in the intervals that follow. And what was generated in a gap that reaches
into a night, or over several, was not generated at night. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, floor
from typing import Any, NamedTuple

from edge_agent.metering.counters import AHEAD_S
from edge_agent.metering.stored import instant, number

DARK_W = 100.0  # the last power before it
SLEPT_WH = 100.0  # at most counted from the last reading to the first one after, by an inverter that slept
DAWN_W = 500.0  # at most the first power after it, where there is no counter
SHORTEST_S, LONGEST_S = 2 * 3600.0, 20 * 3600.0
EARLIER_S = 3600.0  # dusk comes earlier under clouds
DAY_S = 86_400.0


class Night(NamedTuple):
    """When it answered last, and when it answered again. UTC epoch seconds."""

    since: float
    until: float


class Sleep:
    """One inverter's habit, and what it said last."""

    __slots__ = ("_at", "_here", "_night", "_quiet_s", "_told_at", "_watts", "_wh")

    def __init__(self, quiet_s: float) -> None:
        """`quiet_s`: how long it must have been silent."""
        self._quiet_s = quiet_s
        self._night: Night | None = None  # the last one that was proved
        self._at: float | None = None  # when it was heard last
        self._watts = 0.0
        self._wh: float | None = None
        self._here = False  # in this process
        self._told_at = 0.0

    def hear(self, at: float, watts: float, wh: float | None) -> None:
        """A reading of its power and its counter (None: it has none, or it was not read)."""
        if self._at is not None and at <= self._at:
            return
        if self._at is not None and SHORTEST_S <= at - self._at <= LONGEST_S and self._watts <= DARK_W and self._slept(watts, wh):
            self._night = Night(self._at, at)
        self._at, self._watts, self._here = at, watts, True
        self._wh = self._wh if wh is None else wh

    def _slept(self, watts: float, wh: float | None) -> bool:
        if self._wh is None:
            return watts <= DAWN_W
        if wh is None:
            return False
        grown = wh - self._wh if wh >= self._wh else wh  # a counter of the day began at 0 in the night
        return 0 <= grown <= SLEPT_WH

    def asleep_until(self, now: float) -> float | None:
        """Until when it is taken to sleep (UTC epoch seconds, maybe past by now); None when it is awake, or nobody can say."""
        if self._at is None or self._night is None or now - self._at < self._quiet_s or self._watts > DARK_W:
            return None
        days = round((self._at - self._night.since) / DAY_S) * DAY_S
        until = self._night.until + days
        return until if self._night.since + days - EARLIER_S <= self._at < until else None

    def dark_times(self, now: float, every_s: float) -> Iterator[float]:
        """Instants since it was heard last at which it slept, if it kept to its habit: beginning, end, and between. Each is told once."""
        if self._at is None or self._night is None or now - self._at < self._quiet_s:
            return
        since, self._told_at = max(self._at, self._told_at), now
        first = ceil((since - self._night.until) / DAY_S)
        for day in range(first, floor((now - self._night.since) / DAY_S) + 1):
            at, until = max(self._night.since + day * DAY_S, since), min(self._night.until + day * DAY_S, now)
            while at < until:
                yield at
                at += every_s
            yield until

    def shift(self, offset_s: float) -> None:
        """Re-dates what was heard since `restore`: the wall clock was set by that many seconds."""
        if self._at is not None and self._here:
            self._at += offset_s

    def forget_future(self, now: float) -> None:
        """What is dated too far ahead of `now` was dated by a wrong clock."""
        self._told_at = min(self._told_at, now)
        if self._at is not None and self._at > now + AHEAD_S:
            self._at = None
        if self._night is not None and self._night.until > now + AHEAD_S:
            self._night = None

    def begin_anew(self) -> None:
        """Another device is read from now on."""
        self._at = self._wh = self._night = None

    def state(self) -> list[Any]:
        """What `restore` takes, as JSON has it."""
        return [self._at, self._watts, self._wh, *(self._night or ())]

    def restore(self, state: list[Any]) -> None:
        """Goes on where `state` was taken."""
        at, watts, wh, *night = state
        self._at, self._watts, self._wh = None if at is None else instant(at), number(watts), None if wh is None else number(wh)
        self._night = Night(*map(instant, night)) if night else None
        self._here = False
