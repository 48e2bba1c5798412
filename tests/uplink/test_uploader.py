"""The uploader at work: what goes live and what does not, in which order, and what becomes of each failure."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, Answer, Drop, Fault, LocalCloud, Request, Slow
from edge_agent.model.clock import ScaledClock
from edge_agent.model.events import Event
from edge_agent.uplink.client import Patience
from edge_agent.uplink.settings import MoostAccount, UploadSettings
from edge_agent.uplink.spread import spread_offset_s
from tests.conftest import HandClock, until
from tests.uplink.rig import IMPATIENCE, NOON, NOW, PATIENCE, event, rig

LIVE, HISTORICAL = "/events/v1", "/events/historical/v1"
HOUR, DAY = 3600, 86400


def values(cloud: LocalCloud, call: str | None = None) -> list[float]:
    return [one["value"] for one in cloud.received(call)]


def calls(cloud: LocalCloud, path: str) -> int:
    return sum(request.path == path for request in cloud.requests)


def holds(request: Request, *numbers: float) -> bool:
    """True when the request carries an event with one of these values."""
    if not request.path.startswith("/events"):
        return False
    body = json.loads(request.body)
    return any(one["value"] in numbers for one in (body if isinstance(body, list) else [body]))


def first(times: int, path: str, fault: Fault) -> Callable[[Request], Fault | None]:
    left = iter(range(times))
    return lambda request: fault if request.path == path and next(left, None) is not None else None


async def at_rest() -> None:
    """Lets the uploader begin to sleep: what HandClock's sleepers wait for counts from then."""
    await asyncio.sleep(0.05)


# live and backlog


