"""A simulated house and its cloud inside a booted machine, on fixed ports of the loopback interface.

Runs there with the installed agent's own libraries. How many events have arrived stands in /run/house.
"""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, "/usr/lib/edge-agent")

from edge_agent.demo.app import SEED, spring_morning  # noqa: E402
from edge_agent.demo.cloud import LocalCloud  # noqa: E402
from edge_agent.demo.devices import GRID_METER, HYBRID, ModbusDevice  # noqa: E402
from edge_agent.demo.house import House  # noqa: E402
from edge_agent.demo.ledger import Ledger  # noqa: E402
from edge_agent.model.clock import ScaledClock  # noqa: E402

CLOUD_PORT, METER_PORT, HYBRID_PORT = 8090, 5020, 5021


async def main() -> None:
    start = spring_morning(time.time())
    ledger = Ledger(House(SEED, start), ScaledClock(1, start))
    with LocalCloud(port=CLOUD_PORT) as cloud:
        async with ModbusDevice(GRID_METER, ledger.now, METER_PORT), ModbusDevice(HYBRID, ledger.now, HYBRID_PORT):
            while True:
                Path("/run/house").write_text(f"{len(cloud.events)}\n")
                await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(main())
