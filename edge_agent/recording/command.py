"""`edge-agent record`: through the running agent, which holds the device's line, or alone when none runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from edge_agent.config import Site, load_site
from edge_agent.control import ask, state_lock
from edge_agent.devices import Devices
from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import EdgeAgentError
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.progress import progress
from edge_agent.recording.file import recording_text
from edge_agent.recording.recorder import Recorded, record_alone, summary

_ANSWER_S = 60.0  # what the agent may need beyond the recording itself


def run(options: Namespace) -> int:
    """Records, writes the file and says what is in it."""
    site = load_site(options.config)
    setup = _device(site, options.device)
    output = options.output or Path(f"{setup.id}.recording.yaml")
    if output.exists():
        raise EdgeAgentError(f"{output} is there already; write another --output")
    print(f"recording {setup.id} for {options.minutes:g} min ...", file=sys.stderr)
    with progress(options.minutes * 60):
        recorded = _recorded(site, setup, options.minutes * 60, options.anonymous)
    _write(output, recorded)
    if options.json:
        print(json.dumps({"file": str(output), "expected": dict(recorded.section.expected)}, indent=2, ensure_ascii=False))
        return 0
    for line in summary(recorded, str(output)):
        print(line)
    return 0


def _device(site: Site, name: str) -> DeviceSetup:
    found = next((setup for setup in site.devices if setup.id == name), None)
    if found is None:
        raise EdgeAgentError(f"there is no device {name!r}; known: {', '.join(setup.id for setup in site.devices)}")
    return found


def _recorded(site: Site, setup: DeviceSetup, seconds: float, anonymous: bool) -> Recorded:
    folder = site.database.parent
    request = {"command": "record", "device": setup.id, "seconds": seconds, "anonymous": anonymous}
    answer = ask(folder, request, seconds + _ANSWER_S) if folder.is_dir() else None
    if answer is not None:
        return Recorded.from_json(answer)
    with state_lock(folder):
        return asyncio.run(_alone(site, setup, seconds, anonymous))


async def _alone(site: Site, setup: DeviceSetup, seconds: float, anonymous: bool) -> Recorded:
    """Ctrl-C ends the recording early; what was heard until then is kept."""
    stop, clock = asyncio.Event(), SystemClock()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    devices = Devices([], site.mqtt, clock, {})
    try:
        return await record_alone(devices, setup, clock, seconds, anonymous, stop)
    finally:
        await devices.close()


def _write(output: Path, recorded: Recorded) -> None:
    """Writes the file; a profile of the installer's own is named relative to it."""
    section = recorded.section
    if "/" in section.profile:
        relative = os.path.relpath(section.profile, output.resolve().parent)
        section = replace(section, profile=relative if relative.startswith(".") else f"./{relative}")
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(recording_text(section, recorded.head, recorded.refused))
    except OSError as error:
        raise EdgeAgentError(f"{output}: {error.strerror}; write another --output") from None
