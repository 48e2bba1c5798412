"""The process that reads the site file: what it hands over is what the file says, whatever becomes of the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

import edge_agent
from edge_agent.agent import Agent
from edge_agent.config import Site, load_site
from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import ConfigError
from edge_agent.site_reading import SiteReading, read_site

HOUSE = """\
moost: {customer_id: 656730be2bc9719e6e5ed51d, building_id: 99900000C048ADA6, client_id: 6cUo, client_secret_file: client-secret}
building: {zip: "8010", city: Graz, country_code: AT, tariff: {type: DYNAMIC, file: prices.json, currency: EUR}}
reporting: {status_ids: {ready: 0}}
mqtt: {broker: "mqtts://localhost", username: agent, password_file: client-secret}
web: {listen: "127.0.0.1:8080", password_file: client-secret}
devices:
  - {id: grid-meter, name: Main meter, profile: eastron-sdm630, connection: "rtu+tcp://192.168.1.9:502", role: grid}
  - {id: hybrid, name: Inverter, profile: sungrow-sh, connection: "tcp://192.168.1.12", roles: [pv, battery]}
  - {id: heat-pump, name: Heat pump, profile: lambda-eureka-luft, connection: "tcp://192.168.1.13"}
  - {id: wallbox, name: Garage, profile: go-e-charger, topic: go-eCharger/222819}
  - {id: own, name: Own meter, profile: ./own.yaml, connection: "serial:///dev/ttyUSB0", role: consumer}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "client-secret").write_text("s3cret-0123456789")
    (tmp_path / "client-secret").chmod(0o600)
    (tmp_path / "own.yaml").write_text("extends: eastron-sdm630\n")
    file = tmp_path / "agent.yaml"
    file.write_text(HOUSE)
    return file


def test_site_arrives_as_it_was_read(site: Path) -> None:
    here, handed_over = load_site(site), read_site(site)
    assert handed_over == here
    assert len(handed_over.devices) == 5
    assert handed_over.account.client_secret == "s3cret-0123456789"


def test_mistakes_arrive_with_file_and_line(site: Path) -> None:
    site.write_text(HOUSE.replace("role: grid", "role: gird"))
    (site.parent / "own.yaml").write_text("extends: eastron-sdm630\npoints:\n  power: {as: f33}\n")
    with pytest.raises(ConfigError) as here:
        load_site(site)
    with pytest.raises(ConfigError) as handed_over:
        read_site(site)
    assert handed_over.value.problems == here.value.problems
    assert [Path(problem.file).name for problem in here.value.problems] == ["agent.yaml", "own.yaml"]


def test_copy_is_read_in_place_of_the_file(site: Path) -> None:
    copy = site.parent / "kept" / "agent.yaml"
    copy.parent.mkdir()
    copy.write_text(HOUSE)
    (copy.parent / "own.yaml").write_text("extends: eastron-sdm630\n")
    site.write_text("nonsense")
    read = read_site(site, copy)
    assert (read.file, len(read.devices)) == (site, 5)


def test_process_that_comes_to_no_end_is_ended(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.site_reading.READ_S", 1)
    site.unlink()
    os.mkfifo(site)
    with pytest.raises(ConfigError, match=r"agent.yaml: could not be read: the process that reads it came to no end in 1 s"):
        read_site(site)
    assert not Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()


def test_process_that_cannot_begin_is_a_mistake(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python3")
    with pytest.raises(ConfigError, match=r"agent.yaml: could not be read: the process that reads it cannot begin \(No such file or directory\)"):
        read_site(site)


def test_what_a_library_prints_is_no_part_of_the_answer(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    first = "import sys; print('deprecated', flush=True); sys.path.remove({!r}); del sys.modules['pydantic']; import pydantic"
    (noisy / "pydantic.py").write_text(first.format(str(noisy)))
    monkeypatch.setattr("sys.path", [str(noisy), *sys.path])
    assert len(read_site(site).devices) == 5


def test_program_that_was_exchanged_meanwhile_is_not_believed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = edge_agent.__version__
    monkeypatch.setattr("edge_agent.site_reading.__version__", "9.0.0")
    with pytest.raises(ConfigError, match=rf"version {installed} is installed, and 9.0.0 runs; restart the agent"):
        read_site(site)


async def test_of_two_readings_the_younger_stays_in_force(site: Path) -> None:
    taken: list[Site] = []
    agent = Agent(load_site(site), SystemClock(), taken.append)
    site.unlink()
    os.mkfifo(site)
    agent.reload()
    pipe = await asyncio.to_thread(os.open, site, os.O_WRONLY)  # the first reading is there
    os.unlink(site)
    site.write_text(HOUSE.replace("name: Garage", "name: Younger"))
    agent.reload()
    async with asyncio.timeout(30):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while not taken:
                    await asyncio.sleep(0.05)
        os.write(pipe, HOUSE.encode())
        os.close(pipe)
        while len(taken) < 2:
            await asyncio.sleep(0.05)
    assert [found.devices[3].name for found in taken] == ["Garage", "Younger"]


def test_process_that_is_killed_is_a_mistake_and_no_site(site: Path) -> None:
    site.unlink()
    os.mkfifo(site)  # nobody writes into it, so whoever reads it waits
    reading = SiteReading(site)
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    (child,) = map(int, children.read_text().split())
    os.kill(child, signal.SIGKILL)
    with pytest.raises(ConfigError, match=r"agent.yaml: could not be read: the process that reads it failed \(signal 9\)"):
        reading.site()


def test_fault_of_the_process_is_named_in_a_line(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["/nowhere"])
    with pytest.raises(ConfigError, match=r"failed \(ModuleNotFoundError: No module named 'edge_agent'\)") as failed:
        read_site(site)
    assert len(str(failed.value).splitlines()) == 1
