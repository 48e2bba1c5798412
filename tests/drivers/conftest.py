"""What the Modbus driver tests share: a device of a profile at a simulator's port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.drivers.modbus import ModbusDriver
from edge_agent.drivers.modbus_link import ModbusLinks
from edge_agent.profiles.library import DeviceProfile, load_profile
from edge_agent.profiles.setup import Connection, DeviceSetup
from tests.conftest import HandClock

MakeDriver = Callable[..., ModbusDriver]


@pytest.fixture
async def make_driver(hand_clock: HandClock) -> AsyncIterator[MakeDriver]:
    """Makes drivers of one house; all lines are closed in the end."""
    links = ModbusLinks(hand_clock)

    def make(
        profile: DeviceProfile | str, port: int, unit: int = 1, *, id_: str = "meter", scheme: str = "tcp", known_serial: str = "", **more: Any
    ) -> ModbusDriver:
        found = load_profile(profile) if isinstance(profile, str) else profile
        connection = Connection(scheme, "127.0.0.1", port)
        setup = DeviceSetup(id_, id_, found, connection, unit, **more)
        return ModbusDriver(setup, links.get(connection, found.spec.modbus), hand_clock, known_serial)

    yield make
    await links.close()


@pytest.fixture
def profile_of(tmp_path: Path) -> Callable[[str], DeviceProfile]:
    """A profile from the text of its `points:` section, with other sections as text before it."""

    def profile(points: str, head: str = "", modbus: str = "timeout: 300ms") -> DeviceProfile:
        path = tmp_path / "device.yaml"
        rows = "\n".join(f"  {row.strip()}" for row in points.strip().splitlines())
        basics = "vendor: Test\nkind: meter\ntransport: modbus\nrole: any\n"
        path.write_text(f"{basics}{head}\nmodbus: {{{modbus}}}\npoints:\n{rows}\n", encoding="utf-8")
        return load_profile(str(path))

    return profile
