"""`edge-agent scan` as its user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent.cli import main
from edge_agent.config import load_site
from tests.conftest import Mosquitto
from tests.scan.conftest import Serve
from tests.scan.test_mqtt_scan import PLUG, publish
from tests.simulators import misbehaving

SITE = """\
moost: {{customer_id: 656730be2bc9719e6e5ed51d, building_id: B1, client_id: 6cUo, client_secret_file: client-secret}}
devices:
  - {{id: hybrid, name: Inverter, profile: sungrow-sh, connection: "tcp://127.0.0.1:{port}", roles: [pv, battery]}}
"""


@pytest.fixture
def site(tmp_path: Path, port: int) -> Path:
    (tmp_path / "client-secret").write_text("s3cret")
    (tmp_path / "client-secret").chmod(0o600)
    (tmp_path / "agent.yaml").write_text(SITE.format(port=port))
    return tmp_path / "agent.yaml"


async def scan(*arguments: str) -> tuple[int, str, str]:
    process = await start(*arguments)
    out, errors = await process.communicate()
    return process.returncode or 0, out.decode(), errors.decode()


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "edge_agent", "scan", *arguments, stdout=pipe, stderr=pipe)


async def test_table_names_address_unit_serial_and_profile(serve: Serve, port: int) -> None:
    await serve("sungrow-sh", "127.0.0.3")
    code, out, errors = await scan("127.0.0.0/29", "--ports", str(port), "--units", "1")
    assert (code, errors) == (0, "")
    row = next(line for line in out.splitlines() if "sungrow-sh" in line)
    assert row.split()[:2] == [f"tcp://127.0.0.3:{port}", "1"]
    assert "6 addresses of 127.0.0.0/29" in out
    assert "--mqtt" in out


async def test_json_has_the_same_and_what_was_scanned(serve: Serve, port: int, mosquitto: Mosquitto) -> None:
    await serve("sungrow-sh")
    publish(mosquitto, "tele/washer/SENSOR", PLUG, "-r")
    broker = f"mqtt://127.0.0.1:{mosquitto.port}"
    code, out, _ = await scan("127.0.0.1", "--ports", str(port), "--units", "1", "--mqtt", broker, "--wait", "0.5", "--json")
    answer: dict[str, Any] = json.loads(out)
    assert code == 0
    assert [(one["profiles"], one["unit"]) for one in answer["devices"]] == [(["sungrow-sh"], 1), (["tasmota-energy-plug"], None)]
    assert answer["scanned"] == {"networks": ["127.0.0.1/32"], "addresses": 1, "ports": [port]}
    assert answer["complete"] is True


async def test_written_file_takes_the_account_of_another_and_passes_check(serve: Serve, port: int, site: Path, tmp_path: Path) -> None:
    await serve("sungrow-sh")
    (tmp_path / "new").mkdir()
    new = tmp_path / "new" / "agent.yaml"
    code, out, errors = await scan("127.0.0.1", "--ports", str(port), "--units", "1", "--config", str(site), "--write", str(new))
    assert (code, errors) == (0, "")
    assert "edge-agent check" in out
    assert main(["check", "--config", str(new)]) == 0
    assert load_site(new).devices[0].profile.name == "sungrow-sh"


def test_mistakes_are_told_before_anything_is_scanned(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["8.8.8.8"], "not a private network"),
        (["127.0.0.1", "--write", str(site)], "exists and is not overwritten"),
        (["127.0.0.1", "--write", str(site.with_name("new.yaml"))], "--customer-id"),
        (["127.0.0.1", "--mqtt", "mqtt://user:word@host"], "password does not belong"),
    ):
        assert main(["scan", *arguments]) == 3
        assert words in capsys.readouterr().err


async def test_broker_that_is_away_does_not_hide_what_was_found(serve: Serve, port: int, stopped_mosquitto: Mosquitto) -> None:
    await serve("sungrow-sh")
    code, out, _ = await scan("127.0.0.1", "--ports", str(port), "--units", "1", "--mqtt", f"mqtt://127.0.0.1:{stopped_mosquitto.port}")
    assert code == 3
    assert "sungrow-sh" in out
    assert "connection refused" in out


async def test_time_bound_ends_the_scan_with_what_was_found(serve: Serve, port: int) -> None:
    await serve("sungrow-sh")
    async with misbehaving(lambda request, transaction: []) as silent:
        code, out, _ = await scan("127.0.0.1", "--ports", f"{port},{silent.port}", "--units", "1,2,3,4,5,6,7,8", "--seconds", "8")
    assert code == 0
    assert "sungrow-sh" in out
    assert "ended after 8 s with 0 of 1 addresses" in out


async def test_interrupt_ends_cleanly_with_what_was_found(serve: Serve, port: int) -> None:
    await serve("sungrow-sh")
    async with misbehaving(lambda request, transaction: []) as silent:
        process = await start("127.0.0.1", "--ports", f"{port},{silent.port}", "--units", "1,2,3,4,5,6,7,8")
        async with asyncio.timeout(30):
            while not silent.requests:
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 130
    assert b"sungrow-sh" in out
    assert b"Traceback" not in errors


def test_progress_is_shown_on_a_terminal_only(port: int) -> None:
    terminal, other = os.openpty()
    arguments = [sys.executable, "-m", "edge_agent", "scan", "127.0.0.1", "--ports", str(port), "--json"]
    pid = os.posix_spawn(
        sys.executable, arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, other, 2), (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    )
    os.close(other)
    assert os.waitpid(pid, 0)[1] == 0
    assert b"1 of 1 addresses, 0 found" in os.read(terminal, 4096)
    os.close(terminal)
