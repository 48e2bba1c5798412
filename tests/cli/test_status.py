"""`edge-agent status` when nobody answers; with a running agent: tests/end_to_end/test_status.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.cli import main


def test_not_running_says_how_to_start_it_and_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "agent.yaml"
    site.write_text("storage: {path: state/x.db}\ndevices: [{id: wrong}]\n")  # a faulty file is no reason not to look for the agent
    assert main(["status", "--config", str(site)]) == 3
    said = capsys.readouterr().err
    assert f"the agent is not running (nobody answers in {tmp_path}/state)" in said
    assert f"`edge-agent run --config {site}` starts it" in said
    assert not (tmp_path / "state").exists()


def test_missing_site_file_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--config", str(tmp_path / "x.yaml")]) == 1
    assert "there is no such file" in capsys.readouterr().err


def test_program_gets_json_also_when_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "agent.yaml"
    site.write_text("devices: []\n")
    assert main(["status", "--json", "--config", str(site)]) == 3
    assert json.loads(capsys.readouterr().out)["health"] == "not running"
