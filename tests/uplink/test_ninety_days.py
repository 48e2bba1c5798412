"""Ninety days without the internet in a house of 60 points: half a million events, in the memory that an hour's takes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Queue
from tests.conftest import free_port

DAYS, POINTS, INTERVAL_S = 90, 60, 900
EVENTS = DAYS * 86400 // INTERVAL_S * POINTS
KINDS = ("ENERGY_CONSUMPTION", "POWER_CONSUMPTION")

SINK = Path(__file__).parents[1] / "benchmarks" / "sink.py"

_UPLOADER = """
import asyncio, sys
from pathlib import Path
from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID
from edge_agent.model.clock import SystemClock
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.settings import MoostAccount
from edge_agent.uplink.spread import BacklogStart
from edge_agent.uplink.uploader import Uploader
from edge_agent.uplink.settings import UploadSettings

async def main(path, url):
    outbox = await Outbox.open(Path(path))
    client = MoostClient(MoostAccount(url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, CLIENT_SECRET), SystemClock())
    uploader = Uploader(outbox, client, UploadSettings(), SystemClock(), 900, start=BacklogStart(lambda: 0.0))
    stop = asyncio.Event()
    uploading = asyncio.create_task(uploader.run(stop))
    while uploader.status().stopped_at is None and not uploader.status().accepted_live:
        await asyncio.sleep(0.05)
    print("stopped" if uploader.status().stopped_at else "running", flush=True)
    while (await outbox.stats())["waiting"]:
        await asyncio.sleep(0.5)
    stop.set()
    await uploading
    await client.close()
    await outbox.close()
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def fill(path: Path, intervals: int) -> None:
    newest = int(time.time()) // INTERVAL_S * INTERVAL_S - INTERVAL_S
    queue = Queue(path)
    for first in range(0, intervals, 96):
        slots = range(first, min(intervals, first + 96))
        at = {slot: newest - (intervals - 1 - slot) * INTERVAL_S for slot in slots}
        points = [(f"device-{number // 2}", KINDS[number % 2]) for number in range(POINTS)]
        queue.put([Event(device, device, "SMART_METER", kind, 123.456, at[slot]) for slot in slots for device, kind in points], {})
    queue.close()


def deliver(path: Path) -> tuple[dict[str, object], int]:
    """What the cloud saw when it came back after the upload had begun, and the most memory that the process took, in kB."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-c", _UPLOADER, str(path), url], stdout=subprocess.PIPE, text=True) as uploader:
        assert uploader.stdout is not None
        try:
            assert uploader.stdout.readline() == "stopped\n"
            with subprocess.Popen([sys.executable, str(SINK), str(port)], stdout=subprocess.DEVNULL) as sink:
                try:
                    peak_kb = int(uploader.stdout.readline())
                    report: dict[str, object] = json.load(urllib.request.urlopen(f"{url}/report", timeout=10))
                finally:
                    sink.kill()
        finally:
            uploader.kill()
    return report, peak_kb


def test_ninety_days_leave_in_order_and_take_no_more_memory_than_an_hour(tmp_path: Path) -> None:
    fill(tmp_path / "hour.db", 4)
    _, little_kb = deliver(tmp_path / "hour.db")
    fill(tmp_path / "days.db", EVENTS // POINTS)
    report, peak_kb = deliver(tmp_path / "days.db")
    assert report["first"] == "/events/v1", "what is newest goes first"
    assert report["disorder"] == 0, "the backlog goes oldest first"
    assert isinstance(report["live"], int)
    assert isinstance(report["historical"], int)
    assert report["live"] + report["historical"] == EVENTS == 518_400
    assert report["live"] <= 5 * POINTS
    assert peak_kb < little_kb + 6 * 1024, f"{little_kb} kB for an hour, {peak_kb} kB for ninety days"
