"""Sums of a calendar day at the house's own midnight, from the energies of its intervals.

Each series (an energy of a point, a total of the house) has one open day. It ends with the interval that reaches
midnight, however late that comes, and is given away once; of a day that was given away nothing is counted again.
An interval that midnight cuts is shared out by time. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from typing import Any, NamedTuple

from edge_agent.metering.counters import AHEAD_S
from edge_agent.metering.stored import boundary, number, text


@dataclass(frozen=True, slots=True)
class DayRule:
    """Where a day begins, and which days are known well enough. The shares are decided in `cloud/vocabulary`."""

    time_zone: tzinfo
    coverage: float  # of the day's time must be known
    spread: float  # of the day's energy at most may lie in a gap over one of its midnights


class Spread(NamedTuple):
    """How much of an interval's energy may lie in another, since nobody read its end; `bridged`: not even within it."""

    wh: float = 0.0
    bridged: bool = False


NOT_SPREAD = Spread()


class DayTotal(NamedTuple):
    """The sums of the day that ended at `end` (UTC epoch seconds); None: not known well enough."""

    end: int
    sums: tuple[float, ...] | None
    reason: str


@dataclass(slots=True)
class _Day:
    """An open day. What was spread over a gap at its beginning or its end may belong to the day beside it."""

    number: int  # the date's ordinal
    sums: list[float] = field(default_factory=list)
    known_s: float = 0.0
    was_read: bool = False
    first_wh: float = 0.0  # spread before that
    last_wh: float = 0.0  # spread since it was read last
    fault: str = ""

    def add(self, parts: tuple[float, ...], seconds: float, spread: Spread) -> None:
        self.sums = [before + part for before, part in zip(self.sums or [0.0] * len(parts), parts, strict=True)]
        self.known_s += seconds
        if not self.was_read:
            self.first_wh += spread.wh
        self.last_wh = self.last_wh + spread.wh if spread.bridged and self.was_read else spread.wh
        self.was_read = self.was_read or not spread.bridged


class Days:
    """The open days of all series, by their keys."""

    def __init__(self, interval_s: int, rule: DayRule) -> None:
        self._interval_s = interval_s
        self._rule = rule
        self._open: dict[str, _Day] = {}
        self._bounds = (0, 0.0, 0.0)  # of the day that was asked for last: its number, beginning and end

    def add(self, key: str, end: int, parts: tuple[float, ...] | None, *, spread: Spread = NOT_SPREAD, fault: str = "") -> list[DayTotal]:
        """The interval that ends at `end`, as one or more energies that belong together (Wh); None: not known.

        `spread` is of the first of them. A `fault` spoils its day. Returns the days that this completes.
        """
        done: list[DayTotal] = []
        for day_number, begin, midnight in self._days(end - self._interval_s, end):
            day = self._open.get(key)
            if day is not None and day.number < day_number:
                done.append(self._total(day))
                day = None
            if day is None:
                day = self._open[key] = _Day(day_number)
            if day_number < day.number:
                continue
            if parts is not None and day.sums and len(day.sums) != len(parts):
                day = self._open[key] = _Day(day_number)  # it was stored by something else
            seconds = min(end, midnight) - max(end - self._interval_s, begin)
            if parts is not None:
                share = seconds / self._interval_s
                day.add(tuple(part * share for part in parts), seconds, Spread(spread.wh * share, spread.bridged))
            day.fault = day.fault or fault
            if end >= midnight:
                done.append(self._total(day))
                self._open[key] = _Day(day_number + 1)
        return done

    def _days(self, begin: float, end: float) -> Iterator[tuple[int, float, float]]:
        """The days between two instants: number, beginning and end."""
        at = begin
        while at < end:
            if not self._bounds[1] <= at < self._bounds[2]:
                self._bounds = self._day(datetime.fromtimestamp(at, self._rule.time_zone).toordinal())
            yield self._bounds
            at = self._bounds[2]

    def _day(self, day_number: int) -> tuple[int, float, float]:
        return day_number, self._midnight(day_number), self._midnight(day_number + 1)

    def _midnight(self, day_number: int) -> float:
        """When a date begins. Where the clocks skip midnight, that is when they do so."""
        day = date.fromordinal(day_number)
        return datetime(day.year, day.month, day.day, tzinfo=self._rule.time_zone).timestamp()

    def _total(self, day: _Day) -> DayTotal:
        _, begin, end = self._day(day.number)
        reason = day.fault
        if not reason and day.known_s < self._rule.coverage * (end - begin):
            reason = f"only {100 * day.known_s / (end - begin):.1f} % of the day are known"
        if not reason and (spread := day.first_wh + day.last_wh) > self._rule.spread * max(day.sums[0], 0.0):
            reason = f"{spread:.0f} Wh were counted over midnight while nobody read them"
        return DayTotal(int(end), None if reason else tuple(round(wh, 3) for wh in day.sums), reason)

    def so_far(self, key: str) -> float | None:
        """What the open day of a series has so far, in Wh; None: nothing."""
        day = self._open.get(key)
        return round(day.sums[0], 3) if day is not None and day.sums else None

    def forget_future(self, now: float) -> None:
        """Days that begin too far ahead of `now` were dated by a wrong clock."""
        self._open = {key: day for key, day in self._open.items() if self._midnight(day.number) <= now + max(AHEAD_S, self._interval_s)}

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        return {key: [day.number, day.known_s, day.was_read, day.first_wh, day.last_wh, day.fault, *day.sums] for key, day in self._open.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken."""
        for key, (day_number, known_s, was_read, first_wh, last_wh, fault, *sums) in state.items():
            date.fromordinal(boundary(day_number) + 1)
            day = _Day(boundary(day_number), [number(wh) for wh in sums], number(known_s), bool(was_read))
            day.first_wh, day.last_wh, day.fault = number(first_wh), number(last_wh), text(fault)
            self._open[key] = day
