"""How fast a backlog leaves: from SQLite to acknowledged, beside the straight line at the same batch size.

Usage: backfill.py [--events 100000] [--batch 500] [--rounds 3]

Both read the same events from the same kind of file and post them to the same sink in another process, which
parses each body and answers as the platform does. The straight line selects rows, joins ready JSON and posts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID
from edge_agent.model.clock import SystemClock
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.settings import MoostAccount, UploadSettings
from edge_agent.uplink.spread import BacklogStart
from edge_agent.uplink.uploader import Uploader

SINK = Path(__file__).with_name("sink.py")


def backlog(count: int) -> list[Event]:
    """Energy and power of 30 points, a day old and older."""
    newest = int(time.time()) // 900 * 900 - 90_000
    kinds = (("ENERGY_CONSUMPTION", 123.456), ("POWER_CONSUMPTION", 1234.5))
    return [
        Event(f"device-{number % 30}", f"Device {number % 30}", "ENERGY_MEASUREMENT", *kinds[number // 30 % 2], newest - (count - number) // 60 * 900)
        for number in range(count)
    ]


async def agent(folder: Path, url: str, events: list[Event], batch: int) -> float:
    """Events a second through the agent's outbox and uploader."""
    outbox = await Outbox.open(folder / "agent.db")
    await outbox.commit(events, {})
    client = MoostClient(MoostAccount(url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, CLIENT_SECRET), SystemClock())
    uploader = Uploader(outbox, client, UploadSettings(batch_size=batch), SystemClock(), 900, start=BacklogStart(lambda: 0.0))
    stop, began = asyncio.Event(), time.perf_counter()
    sending = asyncio.create_task(uploader.run(stop))
    while (await outbox.stats())["waiting"]:
        await asyncio.sleep(0.02)
    wall = time.perf_counter() - began
    stop.set()
    await sending
    await client.close()
    await outbox.close()
    return len(events) / wall


async def straight_line(folder: Path, url: str, events: list[Event], batch: int) -> float:
    """Events a second through the shortest way: rows of ready JSON, joined and posted."""
    database = sqlite3.connect(folder / "line.db", isolation_level=None)
    database.executescript("pragma journal_mode=wal; pragma synchronous=full; create table events(seq integer primary key, body text)")
    ids = {"customerId": CUSTOMER_ID, "customerBuildingId": BUILDING_ID}
    bodies = [
        json.dumps({**ids, "deviceId": one.device_id, "deviceName": one.device_name, "source": one.source, "type": one.type, "value": one.value,
                    "timestamp": one.at})
        for one in events
    ]  # fmt: skip
    database.execute("begin")
    database.executemany("insert into events(body) values(?)", [(body,) for body in bodies])
    database.execute("commit")
    async with httpx.AsyncClient(headers={"Content-Type": "application/json"}) as cloud:
        began = time.perf_counter()
        while rows := database.execute("select seq, body from events order by seq limit ?", (batch,)).fetchall():
            (await cloud.post(f"{url}/events/historical/v1", content="[" + ",".join(row[1] for row in rows) + "]")).raise_for_status()
            database.execute("delete from events where seq <= ?", (rows[-1][0],))
        wall = time.perf_counter() - began
    database.close()
    return len(events) / wall


def main() -> None:
    """Runs the two in turn and prints medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    events = backlog(options.events)
    sink = subprocess.Popen([sys.executable, str(SINK)], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    url = f"http://127.0.0.1:{sink.stdout.readline().strip()}"
    rates: dict[str, list[float]] = {"straight line": [], "edge-agent": []}
    try:
        for _ in range(options.rounds):
            for name, run in (("straight line", straight_line), ("edge-agent", agent)):
                with tempfile.TemporaryDirectory(prefix="backfill-") as folder:
                    rates[name].append(asyncio.run(run(Path(folder), url, events, options.batch)))
    finally:
        sink.terminate()
        sink.wait()
    for name, measured in rates.items():
        print(f"{name:16} {statistics.median(measured):>12,.0f} events/s")
    print(f"{'ratio':16} {statistics.median(rates['edge-agent']) / statistics.median(rates['straight line']):>12.2f}")


if __name__ == "__main__":
    main()
