"""What a program of an earlier release stored is taken over whole, and goes on where it stood.

`fixtures/state-0.1.0.json` is `half_a_day(None)` of that release, as it was stored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.metering.metering import Metering
from edge_agent.model.measurements import EnergyInterval
from tests.metering.generated_house import INTERVAL_S, POINTS, POLL_S, ZONE, Devices, Faults, Flows, House, asleep, midnight_of, second_of

STORED = Path(__file__).parent / "fixtures" / "state-0.1.0.json"
HALF = 720  # minutes
START = midnight_of("2026-03-01")


def half_a_day(state: Any, begin: int = 0) -> tuple[Metering, list[EnergyInterval]]:
    """The generated house from that minute on."""
    metering = Metering(POINTS, INTERVAL_S, POLL_S, state, now=START + 60 * begin, time_zone=str(ZONE))
    house, devices, now, found = House(START), Devices(Faults()), Flows(), []
    for minute in range(begin + HALF):
        before, now = now, Flows(*map(int.__add__, now, house.minute()))
        for point in POINTS if minute >= begin else ():
            if not asleep(point, before, now):
                at = START + 60 * minute + second_of(point)
                outcomes = metering.update(point.id, devices.readings(point, before, now, minute, at, house.soc_percent), at)
                found += [outcome for outcome in outcomes if isinstance(outcome, EnergyInterval)]
    return metering, found


def test_what_the_first_release_stored_is_taken_over_and_nothing_is_counted_twice_or_lost() -> None:
    metering, found = half_a_day(json.loads(STORED.read_text("utf-8")), HALF)
    assert metering.dropped == {}
    through, whole = half_a_day(None)
    _, expected = half_a_day(json.loads(json.dumps(through.state())), HALF)
    assert whole
    assert [(one.point_id, one.quantity, one.end) for one in found] == [(one.point_id, one.quantity, one.end) for one in expected]
    for point in POINTS:
        for quantity in point.quantities:
            sums = [sum(one.energy_wh or 0 for one in some if (one.point_id, one.quantity) == (point.id, quantity)) for some in (found, expected)]
            step = point.counters[quantity].step_wh if quantity in point.counters else 0.0
            assert sums[0] == pytest.approx(sums[1], abs=step + 0.01)
