"""A household's year in steps of a minute through metering and mapping: what is sent, and how far it is from what flowed.

Usage: year.py [--days 365]

The house has sun, seasons, a heat pump, a car and a battery; both changes of the clocks, 20 outages of devices, 5 of the
gateway and 3 meters that begin anew. Time is told as a ratio to the bare generation of the same house in the same run.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from tests.metering.generated_house import COARSEST_WH, ZONE, Compared, Faults, Result, compare, faults_of, live

BEGIN = "2026-01-01"


def lived(days: int, faults: Faults, meter: bool) -> tuple[Result, float]:
    """The year, and the CPU seconds that it took."""
    began = time.process_time()
    result = live(BEGIN, days, faults, meter=meter)
    return result, time.process_time() - began


def share(found: Compared) -> float:
    """How far off, in percent."""
    return 100 * abs(found.error_wh) / max(found.true_wh, 1.0)


def beyond(found: Compared) -> bool:
    """Whether it is off by over a thousandth and over the counter's own step."""
    return abs(found.error_wh) > max(0.001 * found.true_wh, COARSEST_WH.get((found.device, found.type), 1.0))


def accounts(days: Iterable[Compared], year: Iterable[Compared]) -> Iterable[str]:
    """A line for each account: the year, and its worst day."""
    by_account: dict[tuple[str, str], list[Compared]] = {}
    for day in days:
        by_account.setdefault((day.device, day.type), []).append(day)
    for whole in year:
        each = by_account[whole.device, whole.type]
        worst = max(each, key=lambda day: abs(day.error_wh))
        when = datetime.fromtimestamp(worst.begin, ZONE).date()
        step = COARSEST_WH.get((whole.device, whole.type), 1.0)
        yield (
            f"  {whole.device:15} {whole.type:24} {whole.true_wh / 1000:9.1f} kWh  year {whole.error_wh:+8.1f} Wh ({share(whole):.4f} %)"
            f"  worst day {worst.error_wh:+7.1f} Wh of {worst.true_wh:8.0f} on {when}  beyond 0.1 % and {step:g} Wh: {sum(map(beyond, each))}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    days = parser.parse_args().days
    faults = faults_of(days, devices=20, gateway=5)
    _, bare_s = lived(days, faults, meter=False)
    result, whole_s = lived(days, faults, meter=True)
    spans = list(result.spans())
    found = list(compare(result, spans))
    year = list(compare(result, [(min(result.truth), max(result.truth))]))
    print(f"{days} days, {len(result.events)} events; {len(result.unread)} midnights that nobody read, whose days are taken together")
    for kind, number in sorted(Counter(event.type for event in result.events).items()):
        print(f"  {number:8} {kind}")
    print("the events of the intervals against what flowed:")
    print("\n".join(accounts(found, year)))
    print(f"CPU: {bare_s:.1f} s to generate, {whole_s:.1f} s with metering and mapping: {whole_s / bare_s:.2f} times")
    wrong = [one for one in (*found, *year) if beyond(one)]
    raise SystemExit(f"{len(wrong)} balances are off" if wrong else 0)


if __name__ == "__main__":
    main()
