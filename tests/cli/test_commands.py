"""The commands as a user types them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.cli import main

ROOT = Path(__file__).parents[2]
SITE = """\
moost: {customer_id: 656730be2bc9719e6e5ed51d, building_id: B1, client_id: 6cUo, client_secret_file: client-secret}
devices:
  - {id: meter, name: Meter, profile: eastron-sdm630, connection: "tcp://127.0.0.1:1", role: grid}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "client-secret").write_text("s3cret")
    (tmp_path / "client-secret").chmod(0o600)
    (tmp_path / "agent.yaml").write_text(SITE)
    return tmp_path / "agent.yaml"


def test_check_accepts_a_good_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(site)]) == 0
    assert "ok: 1 device (meter) for building B1" in capsys.readouterr().out


def test_check_reports_every_mistake_and_exits_with_1(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.write_text(SITE.replace("role: grid", "role: gird").replace("client_id: 6cUo", "client: 6cUo"))
    assert main(["check", "--config", str(site)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "1", "3"]
    assert all(line.startswith(str(site)) for line in lines)


def test_read_of_an_unreachable_device_says_what_to_check(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", "--config", str(site)]) == 3
    out = capsys.readouterr().out
    assert "127.0.0.1:1" in out
    assert "Traceback" not in out


def test_read_before_the_first_run_makes_no_state_folder(site: Path) -> None:
    site.write_text(SITE.replace("devices:", "storage: {path: state/edge-agent.db}\ndevices:"))
    assert main(["read", "--config", str(site)]) == 3
    assert not (site.parent / "state").exists()


def test_read_of_an_unknown_device_names_the_known_ones(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", "metre", "--config", str(site)]) == 3
    assert "there is no device 'metre'; known: meter" in capsys.readouterr().err


def test_queue_before_the_first_run_says_so(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "--config", str(site)]) == 3
    assert "there is no queue yet" in capsys.readouterr().err


@contextmanager
def as_stranger(folder: Path) -> Iterator[None]:
    """The folder belongs to somebody else while the block runs."""
    user = os.geteuid()
    folder.chmod(0o700 if user == 0 else 0)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


@pytest.mark.parametrize(
    "command", ["status", "check", "read", "queue", "backup", "verify", "record meter", "setup --yes", "scan 127.0.0.1 --wait 0"]
)
def test_house_of_another_user_is_told_with_what_to_do(site: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    arguments = [*command.split(), "--config", str(site)]
    site.write_text("- imports what the command needs\n")
    main(arguments)
    capsys.readouterr()
    with as_stranger(site.parent):
        code = main(arguments)
    said = capsys.readouterr().err
    assert code in (1, 3), said
    assert said.count("\n") == 1
    assert said.endswith("; use sudo, or join the group edge-agent\n")


@pytest.mark.parametrize(
    "arguments",
    [
        "read --balance --seconds 1",
        "read --balance --seconds nan",
        "read --wait -1",
        "record meter --minutes 600",
        "record meter --minutes nan",
        "verify --days 36",
        "queue list --limit 0",
        "replay x.yaml --port 65536",
        "scan --seconds nan",
        "scan --ports 0",
        "setup --seconds inf",
    ],
)
def test_number_out_of_bounds_is_wrong_usage(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    assert ended.value.code == 2
    option = arguments.split()[-2]
    assert re.search(f"argument {option}: .*number.* from [0-9]+ to [0-9]+", capsys.readouterr().err)


@pytest.mark.parametrize("command", ["status", "check", "read", "verify"])
def test_help_tells_a_programmer_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "Exit code " in " ".join(capsys.readouterr().out.split())


def test_missing_site_file_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "edge_agent", "run", "--config", tmp_path / "x.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/x.yaml: there is no such file; `edge-agent setup` writes one\n"


def test_every_command_stands_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z-]+)(?: |$)", capsys.readouterr().out, re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    assert commands
    for command in commands:
        assert f"`edge-agent {command}" in readme, f"{command} is missing in the README"


def test_daemon_loads_neither_rich_nor_click_nor_sqlite_utils_nor_the_page_nor_what_reads_files(site: Path) -> None:
    code = (
        "import sys, edge_agent.cli, edge_agent.service, edge_agent.uplink.client, edge_agent.outbox.outbox, "
        "edge_agent.drivers.modbus, edge_agent.drivers.mqtt, edge_agent.recording.recorder; "
        "print(*sorted({'rich', 'click', 'sqlite_utils', 'h11', 'edge_agent.web', 'pydantic', 'pydantic_core', 'ruamel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
