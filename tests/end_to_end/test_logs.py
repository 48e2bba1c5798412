"""A running agent's log: one line when something breaks, nothing repeated with every poll."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter

from edge_agent.demo.cloud import LocalCloud
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, energies, meter
from tests.simulators import RegisterServer

DEAD = '{id: battery, name: Battery, profile: sma-sunny-island, connection: "tcp://127.0.0.1:1"}'


async def test_json_log_tells_each_trouble_once(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server), DEAD])
    with gateway.log.open("ab") as log:
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edge_agent", "run", "--log-format", "json", "--config", str(gateway.site)),
            stdout=log,
            stderr=log,
            env=dict(os.environ),
        )
    try:
        await until(lambda: len(energies(cloud, "grid-meter")) >= 3, 60)
    finally:
        agent.terminate()
        await agent.wait()
    lines = [json.loads(line) for line in gateway.logged.splitlines()]
    assert {"at", "level", "priority", "part", "message", "template", "values"} <= lines[0].keys()
    assert sum(line["message"].startswith("battery:") for line in lines) == 1
    repeated = {message: count for message, count in Counter(line["message"] for line in lines).items() if count > 1}
    assert repeated == {}
