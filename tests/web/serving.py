"""The page's server on a free port, before a house of a fixed status."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from edge_agent.model.errors import EdgeAgentError
from edge_agent.status.document import Status
from edge_agent.web.app import App, Sources
from edge_agent.web.guard import Guard
from edge_agent.web.server import Limits, Server
from tests.conftest import HandClock
from tests.status.examples import healthy, judged

PASSWORD = "correct horse"


@dataclass
class House:
    """What the page shows, to be varied by a test."""

    status: Status = field(default_factory=lambda: judged(healthy()))
    charts: dict[str, Any] = field(default_factory=dict)
    letters: list[dict[str, Any]] = field(default_factory=list)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    checked: dict[str, Any] = field(default_factory=lambda: {"terms": [], "findings": [], "errors": [], "wrong": False})
    checks: int = 0
    retried: int = 0

    def sources(self) -> Sources:
        async def status() -> Status:
            return self.status

        async def letters() -> list[dict[str, Any]]:
            return self.letters

        async def retry() -> int:
            self.retried += 1
            return len(self.letters)

        async def check() -> dict[str, Any]:
            self.checks += 1
            await asyncio.sleep(0.2)
            return self.checked

        def device(name: str) -> dict[str, Any]:
            if name not in self.devices:
                raise EdgeAgentError(f"there is no device {name!r}")
            return self.devices[name]

        return Sources(status, lambda: self.charts, device, check, letters, retry)


@asynccontextmanager
async def serving(house: House, password: str | None = None, limits: Limits | None = None, clock: HandClock | None = None) -> AsyncIterator[int]:
    """The page's port while the block runs."""
    app = App(house.sources(), Guard(password), clock or HandClock())
    async with Server(app.answer, limits or Limits()).listening("127.0.0.1", 0) as port:
        yield port


@asynccontextmanager
async def client(port: int, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a window."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30, **options) as http:
        yield http


def day_of_charts(now: float) -> dict[str, Any]:
    """A sunny day and the week before it, as the charts show them."""

    def powers(step_s: int, rows: int) -> dict[str, Any]:
        start = (int(now // step_s) - rows + 1) * step_s
        columns: dict[str, list[float | None]] = {"sun": [], "house": [], "grid": [], "battery": [], "charger": [], "heat_pump": [], "soc": []}
        soc = 45.0
        for row in range(rows):
            hour = ((start + row * step_s) / 3600 + 2) % 24
            sun = max(0.0, 7000 * math.sin(math.pi * (hour - 6) / 14)) if 6 < hour < 20 else 0.0
            house = 420 + 160 * math.sin(start + row * step_s / 1900) + (2200 if 11.5 < hour < 12.5 or 18 < hour < 19.5 else 0)
            car = 2900.0 if 9 < hour < 12 else 0.0
            heat_pump = 1300.0 if 4 < hour < 6.5 or 20 < hour < 21.5 else 14.0
            house += car + heat_pump
            spare = sun - house
            battery = min(3000.0, spare) if spare > 0 and soc < 97 else max(-1500.0, spare) if spare < 0 and soc > 35 else 0.0
            soc += battery * step_s / 3600 / 100
            for name, value in (("sun", sun), ("house", house), ("battery", battery), ("grid", house + battery - sun)):
                columns[name].append(round(value, 1))
            for name, value in (("charger", car), ("heat_pump", heat_pump), ("soc", min(soc, 100.0))):
                columns[name].append(round(value, 1))
        return {"step_s": step_s, "start": start, "columns": columns}

    week = powers(3600, 169)
    hours = week["columns"]
    energies = {
        "consumption": hours["house"],
        "generation": hours["sun"],
        "import": [max(0.0, watts) for watts in hours["grid"]],
        "export": [max(0.0, -watts) for watts in hours["grid"]],
        "charger": hours["charger"],
        "heat_pump": hours["heat_pump"],
        "charged": [max(0.0, watts) for watts in hours["battery"]],
        "discharged": [max(0.0, -watts) for watts in hours["battery"]],
    }
    return {"day": powers(300, 289), "week": week, "energy": {"step_s": 3600, "start": week["start"], "columns": energies}}
