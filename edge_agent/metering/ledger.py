"""Rows of inputs that become known at different times, and the totals that are summed from each of them once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from edge_agent.metering.balance import Input
from edge_agent.metering.counters import AHEAD_S
from edge_agent.metering.days import Spread
from edge_agent.metering.stored import boundary, number
from edge_agent.model.measurements import HouseQuantity, Quantity


class How(Enum):
    """How an input is known: read at the interval's end, spread over a gap, or spread over one that covers the interval."""

    READ = 0
    SPREAD = 1
    BRIDGED = 2


@dataclass(slots=True)
class Row:
    """The inputs of one interval so far; None: absent."""

    inputs: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    sums: dict[HouseQuantity, float | None] = field(default_factory=dict)
    spread_wh: dict[HouseQuantity, float] = field(default_factory=dict)  # of each total, by what its inputs may lie in another interval
    estimated: set[str] = field(default_factory=set)  # the inputs that were spread over a gap
    bridged: bool = False  # one of them was not read at all in this interval
    void: set[HouseQuantity] = field(default_factory=set)  # totals that it never has: they were made of other inputs

    def spread(self, total: HouseQuantity) -> Spread:
        """What of a total may lie in another interval."""
        return Spread(self.spread_wh.get(total, 0.0), self.bridged)


@dataclass(frozen=True, slots=True)
class Sum:
    """A total of one interval, or why it is absent."""

    total: HouseQuantity
    value: float | None
    reason: str = ""
    spread_wh: float = 0.0


