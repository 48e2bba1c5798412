"""The site file that a scan writes, held against what `check` accepts."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import pytest

from edge_agent.config import Site, load_site
from edge_agent.model.errors import ConfigError, EdgeAgentError
from edge_agent.model.measurements import Role
from edge_agent.profiles.library import load_profile
from edge_agent.scan.draft import Account, account_of, check_target, write_site
from edge_agent.scan.fingerprint import Library
from edge_agent.scan.found import CHOOSE, SURE, UNKNOWN, Found

HYBRID = Found("tcp://192.168.1.12:502", 1, "Sungrow SH10RT", "A2290101010", ("sungrow-sh",), SURE)
METER = Found("rtu+tcp://192.168.1.9:502", 1, "Schneider iEM3155", "291345", ("schneider-iem3155",), SURE)
SECOND_METER = Found("rtu+tcp://192.168.1.9:502", 2, "Schneider iEM3155", "", ("schneider-iem3155",), SURE)
CHARGER = Found("topic go-eCharger/222819", None, 'go-e "Charger": HOME', "222819", ("go-e-charger",), SURE, topic="go-eCharger/222819")
LOADPOINT = Found("topic evcc", None, "evcc", "", ("evcc-loadpoint",), SURE, parameters={"loadpoint": "2"}, topic="evcc")
UNSURE = Found("tcp://192.168.1.40:502", 1, "", "", ("shelly-pro-3em", "shelly-pro-3em-monophase"), CHOOSE)
STRANGER = Found("tcp://192.168.1.41:502", 3, "", "", (), UNKNOWN)


@pytest.fixture
def account(tmp_path: Path) -> Account:
    (tmp_path / "client-secret").write_text("s3cret")
    (tmp_path / "client-secret").chmod(0o600)
    ids = {"customer_id": "656730be2bc9719e6e5ed51d", "building_id": "B1", "client_id": "6cUo"}
    return Account({**ids, "client_secret_file": str(tmp_path / "client-secret")})


def written(path: Path, found: Iterable[Found], account: Account, library: Library, broker: str = "mqtt://localhost:1883") -> Site:
    lines = list(write_site(path, list(found), account, broker, None, library))
    assert f"{path}: written" in lines[0]
    return load_site(path)


def test_check_accepts_what_is_written(tmp_path: Path, account: Account, library: Library) -> None:
    site = written(tmp_path / "agent.yaml", [HYBRID, METER, CHARGER, LOADPOINT], account, library)
    assert [(one.id, one.profile.name) for one in site.devices] == [
        ("sungrow-sh-A2290101010", "sungrow-sh"),
        ("schneider-iem3155-291345", "schneider-iem3155"),
        ("go-e-charger-222819", "go-e-charger"),
        ("evcc-loadpoint-evcc-2", "evcc-loadpoint"),
    ]
    assert str(site.devices[1].connection) == "rtu+tcp://192.168.1.9:502"
    assert site.devices[2].name == 'go-e "Charger": HOME'
    assert site.devices[3].parameters["loadpoint"] == "2"
    assert site.mqtt is not None


def test_first_meter_is_the_grid_and_others_are_consumers_to_check(tmp_path: Path, account: Account, library: Library) -> None:
    path = tmp_path / "agent.yaml"
    site = written(path, [METER, SECOND_METER], account, library)
    assert [one.role for one in site.devices] == [Role.GRID, Role.CONSUMER]
    assert path.read_text().count("check its role") == 2


def test_meter_beside_a_device_that_measures_the_grid_is_a_consumer(tmp_path: Path, account: Account, library: Library) -> None:
    site = written(tmp_path / "agent.yaml", [HYBRID, METER], account, library)
    assert site.devices[1].role is Role.CONSUMER
    assert site.warnings == ()


def test_what_is_not_certain_stands_as_a_comment(tmp_path: Path, account: Account, library: Library) -> None:
    path = tmp_path / "agent.yaml"
    site = written(path, [METER, UNSURE, STRANGER], account, library)
    assert len(site.devices) == 1
    text = path.read_text()
    assert "# shelly-pro-3em and shelly-pro-3em-monophase fit tcp://192.168.1.40:502 unit 1: choose one" in text
    assert "# tcp://192.168.1.41:502 unit 3 answers, but no profile fits it" in text


def test_variant_that_the_agent_cannot_tell_is_written(tmp_path: Path, account: Account, library: Library) -> None:
    charger = load_profile("go-e-charger-modbus")
    found = Found("tcp://192.168.1.20:502", 1, "", "", (charger.name,), SURE, variant="bytes-swapped")
    site = written(tmp_path / "agent.yaml", [found], account, {**library, charger.name: charger})
    assert site.devices[0].profile.variant == "bytes-swapped"


def test_ids_are_unique_and_fit(tmp_path: Path, account: Account, library: Library) -> None:
    topics = ["a/" + "x" * 80, "b/" + "x" * 80, "c/Küche 1"]
    plugs = [Found(f"topic {topic}", None, "", "", ("tasmota-energy-plug",), SURE, topic=topic) for topic in topics]
    site = written(tmp_path / "agent.yaml", plugs, account, library)
    assert len({one.id for one in site.devices}) == 3


def test_existing_file_is_never_overwritten(tmp_path: Path, account: Account, library: Library) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("mine")
    with pytest.raises(EdgeAgentError, match="exists and is not overwritten"):
        check_target(path)
    with pytest.raises(EdgeAgentError, match="exists and is not overwritten"):
        list(write_site(path, [METER], account, "", None, library))
    assert path.read_text() == "mine"


def test_nothing_certain_writes_nothing(tmp_path: Path, account: Account, library: Library) -> None:
    with pytest.raises(EdgeAgentError, match="no device is certain"):
        list(write_site(tmp_path / "agent.yaml", [UNSURE], account, "", None, library))
    assert not (tmp_path / "agent.yaml").exists()


def test_file_that_check_would_refuse_is_not_left_behind(tmp_path: Path, account: Account, library: Library) -> None:
    wrong = Account({**account.section, "customer_id": "short"})
    with pytest.raises(ConfigError, match="customer_id"):
        list(write_site(tmp_path / "agent.yaml", [METER], wrong, "", None, library))
    assert not (tmp_path / "agent.yaml").exists()


def test_missing_account_names_the_options() -> None:
    options = argparse.Namespace(customer_id=None, building_id="B1", client_id=None, client_secret_file=None)
    with pytest.raises(EdgeAgentError, match="give --customer-id, --client-id, or --config"):
        account_of(options, None)
