"""A house goes from one gateway to another, and no energy is lost or sent twice."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import sys
import tarfile
from pathlib import Path

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_SECRET, Answer, LocalCloud
from edge_agent.model.clock import utc_text
from edge_agent.model.events import Event
from edge_agent.outbox.queue import Queue
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, energies, meter, running
from tests.simulators import RegisterServer

WH_AN_INTERVAL = 4.0  # 7200 W for two seconds


def other_gateway(folder: Path, cloud: LocalCloud) -> Gateway:
    """A new machine: an empty folder, and nothing but the client secret."""
    folder.mkdir()
    return Gateway(folder, cloud)


async def test_moved_house_sends_every_interval_once_from_one_gateway_or_the_other(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer, tmp_path: Path
) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: len(energies(cloud, "grid-meter")) >= 2, 30)
        await gateway.stop()
    file = tmp_path / "house.tar.gz"
    code, out, errors = await gateway.command("backup", str(file), "--move")
    assert code == 0, errors
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await gateway.start()
    assert gateway.process is not None
    assert await asyncio.wait_for(gateway.process.wait(), 30) == 3
    assert "went to another gateway" in gateway.logged

    new = other_gateway(tmp_path / "new", cloud)
    code, out, errors = await new.command("restore", str(file))
    assert code == 0, errors
    assert BUILDING_ID in out
    known = len(energies(cloud, "grid-meter"))
    async with running(new):
        await until(lambda: len(energies(cloud, "grid-meter")) >= known + 4, 30)
        await new.stop()
    found = energies(cloud, "grid-meter")
    ends = sorted(found)
    assert ends == list(range(ends[0], ends[-1] + 1, 2)), "an interval is missing"
    assert abs(sum(found.values()) - WH_AN_INTERVAL * len(found)) < 0.5


async def test_copy_of_a_running_gateway_goes_on_where_that_one_ended(
    gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer, tmp_path: Path
) -> None:
    gateway.write_site([meter(meter_server)])
    file = tmp_path / "house.tar.gz"
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 30)
        working = cloud.fault
        cloud.fault = lambda _: Answer(503, {})  # what waits in the backup is sent later by both
        while (await gateway.queue())["waiting"] < 4:
            await asyncio.sleep(0.2)
        assert (await gateway.command("backup", str(file)))[0] == 0
        cloud.fault = working
        known = len(energies(cloud, "grid-meter"))
        await until(lambda: len(energies(cloud, "grid-meter")) > known + 1, 60)
        await gateway.stop()
    assert not (gateway.folder / "state" / "queue-copy.db").exists()
    last = max(energies(cloud, "grid-meter"))

    new = other_gateway(tmp_path / "new", cloud)
    code, _, errors = await new.command("restore", str(file))
    assert code == 3
    assert "--sent-until" in errors
    assert not new.site.exists()
    code, _, errors = await new.command("restore", str(file), "--sent-until", utc_text(last))
    assert code == 0, errors
    async with running(new):
        await until(lambda: max(energies(cloud, "grid-meter")) > last + 4, 30)
        await new.stop()
    ends = sorted(energies(cloud, "grid-meter"))  # fails for an interval that came twice
    assert ends == list(range(ends[0], ends[-1] + 1, 2)), "an interval is missing"


async def test_secrets_stay_out_unless_they_are_asked_for(gateway: Gateway, tmp_path: Path) -> None:
    gateway.write_site(['{id: meter, name: Meter, profile: ./mine.yaml, connection: "tcp://127.0.0.1:1", role: grid}'])
    (gateway.folder / "mine.yaml").write_text((Path(__file__).parents[2] / "device_profiles" / "abb-b23.yaml").read_text())
    code, out, errors = await gateway.command("backup", str(tmp_path / "a.tar.gz"))
    assert code == 0, errors
    assert "client-secret (a secret" in out
    assert names(tmp_path / "a.tar.gz") == {"manifest.json", "site/agent.yaml", "site/mine.yaml"}
    assert (await gateway.command("backup", str(tmp_path / "b.tar.gz"), "--with-secrets"))[0] == 0
    assert "site/client-secret" in names(tmp_path / "b.tar.gz")

    new = tmp_path / "new" / "agent.yaml"
    new.parent.mkdir()
    process = await gateway_command(new, "restore", str(tmp_path / "a.tar.gz"))
    assert process == 1  # the secret is still to come
    assert (await gateway_command(new, "restore", str(tmp_path / "b.tar.gz"))) == 3  # the site file is there now
    assert (await gateway_command(new, "restore", str(tmp_path / "b.tar.gz"), "--replace")) == 0
    assert stat.S_IMODE((new.parent / "client-secret").stat().st_mode) == 0o600
    assert (new.parent / "client-secret").read_text() == CLIENT_SECRET
    assert len(list(new.parent.glob("agent.yaml.before-*"))) == 1


async def test_damaged_or_foreign_file_changes_nothing(gateway: Gateway, tmp_path: Path) -> None:
    gateway.write_site(['{id: meter, name: Meter, profile: abb-b23, connection: "tcp://127.0.0.1:1", role: grid}'])
    assert (await gateway.command("backup", str(tmp_path / "a.tar.gz")))[0] == 0
    whole = (tmp_path / "a.tar.gz").read_bytes()
    folder = tmp_path / "new"
    folder.mkdir()
    for name, content in {"cut": whole[: len(whole) // 2], "text": b"no backup", "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        assert await gateway_command(folder / "agent.yaml", "restore", str(tmp_path / name)) == 3
        assert list(folder.iterdir()) == []


async def test_damaged_queue_in_a_backup_changes_nothing(gateway: Gateway, meter_server: RegisterServer, tmp_path: Path) -> None:
    gateway.write_site([meter(meter_server)], storage="{path: edge-agent.db}")
    with Queue.opened(gateway.folder / "edge-agent.db") as queue:
        queue.put([Event("grid-meter", "Main meter", "SMART_METER", "ENERGY_CONSUMPTION", 1.0, 900)], {})
    assert (await gateway.command("backup", str(tmp_path / "a.tar.gz")))[0] == 0
    with tarfile.open(tmp_path / "a.tar.gz") as whole, tarfile.open(tmp_path / "b.tar.gz", "w:gz") as damaged:
        for member in whole:
            content = whole.extractfile(member)
            assert content is not None
            read = bytearray(content.read())
            if member.name == "queue.db":
                read[4096:8192] = b"\xff" * 4096
            damaged.addfile(member, io.BytesIO(read))
    before = {file.name: file.read_bytes() for file in gateway.folder.iterdir() if file.suffix != ".lock"}
    code, _, errors = await gateway.command("restore", str(tmp_path / "b.tar.gz"), "--sent-until", "backup", "--replace")
    assert (code, "the queue in it is damaged; nothing was restored" in errors) == (3, True)
    assert {file.name: file.read_bytes() for file in gateway.folder.iterdir() if file.suffix != ".lock"} == before


async def test_restore_beside_a_running_agent_changes_nothing(gateway: Gateway, meter_server: RegisterServer, tmp_path: Path) -> None:
    gateway.write_site([meter(meter_server)])
    assert (await gateway.command("backup", str(tmp_path / "a.tar.gz")))[0] == 0
    gateway.write_site([meter(meter_server, "other")])
    async with running(gateway):
        await until(lambda: (gateway.folder / "state" / "edge-agent.sock").exists(), 30)
        code, _, errors = await gateway.command("restore", str(tmp_path / "a.tar.gz"), "--replace")
        assert code != 0
        assert "in use by an agent" in errors
        await gateway.stop()
    assert "id: other" in gateway.site.read_text()
    assert not list(gateway.folder.glob("*.before-*"))


async def test_log_of_a_damaged_queue_is_not_left_beside_the_restored_one(gateway: Gateway, meter_server: RegisterServer, tmp_path: Path) -> None:
    gateway.write_site([meter(meter_server)])
    state = gateway.folder / "state"
    state.mkdir()
    database, log = state / "edge-agent.db", state / "edge-agent.db-wal"
    with Queue.opened(database) as queue:
        queue.put([Event("grid-meter", "Main meter", "SMART_METER", "ENERGY_CONSUMPTION", 1.0, 900)], {})
    assert (await gateway.command("backup", str(tmp_path / "a.tar.gz")))[0] == 0
    queue = Queue(database)
    queue.put([Event("grid-meter", "Main meter", "SMART_METER", "ENERGY_CONSUMPTION", 2.0, 1800 + at) for at in range(2000)], {})
    newer = log.read_bytes()
    queue.close()
    log.write_bytes(newer)
    database.write_bytes(b"\xff" * 8192)  # and it can no longer be opened
    code, out, errors = await gateway.command("restore", str(tmp_path / "a.tar.gz"), "--replace", "--sent-until", "backup")
    assert code == 0, errors
    assert "1 events wait" in out
    assert (await gateway.queue())["waiting"] == 1
    (aside,) = state.glob("edge-agent.db.before-*-wal")
    assert aside.read_bytes() == newer


def names(file: Path) -> set[str]:
    with tarfile.open(file) as tar:
        return set(tar.getnames())


async def gateway_command(site: Path, *arguments: str) -> int:
    """A command for a site file anywhere: its exit code; fails on a traceback."""

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge_agent", *arguments, "--config", str(site)), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert b"Traceback" not in errors
    assert b"a fault in the program" not in errors
    return process.returncode or 0


async def test_programs_are_told_what_was_written_and_what_is_missing(gateway: Gateway, tmp_path: Path) -> None:
    gateway.write_site(['{id: meter, name: Meter, profile: abb-b23, connection: "tcp://127.0.0.1:1", role: grid}'])
    file = tmp_path / "a.tar.gz"
    code, out, _ = await gateway.command("backup", str(file), "--json")
    told = json.loads(out)
    assert (code, told["file"], told["contains"], told["queue"], told["moved"]) == (0, str(file), ["agent.yaml"], False, False)
    assert [name.split()[0] for name in told["left_out"]] == ["client-secret"]
    bundle = tmp_path / "b.tar.gz"
    code, out, _ = await gateway.command("support-bundle", str(bundle), "--json")
    told = json.loads(out)
    assert (code, told["file"]) == (0, str(bundle))
    assert "agent.yaml" in told["contains"]
    (gateway.folder / "client-secret").unlink()
    code, out, _ = await gateway.command("restore", str(file), "--replace", "--json")
    told = json.loads(out)
    assert (code, told["building_id"]) == (1, BUILDING_ID)
    assert ["client-secret" in problem["text"] for problem in told["problems"]] == [True]
