"""`edge-agent record` and `replay` as their user runs them, with and without a running agent."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.recording.file import read_recording
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, meter, running
from tests.simulators import RegisterServer


async def test_record_goes_through_the_running_agent(gateway: Gateway, meter_server: RegisterServer) -> None:
    """The device sees one client; what is read only once is recorded, and what changes is heard from the agent's polls."""
    gateway.write_site([meter(meter_server)])
    output = gateway.folder / "meter.yaml"
    async with running(gateway):
        await until(lambda: meter_server.count("input", 72) >= 3)
        code, out, errors = await gateway.command("record", "grid-meter", "--minutes", "0.03", "--output", str(output))
        assert code == 0, errors
        assert meter_server.connections == 1
        assert meter_server.functions <= {3, 4}
        again, _, errors = await gateway.command("record", "grid-meter", "--minutes", "0", "--output", str(output))
        assert (again, "is there already" in errors) == (3, True)
    assert out.startswith(f"{output}: 95 registers, ")
    recording = read_recording(output)
    assert recording.means["power_w"] == "7200 W"
    assert recording.expected["serial_number"] == "4711"
    assert len(recording.changes) >= 1, "the counter moved while it was recorded"
    assert recording.ends is not None
    assert recording.ends >= 1.8


async def test_record_of_a_silent_device_through_the_agent_says_why(gateway: Gateway, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    await meter_server.stop()
    async with running(gateway):
        await until(lambda: "nothing listens" in gateway.logged)
        code, _, errors = await gateway.command("record", "grid-meter", "--minutes", "0", "--output", str(gateway.folder / "x.yaml"))
    assert code == 3
    assert "nothing listens at 127.0.0.1" in errors
    assert not (gateway.folder / "x.yaml").exists()


async def test_recording_ends_with_words_when_the_site_file_is_read_anew(gateway: Gateway, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: meter_server.count("input", 72) >= 3)
        once = meter_server.count("holding", 64512)
        recording = asyncio.create_task(gateway.command("record", "grid-meter", "--minutes", "5", "--output", str(gateway.folder / "x.yaml")))
        await until(lambda: meter_server.count("holding", 64512) > once)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        code, _, errors = await asyncio.wait_for(recording, 10)
    assert (code, "the site file was read anew meanwhile; ask again" in errors) == (3, True)


async def test_record_without_an_agent_ends_at_ctrl_c_with_what_was_heard(gateway: Gateway, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    output = gateway.folder / "meter.yaml"
    command = (sys.executable, "-m", "edge_agent", "record", "grid-meter", "--minutes", "10", "--output", str(output))
    process = await asyncio.create_subprocess_exec(*command, "--config", str(gateway.site), stdout=asyncio.subprocess.PIPE)
    await until(lambda: meter_server.count("input", 72) >= 3)
    process.send_signal(signal.SIGINT)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert b"points with a value" in out
    assert read_recording(output).means["power_w"] == "7200 W"


async def test_replay_serves_until_ctrl_c_and_prints_a_line_for_the_site_file(gateway: Gateway, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    output = gateway.folder / "meter.yaml"
    assert (await gateway.command("record", "grid-meter", "--minutes", "0", "--output", str(output)))[0] == 0
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "edge_agent", "replay", str(output), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
    assert line.startswith('  - {id: recorded, name: Recorded device, profile: eastron-sdm630, connection: "tcp://127.0.0.1:')
    gateway.write_site([line.strip().removeprefix("- ")])
    code, out, errors = await gateway.command("read")
    assert code == 0, errors
    assert re.search(r"^  power_total +7200 W +power_w ", out, re.M), out
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_own_profile_is_named_relative_to_the_recording(gateway: Gateway, meter_server: RegisterServer) -> None:
    (gateway.folder / "mine.yaml").write_text("extends: eastron-sdm630\nvendor: Mine\n")
    gateway.write_site([meter(meter_server).replace("eastron-sdm630", "./mine.yaml")])
    output = gateway.folder / "recordings" / "meter.yaml"
    output.parent.mkdir()
    code, _, errors = await gateway.command("record", "grid-meter", "--minutes", "0", "--output", str(output))
    assert code == 0, errors
    assert read_recording(output).profile == "../mine.yaml"


async def test_folder_that_cannot_be_written_is_told_in_words(gateway: Gateway, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    code, _, errors = await gateway.command("record", "grid-meter", "--minutes", "0", "--output", str(gateway.folder / "nowhere" / "x.yaml"))
    assert (code, "No such file or directory; write another --output" in errors) == (3, True)


def test_unknown_device_is_told_in_words(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.write_site(['{id: grid-meter, name: Meter, profile: eastron-sdm630, connection: "tcp://127.0.0.1:1", role: grid}'])
    assert main(["record", "metre", "--config", str(gateway.site)]) == 3
    assert "there is no device 'metre'; known: grid-meter" in capsys.readouterr().err


def test_replay_of_a_cut_recording_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.yaml").write_text("profile: eastron-sdm630\norigin: device\nregisters:\n  1:\n    input:\n      0: 0x0000 0x0\n")
    assert main(["replay", str(tmp_path / "cut.yaml")]) == 1
    assert f"{tmp_path}/cut.yaml:6: the recording is cut in the middle" in capsys.readouterr().err
