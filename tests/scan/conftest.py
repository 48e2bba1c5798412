"""What the scan's tests share: a small library, recorded devices on the loopback network, a quick pace."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edge_agent.model.clock import SystemClock
from edge_agent.profiles.library import load_profile
from edge_agent.recording.file import read_recording
from edge_agent.scan.fingerprint import Library
from edge_agent.scan.modbus import Pace, PortScan
from tests.simulators import RegisterServer, serving

RECORDINGS = Path(__file__).parents[1] / "recordings"
NAMES = (
    *("abb-b23", "alfen-eve", "fronius-gen24", "keba-p30", "kostal-plenticore", "lambda-eureka-luft", "schneider-iem3155"),
    *("shelly-pro-3em", "shelly-pro-3em-monophase", "sungrow-sh", "sunspec"),
    *("evcc", "evcc-loadpoint", "go-e-charger", "shelly-gen2-switch", "tasmota-energy-plug", "victron-venus-os-evcharger"),
)
QUICK = Pace(connect_s=1.0, answer_s=0.3, pause_s=0.0, connect_pause_s=0.0, host_s=20.0)

Serve = Callable[..., Awaitable[RegisterServer]]


@pytest.fixture(scope="session")
def library() -> Library:
    return {name: load_profile(name) for name in NAMES}


@pytest.fixture
def port_scan(library: Library) -> PortScan:
    return PortScan(library, (1, 2, 71, 200, 255), QUICK, SystemClock())


@pytest.fixture
def port() -> int:
    """A port that is free on every address of the loopback network."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def serve(port: int) -> AsyncIterator[Serve]:
    """Serves a recorded device at an address of the loopback network."""
    async with AsyncExitStack() as stack:

        async def start(recording: str, host: str = "127.0.0.1") -> RegisterServer:
            recorded = read_recording(RECORDINGS / f"{recording}.yaml")
            units = {unit: {str(table): recorded.words(unit, table) for table in tables} for unit, tables in recorded.registers.items()}
            return await stack.enter_async_context(serving(units, rtu=recorded.transport != "tcp", host=host, port=port))

        yield start
