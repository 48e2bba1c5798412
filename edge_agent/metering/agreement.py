"""Do a measuring point's power and its counters tell the same? A steady factor between them is a changed map.

Firmware moves a register or changes its scale, and the values stay plausible one by one. So the integral of the
power is held against what the counters grew by, over an hour at least and until both are large enough for the
counter's steps. A finding needs two such windows in a row that tell the same factor (10, 100, 1000 or a part, or
the direction swapped); whatever else the ratio may be (rare messages, rounding, losses) says nothing. It is a
finding for people: no number is changed. Pure; a restart begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from edge_agent.metering.shape import trapezoid
from edge_agent.model.measurements import Counter, MeterPoint, Quantity, Reading

WINDOW_S = 3600.0
LONGEST_WINDOW_S = 86_400.0  # without enough energy in it, a window is given up
ENOUGH_WH = 100.0  # in the larger of the two
_ENOUGH_STEPS = 20  # of the counter, in the larger
_FEWEST_STEPS = 5  # in what the counter itself grew by
_TOLERANCE = 0.25
_FACTORS = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001)
_SWAPPED = -1.0
_PAIRS = (
    (Quantity.POWER_W, Quantity.IMPORT_WH, Quantity.EXPORT_WH),
    (Quantity.GENERATION_W, Quantity.GENERATION_WH, None),
    (Quantity.AC_OUTPUT_W, Quantity.AC_OUTPUT_WH, Quantity.AC_INPUT_WH),
)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """By how much the counters of a point grow faster than its power says (-1: in the other direction)."""

    point_id: str
    power: Quantity
    factor: float
    integrated_wh: float
    counted_wh: float
    window_s: float

    def __str__(self) -> str:
        figures = f"{self.counted_wh:.0f} Wh counted, {self.integrated_wh:.0f} Wh from the power, in {self.window_s / 3600:.1f} h, and before"
        advice = "has its firmware been updated, or a setting changed? Check it against the profile"
        if self.factor == _SWAPPED:
            return f"{self.point_id}: its power and its counters tell opposite directions ({figures}); {advice}, and the direction of the meter"
        speed = f"{self.factor:g} times as fast as" if self.factor > 1 else f"{1 / self.factor:g} times slower than"
        return f"{self.point_id}: its counter grows {speed} {self.power} says ({figures}); {advice}, and `scale:`"


class _Totals(NamedTuple):
    """Wh in both directions."""

    into: float
    out: float


class _Pair:
    """A power and its counters in the present window."""

    def __init__(self, power: Quantity, counters: Mapping[Quantity, Counter], into: Quantity | None, out: Quantity | None, gap_s: float) -> None:
        self.power = power
        self._into, self._out = into, out
        self._step_wh = max(counters[one].step_wh for one in (into, out) if one is not None)
        self._gap_s = gap_s
        self._begin_at: float | None = None  # the window begins when a counter has just moved
        self._begin = self._counted = _Totals(0.0, 0.0)
        self._integrated = _Totals(0.0, 0.0)
        self._at: float | None = None
        self._watts = 0.0
        self._last = 0.0  # factor of the window before; 0: it said nothing

    def restart(self) -> None:
        """What was gathered cannot be used."""
        self._at = self._begin_at = None

    def feed(self, readings: Mapping[Quantity, Reading]) -> tuple[float, _Totals, _Totals, float] | None:
        """Takes a poll. When it ends a window: its factor (1: agrees, 0: says nothing), Wh integrated and counted, seconds."""
        power, counted = readings.get(self.power), self._counters(readings)
        if power is None or power.number is None or counted is None or (self._at is not None and power.at <= self._at):
            return None
        if self._at is None or power.at - self._at > self._gap_s or counted.into < self._counted.into or counted.out < self._counted.out:
            self._at, self._watts, self._counted, self._begin_at = power.at, power.number, counted, None
            return None
        into, out = trapezoid(self._watts, power.number, power.at - self._at)
        self._integrated = _Totals(self._integrated.into + into, self._integrated.out + out)
        moved, self._counted = counted != self._counted, counted
        self._at, self._watts = power.at, power.number
        if not moved:
            return None
        if self._begin_at is None:
            self._open()
            return None
        return self._close(power.at - self._begin_at)

    def _open(self) -> None:
        self._begin_at, self._begin, self._integrated = self._at, self._counted, _Totals(0.0, 0.0)

    def _close(self, window_s: float) -> tuple[float, _Totals, _Totals, float] | None:
        counted = _Totals(self._counted.into - self._begin.into, self._counted.out - self._begin.out)
        integrated = self._integrated
        if self._out is None or self._into is None:  # a direction that nobody counts tells nothing
            integrated = _Totals(integrated.into if self._into else 0.0, integrated.out if self._out else 0.0)
        largest = max(sum(counted), sum(integrated))
        enough = largest >= max(ENOUGH_WH, _ENOUGH_STEPS * self._step_wh) and sum(counted) >= _FEWEST_STEPS * self._step_wh
        if window_s < WINDOW_S or not (enough or window_s >= LONGEST_WINDOW_S):
            return None
        factor = _factor(integrated, counted) if enough else 0.0
        self._open()
        steady = factor if factor in (self._last, 1.0) else 0.0
        self._last = factor
        return steady, integrated, counted, window_s

    def _counters(self, readings: Mapping[Quantity, Reading]) -> _Totals | None:
        found = []
        for quantity in (self._into, self._out):
            reading = readings.get(quantity) if quantity else None
            if quantity and (reading is None or reading.number is None):
                return None
            found.append(reading.number or 0.0 if reading else 0.0)
        return _Totals(*found)


def _factor(integrated: _Totals, counted: _Totals) -> float:
    """The factor from the power to the counters; 1: they agree, 0: it is no such factor."""
    total = sum(integrated)
    ratio = sum(counted) / total if total > 0 else 0.0
    if abs(ratio - 1) <= _TOLERANCE:
        main, other = (counted.into, counted.out) if integrated.into > integrated.out else (counted.out, counted.into)
        one_way = max(integrated) > 0.9 * total
        return _SWAPPED if one_way and other > 0.8 * sum(counted) and main < 0.2 * sum(counted) else 1.0
    return next((factor for factor in _FACTORS if abs(ratio / factor - 1) <= _TOLERANCE), 0.0)


class Agreement:
    """Watches one measuring point. `found` is what stands against it now."""

    def __init__(self, point: MeterPoint) -> None:
        self._id = point.id
        self._pairs = []
        self.found: dict[Quantity, Disagreement] = {}
        for power, into, out in _PAIRS:
            has = [one if one in point.counters else None for one in (into, out)]
            if power in point.quantities and any(has):
                self._pairs.append(_Pair(power, point.counters, has[0], has[1], max(60.0, point.stale_after_s)))

    def update(self, readings: Mapping[Quantity, Reading]) -> list[Disagreement]:
        """Takes one poll's readings. Returns what is new: each disagreement is returned once, until it has gone."""
        fresh = []
        for pair in self._pairs:
            closed = pair.feed(readings)
            if closed is None or closed[0] == 0.0:
                continue
            factor, integrated, counted, window_s = closed
            if factor == 1.0:
                self.found.pop(pair.power, None)
                continue
            found = Disagreement(self._id, pair.power, factor, sum(integrated), sum(counted), window_s)
            known = self.found.get(pair.power)
            self.found[pair.power] = found
            if known is None or known.factor != factor:
                fresh.append(found)
        return fresh

    def restart(self) -> None:
        """The clock was set: the present windows cannot be used."""
        for pair in self._pairs:
            pair.restart()
