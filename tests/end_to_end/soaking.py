"""The agent of the soak: the real one on a fast clock. What it has committed it writes to its output, one event a line."""

from __future__ import annotations

import asyncio
import functools
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import edge_agent.uplink.client as client
from edge_agent.agent import run_agent
from edge_agent.model.clock import ScaledClock
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox

PATIENCE_S = 0.5  # real seconds: the usual twenty would be days of the soak's clock


def shared_clock(speed: float, start: float, zero: float) -> ScaledClock:
    """The same clock in every process: `zero` is the machine's monotonic time at which it said `start`."""
    clock = ScaledClock(speed, start)
    clock._zero = zero
    return clock


async def main(site: str, speed: str, start: str, zero: str) -> None:
    commit = Outbox.commit

    async def commit_and_tell(outbox: Outbox, events: Sequence[Event], state: Mapping[str, str], dropped: int = 0) -> None:
        await commit(outbox, events, state, dropped)
        print("".join(f"{json.dumps([one.device_id, one.type, one.at, one.value])}\n" for one in events), end="", flush=True)

    setattr(Outbox, "commit", commit_and_tell)  # noqa: B010 - a listener at the door through which every event goes
    patience = client.Patience(PATIENCE_S, PATIENCE_S, PATIENCE_S)
    setattr(client, "MoostClient", functools.partial(client.MoostClient, patience=patience))  # noqa: B010
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_agent(Path(site), shared_clock(float(speed), float(start), float(zero)), stop)


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("edge_agent").setLevel(logging.INFO)
    asyncio.run(main(*sys.argv[1:]))
