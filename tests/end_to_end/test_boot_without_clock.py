"""A gateway whose clock comes late: the real program under a moved clock, really restarted."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_agent.demo.cloud import LocalCloud
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, energies, meter
from tests.simulators import RegisterServer

# `edge-agent run` on a machine whose /run is a folder of the test.
PROGRAM = """
import asyncio, functools, logging, signal, sys
from pathlib import Path
from edge_agent.agent import run_agent
from edge_agent.model.clock import SystemClock
from edge_agent.timekeeping.system import system_evidence

async def main(root, site):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_agent(Path(site), SystemClock(), stop, functools.partial(system_evidence, Path(root)))

logging.basicConfig(level=logging.INFO)
asyncio.run(main(*sys.argv[1:]))
"""


class MovedClock:
    """The wall clock of processes that are started in its environment, so many seconds beside the true one."""

    def __init__(self, folder: Path, library: str) -> None:
        self._file = folder / "moved-clock"
        self.environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def move(self, seconds: float) -> None:
        moved = self._file.with_suffix(".new")
        moved.write_text(f"{seconds:+g}\n")
        moved.replace(self._file)


@pytest.fixture
def moved_clock(tmp_path: Path) -> MovedClock:
    """Without libfaketime: skipped, but a failure in CI."""
    if shutil.which("faketime") is None:
        reason = "faketime is not installed (apt-get install faketime)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    said = subprocess.run(["faketime", "-f", "+0", "env"], check=True, capture_output=True, text=True, timeout=30).stdout
    library = next(line.removeprefix("LD_PRELOAD=") for line in said.splitlines() if line.startswith("LD_PRELOAD="))
    return MovedClock(tmp_path, library)


@asynccontextmanager
async def booted(gateway: Gateway, clock: MovedClock, root: Path) -> AsyncIterator[None]:
    await gateway.start(clock.environment, ("-c", PROGRAM, str(root)))
    try:
        yield
        await gateway.stop(within_s=30)
    finally:
        if gateway.process is not None and gateway.process.returncode is None:
            gateway.process.kill()
            await gateway.process.wait()


def assert_whole(received: dict[int, float]) -> None:
    ends = sorted(received)
    assert ends == list(range(ends[0], ends[-1] + 2, 2)), "an interval is missing"
    assert sum(received.values()) == pytest.approx(4.0 * len(ends), rel=0.05)


async def test_what_is_read_by_a_wrong_clock_gets_its_true_date_over_a_restart_and_a_step(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer, moved_clock: MovedClock, tmp_path: Path
) -> None:
    timesyncd = tmp_path / "root/run/systemd/timesync"
    timesyncd.mkdir(parents=True)
    gateway.write_site([meter(meter_server)])
    moved_clock.move(-10_800)
    async with booted(gateway, moved_clock, tmp_path / "root"):
        await until(lambda: meter_server.count("input", 72) > 10, 60)
        read_at = time.time()
        _, out, _ = await gateway.command("status")
        assert "systemd-timesyncd has not set it yet" in " ".join(out.split())
    async with booted(gateway, moved_clock, tmp_path / "root"):
        reads = meter_server.count("input", 72)
        await until(lambda: meter_server.count("input", 72) > reads + 10, 60)
        assert not cloud.received()
        moved_clock.move(0)
        await until(lambda: "the clock was set by +10800 s" in gateway.logged, 60)
        (timesyncd / "synchronized").touch()
        set_at = time.time()
        await until(lambda: max(energies(cloud, "grid-meter"), default=0) > set_at + 3, 60)
        (timesyncd / "synchronized").unlink()  # so that the next step is not believed
        moved_clock.move(86_400)
        await until(lambda: "the clock was set by +86400 s" in gateway.logged, 60)
        reads = meter_server.count("input", 72)
        await until(lambda: meter_server.count("input", 72) > reads + 3, 60)
        moved_clock.move(0)
        moved_back_at = time.time()
        await until(lambda: max(energies(cloud, "grid-meter")) > moved_back_at + 2, 60)
    received = energies(cloud, "grid-meter")
    assert min(received) <= read_at + 2
    assert max(received) < time.time()
    assert_whole(received)
    assert gateway.logged.count("is not trusted: systemd-timesyncd has not set it yet") == 2, "once each start"
    assert "held" in gateway.logged.rpartition("the clock is trusted, by systemd-timesyncd")[2]
