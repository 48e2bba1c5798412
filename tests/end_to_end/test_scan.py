"""A scan beside an agent that runs: a device may take one client only."""

from __future__ import annotations

from tests.conftest import until
from tests.end_to_end.gateway import Gateway, meter, running
from tests.simulators import RegisterServer


async def test_devices_of_the_running_agent_are_shown_and_asked_by_nobody_else(gateway: Gateway, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        await until(lambda: meter_server.connections and meter_server.requests)
        code, out, errors = await gateway.command("scan", "127.0.0.1", "--ports", str(meter_server.port))
        assert code == 0, errors
        assert meter_server.connections == 1
        await gateway.stop()
    row = next(line for line in out.splitlines() if "device grid-meter" in line)
    assert row.split()[:2] == [f"tcp://127.0.0.1:{meter_server.port}", "1"]
    assert "eastron-sdm630" in row
    assert "4711" in row
    assert "in use" in row
    assert f"127.0.0.1:{meter_server.port} was not asked" in out
