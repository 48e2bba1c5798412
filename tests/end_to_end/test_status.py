"""`edge-agent status` of a running agent: what it shows, and its exit code."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

from edge_agent.demo.cloud import LocalCloud
from tests.end_to_end.gateway import Gateway, meter, running
from tests.simulators import RegisterServer

DEAD = '{id: battery, name: Battery, profile: sma-sunny-island, connection: "tcp://127.0.0.1:1"}'


async def status_when(gateway: Gateway, wanted: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """The status once the devices are in these states."""
    for _ in range(60):
        code, out, _errors = await gateway.command("status", "--json")
        document: dict[str, Any] = json.loads(out) if out else {}
        if {device["id"]: device["state"] for device in document.get("devices", [])} == wanted and document["uploads"]["accepted_at"]:
            return code, document
    raise AssertionError(f"the devices never came to be {wanted}: {document}")


async def test_status_of_a_healthy_agent_exits_with_0(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway):
        code, document = await status_when(gateway, {"grid-meter": "ok"})
        assert (code, document["health"], document["advice"]) == (0, "healthy", [])
        async with asyncio.timeout(30):  # what the cloud has accepted is counted in groups, and a power is unknown while a poll is late
            while not document["queue"]["accepted_live"] or document["flow"][0]["power_w"] is None:
                code, document = await status_when(gateway, {"grid-meter": "ok"})
        assert document["flow"][0] == {"kind": "grid", "power_w": 7200.0, "reason": "", "soc_percent": None, "names": ["Main meter"]}
        code, out, _ = await gateway.command("status")
        assert code == 0
        assert "healthy" in out
        assert await gateway.stop() == 0


async def test_status_with_a_silent_device_names_it_and_exits_with_1(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server), DEAD])
    async with running(gateway):
        code, document = await status_when(gateway, {"grid-meter": "ok", "battery": "silent"})
        assert (code, document["health"]) == (1, "degraded")
        code, out, _ = await gateway.command("status")
        assert code == 1
        assert "! battery:" in out
        assert "127.0.0.1:1" in out
        assert await gateway.stop() == 0


async def test_watching_ends_cleanly_and_goes_on_over_the_end_of_the_agent(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    command = (sys.executable, "-m", "edge_agent", "status", "--watch", "--json", "--config", str(gateway.site))
    async with running(gateway):
        await status_when(gateway, {"grid-meter": "ok"})
        watch = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert watch.stdout is not None
        seen = [json.loads(await watch.stdout.readline())["health"] for _ in range(2)]
        assert await gateway.stop() == 0
        while seen[-1] != "not running":
            seen.append(json.loads(await watch.stdout.readline())["health"])
    watch.send_signal(signal.SIGINT)
    await asyncio.wait_for(watch.communicate(), 30)
    assert watch.returncode == 3
    assert seen[:2] == ["healthy", "healthy"]
