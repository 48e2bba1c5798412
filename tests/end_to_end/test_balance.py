"""`read --balance` on a house with a meter at the grid and one before an inverter, with and without an agent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edge_agent.demo.cloud import LocalCloud
from tests.conftest import until
from tests.end_to_end.gateway import SDM630, Gateway, energies, meter, running
from tests.simulators import RegisterServer, serving


@asynccontextmanager
async def house(gateway: Gateway, generation_w: float) -> AsyncIterator[RegisterServer]:
    """500 W are consumed, or -500 W shown when the meter before the inverter is the wrong way round."""
    async with serving({1: SDM630, 2: SDM630}) as server:
        await server.put(1, "input", 52, 500 - abs(generation_w), "f32")
        await server.put(2, "input", 52, -generation_w, "f32")
        gateway.write_site([meter(server), meter(server, "roof", "pv", ", unit: 2")])
        yield server


async def test_house_that_fits_together_is_shown_and_exits_with_0(gateway: Gateway) -> None:
    async with house(gateway, 2000):
        code, out, errors = await gateway.command("read", "--balance", "--seconds", "5")
    assert (code, errors) == (0, "")
    assert "= consumption  calculated  +500 W" in out
    assert "note: nothing measures the consumption independently" in out


async def test_inverted_meter_is_named_through_the_running_agent_and_exits_with_1(gateway: Gateway, cloud: LocalCloud) -> None:
    async with house(gateway, -2000), running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 60)
        code, out, errors = await gateway.command("read", "--balance", "--seconds", "5", "--json")
        assert (code, errors) == (1, "")
        answer = json.loads(out)
        assert answer["moments"] >= 5
        assert [finding["points"] for finding in answer["findings"] if finding["wrong"]] == [["roof"]]
        await gateway.stop()
