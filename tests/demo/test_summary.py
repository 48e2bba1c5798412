"""The summary finds what is missing, doubled or wrong, and forgives only what no reading can know."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from edge_agent.demo import screen
from edge_agent.demo.house import Flows, House
from edge_agent.demo.ledger import Ledger
from edge_agent.demo.summary import ACCOUNTS, Account, Timing, compare

BEGIN = 1_776_501_900
TIMING = Timing(900, 10.0, 4.0)
EVENT = dict[str, Any]


class StandingClock:
    """A clock that shows what it is set to."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.boot_id = ""

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def suspended_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """A house after a bit more than two hours."""
    clock = StandingClock(BEGIN - 120)
    ledger = Ledger(House(1, BEGIN - 120), clock)
    clock.at = BEGIN + 7400.0
    ledger.now()
    return ledger


def perfect(ledger: Ledger) -> list[EVENT]:
    """What a cloud receives from an agent that makes no mistake."""
    events = []
    for account in ACCOUNTS:
        length = account.intervals * TIMING.interval_s
        for end in range(BEGIN + length, BEGIN + 7200 + 1, length):
            value = account.counter_wh(ledger.totals(end)) - account.counter_wh(ledger.totals(end - length))
            events.append({"deviceId": account.device_id, "type": account.event_type, "timestamp": end, "value": value, "source": "X"})
    return events


def disagreeing(events: list[EVENT], ledger: Ledger) -> set[tuple[str, str]]:
    found, empty = compare(events, ledger.totals, TIMING)
    wrong = [one.account for one in found if not one.agrees] + empty
    return {(account.device_id, account.event_type) for account in wrong}


def test_perfect_agent_agrees(ledger: Ledger) -> None:
    found, empty = compare(perfect(ledger), ledger.totals, TIMING)
    assert len(found) == len(ACCOUNTS)
    assert empty == []
    assert all(one.agrees for one in found)
    assert {one.end - one.begin for one in found} == {7200}
    assert all(abs(one.difference_wh) < 1e-6 for one in found)


@pytest.mark.parametrize("account", [account for account in ACCOUNTS if account.device_id != "hybrid.battery"], ids=lambda one: one.device_id)
def test_lost_and_doubled_events_are_found(ledger: Ledger, account: Account) -> None:
    events = perfect(ledger)
    own = [event for event in events if (event["deviceId"], event["type"]) == (account.device_id, account.event_type)]
    largest = max(own[1:-1] or own[:1], key=lambda event: float(event["value"]))
    expected = {(account.device_id, account.event_type)}
    if largest is not own[0]:
        assert disagreeing([event for event in events if event is not largest], ledger) == expected
    assert disagreeing([*events, largest], ledger) == expected
    assert disagreeing([event for event in events if event not in own], ledger) == expected


def test_wrong_scale_is_found(ledger: Ledger) -> None:
    events = [event | {"value": 1.1 * event["value"]} if event["deviceId"] == "wallbox" else event for event in perfect(ledger)]
    assert disagreeing(events, ledger) == {("wallbox", "ENERGY_CONSUMPTION")}


def test_what_lies_between_two_readings_is_forgiven(ledger: Ledger) -> None:
    end = BEGIN + 1800  # the car charges by then
    (account,) = [one for one in ACCOUNTS if one.device_id == "wallbox"]
    late = account.counter_wh(ledger.totals(end)) - account.counter_wh(ledger.totals(end - 10))
    assert late > 25
    for by, agrees in ((0.25 * late, True), (4 * late, False)):
        value = account.counter_wh(ledger.totals(end)) - account.counter_wh(ledger.totals(BEGIN)) - by
        (found,), _ = compare(
            [{"deviceId": "wallbox", "type": "ENERGY_CONSUMPTION", "timestamp": end, "value": value}], ledger.totals, Timing(1800, 10, 4)
        )
        assert found.agrees is agrees, found


def test_series_that_had_no_time_for_an_event_is_not_missed(ledger: Ledger) -> None:
    first = [event for event in perfect(ledger) if event["timestamp"] == BEGIN + 900]
    assert disagreeing(first, ledger) == set(), "half-hours come later"
    assert compare([], ledger.totals, TIMING) == ([], [])


def test_ledger_keeps_both_ends_of_a_long_demo() -> None:
    clock = StandingClock(BEGIN)
    ledger = Ledger(House(1, BEGIN), clock)
    early: dict[int, Flows] = {}
    for hour in range(1, 15):
        clock.at = BEGIN + 3600.0 * hour
        early[hour] = ledger.now().totals
    assert ledger.totals(BEGIN + 3600) == early[1]
    assert ledger.totals(BEGIN + 13 * 3600) == early[13]
    assert len(ledger) < 3000


def rendered(what: Any, width: int = 150) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_table_shows_the_newest_event_of_each_kind() -> None:
    house = House(1, BEGIN)
    house.advance(BEGIN + 60)
    received = screen.Received({"wallbox": "Garage", "household": "Household"})
    event: EVENT = {"deviceId": "wallbox", "source": "CAR_CHARGER", "type": "ENERGY_CONSUMPTION", "timestamp": BEGIN + 900, "value": 985.4}
    received.take([event, event | {"timestamp": BEGIN, "value": 1.0}])
    received.take([event | {"type": "SWITCH_STATE", "value": 1}, event | {"type": "DEVICE_STATUS", "value": 2}])
    text = rendered(screen.live_view(house, received, screen.Figures(3, 17, 0, 0), 60, 150))
    assert "985 Wh charged" in text
    assert "11:00" in text
    assert "plugged in, running" in text
    assert "17 events arrived live" in text
    assert "3 wait in the queue" in text
    assert "Household" in text


def test_lines_join_what_a_device_says_of_one_moment() -> None:
    event: EVENT = {"deviceId": "grid-meter", "source": "SMART_METER", "type": "ENERGY_CONSUMPTION", "timestamp": BEGIN + 900, "value": 452.2}
    later = event | {"timestamp": BEGIN + 1800, "value": 1.0}
    lines = list(screen.lines([later, event, event | {"type": "POWER_CONSUMPTION", "value": 6930.0}], {"grid-meter": "Main meter"}))
    assert lines == [
        "11:00  grid-meter      Main meter       452 Wh from grid; 6.93 kW from grid",
        "11:15  grid-meter      Main meter       1 Wh from grid",
    ]


def test_summary_table_names_what_never_came(ledger: Ledger) -> None:
    events = [event for event in perfect(ledger) if event["deviceId"] != "washer"]
    text = rendered(screen.summary_view(*compare(events, ledger.totals, TIMING), 150))
    (line,) = [line for line in text.splitlines() if "washer" in line]
    assert "nothing" in line


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_tables_fit_their_terminal(ledger: Ledger, width: int) -> None:
    text = rendered(screen.summary_view(*compare(perfect(ledger), ledger.totals, TIMING), width), width)
    assert "…" not in text
    assert "discharged" in text
    assert "at most" in text
