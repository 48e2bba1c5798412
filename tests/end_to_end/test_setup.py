"""`edge-agent setup` as an installer uses it: by options, and at a terminal."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edge_agent.config import load_site
from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, LocalCloud
from edge_agent.recording.file import read_recording
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, at_terminal, running
from tests.simulators import RegisterServer, serving

ACCOUNT = ("--customer-id", CUSTOMER_ID, "--building-id", BUILDING_ID, "--client-id", CLIENT_ID)
QUICK = ("--network", "127.0.0.1", "--seconds", "0")


METER = read_recording(Path(__file__).parents[1] / "recordings" / "abb-b23.yaml")


@pytest_asyncio.fixture
async def meter_server() -> AsyncIterator[RegisterServer]:
    """A meter that a scan recognises; where it measures it cannot tell."""
    async with serving(registers()) as server:
        yield server


def registers() -> dict[int, dict[str, dict[int, list[int]]]]:
    return {unit: {str(table): METER.words(unit, table) for table in tables} for unit, tables in METER.registers.items()}


def write_known_meter(folder: Path, server: RegisterServer) -> None:
    """The device as an earlier run found it: a scan holds it against every profile, which takes its time."""
    entry = f'{{id: grid-meter, name: Main meter, profile: abb-b23, connection: "tcp://127.0.0.1:{server.port}", role: grid}}'
    (folder / "agent.yaml").write_text(f"devices:\n  - {entry}\n")


async def setup(folder: Path, cloud: LocalCloud, *options: str, typed: bytes = b"") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge_agent", "setup", "--config", str(folder / "agent.yaml"), "--base-url", cloud.url, *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(typed)
    return process.returncode or 0, out.decode(), errors.decode()


async def test_options_alone_make_a_house_that_runs(tmp_path: Path, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    given = (
        *ACCOUNT,
        "--client-secret-file",
        "-",
        *QUICK,
        "--ports",
        str(meter_server.port),
        "--zip",
        "8010",
        "--city",
        "Graz",
        "--country-code",
        "AT",
    )
    code, out, errors = await setup(tmp_path, cloud, *given, typed=CLIENT_SECRET.encode())
    assert code == 0, errors
    assert "the cloud accepts the credentials" in errors
    site = load_site(tmp_path / "agent.yaml")
    assert [(device.profile.name, device.role) for device in site.devices] == [("abb-b23", "grid")]
    assert site.account.client_secret == CLIENT_SECRET
    assert site.building is not None
    secret = tmp_path / "client-secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert CLIENT_SECRET not in (tmp_path / "agent.yaml").read_text() + out + errors


async def test_running_it_again_keeps_edits_and_adds_only_what_is_new(tmp_path: Path, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    given = (*ACCOUNT, "--client-secret-file", "-", *QUICK, "--ports", str(meter_server.port), "--yes")
    assert (await setup(tmp_path, cloud, *given, typed=CLIENT_SECRET.encode()))[0] == 0
    file = tmp_path / "agent.yaml"
    edited = file.read_text().replace("role: grid", "role: grid  # behind the main fuse") + "reporting: {poll_interval: 5s}\n"
    file.write_text(edited)
    assert (await setup(tmp_path, cloud, *QUICK, "--ports", str(meter_server.port)))[0] == 0
    assert file.read_text() == edited
    both = ("--network", "127.0.0.0/30", "--seconds", "0")
    async with serving(registers(), host="127.0.0.2", port=meter_server.port):
        code, out, errors = await setup(tmp_path, cloud, *both, "--ports", str(meter_server.port), "--json")
    answer = json.loads(out)
    assert (code, answer["building_is_known"], answer["agent"], answer["problems"]) == (0, True, None, []), errors
    assert [device["connection"] for device in answer["added"]] == [f"tcp://127.0.0.2:{meter_server.port}"]
    assert set(answer["devices"]) > {device["id"] for device in answer["added"]}
    assert CLIENT_SECRET not in out
    assert [device.role for device in load_site(file).devices] == ["grid", "consumer"]
    assert "# behind the main fuse" in file.read_text()


async def test_link_that_the_group_has_laid_leads_nowhere(tmp_path: Path, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    victim = tmp_path / "shadow"
    victim.write_text("of root's\n")
    victim.chmod(0o400)
    house = tmp_path / "house"
    house.mkdir()
    for name in (".agent.yaml.new", ".client-secret.new"):
        (house / name).symlink_to(victim)
    write_known_meter(house, meter_server)
    given = (*ACCOUNT, "--client-secret-file", "-", "--no-scan", "--seconds", "0", "--yes")
    assert (await setup(house, cloud, *given, typed=CLIENT_SECRET.encode()))[0] == 0
    assert load_site(house / "agent.yaml").devices
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("of root's\n", 0o400)


async def test_a_running_agent_takes_new_devices_over_at_once(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([f'{{id: grid-meter, name: Main meter, profile: abb-b23, connection: "tcp://127.0.0.1:{meter_server.port}", role: grid}}'])
    async with running(gateway), serving(registers()) as second:
        await until(lambda: meter_server.requests)
        code, out, errors = await setup(gateway.folder, cloud, *QUICK, "--ports", str(second.port))
        assert code == 0, errors
        assert "the running agent reads the site file anew" in out
        await until(lambda: second.requests)
        assert (await gateway.command("read", "--json"))[1].count('"id"') >= 2
        await gateway.stop()


async def test_balance_of_the_new_house_names_a_meter_wired_the_other_way(tmp_path: Path, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    write_known_meter(tmp_path, meter_server)
    given = (*ACCOUNT, "--client-secret-file", "-", "--no-scan", "--seconds", "5")
    code, out, _ = await setup(tmp_path, cloud, *given, typed=CLIENT_SECRET.encode())
    assert code == 1  # the recorded meter exports, and nothing in this house generates
    assert "balance at the AC bus" in out
    assert "invert: true" in out


async def test_program_reads_what_check_refuses(tmp_path: Path, cloud: LocalCloud) -> None:
    given = (*ACCOUNT, "--client-secret-file", "-", "--no-scan", "--json")
    code, out, _ = await setup(tmp_path, cloud, *given, typed=CLIENT_SECRET.encode())
    assert code == 1
    assert "no device yet" in json.loads(out)["problems"][0]["text"]


async def test_refused_credentials_write_nothing(tmp_path: Path, cloud: LocalCloud) -> None:
    code, _, errors = await setup(tmp_path, cloud, *ACCOUNT, "--client-secret-file", "-", "--no-scan", typed=b"wrong")
    assert code == 3
    assert "client secret" in errors
    assert "wrong" not in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["- a list\n", "moost: hello\n"])
async def test_file_that_is_no_site_file_is_said_and_left_alone(tmp_path: Path, cloud: LocalCloud, text: str) -> None:
    (tmp_path / "agent.yaml").write_text(text)
    code, _, errors = await setup(tmp_path, cloud, *ACCOUNT, "--client-secret-file", "-", "--no-scan", typed=CLIENT_SECRET.encode())
    assert (code, "agent.yaml:1: " in errors, "should be a section" in errors) == (1, True, True), errors
    assert [path.name for path in tmp_path.iterdir()] == ["agent.yaml"]
    assert (tmp_path / "agent.yaml").read_text() == text


async def test_refused_site_file_keeps_the_secret_before(tmp_path: Path, cloud: LocalCloud) -> None:
    (tmp_path / "agent.yaml").write_text("devices: 3\n")
    (tmp_path / "client-secret").write_text("of-before\n")
    code, _, errors = await setup(tmp_path, cloud, *ACCOUNT, "--client-secret-file", "-", "--no-scan", typed=CLIENT_SECRET.encode())
    assert code == 1
    assert "stays as it was" in errors
    assert (tmp_path / "client-secret").read_text() == "of-before\n"


async def test_account_is_kept_where_no_device_is_found_yet(tmp_path: Path, cloud: LocalCloud) -> None:
    code, _, errors = await setup(tmp_path, cloud, *ACCOUNT, "--client-secret-file", "-", "--no-scan", typed=CLIENT_SECRET.encode())
    assert code == 1
    assert "no device yet" in errors
    assert CUSTOMER_ID in (tmp_path / "agent.yaml").read_text()


async def test_without_a_terminal_the_missing_option_is_named(tmp_path: Path, cloud: LocalCloud) -> None:
    code, _, errors = await setup(tmp_path, cloud, "--customer-id", CUSTOMER_ID, "--no-scan")
    assert code == 3
    assert "--building-id" in errors
    assert list(tmp_path.iterdir()) == []


async def test_answers_that_check_refuses_leave_the_file_as_it_was(tmp_path: Path, cloud: LocalCloud) -> None:
    given = (*ACCOUNT, "--client-secret-file", "-", "--no-scan")
    code, _, errors = await setup(tmp_path, cloud, *given, "--time-zone", "Europe/Viena", typed=CLIENT_SECRET.encode())
    assert code == 1
    assert "Europe/Vienna" in errors
    assert not (tmp_path / "agent.yaml").exists()


async def test_questions_at_a_terminal_are_asked_until_they_are_answered_well(
    tmp_path: Path, cloud: LocalCloud, meter_server: RegisterServer
) -> None:
    answers = ["short", CUSTOMER_ID, BUILDING_ID, CLIENT_ID, CLIENT_SECRET]
    answers += ["y", "", "y", "Cellar meter", "grid"]
    arguments = ["--config", str(tmp_path / "agent.yaml"), "--base-url", cloud.url, *QUICK, "--ports", str(meter_server.port)]
    code, shown = await asyncio.to_thread(at_terminal, ["setup", *arguments], answers)
    assert code == 0, shown
    assert "exactly 24" in shown
    assert CLIENT_SECRET not in shown
    (device,) = load_site(tmp_path / "agent.yaml").devices
    assert device.name == "Cellar meter"
