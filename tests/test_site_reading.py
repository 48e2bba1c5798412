"""The process that reads the site file: what it hands over is what the file says, whatever becomes of the process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from edge_agent.config import load_site
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