class Ledger:
    """Rows of inputs by interval end, each total summed once all its inputs are there.

    An input gives its ends in order: where it has passed one over, it has no value for it.
    """

    def __init__(self, totals: Mapping[HouseQuantity, Mapping[Input, float]], interval_s: int, keep_s: int) -> None:
        self._totals = {total: {_key(*point): weight for point, weight in inputs.items()} for total, inputs in totals.items()}
        self._users: dict[str, list[HouseQuantity]] = {}
        for total, inputs in self._totals.items():
            for key in inputs:
                self._users.setdefault(key, []).append(total)
        self._interval_s = interval_s
        self._keep_s = keep_s
        self._rows: dict[int, Row] = {}
        self._given = dict.fromkeys(self._users, 0)  # the newest end of each input
        self._forgotten = 0  # the newest row that was dropped

    def needs(self, point_id: str, quantity: Quantity) -> bool:
        """Whether any total has this input."""
        return _key(point_id, quantity) in self._users

    def put(self, source: Input, end: int, value: float | None, reason: str = "", how: How = How.READ) -> list[tuple[int, Row, list[Sum]]]:
        """An input of the interval that ends at `end`. Returns the totals that this decides."""
        key = _key(*source)
        done = []
        since = self._given[key] or min(self._rows, default=end) - self._interval_s
        for skipped in sorted(row for row in self._rows if since < row < end) if end - since > self._interval_s else ():
            if skipped in self._rows:
                done.append(self._enter(skipped, key, None, f"{key} is not known for this interval", How.READ))
        self._given[key] = end
        if end > self._forgotten:
            done.append(self._enter(end, key, value, reason, how))
        self._forget(end - self._keep_s)
        return [entry for entry in done if entry[2]]

    def _enter(self, end: int, key: str, value: float | None, reason: str, how: How) -> tuple[int, Row, list[Sum]]:
        row = self._rows.get(end)
        if row is None:
            row = self._rows[end] = Row()
            for passed in (other for other, given in self._given.items() if given >= end and other != key):
                row.inputs[passed], row.reasons[passed] = None, f"{passed} is not known for this interval"
        row.inputs[key] = value
        if how is not How.READ:
            row.estimated.add(key)
            row.bridged = row.bridged or how is How.BRIDGED
        if value is None:
            row.reasons[key] = reason
        sums = [found for total in self._totals if total in self._open(row) and (found := self._sum(row, total))]
        row.sums |= {found.total: found.value for found in sums}
        row.spread_wh |= {found.total: found.spread_wh for found in sums}
        if len(row.inputs) == len(self._users):
            del self._rows[end]
        return end, row, sums

    def _open(self, row: Row) -> set[HouseQuantity]:
        """The totals that are not decided yet."""
        return self._totals.keys() - row.sums.keys() - row.void

    def _sum(self, row: Row, total: HouseQuantity) -> Sum | None:
        """The total, its absence as soon as one input is absent, or None while inputs are awaited."""
        value, spread_wh, complete = 0.0, 0.0, True
        for key, weight in self._totals[total].items():
            if key not in row.inputs:
                complete = False
            elif (part := row.inputs[key]) is None:
                return Sum(total, None, row.reasons[key])
            else:
                value += weight * part
                spread_wh += abs(weight * part) if key in row.estimated else 0.0
        return Sum(total, value, spread_wh=spread_wh) if complete else None

    def _forget(self, until: int) -> None:
        while self._rows and (oldest := next(iter(self._rows))) < until:
            del self._rows[oldest]
            self._forgotten = max(self._forgotten, oldest)

    def forget_future(self, now: float) -> None:
        """Rows dated too far ahead of `now` go, and what was given for them: a wrong clock dated them."""
        latest, here = now + AHEAD_S, int(now // self._interval_s) * self._interval_s
        self._rows = {end: row for end, row in self._rows.items() if end <= latest}
        self._given = {key: end if end <= latest else here for key, end in self._given.items()}
        self._forgotten = self._forgotten if self._forgotten <= latest else here

    def waiting(self) -> tuple[str, ...]:
        """The inputs that the oldest row waits for, as `<point> <quantity>`."""
        row = self._rows[min(self._rows)] if self._rows else None
        return tuple(key for key in self._users if row and key not in row.inputs)

    def waits_before(self, end: int, totals: Iterable[HouseQuantity]) -> bool:
        """Whether one of these totals is still awaited for an earlier interval than the one that ends at `end`."""
        return any(earlier < end and not self._open(row).isdisjoint(totals) for earlier, row in self._rows.items())

    @property
    def oldest(self) -> int | None:
        """The end of the oldest row that waits for an input; None: none does."""
        return min(self._rows, default=None)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it: short, for there can be a fortnight of rows.

        A row is its end in intervals since the row before, the totals that it cannot have, the places of the inputs that
        are estimated, whether one is bridged, and its inputs: a number, the reason why it is absent, or null while it is awaited.
        """
        places = {key: place for place, key in enumerate(self._users)}
        rows, before = [], 0
        for end, row in self._rows.items():
            inputs = [row.reasons.get(key, row.inputs[key]) if key in row.inputs else None for key in self._users]
            estimated = sorted(places[key] for key in row.estimated)
            rows.append([(end - before) // self._interval_s, sorted(row.void), estimated, int(row.bridged), *inputs])
            before = end
        formulas = {total.value: dict(inputs) for total, inputs in self._totals.items()}
        return {"inputs": list(self._users), "totals": formulas, "given": list(self._given.values()), "forgotten": self._forgotten, "rows": rows}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken.

        Rows wait on for the totals that are made of the same inputs as then; the others would add up to something else.
        """
        keys, formulas = state["inputs"], {HouseQuantity(total): inputs for total, inputs in state["totals"].items()}
        others = {total for total, inputs in self._totals.items() if formulas.get(total) != inputs}
        self._forgotten = boundary(state["forgotten"])
        self._given |= {key: boundary(given) for key, given in zip(keys, state["given"], strict=True) if key in self._users}
        end = 0
        for later, void, estimated, bridged, *inputs in state["rows"]:
            end = boundary(end + later * self._interval_s)
            known = {key: value for key, value in zip(keys, inputs, strict=True) if value is not None and key in self._users}
            row = Row(bridged=bool(bridged), void=others | {HouseQuantity(total) for total in void})
            row.estimated = {keys[place] for place in estimated} & known.keys()
            row.inputs = {key: None if isinstance(value, str) else number(value) for key, value in known.items()}
            row.reasons = {key: value for key, value in known.items() if isinstance(value, str)}
            decided = [found for total in self._open(row) if (found := self._sum(row, total))]
            if len(decided) < len(self._open(row)):
                row.sums = {found.total: found.value for found in decided}
                row.spread_wh = {found.total: found.spread_wh for found in decided}
                self._rows[end] = row


def _key(point_id: str, quantity: Quantity) -> str:
    return f"{point_id} {quantity.value}"
