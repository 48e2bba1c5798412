"""After an outage: the newest first, the backlog with its share and at a random moment; what may be doubled is counted."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.demo.cloud import Answer, Drop, Fault, LocalCloud, Request, Slow
from edge_agent.inspection import queue_text
from edge_agent.model.clock import ScaledClock
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.choice import FAIR_SHARE
from edge_agent.uplink.client import CONNECTIONS, Patience
from edge_agent.uplink.settings import UploadSettings
from edge_agent.uplink.spread import BacklogStart
from edge_agent.uplink.uploader import Uploader
from tests.conftest import HandClock, until
from tests.uplink.rig import IMPATIENCE, NOW, PATIENCE, Rig, event, rig

LIVE, HISTORICAL = "/events/v1", "/events/historical/v1"
HOUR, DAY = 3600, 86400


def failing_once(path: str, fault: Fault) -> Callable[[Request], Fault | None]:
    left = iter(range(1))
    return lambda request: fault if request.path == path and next(left, None) is not None else None


# the fair share


async def test_the_backlog_gets_its_share_while_live_events_never_end(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path, settings=UploadSettings(batch_size=10)) as one:
        await one.commit(*(event("meter", NOW - 3 * DAY + number, number) for number in range(50)))
        await one.commit(*(event(f"device-{number % 50}", NOW, 1000 + number) for number in range(800)))
        async with one.running():
            await one.until_sent(30)
    places = [place for place, received in enumerate(cloud.events) if received.call == "historical"]
    parts = [places[number : number + 10] for number in range(0, 50, 10)]
    assert parts[0][0] >= FAIR_SHARE - CONNECTIONS, "what is newest goes first"
    gaps = [after[0] - before[-1] for before, after in zip(parts, parts[1:], strict=False)]
    assert max([parts[0][0], *gaps]) <= FAIR_SHARE + 2 * CONNECTIONS


# the random start


@given(st.lists(st.tuples(st.floats(0, 1e7), st.floats(0, 1, exclude_max=True), st.floats(0, 1e4)), min_size=1))
def test_a_start_lies_within_a_tenth_of_the_outage_and_an_hour(outages: list[tuple[float, float, float]]) -> None:
    now, chances = 0.0, iter([chance for _, chance, _ in outages])
    start = BacklogStart(lambda: next(chances))
    for away_s, _, passed_s in outages:
        before = start.wait_s(now)
        start.draw(away_s, now)
        assert before <= start.wait_s(now) <= max(before, min(3600, away_s / 10) + 0.01)
        now += passed_s
    assert start.wait_s(now + 3600.01) == 0, "however often it was drawn"


def test_a_fleet_returns_over_an_hour_and_not_at_once() -> None:
    chance = random.Random(1).random
    per_minute = [0] * 61
    for _ in range(6000):
        start = BacklogStart(chance)
        start.draw(DAY, 0.0)
        per_minute[int(start.wait_s(0.0) // 60)] += 1
    assert max(per_minute) < 150, "a hundred a minute, if they are spread evenly"
    assert min(per_minute[:60]) > 50


async def test_after_an_outage_the_newest_goes_at_once_and_the_backlog_at_its_moment(cloud: LocalCloud, tmp_path: Path) -> None:
    clock = HandClock(NOW)
    cloud.stop()
    async with rig(cloud, tmp_path, clock=clock, start_chance=lambda: 0.5) as one, one.running():
        await one.commit(event("meter", NOW, 0))
        await until(lambda: one.uploader.status().stopped_at is not None)
        for hour in range(1, 11):
            clock.forward(HOUR)
            await one.commit(event("meter", clock.now(), hour))
        clock.forward(1200)
        await until(lambda: one.uploader.status().stopped_at is not None)
        cloud.start()
        async with asyncio.timeout(30):
            while not cloud.received("live"):
                clock.forward(1)
                await asyncio.sleep(0.05)
        await until(lambda: one.uploader.status().backlog_starts_at is not None)
        starts_at = one.uploader.status().backlog_starts_at
        assert starts_at == pytest.approx(clock.now() + 1800, abs=60)
        await asyncio.sleep(0.1)
        assert cloud.received("historical") == []
        assert "starts in 30 min, at random" in await shown(one)
        clock.forward(1700)
        await asyncio.sleep(0.1)
        assert cloud.received("historical") == []
        clock.forward(160)
        await one.until_sent()
        assert one.uploader.status().backlog_starts_at is None
    old, live = ([received["value"] for received in cloud.received(call)] for call in ("historical", "live"))
    assert old == list(range(len(old))), "the outage's start is there, and in order"
    assert sorted(live) == list(range(len(old), 11)), "what was the newest when its call began goes live"
    assert len(live) <= 3


async def test_a_backlog_found_at_the_start_waits_and_one_that_comes_later_does_not(cloud: LocalCloud, tmp_path: Path) -> None:
    clock = HandClock(NOW)
    async with rig(cloud, tmp_path, clock=clock, start_chance=lambda: 0.5) as one:
        await one.commit(event("meter", NOW - 2 * DAY, 1.0), event("meter", NOW, 2.0))
        async with one.running():
            await until(lambda: one.uploader.status().backlog_starts_at == NOW + 1800)
            assert [received["value"] for received in cloud.received()] == [2.0]
            await asyncio.sleep(0.05)
            clock.forward(1801)
            await one.until_sent()
            await one.commit(event("slow-meter", NOW - 2 * DAY, 3.0), event("slow-meter", NOW - DAY - HOUR, 4.0))
            await one.until_sent()


class TickingClock(HandClock):
    """Whoever looks twice sees time that has passed in between."""

    def monotonic(self) -> float:
        self.forward(0.01)
        return self.elapsed


@pytest.mark.parametrize("looks", range(1, 13))
async def test_what_becomes_due_between_two_looks_at_the_clock_is_not_overslept(cloud: LocalCloud, tmp_path: Path, looks: int) -> None:
    clock = TickingClock(NOW)
    async with rig(cloud, tmp_path, clock=clock, start_chance=lambda: looks * 0.01 / 3600) as one:
        await one.commit(event("meter", NOW - 2 * DAY, 1.0))
        async with one.running(), asyncio.timeout(10):
            while (await one.outbox.stats())["waiting"]:
                clock.forward(0.01)
                await asyncio.sleep(0.01)


async def test_a_short_outage_does_not_hold_the_backlog_for_long(cloud: LocalCloud, tmp_path: Path) -> None:
    start = BacklogStart(lambda: 0.99)
    start.draw(60.0, 1000.0)
    assert start.wait_s(1000.0) < 6
    async with rig(cloud, tmp_path, clock=ScaledClock(50, NOW), start_chance=lambda: 0.99) as one, one.running():
        await until(lambda: one.uploader._start.drawn)  # there was no backlog at the start
        cloud.fault = failing_once(LIVE, Answer(503))
        await one.commit(event("meter", NOW, 2.0), event("meter", NOW - 3 * DAY, 3.0))
        await one.until_sent()


# progress


async def shown(one: Rig) -> str:
    stats = await one.outbox.stats()
    return queue_text({"stats": stats, "upload": one.uploader.status().as_answer(stats["waiting"])})


async def test_a_backlog_under_way_tells_its_pace_and_the_time_left(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(0.1) if request.path == HISTORICAL else None
    async with rig(cloud, tmp_path, clock=ScaledClock(1, NOW), settings=UploadSettings(batch_size=10)) as one:
        await one.commit(*(event("meter", NOW - 3 * DAY + number, number) for number in range(300)))
        assert one.uploader.status().time_left_s(300) is None
        async with one.running():
            await until(lambda: len(cloud.received()) >= 50)
            status = one.uploader.status()
            assert status.events_per_s is not None
            assert 1 < status.events_per_s <= 100, "ten at once, each at least a tenth of a second"
            left_s = status.time_left_s(250)
            assert left_s is not None
            assert left_s == pytest.approx(250 / status.events_per_s)
            assert "events/s, about " in await shown(one)
            cloud.fault = lambda request: Answer(503)
            await until(lambda: one.uploader.status().stopped_at is not None)
            assert one.uploader.status().time_left_s(250) is None, "nobody knows how long the cloud will be away"
            assert "waiting: POST" in await shown(one)


# doubles


CASES: list[tuple[Fault, str, int, int]] = [
    (Drop(after_storing=True), LIVE, 1, 1),
    (Drop(), LIVE, 1, 1),
    (Slow(3.0), LIVE, 1, 1),
    (Answer(500), LIVE, 1, 1),
    (Answer(200), LIVE, 1, 1),
    (Answer(500, stored=3), HISTORICAL, 5, 5),
    (Answer(502, b"<html>bad gateway</html>"), HISTORICAL, 5, 5),
    (Drop(after_storing=True), HISTORICAL, 5, 5),
    (Answer(429), LIVE, 1, 0),
    (Answer(400, {"message": "not now"}), HISTORICAL, 5, 0),
    (Answer(413), HISTORICAL, 5, 0),
    (Answer(302, headers={"Location": "/login"}), HISTORICAL, 5, 0),
    (Answer(201, b"<html>sign in</html>"), LIVE, 1, 0),
    (Answer(500), "/auth/token/v1", 1, 0),
]


@pytest.mark.parametrize(("fault", "path", "count", "counted"), CASES, ids=lambda value: str(value)[:40])
async def test_what_may_be_doubled_is_counted(cloud: LocalCloud, tmp_path: Path, fault: Fault, path: str, count: int, counted: int) -> None:
    cloud.fault = failing_once(path, fault)
    age = 2 * DAY if path == HISTORICAL else 0
    async with rig(cloud, tmp_path, patience=IMPATIENCE if isinstance(fault, Slow) else PATIENCE) as one, one.running():
        await one.commit(*(event("meter", NOW - age + number, number) for number in range(count)))
        await one.until_sent()
        stats = await one.outbox.stats()
    assert stats["possibly_doubled"] == counted
    assert len(cloud.received()) - count <= counted
    assert {received["value"] for received in cloud.received()} == set(range(count))


async def test_a_call_given_up_at_the_stop_is_counted_too(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(15.0) if request.path == LIVE else None
    async with rig(cloud, tmp_path, patience=Patience()) as one:
        one.uploader.finish_s = 0.05
        async with one.running():
            await one.commit(event("meter", NOW, 1.0))
            await until(lambda: any(request.path == LIVE for request in cloud.requests))
        stats = await one.outbox.stats()
        assert (stats["waiting"], stats["possibly_doubled"]) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "path", "counted"),
    [(Slow(60.0), LIVE, 1), (Slow(60.0), HISTORICAL, 3), (Answer(503), "/auth/token/v1", 0)],
    ids=["live", "backlog", "never logged in"],
)
async def test_what_is_under_way_in_a_power_cut_is_counted_at_the_next_start(
    cloud: LocalCloud, tmp_path: Path, fault: Fault, path: str, counted: int
) -> None:
    age = 2 * DAY if path == HISTORICAL else 0
    cloud.fault = lambda request: fault if request.path == path else None
    async with rig(cloud, tmp_path, patience=Patience()) as one:
        one.uploader.finish_s = 0.05
        async with one.running():
            await one.commit(*(event("meter", NOW - age + number, number) for number in range(counted or 3)))
            await until(lambda: any(request.path == path for request in cloud.requests))
            assert await doubled_after_a_cut(tmp_path, tmp_path / "after the cut") == counted


async def test_the_count_of_doubles_costs_few_writes_and_outlives_a_power_cut(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Answer(500) if request.path == LIVE else None
    written: list[str] = []

    def failed() -> int:
        return sum(request.path == LIVE for request in cloud.requests)

    async with rig(cloud, tmp_path, chance=lambda: 0.001) as one, one.running():
        await one.commit(event("meter", NOW, 1.0), event("meter", NOW, 2.0))
        await until(lambda: failed() >= 1)
        await one.outbox.call(lambda queue: queue._db.set_trace_callback(written.append))
        await until(lambda: failed() >= 40)
        counted = await doubled_after_a_cut(tmp_path, tmp_path / "after the cut")
        assert counted >= 40
        assert (await one.outbox.stats())["possibly_doubled"] == 0
        assert sum(statement.startswith("INSERT INTO counters") for statement in written) <= 6
        cloud.fault = lambda request: None
        await one.until_sent()
        assert (await one.outbox.stats())["possibly_doubled"] >= 40
        counted = (await one.outbox.stats())["possibly_doubled"]
        assert await doubled_after_a_cut(tmp_path, tmp_path / "after another") == counted


async def doubled_after_a_cut(folder: Path, copy: Path) -> int:
    """What is thought to be doubled at the next start, should the power fail now."""
    copy.mkdir()
    for file in folder.glob("queue.db*"):
        shutil.copy(file, copy)
    outbox = await Outbox.open(copy / "queue.db")
    try:
        return (await outbox.stats())["possibly_doubled"]
    finally:
        await outbox.close()


async def test_a_backlog_that_waited_or_went_before_the_site_was_read_anew_waits_no_second_time(cloud: LocalCloud, tmp_path: Path) -> None:
    start, clock = BacklogStart(lambda: 0.5), HandClock(NOW)
    async with rig(cloud, tmp_path, clock=clock) as one:
        await one.commit(event("meter", NOW - 2 * DAY, 1.0))
        before = Uploader(one.outbox, one.client, UploadSettings(), clock, 900.0, start=start)
        one.uploader = before
        async with one.running():
            await until(lambda: before.status().backlog_starts_at == NOW + 1800)
        clock.forward(1000)
        one.uploader = after = Uploader(one.outbox, one.client, UploadSettings(), clock, 900.0, start=start)
        async with one.running():
            await until(lambda: after.status().backlog_starts_at == NOW + 1800)
            await asyncio.sleep(0.05)
            clock.forward(801)
            await one.until_sent()
