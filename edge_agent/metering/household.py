"""House totals: sums of inputs that become known at different times, and what follows from them.

Each total of an interval is given away once, as soon as its last input is there; a late one keeps its own end.
An input that is absent makes the totals that need it absent. Nothing is clamped: a small negative remainder of the
consumption (noise, counters read at different moments) is carried into the next interval, so that sums hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.metering.balance import Balance
from edge_agent.metering.counters import AHEAD_S
from edge_agent.metering.days import Days, DayTotal
from edge_agent.metering.ledger import How, Ledger, Row, Sum
from edge_agent.metering.stored import boundary, number, number_or_none, text
from edge_agent.model.clock import utc_text
from edge_agent.model.measurements import EnergyInterval, HouseholdDay, HouseholdInterval, HouseQuantity, Quantity

KEEP_S = 14 * 86_400  # how long a total waits for a silent device
KEEP_POWERS_S = 3600  # a power that comes later is not current
# Decision: noise and counters that are read at different moments make a remainder of less than this, for less long;
# what is more is no remainder but a mistake in the site file, and carrying it would silence the totals long after it is mended.
CARRY_WH = 1000.0
CARRY_S = 6 * 3600

Decided = tuple[Row, list[Sum]]  # the totals of a row that became known together


@dataclass(frozen=True, slots=True)
class BalanceFacts:
    """What is in no total, for people: energies in Wh, the instant in UTC epoch seconds."""

    carried_wh: float  # the negative consumption that waits for the next interval
    carried_since: int | None
    mistake: str  # why such a remainder was dropped, until the balance holds again
    lost_today_wh: float | None  # by the hybrid inverters; None: they do not tell
    lost_yesterday_wh: float | None


class Household:
    """The house totals of a site. `remainder_wh` is the negative consumption that waits for the next interval."""

    def __init__(self, balance: Balance, interval_s: int, excess_intervals: int, days: Days) -> None:
        self._interval_s = interval_s
        self._excess_s = excess_intervals * interval_s
        self._energies = Ledger(balance.energies, interval_s, KEEP_S)
        self._powers = Ledger(balance.powers, interval_s, KEEP_POWERS_S)
        self._days = days
        self._exports: dict[int, float | None] = {}  # of the excess periods that are not complete yet
        self.remainder_wh = 0.0
        self.mistake = ""  # why a remainder was dropped, until the balance holds again
        self._lost_yesterday_wh: float | None = None
        self._carried_since = 0  # the end of the first interval in the remainder

    def energies(self, intervals: Iterable[EnergyInterval]) -> list[HouseholdInterval | HouseholdDay]:
        """Takes the energies of a point, those that became known together. Returns the totals that they decide."""
        decided: dict[int, Decided] = {}
        for interval in intervals:
            if self._energies.needs(interval.point_id, interval.quantity):
                source, reason = (interval.point_id, interval.quantity), f"{interval.point_id}: {interval.reason}"
                for end, row, sums in self._energies.put(source, interval.end, interval.energy_wh, reason, _how(interval)):
                    decided.setdefault(end, (row, []))[1].extend(sums)
        levelled = _levelled(decided) if len(decided) > 1 else {}
        return [outcome for end in sorted(decided) for outcome in self._energy_totals(end, *decided[end], levelled.get(end))]

    def _energy_totals(self, end: int, row: Row, sums: list[Sum], levelled: float | None) -> Iterator[HouseholdInterval | HouseholdDay]:
        values: dict[HouseQuantity, float] = {}
        reasons: dict[HouseQuantity, str] = {}
        counted = dict(row.sums)
        dropped = ""
        for total, value, reason in ((found.total, found.value, found.reason) for found in sums):
            if total is HouseQuantity.CONSUMPTION_WH and value is not None:
                value, reason = self._carried(end, value if levelled is None else levelled)
                dropped = self.mistake
                row.sums[total] = value
            _enter(values, reasons, total, value, reason)
            if total is HouseQuantity.EXPORT_WH:
                self._excess(end, value, values, reasons)
        new = [found.total for found in sums]
        _rates(row.sums, new, values, reasons)
        yield HouseholdInterval(end, values, reasons, bool(row.estimated), self._interval_s, self._excess_s)
        yield from self._day_totals(end, row, counted, new, dropped)

    def _day_totals(
        self, end: int, row: Row, sums: Mapping[HouseQuantity, float | None], new: Sequence[HouseQuantity], dropped: str
    ) -> Iterator[HouseholdDay]:
        """The days that an interval completes. A remainder belongs to the day on which it arose, so none is carried here.

        An interval that is absent ends no day while earlier ones are awaited: the next interval does.
        """
        for total in new:
            if sums[total] is None and self._energies.waits_before(end, (total,)):
                continue
            fault = dropped if total is HouseQuantity.CONSUMPTION_WH else ""
            for day in self._days.add(total.value, end, _known(sums[total]), spread=row.spread(total), fault=fault):
                found = _day_total(total, day)
                if total is HouseQuantity.LOSS_WH:
                    self._lost_yesterday_wh = found.value
                yield found
        for rate, whole, part in _decided(sums, new):
            fault, known = dropped if whole is HouseQuantity.CONSUMPTION_WH else "", _known(sums[whole], sums[part])
            if known is None and self._energies.waits_before(end, (whole, part)):
                continue
            for day in self._days.add(rate.value, end, known, spread=row.spread(whole), fault=fault):
                yield _day_rate(rate, day)

    def _carried(self, end: int, value: float) -> tuple[float | None, str]:
        alone, value = value, value + self.remainder_wh
        if value >= 0:
            self.forget_remainder()
            return value, ""
        self._carried_since = self._carried_since or end
        if value >= -CARRY_WH and end - self._carried_since < CARRY_S:
            self.remainder_wh = value
            return None, f"the remainder is {value:.3f} Wh: carried into the next interval"
        self.forget_remainder()
        cause = "a sign or role is wrong" if value < -CARRY_WH else "nothing made up for them in hours"
        self.mistake = f"{value:.1f} Wh of negative consumption were dropped at {utc_text(end)}: {cause}"
        return (None, self.mistake) if alone < 0 else (alone, "")

    def facts(self) -> BalanceFacts:
        """What is carried and what is lost."""
        lost_wh = self._days.so_far(HouseQuantity.LOSS_WH.value)
        return BalanceFacts(self.remainder_wh, self._carried_since or None, self.mistake, lost_wh, self._lost_yesterday_wh)

    def forget_remainder(self) -> None:
        """Nothing is carried: the balance holds, or it is another one."""
        self.remainder_wh, self.mistake, self._carried_since = 0.0, "", 0

    def _excess(self, end: int, export_wh: float | None, values: dict[HouseQuantity, float], reasons: dict[HouseQuantity, str]) -> None:
        """The export of a whole excess period, at its end. A later interval may be decided, as absent, before an earlier one."""
        self._exports[end] = export_wh
        if end % self._excess_s:
            self._exports = {at: wh for at, wh in self._exports.items() if at > end - KEEP_S}
            return
        ends = range(end - self._excess_s + self._interval_s, end + 1, self._interval_s)
        parts = [wh for at in ends if (wh := self._exports.pop(at, None)) is not None]
        complete = len(parts) == len(ends)
        _enter(values, reasons, HouseQuantity.EXCESS_WH, sum(parts) if complete else None, "the export of a part of the period is not known")

    def powers(self, point_id: str, end: int, watts: Mapping[Quantity, float | None]) -> list[HouseholdInterval]:
        """Takes a point's powers at an interval's end (None: not known). Returns the totals that this decides."""
        found = []
        for quantity, value in watts.items():
            if self._powers.needs(point_id, quantity):
                decided = self._powers.put((point_id, quantity), end, value, f"{point_id}: no current {quantity}")
                found += [self._power_totals(row_end, sums) for row_end, _, sums in decided]
        return found

    def _power_totals(self, end: int, sums: list[Sum]) -> HouseholdInterval:
        values: dict[HouseQuantity, float] = {}
        reasons: dict[HouseQuantity, str] = {}
        for total, value, reason in ((found.total, found.value, found.reason) for found in sums):
            if total is HouseQuantity.IMPORT_W:
                _enter(values, reasons, HouseQuantity.EXPORT_W, None if value is None else max(-value, 0.0), reason)
                value = None if value is None else max(value, 0.0)
            elif total is HouseQuantity.GENERATION_W and value is not None:
                value = max(value, 0.0)  # what an inverter draws at night is no generation
            elif value is not None and value < 0:
                value, reason = None, f"the balance gives {value:.0f} W"
            _enter(values, reasons, total, value, reason)
        return HouseholdInterval(end, values, reasons, False, self._interval_s, self._excess_s)

    def forget_future(self, now: float) -> None:
        """Begins anew with what is dated too far ahead of `now`."""
        self._energies.forget_future(now)
        self._powers.forget_future(now)
        self._exports = {end: wh for end, wh in self._exports.items() if end <= now + AHEAD_S}
        if self._carried_since > now + AHEAD_S:
            self.forget_remainder()

    def waiting(self) -> tuple[str, ...]:
        """The inputs that the oldest totals wait for, as `<point> <quantity>`."""
        return self._energies.waiting()

    @property
    def waits_since(self) -> int | None:
        """The end of the oldest interval whose totals wait for an input; None: none do."""
        return self._energies.oldest

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        return {
            "interval_s": self._interval_s,
            "energies": self._energies.state(),
            "powers": self._powers.state(),
            "exports": list(self._exports.items()),
            "lost_yesterday_wh": self._lost_yesterday_wh,
            "remainder": [self.remainder_wh, self._carried_since, self.mistake],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken. Rows of another interval's length are of no use."""
        remainder_wh, carried_since, mistake = state["remainder"]
        self.remainder_wh, self._carried_since, self.mistake = number(remainder_wh), boundary(carried_since), text(mistake)
        self._lost_yesterday_wh = number_or_none(state.get("lost_yesterday_wh"))
        if state["interval_s"] == self._interval_s:
            self._energies.restore(state["energies"])
            self._powers.restore(state["powers"])
            self._exports = {boundary(at): number_or_none(wh) for at, wh in state["exports"]}


