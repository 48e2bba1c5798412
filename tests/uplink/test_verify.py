"""The platform's hourly statistics held against what was sent: losses are sent once more, the rest is told, and nobody is annoyed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from edge_agent.cloud.queue_rules import queue_rules
from edge_agent.cloud.vocabulary import Decisions
from edge_agent.demo.cloud import BUILDING_ID, Answer, Drop, Fault, LocalCloud
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.daily_check import DailyCheck
from edge_agent.uplink.reconcile import Question, Report, reconcile
from tests.conftest import HandClock, until
from tests.uplink.rig import PATIENCE, account_of

VIENNA = ZoneInfo("Europe/Vienna")
NOW = int(datetime(2026, 3, 31, 12, 5, tzinfo=VIENNA).timestamp())
MIDNIGHT = int(datetime(2026, 3, 28, tzinfo=VIENNA).timestamp())  # of the first day; clocks go forward on the second
HOUR, QUARTER, DAY = 3600, 900, 86400
TYPES = ("ENERGY_GENERATION", "ENERGY_CONSUMPTION", "GRID_ENERGY_CONSUMPTION")
STATISTICS = f"/buildings/{BUILDING_ID}/energy-statistics/hourly/v1"
WEEK = Question("Europe/Vienna", "end", 7)


def household() -> list[Event]:
    """The house's energies of three and a half days, no hour like another."""
    ends = range(MIDNIGHT + QUARTER, NOW, QUARTER)
    return [Event("household", "Household", "GATEWAY", kind, 100.0 + end // QUARTER * 37 % 91, end) for end in ends for kind in TYPES]


@dataclass
class House:
    """A cloud, a queue that remembers, and the client between them."""

    cloud: LocalCloud
    outbox: Outbox
    clock: HandClock
    client: MoostClient

    async def deliver(self) -> None:
        """Sends all that waits as history, and notes that the cloud has it."""
        while taken := await self.outbox.take_live(0, 0, 500):
            assert (await self.client.send_batch(taken)).accepted
            await self.outbox.accept(taken, historical=True)

    def forget(self, lost: Callable[[dict[str, Any]], bool]) -> None:
        """The cloud loses events that it had accepted."""
        self.cloud.events = [one for one in self.cloud.events if not lost(one.event)]

    async def check(self, question: Question = WEEK) -> Report:
        return await reconcile(self.client, self.outbox, question, self.clock.now())

    def copies(self, at: int, kind: str = "ENERGY_CONSUMPTION") -> int:
        return sum(one["timestamp"] == at and one["type"] == kind for one in self.cloud.received())


@pytest.fixture
async def house(cloud: LocalCloud, tmp_path: Path) -> AsyncIterator[House]:
    cloud.buildings[BUILDING_ID]["timeZoneId"] = "Europe/Vienna"
    clock = HandClock(NOW)
    cloud.now = clock.now
    outbox = await Outbox.open(tmp_path / "queue.db", None, queue_rules(Decisions()))
    client = MoostClient(account_of(cloud), clock, PATIENCE)
    one = House(cloud, outbox, clock, client)
    try:
        await outbox.commit(household(), {})
        await one.deliver()
        yield one
    finally:
        await client.close()
        await outbox.close()


def in_hour(start: int, kind: str = "ENERGY_CONSUMPTION") -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["type"] == kind and start < event["timestamp"] <= start + HOUR


def found(report: Report) -> list[tuple[str, str, int]]:
    return [(one.what, one.type, one.hour) for one in report.findings]


async def test_what_arrived_fits_and_is_not_sent_again(house: House) -> None:
    report = await house.check()
    assert report.fits
    assert report.comparison is not None
    assert report.comparison.agreeing == report.comparison.hours > 3 * 70
    assert report.queued_again == 0
    (request,) = [request for request in house.cloud.requests if request.path == STATISTICS]
    assert request.query["from"] == "2026-03-23"
    assert set(request.query["eventTypes"].split(",")) == set(TYPES)


async def test_an_hour_that_is_wholly_missing_for_a_day_is_sent_once_more_as_history(house: House) -> None:
    lost = MIDNIGHT + 30 * HOUR
    house.forget(in_hour(lost))
    assert (await house.check()).queued_again == 0
    house.clock.forward(DAY)
    report = await house.check()
    assert found(report) == [("missing", "ENERGY_CONSUMPTION", lost)]
    assert report.queued_again == 4
    assert report.to_json()["findings"][0]["action"] == "queued again"
    before = len(house.cloud.received("historical"))
    await house.deliver()
    assert len(house.cloud.received("historical")) == before + 4
    assert all(house.copies(lost + quarter) == 1 for quarter in range(QUARTER, HOUR + 1, QUARTER))
    assert (await house.check()).fits


async def test_it_is_sent_again_only_once(house: House) -> None:
    lost = MIDNIGHT + 30 * HOUR
    for _ in range(3):
        house.forget(in_hour(lost))
        report = await house.check()
        await house.deliver()
        house.clock.forward(DAY)
    house.forget(in_hour(lost))
    report = await house.check()
    assert found(report) == [("missing", "ENERGY_CONSUMPTION", lost)]
    assert report.queued_again == 0
    assert report.to_json()["findings"][0]["action"] == "was queued again before"
    sent = [
        request
        for request in house.cloud.requests
        if request.path == "/events/historical/v1" and f'"timestamp":{lost + HOUR}}}'.encode() in request.body
    ]
    assert len(sent) == 2


async def test_an_hour_that_is_missing_for_less_than_a_day_is_waited_for(house: House) -> None:
    lost = (NOW - 20 * HOUR) // HOUR * HOUR
    house.forget(in_hour(lost))
    report = await house.check()
    assert found(report) == [("missing", "ENERGY_CONSUMPTION", lost)]
    assert report.queued_again == 0
    assert report.to_json()["findings"][0]["action"] == "queued again when it is missing for a day"
    house.clock.forward(DAY)
    assert (await house.check()).queued_again == 4


async def test_a_backlog_that_the_platform_has_not_counted_yet_is_not_sent_twice(house: House) -> None:
    late = [in_hour(MIDNIGHT + hours * HOUR) for hours in range(30, 36)]  # of days ago, but accepted just now
    held = [one for one in house.cloud.events if any(which(one.event) for which in late)]
    house.forget(lambda event: any(which(event) for which in late))
    report = await house.check()
    assert [what for what, _, _ in found(report)] == ["missing"] * 6
    assert report.queued_again == 0
    house.cloud.events += held
    house.clock.forward(DAY)
    assert (await house.check()).fits


async def test_a_look_at_fewer_days_forgets_no_older_loss(house: House) -> None:
    lost = MIDNIGHT + 30 * HOUR
    house.forget(in_hour(lost))
    await house.check()
    house.clock.forward(DAY)
    await house.check(Question("Europe/Vienna", "end", 1))
    assert (await house.check()).queued_again == 4


@pytest.mark.parametrize(
    "state", ["[]", "{", '{"x": 1}', '{"ENERGY_CONSUMPTION y": 1}', '{"ENERGY_CONSUMPTION 1": null}', '{"ENERGY_CONSUMPTION 1": 1e999}']
)
async def test_a_memory_of_losses_that_makes_no_sense_costs_a_day(house: House, state: str) -> None:
    await house.outbox.commit([], {"uplink.missing": state})
    house.forget(in_hour(MIDNIGHT + 30 * HOUR))
    assert (await house.check()).queued_again == 0
    house.clock.forward(DAY)
    assert (await house.check()).queued_again == 4


async def test_a_partly_missing_and_a_doubled_hour_are_told_and_not_sent_again(house: House) -> None:
    partly, doubled = MIDNIGHT + 10 * HOUR, MIDNIGHT + 20 * HOUR
    house.forget(lambda event: in_hour(partly)(event) and event["timestamp"] == partly + QUARTER)
    house.cloud.events += [one for one in house.cloud.events if in_hour(doubled, "ENERGY_GENERATION")(one.event)]
    report = await house.check()
    assert found(report) == [("partly missing", "ENERGY_CONSUMPTION", partly), ("too much", "ENERGY_GENERATION", doubled)]
    assert report.queued_again == 0
    assert {one["action"] for one in report.to_json()["findings"]} == {"reported only"}
    assert (await house.outbox.stats())["waiting"] == 0


async def test_the_other_end_of_an_interval_is_called_a_shift_and_loses_nothing(house: House) -> None:
    house.cloud.statistics_dated = "start"
    report = await house.check()
    assert report.comparison is not None
    assert (report.comparison.shifted, report.comparison.dated, report.findings, report.queued_again) == (True, "start", (), 0)
    assert not report.fits


async def test_what_the_platform_has_not_yet_counted_is_no_loss(house: House) -> None:
    house.forget(lambda event: event["timestamp"] > NOW - 2 * DAY)  # its statistics are two days late
    report = await house.check()
    assert (report.findings, report.queued_again) == ((), 0)
    assert report.comparison is not None
    assert report.comparison.uncounted >= 3 * 46


async def test_a_platform_that_has_counted_nothing_gets_nothing_twice(house: House) -> None:
    house.cloud.events.clear()
    report = await house.check()
    assert (report.findings, report.queued_again) == ((), 0)


@pytest.mark.parametrize(("status", "service"), [(403, False), (404, False), (500, True), (400, True), (429, True)])
async def test_without_an_answer_nothing_is_compared(house: House, status: int, service: bool) -> None:
    house.cloud.fault = lambda request: Answer(status) if request.path == STATISTICS else None
    report = await house.check()
    assert (report.service, report.comparison, report.queued_again) == (service, None, 0)
    assert str(status) in report.problem


@pytest.mark.parametrize("fault", [Answer(200, b"<html>"), Answer(200, b"{}"), Answer(200, b'[{"startTimestamp": "x"}]'), Answer(200, b""), Drop()])
async def test_an_answer_that_makes_no_sense_sends_nothing_again(house: House, fault: Fault) -> None:
    house.forget(in_hour(MIDNIGHT + 30 * HOUR))
    house.cloud.fault = lambda request: fault if request.path == STATISTICS else None
    report = await house.check()
    assert report.comparison is None
    assert report.problem
    assert (await house.outbox.stats())["waiting"] == 0


# once a day


@contextlib.asynccontextmanager
async def daily(house: House, chance: float = 0.5) -> AsyncIterator[DailyCheck]:
    check = DailyCheck(house.client, house.outbox, house.clock, WEEK, lambda: None, lambda: chance)
    task = asyncio.create_task(check.run())
    await until(lambda: check._due, 30)
    try:
        yield check
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def checks(cloud: LocalCloud) -> int:
    return sum(request.path == STATISTICS for request in cloud.requests)


async def planned(house: House, check: DailyCheck, times: int, hours: float) -> None:
    """Until it has asked so many times and planned the next one so many hours ahead: only then may time go on."""
    await until(lambda: checks(house.cloud) == times and check._due > house.clock.monotonic() + hours * HOUR - 1, 30)


async def pass_time(house: House, hours: float) -> None:
    """Lets hours pass in steps, at each of which the check may look at the clock."""
    for _ in range(int(hours * 2)):
        house.clock.forward(HOUR / 2)
        await asyncio.sleep(0.012)
    await asyncio.sleep(0.05)


async def test_it_comes_once_a_day_at_a_time_that_chance_gives(house: House) -> None:
    async with daily(house, chance=0.25) as check:
        await pass_time(house, 5.5)
        assert checks(house.cloud) == 0
        await pass_time(house, 1)
        await planned(house, check, 1, 23)
        await pass_time(house, 23)
        assert checks(house.cloud) == 1
        await pass_time(house, 1.5)
        await planned(house, check, 2, 22)


async def test_a_check_missed_while_the_gateway_was_off_comes_within_the_hour_but_not_at_once(house: House) -> None:
    await checked_once(house)
    house.clock.forward(3 * DAY)
    async with daily(house, chance=0.5) as check:
        await asyncio.sleep(0.1)
        assert checks(house.cloud) == 1
        await pass_time(house, 1)
        await until(lambda: checks(house.cloud) > 1 and check._due > house.clock.monotonic() + 20 * HOUR, 30)


async def checked_once(house: House) -> None:
    """A run that has checked, planned the next check and stored that."""
    async with daily(house, chance=0.0) as check:
        await planned(house, check, 1, 24)
        async with asyncio.timeout(30):
            while await house.outbox.load_state("uplink.verify") is None:
                await asyncio.sleep(0.01)


async def test_a_clock_that_is_set_does_not_bring_the_check_on(house: House) -> None:
    await checked_once(house)
    async with daily(house, chance=0.5):
        house.clock.set_wall(house.clock.now() + 2 * DAY)  # as after a power cut, when time comes from the network
        await pass_time(house, 20)
        assert checks(house.cloud) == 1
        await pass_time(house, 5)
        await until(lambda: checks(house.cloud) > 1, 30)


@pytest.mark.parametrize("due", ["9e99", "-9e99", "NaN"])
async def test_a_plan_that_makes_no_sense_is_no_plan(house: House, due: str) -> None:
    await house.outbox.commit([], {"uplink.verify": f'{{"due": {due}, "told": [], "summary": ""}}'})
    async with daily(house, chance=0.5):
        await pass_time(house, 25)
        await until(lambda: checks(house.cloud) >= 1, 30)


async def test_a_loss_is_said_once_and_that_it_is_mended_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_agent")
    house.forget(in_hour(MIDNIGHT + 30 * HOUR))
    async with daily(house, chance=0.0) as check:
        await planned(house, check, 1, 24)
        await pass_time(house, 25)  # not delivered yet: the same loss
        await until(lambda: checks(house.cloud) >= 2 and check._due > house.clock.monotonic() + 20 * HOUR, 30)
        await house.deliver()
        await pass_time(house, 25)
        await until(lambda: checks(house.cloud) >= 3 and not check.summary, 30)
    said = [record.getMessage() for record in caplog.records if record.name.endswith("daily_check")]
    assert len(said) == 2, said
    assert "1 missing; see `edge-agent verify`" in said[0]
    assert said[1] == "the platform's statistics agree with what was sent"


@pytest.mark.parametrize("status", [403, 404])
async def test_without_the_service_it_is_quiet_and_asks_once_a_day(house: House, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_agent")
    caplog.clear()
    house.cloud.fault = lambda request: Answer(status) if request.path == STATISTICS else None
    async with daily(house, chance=0.0) as check:
        await planned(house, check, 1, 24)
        await pass_time(house, 23)
        assert checks(house.cloud) == 1
        await pass_time(house, 2)
        await until(lambda: checks(house.cloud) == 2, 30)
    assert caplog.records == []


async def test_a_cloud_that_cannot_be_reached_is_asked_again_within_hours_and_quietly(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_agent")
    caplog.clear()
    house.cloud.fault = lambda request: Drop() if request.path == STATISTICS and checks(house.cloud) == 1 else None
    async with daily(house, chance=0.0) as check:
        await planned(house, check, 1, 1)
        await pass_time(house, 1.5)
        await until(lambda: checks(house.cloud) >= 2, 30)
    assert caplog.records == []


async def test_a_memory_that_makes_no_sense_is_planned_anew(house: House) -> None:
    await house.outbox.commit([], {"uplink.verify": '{"due": "soon"}'})
    async with daily(house, chance=0.0):
        await until(lambda: checks(house.cloud) == 1, 30)
