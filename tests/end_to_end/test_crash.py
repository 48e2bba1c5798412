"""The agent killed inside its work on the queue: state and events go together, so no interval is lost and none comes twice."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from edge_agent.demo.cloud import Answer, LocalCloud
from edge_agent.outbox.queue import Queue
from tests.end_to_end.gateway import SDM630, Gateway, meter
from tests.simulators import RegisterServer, serving

SPEED = 60
INTERVAL_S = 60
POWER_W = 7200.0
KILLS = 6
DEVICES = ("grid-meter", "household")
# An agent on a fast clock, killed before the n-th statement of SQLite from the first event on that is put in.
PROGRAM = """
import asyncio, os, signal, sys, time
from pathlib import Path
from edge_agent.agent import run_agent
from edge_agent.model.clock import ScaledClock
from edge_agent.outbox import queue

speed, began, kill_at, site = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
statements, connect = 0, queue.connect

def count(statement):
    global statements
    statements += bool(statements) or statement.startswith("INSERT INTO events")
    if statements == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

def connected(path):
    db = connect(path)
    db.set_trace_callback(count)
    return db

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_agent(site, ScaledClock(speed, began + (time.time() - began) * speed), stop)

queue.connect = connected
asyncio.run(main())
"""


async def count_up(server: RegisterServer, began: float) -> None:
    await server.put(1, "input", 52, POWER_W, "f32")
    while True:
        await server.put(1, "input", 72, (time.time() - began) * SPEED * POWER_W / 3.6e6, "f32")
        await asyncio.sleep(0.01)


def queued(database: Path) -> dict[str, dict[int, float]]:
    """The energies that wait, by device and end. Fails when one is there twice."""
    with Queue.opened(database) as queue:
        found = [(event["device_id"], event["at"], event["value"]) for event in queue.waiting(100_000) if event["type"] == "ENERGY_CONSUMPTION"]
    assert [event for event, times in Counter(event[:2] for event in found).items() if times > 1] == [], "an interval is there twice"
    return {device: {at: value for one, at, value in found if one == device} for device in DEVICES}


async def test_kill_at_any_statement_loses_no_interval_and_doubles_none(gateway: Gateway, cloud: LocalCloud) -> None:
    cloud.fault = lambda request: Answer(503)
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    began = time.time()
    async with serving({1: SDM630}) as server:
        counting = asyncio.create_task(count_up(server, began))
        gateway.write_site([meter(server)], reporting=f"{{interval: {INTERVAL_S}s, poll_interval: 60s}}")
        for _ in range(KILLS):
            await gateway.start(program=("-c", PROGRAM, str(SPEED), str(began), str(chance.randint(1, 60))))
            assert gateway.process is not None
            async with asyncio.timeout(60):
                assert await gateway.process.wait() == -signal.SIGKILL, gateway.logged
            queued(gateway.folder / "state/edge-agent.db")
        counting.cancel()
    for energies in queued(gateway.folder / "state/edge-agent.db").values():
        ends = sorted(energies)
        assert len(ends) > KILLS / 2
        assert ends == list(range(ends[0], ends[-1] + INTERVAL_S, INTERVAL_S)), "an interval is missing"
        assert sum(energies.values()) == pytest.approx(len(ends) * POWER_W * INTERVAL_S / 3600, rel=0.03)
