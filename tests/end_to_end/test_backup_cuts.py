"""A power cut at any moment of `backup --move` and `restore` leaves one consistent gateway, and both tell what to do when run again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.backup.archive import Backup
from edge_agent.demo.cloud import BUILDING_ID, LocalCloud
from edge_agent.handover import MOVED, refuse_half_restored, restoring_mark
from edge_agent.model.errors import EdgeAgentError, HouseMoved
from edge_agent.model.events import Event
from edge_agent.outbox.queue import Queue
from tests.end_to_end.gateway import Gateway

NOTHING = ['{id: grid-meter, name: Meter, profile: eastron-sdm630, connection: "tcp://127.0.0.1:1", role: grid}']
# The same command in copies of a folder (FOLDER-1, FOLDER-2, ...), killed before the n-th thing that it does to a file, until it comes to its end.
PROGRAM = """
import os, shutil, signal, sys
from pathlib import Path
from edge_agent import cli
from edge_agent.backup import make, restore

folder, arguments, number = Path(sys.argv[1]), sys.argv[2:], 0
touches = {"os.rename", "os.link", "os.remove", "os.truncate", "os.mkdir", "sqlite3.connect"}

def hook(event, values):
    global number
    if event in touches or (event == "open" and values[2] & (os.O_WRONLY | os.O_RDWR)):
        number -= 1
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)

for run in range(1, 500):
    copy = folder.with_name(f"{folder.name}-{run}")
    shutil.copytree(folder, copy, symlinks=True)
    child = os.fork()
    if not child:
        os.chdir(copy)
        number = run
        sys.addaudithook(hook)
        sys.stdout = sys.stderr = open(os.devnull, "w")
        os._exit(cli.main(arguments))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
        break
"""


def event(at: int) -> Event:
    return Event("grid-meter", "Meter", "SMART_METER", "ENERGY_CONSUMPTION", 1.0, at)


def gateway_of(folder: Path, cloud: LocalCloud, building: str, instants: range) -> None:
    """A gateway that has stopped: its site file, and what waits in its queue."""
    folder.mkdir()
    gateway = Gateway(folder, cloud)
    gateway.write_site(NOTHING, storage="{path: edge-agent.db}")
    gateway.site.write_text(gateway.site.read_text().replace(BUILDING_ID, building))
    with Queue.opened(folder / "edge-agent.db") as queue:
        queue.put([event(at) for at in instants], {"building": json.dumps(building)})


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "edge_agent", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def cut(folder: Path, *arguments: str) -> Iterator[Path]:
    """The folder after each cut; at last the one in which the command came to its end."""
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder), *arguments], check=True)
    number = 0
    while (after := folder.with_name(f"{folder.name}-{number + 1}")).exists():
        number += 1
        yield after
    assert number > 10, "so many things at least are done to files"


def runs(folder: Path) -> bool:
    """Whether an agent would run on it."""
    if restoring_mark(folder / "agent.yaml").exists():
        with pytest.raises(HouseMoved, match="edge-agent restore FILE --replace"):
            refuse_half_restored(folder / "agent.yaml")
        return False
    with Queue.opened(folder / "edge-agent.db") as queue:
        return queue.state(MOVED) is None


def whole_backup(file: Path) -> bool:
    """Whether a move's backup could be restored elsewhere."""
    with suppress(EdgeAgentError):
        backup = Backup(file)
        backup.close()
        return backup.manifest.moved
    return False


@pytest.fixture
def old(tmp_path: Path, cloud: LocalCloud) -> Path:
    gateway_of(tmp_path / "old", cloud, BUILDING_ID, range(900, 90_000, 900))
    return tmp_path / "old"


def test_cut_while_a_house_moves_away_never_leaves_two_gateways_that_send(old: Path) -> None:
    seen = set()
    for folder in cut(old, "backup", "house.tar.gz", "--move", "--config", "agent.yaml"):
        still_here, there = runs(folder), whole_backup(folder / "house.tar.gz")
        assert not (still_here and there), folder
        is_first = (still_here, there) not in seen
        seen.add((still_here, there))
        if is_first and not still_here and not there:
            code, said = command(folder, "backup", "again.tar.gz", "--move", "--config", "agent.yaml")
            assert code == 0, said
            assert whole_backup(folder / "again.tar.gz")
            assert not runs(folder)
    assert seen == {(True, False), (False, False), (False, True)}
    code, said = command(folder, "backup", "again.tar.gz", "--move", "--config", "agent.yaml")
    assert (code, "went to another gateway" in said) == (3, True)


def test_cut_while_a_backup_is_restored_leaves_the_old_gateway_or_the_new_one_or_one_that_waits(old: Path, cloud: LocalCloud, tmp_path: Path) -> None:
    assert command(old, "backup", str(tmp_path / "house.tar.gz"), "--move", "--config", "agent.yaml")[0] == 0
    here = tmp_path / "here"
    gateway_of(here, cloud, "ANOTHER-HOUSE", range(900, 9000, 900))
    shutil.rmtree(old)
    seen = set()
    for folder in cut(here, "restore", str(tmp_path / "house.tar.gz"), "--replace", "--config", "agent.yaml"):
        if not runs(folder):
            if "waits" not in seen:
                code, said = command(folder, "run", "--config", "agent.yaml")
                assert (code, "did not come to its end" in said) == (3, True)
                code, said = command(folder, "restore", str(tmp_path / "house.tar.gz"), "--config", "agent.yaml")
                assert (code, "--replace" in said) == (3, True)
                code, said = command(folder, "restore", str(tmp_path / "house.tar.gz"), "--replace", "--config", "agent.yaml")
                assert code == 0, said
                assert house(folder) == (BUILDING_ID, 99)
            seen.add("waits")
            continue
        assert house(folder) in {("ANOTHER-HOUSE", 9), (BUILDING_ID, 99)}, folder
        seen.add(house(folder)[0])
    assert seen == {"ANOTHER-HOUSE", "waits", BUILDING_ID}
    assert not [file for file in folder.iterdir() if "restor" in file.name], "nothing of the work is left"
    with Queue.opened(next(folder.glob("edge-agent.db.before-*"))) as queue:
        assert queue.stats()["waiting"] == 9


def house(folder: Path) -> tuple[str, int]:
    """Whose site file is here, and how much waits."""
    with Queue.opened(folder / "edge-agent.db") as queue:
        building = BUILDING_ID if BUILDING_ID in (folder / "agent.yaml").read_text() else "ANOTHER-HOUSE"
        assert json.loads(queue.state("building") or "") == building, "the queue and the site file are of two houses"
        return building, queue.stats()["waiting"]
