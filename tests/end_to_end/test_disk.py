"""The agent on disks as they are in the field: without power, full, damaged, read-only, somebody else's."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.demo.cloud import BUILDING_ID, LocalCloud
from edge_agent.outbox.queue import Queue
from tests.conftest import until
from tests.disks import CutDisk, fill, needs_root, small_disk
from tests.end_to_end.gateway import Gateway, energies, meter, running
from tests.simulators import RegisterServer

CUTS = 8


def is_gapless(received: dict[int, float]) -> bool:
    ends = sorted(received)
    return ends == list(range(ends[0], ends[-1] + 2, 2))


@pytest.fixture
def cut_disk(tmp_path: Path) -> Iterator[CutDisk]:
    with CutDisk(tmp_path / "card") as disk:
        yield disk


async def test_power_cuts_cost_the_agent_no_interval_and_double_little(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer, cut_disk: CutDisk
) -> None:
    """The true agent on an ext4 that is shut down under it; what the cloud received is one interval after the other."""
    gateway.write_site([meter(meter_server)], storage=f"{{path: '{cut_disk.folder}/state/edge-agent.db'}}")
    chance = random.Random(5)
    for cut in range(CUTS):
        async with running(gateway):
            enough = len(energies(cloud, "grid-meter", repeated=10**6)) + 1
            await until(lambda enough=enough: len(energies(cloud, "grid-meter", repeated=10**6)) >= enough, 60)  # type: ignore[misc]
            await asyncio.sleep(chance.uniform(0.0, 2.0))
            cut_disk.power_off()
            await gateway.stop(within_s=30, how=signal.SIGKILL)
        await asyncio.to_thread(cut_disk.power_on)
        assert "Traceback" not in gateway.logged, f"cut {cut}"
    async with running(gateway):
        enough = len(energies(cloud, "grid-meter", repeated=10**6)) + 2
        await until(lambda: len(energies(cloud, "grid-meter", repeated=10**6)) >= enough, 60)
        assert (await gateway.queue())["salvages"] == 0
        await gateway.stop(30)
    received = energies(cloud, "grid-meter", repeated=CUTS)
    assert is_gapless(received), "an interval is missing"
    assert sum(received.values()) == pytest.approx(4.0 * len(received), rel=0.1)


async def test_full_disk_stops_nothing_and_is_told_once(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "card", 6_000_000) as disk:
        gateway.write_site([meter(meter_server)], storage=f"{{path: '{disk}/edge-agent.db'}}")
        async with running(gateway):
            await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 60)
            filler = fill(disk)
            known = len(energies(cloud, "grid-meter"))
            await until(lambda: "the queue makes do with its reserve" in gateway.logged, 60)
            await until(lambda: len(energies(cloud, "grid-meter")) >= known + 4, 60)
            assert gateway.process is not None
            assert gateway.process.returncode is None
            filler.unlink()
            await until(lambda: "the disk has space again" in gateway.logged, 60)
            known = len(energies(cloud, "grid-meter"))
            await until(lambda: len(energies(cloud, "grid-meter")) >= known + 2, 60)
            assert await gateway.stop(30) == 0
    assert is_gapless(energies(cloud, "grid-meter"))
    assert gateway.logged.count("disk is full") == 1
    assert "Traceback" not in gateway.logged


async def test_full_disk_without_a_reserve_ends_with_everything_delivered(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer, tmp_path: Path
) -> None:
    """What cannot be stored is held in memory; the agent neither ends nor forgets, and goes on when there is space."""
    with small_disk(tmp_path / "card", 1_200_000) as disk:
        gateway.write_site([meter(meter_server)], storage=f"{{path: '{disk}/edge-agent.db'}}")
        async with running(gateway):
            await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 60)
            assert not (disk / "edge-agent.db.reserve").exists()
            filler = fill(disk)
            await until(lambda: "held in memory until the queue can be written" in gateway.logged, 120)
            await asyncio.sleep(4)
            filler.unlink()
            await until(lambda: "the queue can be written again" in gateway.logged, 60)
            known = len(energies(cloud, "grid-meter"))
            await until(lambda: len(energies(cloud, "grid-meter")) >= known + 2, 60)
            assert await gateway.stop(30) == 0
    assert is_gapless(energies(cloud, "grid-meter"))
    assert gateway.logged.count("held in memory") == 1


async def test_damaged_queue_is_salvaged_and_the_agent_runs_on(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    database = gateway.folder / "state" / "edge-agent.db"
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 60)
        await gateway.stop(30)
    with database.open("r+b") as file:
        file.write(b"\xff" * 100)
    async with running(gateway):
        known = len(energies(cloud, "grid-meter"))
        await until(lambda: len(energies(cloud, "grid-meter")) >= known + 3, 60)
        code, out, _ = await gateway.command("queue")
        assert (code, "damaged" in out) == (0, True)
        await gateway.stop(30)
    assert is_gapless(energies(cloud, "grid-meter")), "the counters were salvaged too"
    assert "It is set aside as edge-agent.db.damaged-" in gateway.logged
    assert len(list(database.parent.glob("edge-agent.db.damaged-*"))) == 1


async def test_queue_of_another_building_is_set_aside_and_nothing_of_it_is_sent(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer
) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 60)
        cloud.stop()
        gateway.site.write_text(gateway.site.read_text().replace(BUILDING_ID, "ANOTHER-HOUSE"))
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: "another building has another queue; restart the agent for it" in gateway.logged, 30)
        await asyncio.sleep(3)
        await gateway.stop(30)
    database = gateway.folder / "state" / "edge-agent.db"
    with Queue.opened(database) as queue:
        assert queue.stats()["waiting"] > 0
    cloud.start()
    before = cloud.received()
    async with running(gateway):
        await until(lambda: "this queue is of building" in gateway.logged, 60)
        await asyncio.sleep(3)
        await gateway.stop(30)
    assert cloud.received() == before
    (aside,) = database.parent.glob(f"edge-agent.db.*{BUILDING_ID}*")
    with Queue.opened(aside) as queue:
        assert queue.stats()["waiting"] > 0


# folders that cannot be used


async def refused(gateway: Gateway, *before: str) -> str:
    """What the agent says when it cannot begin."""
    process = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-m", "edge_agent", "run", "--config", str(gateway.site)), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        errors = (await process.stderr.read()).decode()
        assert await process.wait() == 3
    assert "Traceback" not in errors
    assert errors.count("\n") == 1, errors
    return errors


async def test_read_only_file_system_is_said_in_words(gateway: Gateway, meter_server: RegisterServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "card", 2_000_000) as disk:
        gateway.write_site([meter(meter_server)], storage=f"{{path: '{disk}/edge-agent.db'}}")
        Queue(disk / "edge-agent.db").close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        said = await refused(gateway)
    assert "Read-only file system" in said
    assert "make it writable or set storage.path" in said


async def test_queue_of_another_user_is_said_in_words(gateway: Gateway, meter_server: RegisterServer) -> None:
    """Root without the right to overlook owners is a user like any other."""
    needs_root()
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    gateway.write_site([meter(meter_server)])
    database = gateway.folder / "state" / "edge-agent.db"
    database.parent.mkdir()
    Queue(database).close()
    database.chmod(0o600)
    os.chown(database, 65534, 65534)
    said = await refused(gateway, setpriv, "--bounding-set=-dac_override,-dac_read_search")
    assert "edge-agent.db: cannot be written" in said
    assert "belongs to the agent's user" in said
