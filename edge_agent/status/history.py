"""The last 24 hours and 7 days for the page's charts: bounded, in memory, stored beside the intervals it comes from.

Power is what the flow showed, as means of five minutes and of hours; energy is what metering found, by the hour.
What was not known is a gap. Pure: time is passed in, whoever stores `state()` does so in the intervals' transaction.
"""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.model.measurements import EnergyInterval, HouseholdInterval, HouseQuantity, MeterPoint, Outcome, Quantity, Role
from edge_agent.status.document import Node

VERSION = 1
_DAY = 300, 288 + 1  # seconds, rows: a day and the slot that is open
_WEEK = 3600, 7 * 24 + 1
_POWERS = ("sun", "grid", "battery", "house", "charger", "heat_pump", "soc")
_HOUSE = {
    HouseQuantity.CONSUMPTION_WH: "consumption",
    HouseQuantity.GENERATION_WH: "generation",
    HouseQuantity.IMPORT_WH: "import",
    HouseQuantity.EXPORT_WH: "export",
}
_POINTS = {
    (Role.BATTERY, Quantity.IMPORT_WH): "charged",
    (Role.BATTERY, Quantity.EXPORT_WH): "discharged",
    (Role.CHARGER, Quantity.IMPORT_WH): "charger",
    (Role.HEAT_PUMP, Quantity.IMPORT_WH): "heat_pump",
}
_ENERGIES = (*_HOUSE.values(), *_POINTS.values())


