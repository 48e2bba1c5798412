"""A household's year in steps of a minute through metering and mapping: what is sent, and how far it is from what flowed.

Usage: year.py [--days 365]

The house has sun, seasons, a heat pump, a car and a battery; both changes of the clocks, 20 outages of devices, 5 of the
gateway and 3 meters that begin anew. Each day is held against a thousandth of what flowed, or a watt-hour, the finest
step of a counter; and against what the readings of that day leave open. Time is told as a ratio to the bare generation of the
same house in the same run.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import pairwise

from edge_agent.metering.balance import power_beside
from edge_agent.model.measurements import MeterPoint, Quantity, Reading
from tests.benchmarks.knowable import Knowable
from tests.metering.generated_house import ACCOUNTS, POINTS, ZONE, Compared, Faults, Result, compare, faults_of, live, midnight_of

BEGIN = date(2026, 1, 1)
FINEST_WH = 1.0
Q = Quantity
Input = tuple[str, Quantity]
# The counters that an account is made of.
COUNTERS: dict[tuple[str, str], tuple[Input, ...]] = {
    ("household", "ENERGY_CONSUMPTION"): (
        ("grid", Q.IMPORT_WH),
        ("grid", Q.EXPORT_WH),
        ("roof", Q.GENERATION_WH),
        ("hybrid.pv", Q.AC_OUTPUT_WH),
        ("hybrid.pv", Q.AC_INPUT_WH),
    ),
    ("household", "ENERGY_GENERATION"): (("roof", Q.GENERATION_WH), ("hybrid.pv", Q.GENERATION_WH)),
    ("household", "GRID_ENERGY_CONSUMPTION"): (("grid", Q.IMPORT_WH),),
    ("household", "ENERGY_EXCESS"): (("grid", Q.EXPORT_WH),),
    ("grid", "ENERGY_CONSUMPTION"): (("grid", Q.IMPORT_WH),),
    ("roof", "ENERGY_GENERATION"): (("roof", Q.GENERATION_WH),),
    ("hybrid.pv", "ENERGY_GENERATION"): (("hybrid.pv", Q.GENERATION_WH),),
    ("hybrid.battery", "ENERGY_IMPORT"): (("hybrid.battery", Q.IMPORT_WH),),
    ("hybrid.battery", "ENERGY_EXPORT"): (("hybrid.battery", Q.EXPORT_WH),),
    ("heat-pump", "ENERGY_CONSUMPTION"): (("heat-pump", Q.IMPORT_WH),),
    ("car", "ENERGY_CONSUMPTION"): (("car", Q.IMPORT_WH),),
}


def lived(days: int, faults: Faults, meter: bool) -> tuple[Result, float]:
    """The year, and the CPU seconds that it took."""
    began = time.process_time()
    result = live(BEGIN.isoformat(), days, faults, meter=meter)
    return result, time.process_time() - began


def left_open(days: int, faults: Faults) -> dict[Input, dict[int, float]]:
    """Of each counter, what its readings leave open of each day, in Wh."""
    midnights = [midnight_of((BEGIN + timedelta(day)).isoformat()) for day in range(days + 1)]
    found: dict[Input, Knowable] = {}
    powers: dict[Input, Quantity] = {}
    for point in POINTS:
        for quantity, counter in point.counters.items():
            beside = power_beside(quantity, point.quantities)
            assert beside is not None
            powers[point.id, quantity], sign = beside
            found[point.id, quantity] = Knowable(counter.step_wh, sign, midnights)

    def hear(point: MeterPoint, readings: Mapping[Quantity, Reading], at: float) -> None:
        for quantity in point.counters:
            key = point.id, quantity
            found[key].hear(at, readings[quantity].number or 0.0, readings[powers[key]].number or 0.0)

    live(BEGIN.isoformat(), days, faults, meter=False, hear=hear)
    return {key: one.open_wh for key, one in found.items()}


def allowed(found: Compared) -> float:
    """By how much it may be off."""
    return max(0.001 * found.true_wh, FINEST_WH)


class Account:
    """The days and the year of one account."""

    def __init__(self, days: list[Compared], year: Compared, opened: Mapping[Input, Mapping[int, float]]) -> None:
        self.device, self._days, self._year = year.device, days, year
        self._opened = {
            one.begin: sum(wh for key in COUNTERS[one.device, one.type] for begin, wh in opened[key].items() if one.begin <= begin < one.end)
            for one in days
        }
        self.off = [one for one in days if abs(one.error_wh) > allowed(one)]
        self.unknowable = [one for one in days if self._opened[one.begin] / 2 > allowed(one)]

    @property
    def wrong(self) -> Iterator[Compared]:
        """What is off by more than the readings left open. What a day got wrong for that reason, the next one makes good."""
        before = {day.begin: self._opened[earlier.begin] for earlier, day in pairwise(self._days)}
        yield from (one for one in self.off if abs(one.error_wh) > self._opened[one.begin] + before.get(one.begin, 0.0))
        if abs(self._year.error_wh) > 0.001 * self._year.true_wh:
            yield self._year

    def __str__(self) -> str:
        year, worst = self._year, max(self._days, key=lambda day: abs(day.error_wh))
        of_the_year = f"{year.true_wh / 1000:9.1f} kWh  year {year.error_wh:+6.1f} Wh ({100 * abs(year.error_wh) / max(year.true_wh, 1.0):.4f} %)"
        return (
            f"  {year.device:15} {year.type:24} {of_the_year}  worst day {self.told(worst)}"
            f"  days beyond 0.1 %: {len(self.off)}, of {len(self.unknowable)} that cannot be known"
        )

    def told(self, day: Compared) -> str:
        """A day, in words."""
        when = datetime.fromtimestamp(day.begin, ZONE).date()
        return f"{day.error_wh:+6.1f} Wh of {day.true_wh:6.0f} on {when} (open: {self._opened[day.begin]:.1f} Wh)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    days = parser.parse_args().days
    faults = faults_of(days, devices=20, gateway=5)
    _, bare_s = lived(days, faults, meter=False)
    result, whole_s = lived(days, faults, meter=True)
    opened = left_open(days, faults)
    by_day = list(compare(result, result.spans()))
    year = list(compare(result, [(min(result.truth), max(result.truth))]))
    accounts = [Account([day for day in by_day if (day.device, day.type) == key], whole, opened) for key, whole in zip(ACCOUNTS, year, strict=True)]
    print(f"{days} days, {len(result.events)} events; {len(result.unread)} midnights that nobody read, whose days are taken together")
    for kind, number in sorted(Counter(event.type for event in result.events).items()):
        print(f"  {number:8} {kind}")
    print("the events of the intervals against what flowed; open: what the readings of a day leave open of its energy, whoever reckons with them;")
    print(f"beyond 0.1 %: and off by more than {FINEST_WH:g} Wh, the finest step of a counter")
    for account in accounts:
        print(account)
    print("the household's days that are off by more than 0.1 %:")
    for account in accounts:
        for day in account.off if account.device == "household" else ():
            print(f"  {day.type:24} {account.told(day)}")
    print(f"CPU: {bare_s:.1f} s to generate, {whole_s:.1f} s with metering and mapping: {whole_s / bare_s:.2f} times")
    wrong = [one for account in accounts for one in account.wrong]
    raise SystemExit(f"{len(wrong)} balances are off by more than the readings leave open" if wrong else 0)


if __name__ == "__main__":
    main()
