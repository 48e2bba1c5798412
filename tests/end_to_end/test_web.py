"""The page of a running agent."""

from __future__ import annotations

import signal
import socket
from typing import Any

import httpx

from edge_agent.demo.cloud import LocalCloud
from tests.conftest import free_port, until
from tests.end_to_end.gateway import Gateway, energies, meter, running
from tests.simulators import RegisterServer


def asked(port: int, path: str, host: str = "localhost") -> Any:
    """The page's answer to who asks for it by that name; None while nobody listens."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"host": host}, trust_env=False, timeout=30)
    except httpx.TransportError:
        return None
    return answer.json() if path.startswith("/api") else answer.text


async def test_page_shows_the_house_and_its_past_over_a_restart(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    port = free_port()
    gateway.write_site([meter(meter_server)], web=f"{{listen: '127.0.0.1:{port}', hosts: [energy.example.org]}}")
    async with running(gateway):
        await until(lambda: energies(cloud, "grid-meter"), 30)
        await until(lambda: asked(port, "/api/charts")["energy"]["columns"].get("import"), 30)
        await until(lambda: asked(port, "/api/status")["flow"][0]["power_w"] == 7200.0, 30)  # unknown while a poll is late
        assert asked(port, "/api/status")["health"] == "healthy"
        points = asked(port, "/api/device/grid-meter")["points"]
        assert any(point["raw"].startswith("0x") and point["unit"] == "W" for point in points)
        assert 'edge_agent_device_up{device="grid-meter"} 1' in asked(port, "/metrics")
        assert asked(port, "/healthz") == "healthy\n"
        assert asked(port, "/healthz", "energy.example.org") == "healthy\n"
        assert "add the name to web.hosts" in asked(port, "/healthz", "energy.example.org.evil.example")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: gateway.logged.count("page: http://") == 2, 30)
        await until(lambda: asked(port, "/healthz") == "healthy\n", 30)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        metered = len(energies(cloud, "grid-meter"))
        await until(lambda: len(energies(cloud, "grid-meter")) > metered + 1, 30)
        for one in idle:
            one.close()
        before = asked(port, "/api/charts")["energy"]["columns"]["import"]
        assert await gateway.stop() == 0
    async with running(gateway):
        await until(lambda: asked(port, "/healthz"), 30)
        after = asked(port, "/api/charts")["energy"]["columns"]["import"]
        assert sum(filter(None, after)) >= sum(filter(None, before)) > 0
        assert await gateway.stop() == 0


async def test_address_that_is_taken_costs_the_page_only(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway.write_site([meter(meter_server)], web=f"{{listen: '127.0.0.1:{taken.getsockname()[1]}'}}")
        async with running(gateway):
            await until(lambda: energies(cloud, "grid-meter"), 30)
            assert await gateway.stop() == 0
    assert gateway.logged.count("page: cannot listen on 127.0.0.1:") == 1
    assert "Check `web.listen:`" in gateway.logged
