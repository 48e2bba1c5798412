"""Cuts a running total of energy into intervals on the UTC grid.

Its value at a boundary lies on the line between the two steps around it, and an interval's energy is the difference
of two boundaries, each rounded to a milliwatt-hour. So any run of intervals adds up to what was counted, and rounding
does not drift. Decisions: an interval that was not covered from its beginning is absent, never an undercount; an end
that was given away once never comes again.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from typing import Any, NamedTuple

from edge_agent.metering.counters import AHEAD_S
from edge_agent.metering.stored import boundary, instant, number, text
from edge_agent.model.clock import utc_text

BRIDGE_S = 31 * 86_400.0  # over a longer silence a mean says nothing, and a wrong clock would fill the disk


def grid_end(at: float, interval_s: int) -> int:
    """The first boundary after `at`."""
    return (floor(at / interval_s) + 1) * interval_s


Share = Callable[[int, float], float | None]


class Cut(NamedTuple):
    """The energy of the interval that ends at `end`."""

    end: int
    energy_wh: float | None
    estimated: bool
    reason: str
    bridged: bool = False


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

    def add(self, at: float, energy_wh: float | None, note: str = "", share: Share | None = None) -> list[Cut]:
        """A step from the last one up to `at`. Returns the intervals that it completes.

        `share` says which part of the step's energy had flowed at a boundary; where it cannot, energy flows evenly.
        """
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
            bridged = unread and self.at <= self._end - self._interval_s
            self._close(cuts, self._total_at(self._end, at, total, share), unread, bridged, note)
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

    def _total_at(self, boundary: int, at: float, total: float, share: Share | None) -> float:
        """The total at a boundary, by its share or on the line of the step from `self.at` to `at`.

        After the wall clock was set, the boundary may lie before that step: then on the line since the interval began.
        """
        assert self.at is not None
        if boundary == at:
            return total
        if boundary >= self.at:
            if share is not None and (part := share(boundary, total - self._total_wh)) is not None:
                return self._total_wh + (total - self._total_wh) * part
            return self._total_wh + (total - self._total_wh) * (boundary - self.at) / (at - self.at)
        if self._start_wh is None or boundary <= self._start_at:
            return self._total_wh
        return self._start_wh + (self._total_wh - self._start_wh) * (boundary - self._start_at) / (self.at - self._start_at)

    def _close(self, cuts: list[Cut], boundary_wh: float, gap: bool, bridged: bool, note: str) -> None:
        boundary_wh = round(boundary_wh, 3)
        if self._end > self._closed_until:
            energy = None if self._start_wh is None else round(boundary_wh - self._start_wh, 3)
            cuts.append(Cut(self._end, energy, (self._estimated or gap) and energy is not None, self._reason, bridged))
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
