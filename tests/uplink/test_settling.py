"""What the cloud has accepted leaves the queue in groups: few transactions, and never more in doubt than one batch."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_agent.demo.cloud import LocalCloud, Slow
from edge_agent.model.clock import ScaledClock
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.queue import Queue
from edge_agent.uplink.client import Patience
from edge_agent.uplink.settings import UploadSettings
from tests.conftest import until
from tests.uplink.rig import NOW, event, rig

PATIENT = Patience(connect_s=60, answer_s=60, batch_s=60)


async def traced(outbox: Outbox) -> list[str]:
    """The statements that the queue's file sees from now on."""
    seen: list[str] = []
    await outbox.call(lambda queue: queue._db.set_trace_callback(seen.append))
    return seen


def writes(seen: list[str]) -> int:
    """Transactions that took something out."""
    return sum("accepted_live" in statement for statement in seen)


async def test_an_intervals_live_events_leave_the_queue_in_a_few_transactions(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one:
        await one.commit(*(event(f"device-{number}", NOW, number) for number in range(180)))
        seen = await traced(one.outbox)
        async with one.running():
            await one.until_sent()
        assert len(cloud.received("live")) == 180
        assert (await one.outbox.stats())["accepted_live"] == 180
        elapsed_s = one.clock.now() - NOW
        assert writes(seen) <= 180 / 100 + elapsed_s / 2 + 1


async def test_a_group_is_settled_within_seconds_though_more_is_under_way(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(50.0) if b"slow" in request.body else None
    async with rig(cloud, tmp_path, clock=ScaledClock(10, NOW), patience=PATIENT) as one:
        await one.commit(event("slow-1", NOW), event("fast-1", NOW), event("fast-2", NOW))
        async with one.running():
            async with asyncio.timeout(30):
                while (await one.outbox.stats())["accepted_live"] < 2:
                    await asyncio.sleep(0.01)
            assert one.uploader.status().in_flight == 1
            one.uploader.finish_s = 0.0


@pytest.mark.parametrize("batch_size", [1, 5, 20])
async def test_never_more_than_a_batch_is_with_the_cloud_and_still_in_the_queue(cloud: LocalCloud, tmp_path: Path, batch_size: int) -> None:
    async with rig(cloud, tmp_path, clock=ScaledClock(1, NOW), settings=UploadSettings(batch_size=batch_size)) as one:
        await one.commit(*(event(f"device-{number}", NOW, number) for number in range(60)))
        most = 0
        async with one.running(), asyncio.timeout(60):
            while stored := (await one.outbox.stats())["waiting"]:
                most = max(most, len(cloud.received()) - (60 - stored))
                await asyncio.sleep(0.001)
        assert most <= max(batch_size, 4 + 1)


async def test_live_events_do_not_gather_beside_a_batch_that_is_under_way(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(50.0) if "historical" in request.path else None
    settings = UploadSettings(batch_size=20)
    async with rig(cloud, tmp_path, clock=ScaledClock(0.001, NOW), settings=settings, patience=PATIENT) as one:
        one.uploader.finish_s = 0.0
        await one.commit(*(event("old", NOW - 9000 + number, number) for number in range(21)))  # the newest goes live
        async with one.running(), asyncio.timeout(45):
            while not any("historical" in request.path for request in cloud.requests):
                await asyncio.sleep(0.01)
            await one.commit(*(event(f"device-{number}", NOW, number) for number in range(30)))
            while len(cloud.received("live")) < 31:
                await asyncio.sleep(0.01)
                unsettled = len(cloud.received("live")) - (await one.outbox.stats())["accepted_live"]
                assert unsettled <= 4 + 1, "with the batch that is under way more than one could come twice"


def refuse(queue: Queue) -> None:
    """Nothing can be taken out any more."""
    queue._db.execute("CREATE TEMP TRIGGER refuse BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'not now'); END")


async def test_what_could_not_be_settled_is_settled_later_and_not_sent_again(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one:
        await one.commit(*(event(f"device-{number}", NOW, number) for number in range(10)))
        await one.outbox.call(refuse)
        async with one.running():
            await until(lambda: "not now" in one.uploader.status().state)
            assert (await one.outbox.stats())["waiting"] == 10
            await one.outbox.call(lambda queue: queue._db.execute("DROP TRIGGER refuse"))
            await one.until_sent()
        assert len(cloud.received()) == 10
        assert (await one.outbox.stats())["accepted_live"] == 10


async def test_nothing_is_sent_while_it_could_not_be_noted_that_something_is_under_way(cloud: LocalCloud, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path) as one:
        await one.commit(event("device-1", NOW), event("device-2", NOW - 2 * 86400))
        await one.outbox.call(lambda queue: queue._db.execute("PRAGMA query_only=1"))
        async with one.running():
            await until(lambda: "cannot be written" in one.uploader.status().state)
            assert not [request for request in cloud.requests if request.path.startswith("/events")]
            await one.outbox.call(lambda queue: queue._db.execute("PRAGMA query_only=0"))
            await one.until_sent()
    assert sorted(received["deviceId"] for received in cloud.received()) == ["device-1", "device-2"]


async def test_the_stop_settles_what_waits_for_its_group(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Slow(50.0) if b"slow" in request.body else None
    async with rig(cloud, tmp_path, clock=ScaledClock(0.001, NOW), patience=PATIENT) as one:
        await one.commit(event("slow-1", NOW), event("fast-1", NOW), event("fast-2", NOW))
        async with one.running():
            await until(lambda: len(cloud.received()) == 2)
            one.uploader.finish_s = 0.2
        stats = await one.outbox.stats()
        assert (stats["waiting"], stats["accepted_live"]) == (1, 2)


async def test_a_queue_that_cannot_be_written_at_the_stop_is_said(cloud: LocalCloud, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with rig(cloud, tmp_path, clock=ScaledClock(0.001, NOW), patience=PATIENT) as one:
        await one.commit(event("device-1", NOW))
        await one.outbox.call(refuse)
        async with one.running():
            await until(lambda: len(cloud.received()) == 1)
        assert (await one.outbox.stats())["waiting"] == 1
    assert "1 events that the cloud has are still in the queue and go again" in caplog.text
