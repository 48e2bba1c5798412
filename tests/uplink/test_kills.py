"""A process killed while it uploads: everything committed arrives, and little of it twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.demo.cloud import LocalCloud
from edge_agent.uplink.client import CONNECTIONS
from edge_agent.uplink.settings import UploadSettings
from tests.uplink.rig import NOW, event, rig

BATCH = 20
_UPLOADER = """
import asyncio, sys
from pathlib import Path
from edge_agent.model.clock import ScaledClock
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.settings import MoostAccount
from edge_agent.uplink.spread import BacklogStart
from edge_agent.uplink.client import CONNECTIONS
from edge_agent.uplink.uploader import Uploader
from edge_agent.uplink.settings import UploadSettings
from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID

async def main(path, url, now, batch):
    clock = ScaledClock(50, float(now))
    outbox = await Outbox.open(Path(path))
    client = MoostClient(MoostAccount(url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, CLIENT_SECRET), clock)
    await Uploader(outbox, client, UploadSettings(batch_size=int(batch)), clock, 900, start=BacklogStart(lambda: 0.0)).run(asyncio.Event())

asyncio.run(main(*sys.argv[1:]))
"""


def _more_than(count: int) -> Callable[[LocalCloud], bool]:
    return lambda cloud: len(cloud.events) > count


@pytest.mark.parametrize("age", [0, 2 * 86400], ids=["live", "backlog"])
async def test_a_kill_while_uploading_loses_nothing_and_doubles_at_most_what_was_under_way(cloud: LocalCloud, tmp_path: Path, age: int) -> None:
    settings, count, kills = UploadSettings(batch_size=BATCH), 400, 3
    async with rig(cloud, tmp_path, settings=settings) as one:
        await one.outbox.commit([event(f"device-{number % 10}", NOW - age + number, number) for number in range(count)], {})
    for kill in range(1, kills + 1):
        arguments = [str(tmp_path / "queue.db"), cloud.url, str(NOW), str(BATCH)]
        with subprocess.Popen([sys.executable, "-c", _UPLOADER, *arguments]) as process:
            assert cloud.wait_for(_more_than(kill * 100))
            process.send_signal(signal.SIGKILL)
    async with rig(cloud, tmp_path, settings=settings) as one, one.running():
        await one.until_sent()
        counted = (await one.outbox.stats())["possibly_doubled"]
    arrived = [received["value"] for received in cloud.received()]
    assert set(arrived) == set(range(count))
    assert len(arrived) - count <= counted <= kills * (BATCH + CONNECTIONS)