class Ring:
    """Rows of numbers by time slot, as many as there is room for; NaN: not known. A slot's number is its start over `step_s`."""

    def __init__(self, step_s: int, rows: int, columns: Sequence[str]) -> None:
        self.step_s = step_s
        self._rows = rows
        self._columns = tuple(columns)
        self._newest = 0
        self._numbers = array("f", [math.nan]) * (rows * len(self._columns))

    def set(self, at: float, column: str, value: float) -> None:
        """Writes a value into the slot of `at` (UTC epoch seconds)."""
        if (place := self._place(at, column)) is not None:
            self._numbers[place] = value

    def add(self, at: float, column: str, value: float) -> None:
        """Adds to what the slot of `at` holds."""
        if (place := self._place(at, column)) is not None:
            before = self._numbers[place]
            self._numbers[place] = value if math.isnan(before) else before + value

    def _place(self, at: float, column: str) -> int | None:
        """Where the value is; None when its slot is too old to be kept."""
        number = int(at // self.step_s)
        if number > self._newest:
            self._clear(max(self._newest + 1, number - self._rows + 1), number)
            self._newest = number
        if number <= self._newest - self._rows:
            return None
        return (number % self._rows) * len(self._columns) + self._columns.index(column)

    def _clear(self, first: int, last: int) -> None:
        width = len(self._columns)
        for number in range(first, last + 1):
            start = (number % self._rows) * width
            self._numbers[start : start + width] = array("f", [math.nan]) * width

    def forget_future(self, now: float) -> None:
        """Begins anew when the newest slot lies ahead of `now`: a wrong clock dated it."""
        if self._newest > now // self.step_s + 1:
            self._newest = 0
            self._numbers = array("f", [math.nan]) * len(self._numbers)

    def columns(self, now: float) -> dict[str, list[float | None]]:
        """The columns up to the slot of `now`, oldest first; those that hold nothing are left out."""
        last, width = int(now // self.step_s), len(self._columns)
        found: dict[str, list[float | None]] = {}
        for column, name in enumerate(self._columns):
            values = [self._value(number, column, width) for number in range(last - self._rows + 1, last + 1)]
            if any(value is not None for value in values):
                found[name] = values
        return found

    def _value(self, number: int, column: int, width: int) -> float | None:
        if not self._newest - self._rows < number <= self._newest:
            return None
        value = self._numbers[(number % self._rows) * width + column]
        return None if math.isnan(value) else round(value, 1)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        return {"columns": self._columns, "newest": self._newest, "numbers": base64.b64encode(self._numbers.tobytes()).decode()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken. Raises ValueError, TypeError or KeyError for what is damaged or of other columns."""
        numbers = array("f")
        numbers.frombytes(base64.b64decode(state["numbers"], validate=True))
        if tuple(state["columns"]) != self._columns or len(numbers) != len(self._numbers):
            raise ValueError("of another shape")
        self._newest, self._numbers = int(state["newest"]), numbers


class History:
    """All that the charts show. `unstored` is true while an interval is in it that is not on disk."""

    def __init__(self) -> None:
        self._day = Ring(*_DAY, _POWERS)
        self._week = Ring(*_WEEK, _POWERS)
        self._energies = Ring(*_WEEK, _ENERGIES)
        self._open: dict[tuple[int, str], tuple[int, float, int]] = {}  # of each ring's column: its slot, the sum, how many
        self.unstored = False

    def note(self, nodes: Iterable[Node], now: float) -> None:
        """The flow at `now` (UTC epoch seconds). Call it every few seconds, evenly: what is kept is the mean."""
        for node in nodes:
            for column, value in ((node["kind"], node["power_w"]), ("soc", node["soc_percent"] if node["kind"] == "battery" else None)):
                if column in _POWERS and value is not None:
                    self._mean(self._day, column, value, now)
                    self._mean(self._week, column, value, now)

    def _mean(self, ring: Ring, column: str, value: float, now: float) -> None:
        slot, total, count = self._open.get((ring.step_s, column), (0, 0.0, 0))
        here = int(now // ring.step_s)
        total, count = (total + value, count + 1) if slot == here else (value, 1)
        self._open[ring.step_s, column] = here, total, count
        ring.set(now, column, total / count)

    def take(self, outcomes: Iterable[Outcome], points: Mapping[str, MeterPoint]) -> None:
        """The energies that metering found, each in the hour in which its interval begins."""
        for outcome in outcomes:
            if isinstance(outcome, HouseholdInterval):
                begin = outcome.end - outcome.interval_s
                for quantity, name in _HOUSE.items():
                    self._add(begin, name, outcome.values.get(quantity))
            elif isinstance(outcome, EnergyInterval) and outcome.point_id in points:
                column = _POINTS.get((points[outcome.point_id].role, outcome.quantity))
                if column is not None:
                    self._add(outcome.end - outcome.interval_s, column, outcome.energy_wh)

    def _add(self, begin: int, column: str, energy_wh: float | None) -> None:
        if energy_wh is not None:
            self._energies.add(begin, column, energy_wh)
            self.unstored = True

    def forget_future(self, now: float) -> None:
        """Forgets what a wrong clock dated too far ahead of `now`."""
        for ring in (self._day, self._week, self._energies):
            ring.forget_future(now)

    def charts(self, now: float) -> dict[str, Any]:
        """The charts as JSON: each with its step, the start of its first slot, and its columns (None: a gap)."""
        rings = {"day": self._day, "week": self._week, "energy": self._energies}
        rows = {"day": _DAY[1], "week": _WEEK[1], "energy": _WEEK[1]}
        return {
            name: {"step_s": ring.step_s, "start": (int(now // ring.step_s) - rows[name] + 1) * ring.step_s, "columns": ring.columns(now)}
            for name, ring in rings.items()
        }

    def state(self) -> dict[str, Any]:
        """What `restored` takes, as JSON has it."""
        return {"version": VERSION, "day": self._day.state(), "week": self._week.state(), "energy": self._energies.state()}

    @classmethod
    def restored(cls, state: Any) -> History:
        """The history where `state` was taken; a new one when it is damaged or of another version: it is a chart, no meter."""
        history = cls()
        if not isinstance(state, dict) or state.get("version") != VERSION:
            return history
        try:
            for ring, name in ((history._day, "day"), (history._week, "week"), (history._energies, "energy")):
                ring.restore(state[name])
        except (KeyError, TypeError, ValueError):
            return cls()
        return history
