"""A module imports from its own floor or lower, and the libraries that touch the world have one importer each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_agent

PACKAGE = Path(edge_agent.__file__).parent
FLOORS = [
    "model",
    "codec",
    "profiles",
    "drivers",
    "metering",
    "cloud",
    "outbox",
    "uplink",
    "config",
    "site_reading",
    "devices",
    "memory",
    "handover",
    "foreign_links",
    "unknown_values",
    "terminal",
    "progress",
    "inspection",
    "planning",
    "balance_check",
    "control",
    "recording",
    "building",
    "timekeeping",
    "pulse",
    "health",
    "systemd",
    "status",
    "shift",
    "web",
    "agent",
    "service",
]
ONLY_MODEL = {"metering", "cloud", "outbox"}
ONE_IMPORTER = {
    "pymodbus": "drivers/modbus_link.py",
    "paho": "drivers/mqtt_hub.py",
    "httpx": "uplink/",
    "h11": "web/server.py",
    "sqlite3": "outbox/",
    "rich": "demo/",
}
SIMULATION = {"demo/"}  # the simulated house may use the same libraries on the other side of the wire

MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def place(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_module_imports_from_its_own_floor_or_lower(module: Path) -> None:
    own = place(module).removesuffix(".py").split("/")[0]
    if own not in FLOORS:
        return  # the windows on top may see everything
    for name in imports_of(module):
        parts = name.split(".")
        if parts[0] != "edge_agent" or len(parts) == 1:
            continue
        assert parts[1] in FLOORS, f"{place(module)} looks up at {name}"
        assert FLOORS.index(parts[1]) <= FLOORS.index(own), f"{place(module)} looks up at {name}"
        if own in ONLY_MODEL:
            assert parts[1] in (own, "model"), f"{place(module)} needs only the model, not {name}"


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_library_that_touches_the_world_has_one_importer(module: Path) -> None:
    if any(place(module).startswith(folder) for folder in SIMULATION):
        return
    for name in imports_of(module):
        home = ONE_IMPORTER.get(name.split(".")[0])
        assert home is None or place(module).startswith(home), f"{place(module)} imports {name}, which belongs to {home}"