def _how(interval: EnergyInterval) -> How:
    return How.BRIDGED if interval.bridged else How.SPREAD if interval.estimated else How.READ


def _levelled(decided: Mapping[int, Decided]) -> dict[int, float]:
    """The consumption of a gap's intervals, spread evenly where it would not come out otherwise.

    What a late device counted is in the right sum, but not each part of it in the right interval: at noon more was
    exported than an even share of a day's sun. What some intervals lack then is in the others of the same gap.
    """
    found = [(end, one) for end in sorted(decided) for one in decided[end][1] if one.total is HouseQuantity.CONSUMPTION_WH and one.spread_wh]
    values = {end: one.value for end, one in found if one.value is not None}
    lacking = lowest = 0.0
    for value in values.values():
        lacking = min(lacking + value, 0.0)
        lowest = min(lowest, lacking)
    mean = sum(values.values()) / max(len(values), 1)
    return dict.fromkeys(values, mean) if mean >= 0 and (lacking < 0 or lowest < -CARRY_WH) else {}


def _enter(values: dict[HouseQuantity, float], reasons: dict[HouseQuantity, str], total: HouseQuantity, value: float | None, reason: str) -> None:
    if value is None:
        reasons[total] = reason
    else:
        values[total] = round(value, 3) + 0.0  # no -0.0