async def test_what_is_recent_goes_live_and_what_is_old_as_history(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(*(event("meter", NOW - age, age) for age in (2 * HOUR, HOUR + 60, HOUR - 60, 60)))
        await one.until_sent()
        assert values(cloud, "live") == [HOUR - 60, 60]
        assert values(cloud, "historical") == [2 * HOUR, HOUR + 60]
        stats = await one.outbox.stats()
        assert (stats["accepted_live"], stats["accepted_historical"]) == (2, 2)


async def test_events_of_a_device_and_type_stay_in_order_while_others_go_beside(cloud: LocalCloud, tmp_path: Path) -> None:
    together: list[int] = []
    at_work: dict[str, int] = defaultdict(int)
    lock = threading.Lock()

    def watch(request: Request) -> Fault | None:
        if request.path != LIVE:
            return None
        device = json.loads(request.body)["deviceId"]
        with lock:
            at_work[device] += 1
            together.append(sum(at_work.values()))
            assert at_work[device] == 1
        time.sleep(random.uniform(0, 0.01))
        with lock:
            at_work[device] -= 1
        return None

    cloud.fault = watch
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(*(event(f"device-{number % 7}", NOW, number) for number in range(140)))
        await one.until_sent()
    by_device: dict[str, list[float]] = defaultdict(list)
    for received in cloud.received("live"):
        by_device[received["deviceId"]].append(received["value"])
    assert all(numbers == sorted(numbers) and len(numbers) == 20 for numbers in by_device.values())
    assert 1 < max(together) <= 4


PASSING = [Answer(500), Answer(503), Drop(), Drop(after_storing=True), Answer(429), Answer(201, b"<html>"), Answer(200), Slow(3.0)]


@pytest.mark.parametrize("fault", PASSING)
async def test_an_off_never_overtakes_its_on(cloud: LocalCloud, tmp_path: Path, fault: Fault) -> None:
    seen = iter(range(10))
    cloud.fault = lambda request: fault if holds(request, 1.0) and next(seen) < 2 else None
    async with rig(cloud, tmp_path, patience=IMPATIENCE if isinstance(fault, Slow) else PATIENCE) as one, one.running():
        await one.commit(event("plug", NOW, 1.0, "SWITCH_STATE"), event("plug", NOW + 1, 0.0, "SWITCH_STATE"), event("other", NOW, 7.0))
        await one.until_sent()
    switched = [received["value"] for received in cloud.received("live") if received["type"] == "SWITCH_STATE"]
    assert switched[-2:] == [1.0, 0.0]
    assert set(switched[:-2]) <= {1.0}


async def test_live_events_go_before_a_backlog_and_between_its_batches(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(0.1) if request.path == HISTORICAL else None
    async with rig(cloud, tmp_path, settings=UploadSettings(batch_size=10)) as one:
        await one.commit(*(event("meter", NOW - 3 * DAY + number, number) for number in range(100)), event("plug", NOW, 1000))
        async with one.running():
            await until(lambda: len(cloud.received("historical")) >= 20)
            await one.commit(event("plug", NOW, 2000))
            await one.until_sent()
    order = values(cloud)
    assert order[0] == 1000
    assert order.index(2000) < 60
    assert values(cloud, "historical") == [float(number) for number in range(100)]
    assert [len(json.loads(request.body)) for request in cloud.requests if request.path == HISTORICAL] == [10] * 10


async def test_after_an_outage_the_newest_of_each_goes_live_up_to_a_day_old(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one:
        await one.commit(
            *(event("heat-pump", NOW - age, age) for age in (5 * HOUR, 4 * HOUR, 3 * HOUR)),
            *(event("forgotten", NOW - age, age) for age in (3 * DAY, 2 * DAY)),
            event("plug", NOW - 10 * HOUR, 10 * HOUR, "SWITCH_STATE"),
        )
        async with one.running():
            await one.until_sent()
    assert sorted(values(cloud, "live")) == [3 * HOUR, 10 * HOUR]
    assert values(cloud, "historical") == [5 * HOUR, 4 * HOUR, 3 * DAY, 2 * DAY]
    assert {received.call for received in cloud.events[:2]} == {"live"}


async def test_yesterday_s_value_goes_live_hours_after_its_midnight_and_older_ones_as_history(cloud: LocalCloud, tmp_path: Path) -> None:
    midnight = NOW - 6 * HOUR
    async with rig(cloud, tmp_path) as one:
        days = [event("household", midnight - back * DAY, back, "ENERGY_CONSUMPTION_YESTERDAY") for back in (2, 1, 0)]
        night = [event("household", midnight + number * 900, 100 + number) for number in range(25)]
        await one.commit(*days, *night)
        async with one.running():
            await one.until_sent()
    assert sorted(value for value in values(cloud, "live") if value < 100) == [0]
    assert values(cloud, "historical")[:2] == [2, 1]


async def test_what_aged_while_the_cloud_was_away_goes_as_history(cloud: LocalCloud, tmp_path: Path) -> None:
    clock = HandClock(NOW)
    cloud.fault = lambda request: Answer(503)
    async with rig(cloud, tmp_path, clock=clock) as one, one.running():
        await one.commit(*(event("meter", NOW + number, number) for number in range(3)))
        await until(lambda: one.uploader.status().state.startswith("waiting"))
        await at_rest()
        clock.forward(2 * HOUR)
        cloud.fault = lambda request: None
        await one.commit(event("meter", clock.now(), 9))
        await one.until_sent()
    assert values(cloud, "live") == [9]
    assert values(cloud, "historical") == [0, 1, 2]


async def test_what_aged_is_found_without_anything_new(cloud: LocalCloud, tmp_path: Path) -> None:
    clock = HandClock(NOON + 0.5)
    cloud.fault = lambda request: Answer(503) if request.path == LIVE else None
    async with rig(cloud, tmp_path, clock=clock) as one, one.running():
        await one.commit(*(event("meter", NOON, number) for number in range(3)))
        await until(lambda: not one.uploader._intake.backlog_stale)  # while the live ones are held for the spread, there is no backlog
        await at_rest()
        clock.forward(60)
        await until(lambda: one.uploader.status().state.startswith("waiting"))
        cloud.fault = lambda request: None
        await at_rest()
        clock.forward(2 * HOUR)
        await one.until_sent()
    assert values(cloud, "live") == [2]
    assert values(cloud, "historical") == [0, 1]


async def test_a_failure_without_a_wait_is_tried_again_at_once(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = first(1, LIVE, Answer(503))
    async with rig(cloud, tmp_path, clock=HandClock(NOW), chance=lambda: 0.0) as one, one.running():
        await one.commit(event("meter", NOW, 1.0))
        await one.until_sent()


async def test_a_backlog_larger_than_what_is_held_in_memory_is_sent_in_order(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(*(event(f"device-{number % 3}", NOW, number) for number in range(2500)))
        await one.until_sent()
    by_device: dict[str, list[float]] = defaultdict(list)
    for received in cloud.received("live"):
        by_device[received["deviceId"]].append(received["value"])
    assert [len(numbers) for numbers in by_device.values()] == [834, 833, 833]
    assert all(numbers == sorted(numbers) for numbers in by_device.values())


# the fleet


@given(st.text(min_size=1, max_size=20), st.sampled_from([2.0, 60.0, 300.0, 900.0, 3600.0]))
def test_each_building_has_its_own_moment_in_the_first_minute_or_tenth(building: str, interval_s: float) -> None:
    offset = spread_offset_s(building, interval_s)
    assert 0 <= offset < min(60.0, interval_s / 10)
    assert offset == spread_offset_s(building, interval_s)


def test_a_fleet_is_spread_evenly() -> None:
    offsets = [spread_offset_s(f"building-{number}", 900) for number in range(6000)]
    per_second = [sum(int(offset) == second for offset in offsets) for second in range(60)]
    assert max(per_second) < 200


async def test_events_of_an_interval_wait_for_the_buildings_moment_and_changes_do_not(cloud: LocalCloud, tmp_path: Path) -> None:
    clock = HandClock(NOON + 0.5)
    offset = spread_offset_s(BUILDING_ID, 900)
    assert offset > 2
    async with rig(cloud, tmp_path, clock=clock) as one, one.running():
        await one.commit(event("meter", NOON, 1.0), event("plug", NOON, 2.0, "SWITCH_STATE"))
        await one.commit(event("odd", NOON - 7, 3.0), event("late", NOON - 1800, 4.0))
        await until(lambda: len(cloud.events) == 3)
        assert sorted(values(cloud)) == [2.0, 3.0, 4.0]
        await at_rest()
        clock.forward(offset - 1)
        await one.commit(event("plug", NOON + 1, 5.0, "SWITCH_STATE"))
        await until(lambda: len(cloud.events) == 4)
        assert 1.0 not in values(cloud)
        await at_rest()
        clock.forward(1)
        await one.until_sent()


# refusals


async def test_a_refused_event_is_a_dead_letter_once_another_is_accepted(cloud: LocalCloud, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("x", NOW, 1.0), event("meter", NOW, 2.0))
        await one.until_sent()
        (letter,) = await one.outbox.dead_letters(10)
        assert (letter["device_id"], letter["status"]) == ("x", 400)
        assert "deviceId: does not match" in letter["reason"]
        assert values(cloud) == [2.0]
        assert one.uploader.status().buried == 1
    assert sum("for good" in record.getMessage() for record in caplog.records) == 1


async def test_a_refused_event_alone_is_held_and_never_buried(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("x", NOW, 1.0))
        await until(lambda: calls(cloud, LIVE) >= 5)
        stats = await one.outbox.stats()
        assert (stats["waiting"], stats["refused"], stats["dead"]) == (1, 1, 0)


@pytest.mark.parametrize("age", [0, 2 * DAY], ids=["live", "backlog"])
async def test_when_everything_is_refused_the_building_is_the_suspect(
    cloud: LocalCloud, tmp_path: Path, caplog: pytest.LogCaptureFixture, age: int
) -> None:
    caplog.set_level(logging.INFO)
    known = cloud.buildings.pop(BUILDING_ID)
    async with rig(cloud, tmp_path, clock=ScaledClock(100, NOW), settings=UploadSettings(batch_size=50), chance=lambda: 1.0) as one, one.running():
        await one.commit(*(event(f"device-{number % 20}", NOW - age + number, number) for number in range(200)))
        started = one.clock.monotonic()
        await until(lambda: calls(cloud, LIVE) + calls(cloud, HISTORICAL) >= 9)
        assert one.clock.monotonic() - started >= 1 + 2 + 4 + 8 + 16, "one probe per back-off"
        stats = await one.outbox.stats()
        assert (stats["waiting"], stats["dead"]) == (200, 0)
        assert 1 <= stats["refused"] <= 9
        assert f"building {BUILDING_ID}: the cloud refuses its events" in one.uploader.status().state
        assert "unknown building" in one.uploader.status().state
        cloud.buildings[BUILDING_ID] = known
        await one.until_sent()
        assert (await one.outbox.stats())["dead"] == 0
    assert sorted(values(cloud)) == list(range(200))
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("edge_agent")]
    assert sum("stopped" in message for message in messages) == 1
    assert sum("going on" in message for message in messages) == 1


async def test_in_doubt_a_backlog_asks_with_one_event_not_by_halving(cloud: LocalCloud, tmp_path: Path) -> None:
    clock = ScaledClock(100, NOW)
    cloud.now, cloud.error_keys = clock.now, "none"
    cloud.buildings.clear()
    async with rig(cloud, tmp_path, clock=clock, chance=lambda: 1.0) as one, one.running():
        await one.commit(*(event("meter", NOW - 2 * DAY + number, number) for number in range(256)))
        await until(lambda: calls(cloud, HISTORICAL) >= 9 + 5)
    asked = [request for request in cloud.requests if request.path == HISTORICAL][8:]  # 256, 128, ..., 1: then the first suspect is found
    assert [len(json.loads(request.body)) for request in asked] == [1] * len(asked)
    assert all(later.at - earlier.at >= 1 for earlier, later in pairwise(asked))


async def test_a_building_refused_for_long_does_not_make_suspects_of_all_its_events(cloud: LocalCloud, tmp_path: Path) -> None:
    known = cloud.buildings.pop(BUILDING_ID)
    async with rig(cloud, tmp_path, chance=lambda: 0.001) as one, one.running():
        await one.commit(*(event(f"device-{number}", NOW - (number % 2) * DAY, number) for number in range(100)))
        await until(lambda: len(cloud.requests) > 30)
        assert one.uploader.status().suspects == 8
        cloud.buildings[BUILDING_ID] = known
        await one.until_sent()
    assert sorted(values(cloud)) == list(range(100))


async def test_a_suspect_that_was_not_to_blame_is_delivered_after_all(cloud: LocalCloud, tmp_path: Path) -> None:
    seen = iter(range(100))
    cloud.fault = lambda request: Answer(400, {"message": "not now"}) if holds(request, 1.0) and next(seen) < 1 else None
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("a-device", NOW, 1.0), event("b-device", NOW, 2.0))
        await one.until_sent()
        assert (await one.outbox.stats())["dead"] == 0
    assert sorted(values(cloud)) == [1.0, 2.0]


async def test_suspects_are_known_after_a_restart(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("x", NOW, 1.0))
        await until(lambda: one.uploader.status().suspects == 1)
    async with rig(cloud, tmp_path) as one, one.running():
        await until(lambda: one.uploader.status().suspects == 1)
        await one.commit(event("meter", NOW, 2.0))
        await one.until_sent()
        assert [letter["device_id"] for letter in await one.outbox.dead_letters(9)] == ["x"]


async def test_a_dead_letter_put_back_is_sent_again(cloud: LocalCloud, tmp_path: Path) -> None:
    bad = {1.0}
    cloud.fault = lambda request: Answer(400, {"message": "bad"}) if holds(request, *bad) else None
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("a-device", NOW, 1.0), event("b-device", NOW, 2.0))
        await one.until_sent()
        bad.clear()
        assert await one.outbox.retry_dead() == 1
        one.uploader.wake()
        await one.until_sent()
    assert sorted(values(cloud)) == [1.0, 2.0]


@pytest.mark.parametrize("keys", ["index", "field", "none"])
@pytest.mark.parametrize(("count", "bad"), [(500, 0), (500, 317), (500, 499), (37, 5)])
async def test_one_bad_event_is_found_in_two_calls_for_each_halving(cloud: LocalCloud, tmp_path: Path, count: int, bad: int, keys: str) -> None:
    """Each halving asks for both halves; then there is the first call, and the one that buries it because others were accepted."""
    cloud.error_keys = keys
    async with rig(cloud, tmp_path) as one, one.running():
        events = [event(f"device-{number % 50}", NOW - 2 * DAY + number, number) for number in range(count)]
        events[bad] = event("x", NOW - 2 * DAY, bad)
        await one.commit(*events)
        await until(lambda: len(cloud.events) == count - 1, 30)
        await until(lambda: one.uploader.status().suspects + one.uploader.status().buried == 1)
        await one.commit(event("meter", NOW, count))  # where the bad one is the last, nothing was accepted after it
        await one.until_sent()
        (letter,) = await one.outbox.dead_letters(10)
        assert letter["value"] == bad
        assert "deviceId" in letter["reason"] or keys == "none"
    assert sorted(values(cloud)) == [number for number in range(count + 1) if number != bad]
    assert calls(cloud, HISTORICAL) <= (3 if keys == "index" else 2 * math.ceil(math.log2(count)) + 2)


async def test_an_event_that_a_map_names_wrongly_is_not_buried(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = first(1, HISTORICAL, Answer(400, {"0": "the cloud is confused"}))
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(*(event("meter", NOW - 2 * DAY + number, number) for number in range(5)))
        await one.until_sent()
        assert (await one.outbox.stats())["dead"] == 0
    assert sorted(values(cloud)) == list(range(5))


async def test_a_map_that_counts_from_one_costs_one_call_and_no_more(cloud: LocalCloud, tmp_path: Path) -> None:
    """What keys the map has is not documented: after one that did not name the bad event, halving finds it."""

    def counted_from_one(request: Request) -> Fault | None:
        body = json.loads(request.body) if request.path == HISTORICAL else []
        return next((Answer(400, {str(place): "bad"}) for place, one in enumerate(body, 1) if one["deviceId"] == "x"), None)

    cloud.fault = counted_from_one
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(*(event("x" if number == 30 else "meter", NOW - 2 * DAY + number, number) for number in range(100)))
        await until(lambda: len(cloud.events) == 99, 30)
        await one.commit(event("meter", NOW, 100))
        await one.until_sent()
        assert [letter["value"] for letter in await one.outbox.dead_letters(10)] == [30]
    assert calls(cloud, HISTORICAL) <= 2 * math.ceil(math.log2(100)) + 4


async def test_several_bad_events_are_all_found(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.error_keys = "none"
    bad = {3, 4, 77, 99}
    async with rig(cloud, tmp_path, settings=UploadSettings(batch_size=100)) as one, one.running():
        await one.commit(*(event("x" if number in bad else "meter", NOW - 2 * DAY + number, number) for number in range(100)))
        await until(lambda: len(cloud.events) == 96)
        await until(lambda: one.uploader.status().suspects == 1)  # the last one: nothing was accepted after it
        await one.commit(event("meter", NOW, 100))
        await one.until_sent()
        assert {letter["value"] for letter in await one.outbox.dead_letters(10)} == bad
    assert sorted(values(cloud)) == [number for number in range(101) if number not in bad]


async def test_one_bad_event_at_the_end_is_no_reason_to_call_uploads_stopped(
    cloud: LocalCloud, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("meter", NOW, 1.0))
        await one.until_sent()
        await one.commit(event("x", NOW, 2.0))
        await until(lambda: one.uploader.status().suspects == 1)
        await asyncio.sleep(0.2)  # ten seconds of the clock's: time enough for another attempt
        assert calls(cloud, LIVE) == 2
    assert "stopped" not in caplog.text


# too large


async def test_a_batch_that_is_too_large_is_halved_for_good(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.max_batch = 30
    settings = UploadSettings(batch_size=100)
    async with rig(cloud, tmp_path, settings=settings) as one, one.running():
        await one.commit(*(event("meter", NOW - 2 * DAY + number, number) for number in range(250)))
        await one.until_sent()
        assert one.uploader.status().batch_size == 25
    assert values(cloud) == list(range(250))
    asked = len(cloud.requests)
    async with rig(cloud, tmp_path, settings=settings) as one, one.running():
        await one.commit(*(event("meter", NOW - 2 * DAY + number, number) for number in range(50)))
        await one.until_sent()
    sizes = [len(json.loads(request.body)) for request in cloud.requests[asked:] if request.path == HISTORICAL]
    assert sizes == [25, 25]


async def test_a_single_event_that_is_too_large_is_a_suspect_like_a_refused_one(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Answer(413) if holds(request, 1.0) else None
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("a-device", NOW, 1.0), event("b-device", NOW, 2.0))
        await one.until_sent()
        assert [letter["status"] for letter in await one.outbox.dead_letters(9)] == [413]


# failures


@pytest.mark.parametrize("age", [0, 2 * DAY], ids=["live", "backlog"])
async def test_what_may_have_arrived_is_sent_again_with_the_same_bytes(cloud: LocalCloud, tmp_path: Path, age: int) -> None:
    path = HISTORICAL if age else LIVE
    cloud.fault = first(2, path, Answer(500, stored=3) if age else Drop(after_storing=True))
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(*(event("meter", NOW - age + number, number / 7) for number in range(5 if age else 1)))
        await one.until_sent()
    bodies = [request.body for request in cloud.requests if request.path == path]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1


async def test_a_batch_in_doubt_is_resent_with_the_same_bytes_after_a_restart_too(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Drop(after_storing=True) if request.path == HISTORICAL else None
    settings = UploadSettings(batch_size=20)
    async with rig(cloud, tmp_path, settings=settings) as one, one.running():
        await one.commit(*(event(f"device-{number % 3}", NOW - 2 * DAY + number, number / 7) for number in range(50)))
        await until(lambda: calls(cloud, HISTORICAL) >= 2)
    cloud.fault = lambda request: None
    async with rig(cloud, tmp_path, settings=settings) as one, one.running():
        await one.until_sent()
        doubled = (await one.outbox.stats())["possibly_doubled"]
    bodies = [request.body for request in cloud.requests if request.path == HISTORICAL]
    in_doubt = len(bodies) - 3
    assert in_doubt >= 2
    assert len(set(bodies[: in_doubt + 1])) == 1
    assert (len(cloud.received()) - 50, doubled) == (20 * in_doubt, 20 * in_doubt)


async def test_an_event_that_always_fails_steps_behind_and_is_not_lost(cloud: LocalCloud, tmp_path: Path) -> None:
    broken = {1.0}
    cloud.fault = lambda request: Answer(500) if holds(request, *broken) else None
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("a-device", NOW, 1.0), event("a-device", NOW + 1, 2.0), *(event("b-device", NOW, number) for number in range(10, 30)))
        await until(lambda: len(cloud.events) == 21)
        await until(lambda: one.uploader.status().failing == 1)
        async with asyncio.timeout(30):
            while len(await one.outbox.waiting(10)) > 1:  # what was accepted is settled in groups
                await asyncio.sleep(0.01)
        (waiting,) = await one.outbox.waiting(10)
        assert (waiting["value"], waiting["state"]) == (1.0, "failing")
        assert "500" in waiting["reason"]
        assert one.uploader.status().state == "running"
        broken.clear()
        await one.until_sent()
        assert (await one.outbox.stats())["dead"] == 0
    assert values(cloud)[-1] == 1.0


async def test_an_event_that_fails_alone_in_its_series_blocks_it_no_longer_than_some_attempts(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Answer(500) if holds(request, 1.0) else None
    async with rig(cloud, tmp_path, clock=ScaledClock(500, NOW)) as one, one.running():
        await one.commit(event("a-device", NOW, 1.0), event("a-device", NOW + 1, 2.0))
        await until(lambda: values(cloud) == [2.0], 20)
        assert one.clock.now() - NOW < HOUR, "not only because it was promoted when it had aged"


async def test_a_short_outage_with_500s_changes_no_order(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = first(5, LIVE, Answer(500))
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(*(event(f"device-{number % 2}", NOW, number) for number in range(10)))
        await one.until_sent()
    for device in ("device-0", "device-1"):
        numbers = [received["value"] for received in cloud.received() if received["deviceId"] == device]
        assert numbers == sorted(numbers)


async def test_a_failing_event_in_the_backlog_is_found_and_the_others_delivered(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Answer(500) if holds(request, 13.0) else None
    async with rig(cloud, tmp_path, clock=ScaledClock(500, NOW), settings=UploadSettings(batch_size=64)) as one, one.running():
        await one.commit(*(event("meter", NOW - 3 * DAY + number, number) for number in range(200)))
        await until(lambda: len(cloud.events) == 199, 20)
        await until(lambda: one.uploader.status().failing == 1)
    assert sorted(values(cloud)) == [number for number in range(200) if number != 13]


async def test_refused_credentials_hold_the_queue_in_words(cloud: LocalCloud, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    account = MoostAccount(cloud.url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, "not-the-secret")
    async with rig(cloud, tmp_path, account=account) as one, one.running():
        await one.commit(event("meter", NOW, 1.0))
        await until(lambda: "credentials are refused" in one.uploader.status().state)
        status = one.uploader.status()
        assert status.next_try_at is not None
        assert (await one.outbox.stats())["waiting"] == 1
    assert sum("stopped" in record.getMessage() for record in caplog.records) == 1
    assert "not-the-secret" not in caplog.text


async def test_a_corrected_building_id_mends_the_backlog_too(cloud: LocalCloud, tmp_path: Path) -> None:
    wrong = MoostAccount(cloud.url, CUSTOMER_ID, "typo", CLIENT_ID, CLIENT_SECRET)
    async with rig(cloud, tmp_path, account=wrong) as one, one.running():
        await one.commit(*(event(f"device-{number}", NOW, number) for number in range(10)))
        await until(lambda: calls(cloud, LIVE) >= 3)
    async with rig(cloud, tmp_path) as one, one.running():
        await one.until_sent()
        assert (await one.outbox.stats())["dead"] == 0
    assert sorted(values(cloud)) == list(range(10))


async def test_retry_after_is_honoured(cloud: LocalCloud, tmp_path: Path) -> None:
    clock = ScaledClock(100, NOW)
    cloud.now = clock.now
    cloud.fault = first(1, LIVE, Answer(429, headers={"Retry-After": "60"}))
    async with rig(cloud, tmp_path, clock=clock) as one, one.running():
        await one.commit(*(event(f"device-{number}", NOW, number) for number in range(1)))
        await one.until_sent()
    asked = [request.at for request in cloud.requests if request.path == LIVE]
    assert 60 <= asked[1] - asked[0] < 90


async def test_in_doubt_another_device_is_asked_with(cloud: LocalCloud, tmp_path: Path) -> None:
    kinds = ["ENERGY_CONSUMPTION", "ENERGY_IMPORT", "ENERGY_EXPORT", "POWER_CONSUMPTION", "TEMPERATURE", "WATER_TEMPERATURE"]
    cloud.fault = lambda request: Slow(0.05)  # all four calls are under way before the first answer
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(*(event("x", NOW, 1.0, kind) for kind in kinds), event("meter", NOW, 2.0))
        await until(lambda: bool(cloud.events))
    devices = [json.loads(request.body)["deviceId"] for request in cloud.requests if request.path == LIVE]
    assert devices[:5] == ["x", "x", "x", "x", "meter"]


async def test_in_doubt_only_one_call_asks(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Answer(503)
    async with rig(cloud, tmp_path, chance=lambda: 1.0) as one, one.running():
        await one.commit(*(event(f"device-{number}", NOW, number) for number in range(50)))
        started = one.clock.monotonic()
        await until(lambda: len(cloud.requests) >= 8)
        assert one.clock.monotonic() - started >= 1 + 2 + 4


async def test_uploads_go_on_within_two_seconds_of_the_clouds_return(cloud: LocalCloud, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with rig(cloud, tmp_path, clock=ScaledClock(10, NOW), chance=lambda: 1.0) as one, one.running():
        cloud.stop()
        await one.commit(*(event("meter", NOW + number, number) for number in range(10)))
        status = one.uploader.status
        for _ in range(6):  # the pause between two attempts does not grow beyond that
            await until(lambda: status().next_try_at is not None)
            planned = status().next_try_at or 0.0
            assert planned - status().at <= 2.0
            await until(lambda: (status().next_try_at or 0.0) > planned + 0.4)  # noqa: B023
        cloud.start()
        await one.until_sent()
        assert one.uploader.status().state == "running"
    assert values(cloud) == list(range(10))
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("edge_agent.uplink")]
    assert len(messages) == 2
    assert "uploads: stopped: " in messages[0]
    assert "cannot be reached" in messages[0]
    assert "uploads: going on after" in messages[1]


async def test_an_accepted_event_is_not_sent_again_because_the_queue_could_not_be_written(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("meter", NOW, 1.0))
        await one.until_sent()
        cloud.fault = lambda request: Slow(0.3)
        await one.commit(event("meter", NOW, 2.0))
        await until(lambda: calls(cloud, LIVE) == 2)
        await one.outbox.call(lambda queue: queue._db.execute("PRAGMA query_only=1"))
        await until(lambda: "cannot be written" in one.uploader.status().state)
        await one.outbox.call(lambda queue: queue._db.execute("PRAGMA query_only=0"))
        await one.until_sent()
        await until(lambda: one.uploader.status().state == "running")
        assert (await one.outbox.stats())["accepted_live"] == 2
    assert values(cloud) == [1.0, 2.0]


@pytest.mark.parametrize("age", [0, 2 * DAY], ids=["live", "backlog"])
async def test_an_event_that_cannot_be_written_is_a_dead_letter_and_the_others_go(cloud: LocalCloud, tmp_path: Path, age: int) -> None:
    async with rig(cloud, tmp_path) as one:
        await one.commit(*(event("meter", NOW - age + number, number) for number in range(6)))
        await one.outbox.call(lambda queue: queue._db.execute("UPDATE events SET value = 9e999 WHERE value IN (1, 4)"))
        await one.outbox.call(lambda queue: queue._db.execute("UPDATE events SET value = x'00' WHERE value = 2"))
        async with one.running():
            await one.until_sent()
        letters = {letter["at"]: letter["reason"] for letter in await one.outbox.dead_letters(10)}
    assert sorted(values(cloud)) == [0, 3, 5]
    assert sorted(letters) == [NOW - age + number for number in (1, 2, 4)]
    assert letters[int(NOW - age + 1)] == "meter ENERGY_CONSUMPTION: inf is no JSON number"


# what people hear


async def test_a_type_that_is_refused_again_and_again_is_said_once(cloud: LocalCloud, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fault(request: Request) -> Fault | None:
        return Answer(400, {"message": f"no {request.body!r}"}) if b"SWITCH_STATE" in request.body and refusing else None

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if "for good" in record.getMessage()]

    refusing = True
    cloud.fault = fault
    async with rig(cloud, tmp_path) as one, one.running():
        for number in range(5):
            await one.commit(event("plug", NOW + number, 0.5 * number, "SWITCH_STATE"))
            await until(lambda: one.uploader.status().suspects == 1)
            await one.commit(event("meter", NOW + number, number))  # accepted after the refusal, which shows that the building is known
            await one.until_sent()
        assert len(lines()) == 1
        assert one.uploader.status().buried == 5
        assert "plug SWITCH_STATE of 20" in lines()[0]
        refusing = False
        await one.commit(event("plug", NOW + 9, 9.0, "SWITCH_STATE"))
        await until(lambda: len(lines()) == 2)
        assert "5 SWITCH_STATE of plug were refused for good in all" in lines()[1]


# stopping


@pytest.mark.parametrize(("finish_s", "left"), [(10.0, 0), (0.05, 3)])
async def test_a_batch_under_way_is_settled_when_the_stop_has_the_time(cloud: LocalCloud, tmp_path: Path, finish_s: float, left: int) -> None:
    cloud.fault = lambda request: Slow(2.5) if request.path == HISTORICAL else None
    async with rig(cloud, tmp_path, patience=Patience(batch_s=20.0)) as one:
        one.uploader.finish_s = finish_s
        async with one.running():
            await one.commit(*(event("meter", NOW - 2 * DAY + number, number) for number in range(3)))
            await until(lambda: calls(cloud, HISTORICAL) == 1)
        assert (await one.outbox.stats())["waiting"] == left


async def test_a_stop_that_waits_can_be_cut_short(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(15.0) if request.path == LIVE else None
    async with rig(cloud, tmp_path, patience=Patience()) as one:
        one.uploader.finish_s = 60.0
        stop = asyncio.Event()
        task = asyncio.create_task(one.uploader.run(stop))
        await one.commit(event("meter", NOW, 1.0))
        await until(lambda: calls(cloud, LIVE) == 1)
        stop.set()
        await at_rest()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not [other for other in asyncio.all_tasks() if other.get_name().startswith("upload")]
        assert one.uploader.status().in_flight == 0


async def test_what_could_not_be_settled_is_settled_at_the_stop(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(0.3) if request.path == LIVE else None
    async with rig(cloud, tmp_path, chance=lambda: 1.0, clock=ScaledClock(0.1, NOW)) as one:
        async with one.running():
            await one.commit(event("meter", NOW, 1.0))
            await until(lambda: calls(cloud, LIVE) == 1)
            await one.outbox.call(lambda queue: queue._db.execute("PRAGMA query_only=1"))
            await until(lambda: "cannot be written" in one.uploader.status().state)
            await one.outbox.call(lambda queue: queue._db.execute("PRAGMA query_only=0"))
        stats = await one.outbox.stats()
        assert (stats["waiting"], stats["accepted_live"]) == (0, 1)


async def test_a_stop_lets_what_is_under_way_be_settled(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(1.5) if request.path == LIVE else None
    async with rig(cloud, tmp_path) as one:
        one.uploader.finish_s = 30.0
        async with one.running():
            await one.commit(event("meter", NOW, 1.0), event("meter", NOW, 2.0))
            await until(lambda: calls(cloud, LIVE) == 1)
        assert (await one.outbox.stats())["waiting"] == 1
    assert values(cloud) == [1.0]


async def test_a_stop_does_not_wait_for_a_cloud_that_is_silent(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(60) if request.path == LIVE else None
    async with rig(cloud, tmp_path, patience=Patience()) as one:
        async with one.running():
            await one.commit(event("meter", NOW, 1.0))
            await until(lambda: calls(cloud, LIVE) == 1)
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 15
        assert (await one.outbox.stats())["waiting"] == 1


async def test_the_status_tells_people_how_it_stands(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one, one.running():
        status = one.uploader.status()
        assert (status.state, status.accepted_at, status.next_try_at, status.in_flight) == ("running", None, None, 0)
        await one.commit(event("meter", NOW, 1.0), event("meter", NOW - 2 * DAY, 2.0))
        await until(lambda: one.uploader.status().accepted_live + one.uploader.status().accepted_historical == 2)
        status = one.uploader.status()
        assert status.accepted_at is not None
        assert status.accepted_at >= NOW
        assert (status.accepted_live, status.accepted_historical) == (1, 1)


# everything at once

FAULTS: list[Fault | None] = [
    *[None] * 12,
    Answer(500),
    Answer(502, b"<html>bad gateway</html>"),
    Answer(500, stored=2),
    Answer(429, headers={"Retry-After": "1"}),
    Answer(200, b"<html>sign in</html>"),
    Answer(201, b"<html>sign in</html>"),
    Answer(302, headers={"Location": "/login"}),
    Answer(401),
    Answer(400, {"message": "the cloud has a bad day"}),
    Drop(),
    Drop(after_storing=True),
]


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_fails_everything_arrives_and_nothing_is_buried_unheard(cloud: LocalCloud, tmp_path: Path, seed: int) -> None:
    """Random faults for a while: in the end each event has arrived or is a dead letter, and repetitions are no more than the faults explain."""
    chance = random.Random(seed)
    doubles = 0
    raging = True

    def fault(request: Request) -> Fault | None:
        nonlocal doubles
        chosen = chance.choice(FAULTS) if raging else None
        if isinstance(chosen, Answer) and chosen.stored:
            chosen = Answer(chosen.status, stored=chosen.stored) if request.path == HISTORICAL else Answer(500)
        if isinstance(chosen, Drop) and chosen.after_storing or isinstance(chosen, Answer) and chosen.stored:
            doubles += 20
        return chosen

    events: list[Event] = []
    async with rig(cloud, tmp_path, clock=ScaledClock(1000, NOW), settings=UploadSettings(batch_size=20)) as one, one.running():
        cloud.fault = fault
        for number in range(40):
            ages = [chance.choice([0, 0, 2 * DAY]) for _ in range(chance.randrange(8))]
            batch = [event(f"device-{chance.randrange(6)}", NOW - age, number * 10 + place) for place, age in enumerate(ages)]
            events += batch
            await one.commit(*batch)
            await asyncio.sleep(chance.uniform(0, 0.05))
        raging = False
        events.append(event("device-0", NOW, 1e6))  # should the last one be a suspect: it waits for another to be accepted
        await one.commit(events[-1])
        await one.until_sent()
        dead = {letter["value"] for letter in await one.outbox.dead_letters(1000)}
        counted = (await one.outbox.stats())["possibly_doubled"]
    committed, arrived = {one.value for one in events}, values(cloud)
    assert set(arrived) | dead == committed
    assert len(arrived) - len(set(arrived)) <= min(doubles, counted)
    assert all(math.isfinite(value) for value in arrived)
