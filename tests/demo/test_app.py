"""The demo as a whole: house, devices, broker, agent and cloud."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from edge_agent.config import load_site
from edge_agent.demo.app import main, run_demo, spring_morning, write_site
from edge_agent.model.errors import EdgeAgentError


async def test_house_and_cloud_agree_after_some_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    output = io.StringIO()
    console = Console(file=output, width=200)
    code = await run_demo(30, 11, console, interval_s=60)
    text = output.getvalue()
    assert code == 0, text
    assert "House and cloud agree." in text
    assert " 0 were refused" in text
    for account in ("grid-meter", "hybrid.pv", "hybrid.battery", "heat-pump", "wallbox", "washer", "household"):
        assert f"│ {account} " in text
    warnings = [line for line in text.splitlines() if line.startswith(("warning:", "error:"))]
    assert len(warnings) == 1, warnings
    assert "reporting.interval" in warnings[0]
    assert list(tmp_path.iterdir()) == [], "nothing stays behind"


async def test_terminal_gets_a_live_table() -> None:
    output = io.StringIO()
    code = await run_demo(60, 2, Console(file=output, width=150, force_terminal=True), interval_s=900)
    text = output.getvalue()
    assert "what has arrived at the cloud" in text
    assert "Washing machine" in text
    assert code == 1, "no interval was complete"


def test_interrupt_ends_the_demo_with_its_summary() -> None:
    command = [sys.executable, "-m", "edge_agent", "demo"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert demo.stdout is not None
    assert demo.stdout.readline().startswith("The page of this house: http://127.0.0.1:")
    assert "sun" in demo.stdout.readline()
    demo.send_signal(signal.SIGINT)
    output, errors = demo.communicate(timeout=20)
    assert "No interval was complete" in output
    assert errors == ""
    assert demo.returncode == 1


def test_site_file_is_one_that_an_installer_could_have_written(tmp_path: Path) -> None:
    file = write_site(tmp_path, "http://127.0.0.1:8000", 1883, [5020, 5021, 5022], 900)
    site = load_site(file)
    assert site.warnings == ()
    assert [device.id for device in site.devices] == ["grid-meter", "hybrid", "heat-pump", "wallbox", "washer"]
    assert stat.S_IMODE((tmp_path / "client-secret").stat().st_mode) == 0o600
    assert (tmp_path / "client-secret").read_text().strip() not in file.read_text()
    assert site.database.parent == tmp_path


def test_day_is_the_last_spring_morning() -> None:
    january, june = (datetime(2026, month, 3, tzinfo=UTC).timestamp() for month in (1, 6))
    assert spring_morning(january) == datetime(2025, 4, 18, 8, 45, tzinfo=UTC).timestamp()
    assert spring_morning(june) == datetime(2026, 4, 18, 8, 45, tzinfo=UTC).timestamp()


def test_speed_that_no_machine_can_follow_is_refused() -> None:
    with pytest.raises(EdgeAgentError, match="--speed"):
        main(1000, 1)
