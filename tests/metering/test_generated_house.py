"""A few days of the generated household over each change of the clocks, with outages, restarts and meters that begin anew."""

from __future__ import annotations

from collections import Counter

import pytest

from edge_agent.cloud.vocabulary import DAY_EVENTS, EventType
from tests.metering.generated_house import ACCOUNTS, Compared, Result, compare, faults_of, live

DAYS = 5
# What the readings leave open of a day, where that can be over a thousandth: some half a step of a counter that was away until nothing
# flowed any more, or what flows between two readings of a minute. tests/benchmarks/knowable.py reckons it.
OPEN_WH = {
    ("household", "ENERGY_GENERATION"): 55.0,
    ("hybrid.pv", "ENERGY_GENERATION"): 55.0,
    ("hybrid.battery", "ENERGY_IMPORT"): 55.0,
    ("hybrid.battery", "ENERGY_EXPORT"): 55.0,
    ("heat-pump", "ENERGY_CONSUMPTION"): 20.0,
}


@pytest.fixture(scope="module", params=["2026-03-26", "2026-10-22"])
def result(request: pytest.FixtureRequest) -> Result:
    return live(request.param, DAYS, faults_of(DAYS, devices=8, gateway=2))


def wrong(found: Compared) -> bool:
    return abs(found.error_wh) > max(0.001 * found.true_wh, OPEN_WH.get((found.device, found.type), 1.0))


def test_each_day_adds_up_to_what_flowed(result: Result) -> None:
    """To a thousandth, or to what the readings leave open; days that share a midnight that nobody read are one."""
    spans = list(result.spans())
    assert len(spans) >= DAYS - 2
    assert [found for found in compare(result, spans) if wrong(found)] == []


def test_all_of_it_adds_up_to_what_flowed(result: Result) -> None:
    assert [found for found in compare(result, [(min(result.truth), max(result.truth))]) if wrong(found)] == []


def test_each_day_s_own_value_comes_once_and_is_what_flowed(result: Result) -> None:
    midnights = sorted(result.truth)
    before = dict(zip(midnights[1:], midnights, strict=False))
    known: Counter[tuple[str, str]] = Counter()
    for event in result.events:
        if EventType(event.type) in DAY_EVENTS.values() and event.type.startswith(("ENERGY", "GRID")) and event.device_id != "fridge":
            true = ACCOUNTS[event.device_id, event.type.removesuffix("_YESTERDAY")]
            flowed = (true(result.truth[event.at]) - true(result.truth[before[event.at]])) / 1000
            found = Compared(event.device_id, event.type.removesuffix("_YESTERDAY"), before[event.at], event.at, event.value, flowed)
            assert event.at in result.unread or before[event.at] in result.unread or not wrong(found), found
            known[event.device_id, event.type] += 1
    assert max(known.values()) <= DAYS
    assert min(known.values()) >= DAYS - 2
    assert len(known) == len(ACCOUNTS)


def test_no_event_comes_twice_and_none_is_a_spike(result: Result) -> None:
    keys = [(event.device_id, event.type, event.at) for event in result.events if event.type not in ("DEVICE_STATUS", "STATE_OF_CHARGE_RATE")]
    assert len(set(keys)) == len(keys)
    energies = [event for event in result.events if EventType(event.type) in DAY_EVENTS and event.type.startswith(("ENERGY", "GRID"))]
    assert min(event.value for event in energies) >= 0
    assert max(event.value for event in energies if event.type != "ENERGY_EXCESS") < 18_000 / 4