# the share of the whole that did not come from, or go to, the grid
_RATES = (
    (HouseQuantity.SELF_CONSUMPTION_PERCENT, HouseQuantity.GENERATION_WH, HouseQuantity.EXPORT_WH),
    (HouseQuantity.SELF_SUFFICIENCY_PERCENT, HouseQuantity.CONSUMPTION_WH, HouseQuantity.IMPORT_WH),
)


def _decided(sums: Mapping[HouseQuantity, float | None], new: Sequence[HouseQuantity]) -> Iterator[tuple[HouseQuantity, ...]]:
    """The rates, with their whole and part, of which both are decided, one of them just now."""
    return (rate for rate in _RATES if any(part in new for part in rate[1:]) and all(part in sums for part in rate[1:]))


def _rates(
    sums: Mapping[HouseQuantity, float | None], new: Sequence[HouseQuantity], values: dict[HouseQuantity, float], reasons: dict[HouseQuantity, str]
) -> None:
    for rate, whole, grid in _decided(sums, new):
        of, part = sums[whole], sums[grid]
        if of is None or part is None:
            reasons[rate] = f"{whole if of is None else grid} is not known"
        else:
            _enter(values, reasons, rate, *_share(whole, of, part))


def _share(whole: HouseQuantity, of: float, part: float) -> tuple[float | None, str]:
    """The percentage of a whole that did not come from, or go to, the grid; None and why where it is none."""
    if of <= 0:
        return None, f"{whole} is {of:g}"
    percent = 100 * (of - part) / of
    return (percent, "") if 0 <= percent <= 100 else (None, f"{percent:.1f} % is no share: energy went through a battery from or to the grid")


def _known(*values: float | None) -> tuple[float, ...] | None:
    """The values, if none of them is absent."""
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else None


def _day_total(total: HouseQuantity, day: DayTotal) -> HouseholdDay:
    value = day.sums[0] if day.sums else None
    if value is not None and value < 0 and total is not HouseQuantity.LOSS_WH:
        return HouseholdDay(total, day.end, None, f"the balance of the day gives {value:.0f} Wh")
    return HouseholdDay(total, day.end, value, day.reason)


def _day_rate(rate: HouseQuantity, day: DayTotal) -> HouseholdDay:
    whole = next(whole for known, whole, _ in _RATES if known is rate)
    value, reason = _share(whole, *day.sums) if day.sums else (None, day.reason)
    return HouseholdDay(rate, day.end, None if value is None else round(value, 3), reason)
