"""What the log says of a device that goes and comes back."""

from __future__ import annotations

import logging

import pytest

from edge_agent.drivers.outages import Outages

SILENT = "meter: no answer in 3 s; check the line"


@pytest.fixture
def meter(caplog: pytest.LogCaptureFixture) -> Outages:
    caplog.set_level(logging.INFO)
    return Outages("meter", logging.getLogger("edge_agent.drivers.modbus"))


def flapping(meter: Outages, begin: float, times: int, every_s: float = 20.0) -> float:
    """Fails and answers in turn; gives the time after it."""
    for count in range(times):
        meter.failed(SILENT, begin + count * every_s)
        meter.failed(SILENT, begin + count * every_s + 1)
        meter.answered(begin + count * every_s + 10)
    return begin + times * every_s


def test_one_line_when_it_goes_and_one_when_it_is_back(meter: Outages, caplog: pytest.LogCaptureFixture) -> None:
    flapping(meter, 1000.0, 2, every_s=7200.0)
    assert caplog.messages == [SILENT, "meter: answers again"] * 2


def test_device_that_comes_and_goes_all_day_is_said_once(meter: Outages, caplog: pytest.LogCaptureFixture) -> None:
    flapping(meter, 1000.0, 4000)
    assert len(caplog.messages) == 7
    assert caplog.messages[-1] == f"{SILENT}; it comes and goes, 4 times within an hour: nothing more is said until it stays"


def test_unsteady_device_that_stays_away_is_news(meter: Outages, caplog: pytest.LogCaptureFixture) -> None:
    now = flapping(meter, 1000.0, 10)
    caplog.clear()
    for second in range(0, 3600, 10):
        meter.failed(SILENT, now + second)
    meter.answered(now + 3600)
    assert caplog.messages == [SILENT, "meter: answers again"]


def test_unsteady_device_that_stays_is_told_and_the_next_outage_again(meter: Outages, caplog: pytest.LogCaptureFixture) -> None:
    now = flapping(meter, 1000.0, 10)
    caplog.clear()
    for second in range(0, 7200, 10):
        meter.answered(now + second)
    meter.failed(SILENT, now + 7200)
    assert caplog.messages == ["meter: has answered for an hour without a break", SILENT]
