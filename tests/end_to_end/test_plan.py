"""`read --plan` with and without an agent, and what the agent still knows after a restart."""

from __future__ import annotations

import json

from edge_agent.demo.cloud import LocalCloud
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, energies, meter, running
from tests.simulators import RegisterServer, serving

# An SDM630 that lacks some registers of its profile.
POOR = {1: {"input": {0: [0] * 16, 52: [0] * 2, 72: [0] * 4}, "holding": {64512: [0, 4711, 121]}}}


def asked_for_missing(server: RegisterServer) -> int:
    return sum(request.table == "input" and any(request.covers(address) for address in range(16, 52)) for request in server.requests)


async def test_refused_addresses_are_shown_and_known_after_a_restart(gateway: Gateway, cloud: LocalCloud) -> None:
    async with serving(POOR) as server:
        gateway.write_site([meter(server)])
        code, out, errors = await gateway.command("read", "--plan", "--json")
        assert (code, errors) == (0, "")
        [plan] = json.loads(out)
        left_out = [one["address"] for one in plan["left_out"]]
        assert left_out
        assert all(address not in (0, 52, 72) for address in left_out)
        async with running(gateway):
            await until(lambda: energies(cloud, "grid-meter"), 60)
            assert await gateway.stop() == 0
        server.requests.clear()
        async with running(gateway):
            await until(lambda: server.requests, 60)
            code, out, errors = await gateway.command("read", "grid-meter", "--plan")
            assert (code, errors) == (0, "")
            assert "left out:" in out
            assert asked_for_missing(server) == 0
            await gateway.stop()
