"""The program as systemd runs it: what it tells systemd and the updater, and what it waits for instead of ending."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import until
from tests.end_to_end.gateway import Gateway, meter, running
from tests.simulators import RegisterServer

WITHIN_S = 30.0


class Systemd:
    """The service's folders, and the socket by which it tells how it is."""

    def __init__(self, folder: Path) -> None:
        self.state, self.runtime = folder / "state", folder / "run"
        self.state.mkdir()
        self.runtime.mkdir()
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(str(folder / "notify"))
        self._line.setblocking(False)
        self.environment = {"STATE_DIRECTORY": str(self.state), "RUNTIME_DIRECTORY": str(self.runtime), "NOTIFY_SOCKET": str(folder / "notify")}
        self._told: list[str] = []

    @property
    def told(self) -> str:
        """All that systemd was told."""
        try:
            while True:
                self._told.append(self._line.recv(65536).decode())
        except BlockingIOError:
            return "".join(self._told)

    @property
    def health(self) -> dict[str, Any]:
        """What the updater is told; empty before it was told anything."""
        file = self.runtime / "health.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def close(self) -> None:
        self._line.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    folder = tmp_path / "systemd"
    folder.mkdir()
    one = Systemd(folder)
    yield one
    one.close()


async def test_service_is_ready_once_and_shows_its_health(gateway: Gateway, systemd: Systemd, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    async with running(gateway, systemd.environment):
        await until(lambda: systemd.health.get("state") == "healthy" and "upload" in systemd.health["worked_uptime_s"], WITHIN_S)
        assert systemd.told.count("READY=1") == 1
        assert systemd.told.count("WATCHDOG=1") >= 2
        assert "STATUS=healthy" in systemd.told
        assert await gateway.stop() == 0
        assert "STOPPING=1" in systemd.told


async def test_service_waits_for_its_site_file_and_begins_by_itself(gateway: Gateway, systemd: Systemd, meter_server: RegisterServer) -> None:
    async with running(gateway, systemd.environment):
        await until(lambda: "READY=1" in systemd.told, WITHIN_S)
        assert "edge-agent setup" in systemd.told
        await until(lambda: systemd.health.get("state") == "degraded", WITHIN_S)
        gateway.write_site([meter(meter_server)])
        await until(lambda: "STATUS=healthy" in systemd.told, WITHIN_S)
    assert gateway.logged.count("there is no site file") == 1


async def test_faulty_site_file_at_a_start_is_replaced_by_the_last_valid_copy(
    gateway: Gateway, systemd: Systemd, meter_server: RegisterServer
) -> None:
    (gateway.folder / "my-meter.yaml").write_text("extends: eastron-sdm630\n")
    gateway.write_site([meter(meter_server).replace("eastron-sdm630", "./my-meter.yaml")])
    async with running(gateway, systemd.environment):
        await until(lambda: systemd.health.get("state") == "healthy", WITHIN_S)
        await gateway.stop()
    kept = {path.name for path in systemd.state.rglob("*") if path.is_file()}
    assert kept == {"agent.yaml", "my-meter.yaml"}, "the copy holds no secret"
    (gateway.folder / "my-meter.yaml").write_text("extends: eastron-sdm631\n")
    gateway.site.write_text(gateway.site.read_text().replace("role: grid", "role: gird"))

    async with running(gateway, systemd.environment):
        await until(lambda: systemd.health["worked_uptime_s"].get("upload", 0) > systemd.health["started_uptime_s"], WITHIN_S)
        assert systemd.health["state"] == "degraded"
        assert "the last one that was right is in force" in systemd.health["reasons"][0]
        assert "role" in gateway.logged
        code, out, _ = await gateway.command("status")
        assert code == 1
        assert "the last one that was right is in force" in " ".join(out.split())

        (gateway.folder / "my-meter.yaml").write_text("extends: eastron-sdm630\n")
        gateway.site.write_text(gateway.site.read_text().replace("role: gird", "role: grid"))
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: systemd.health["state"] == "healthy", WITHIN_S)


async def test_faulty_site_file_without_a_copy_is_waited_for_with_its_mistakes(
    gateway: Gateway, systemd: Systemd, meter_server: RegisterServer
) -> None:
    gateway.write_site([meter(meter_server, role="gird")])
    async with running(gateway, systemd.environment):
        await until(lambda: "READY=1" in systemd.told, WITHIN_S)
        assert "gird" in systemd.health["reasons"][0]
        gateway.write_site([meter(meter_server)])
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: systemd.health["state"] == "healthy", WITHIN_S)


async def test_copy_that_this_version_refuses_condemns_it(gateway: Gateway, systemd: Systemd, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server, role="gird")])
    copy = systemd.state / "last-valid-site"
    copy.mkdir()
    (copy / "agent.yaml").write_text(gateway.site.read_text())
    async with running(gateway, systemd.environment):
        await until(lambda: systemd.health.get("state") == "unhealthy", WITHIN_S)


async def test_queue_that_cannot_be_opened_is_said_once_and_tried_again(gateway: Gateway, systemd: Systemd, meter_server: RegisterServer) -> None:
    gateway.write_site([meter(meter_server)])
    (gateway.folder / "state").write_text("in the way")
    async with running(gateway, systemd.environment):
        await until(lambda: systemd.health.get("state") == "unhealthy", WITHIN_S)
        await until(lambda: systemd.told.count("WATCHDOG=1") >= 2, WITHIN_S)
        assert gateway.logged.count("the agent keeps its queue there") == 1
        (gateway.folder / "state").unlink()
        await until(lambda: systemd.health["state"] == "healthy", WITHIN_S)


async def test_without_systemd_a_faulty_site_file_ends_the_program(gateway: Gateway, meter_server: RegisterServer) -> None:
    assert "STATE_DIRECTORY" not in os.environ
    gateway.write_site([meter(meter_server, role="gird")])
    async with running(gateway):
        assert gateway.process is not None
        assert await gateway.process.wait() == 1
