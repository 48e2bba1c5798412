"""A gateway under test: the real program in a process of its own, with a site file, a meter and a cloud."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, LocalCloud
from tests.simulators import RegisterServer

# The registers of an SDM630 that its profile reads, all 0 (read on over the gaps between them).
SDM630 = {"input": {0: [0] * 76, 342: [0] * 16}, "holding": {64512: [0, 4711, 121]}}


class Gateway:
    """The folder of a site, and the agent that runs on it."""

    def __init__(self, folder: Path, cloud: LocalCloud) -> None:
        self.folder = folder
        self.site = folder / "agent.yaml"
        self.log = folder / "agent.log"
        self.cloud = cloud
        self.process: asyncio.subprocess.Process | None = None
        (folder / "client-secret").write_text(CLIENT_SECRET)
        (folder / "client-secret").chmod(0o600)

    def write_site(self, devices: list[str], **sections: str) -> None:
        """A site file with a cloud on this machine and intervals of two seconds; `sections` replace or add some."""
        account = f"base_url: '{self.cloud.url}', customer_id: {CUSTOMER_ID}, building_id: {BUILDING_ID}, client_id: {CLIENT_ID}"
        parts = {
            "moost": f"{{{account}, client_secret_file: client-secret}}",
            "reporting": "{interval: 2s, poll_interval: 250ms}",
            "storage": "{path: state/edge-agent.db}",
        } | sections
        text = "".join(f"{name}: {value}\n" for name, value in parts.items())
        self.site.write_text(text + "devices:\n" + "".join(f"  - {device}\n" for device in devices))

    async def start(self, environment: dict[str, str] | None = None, program: Sequence[str] = ("-m", "edge_agent", "run", "--config")) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, *program, str(self.site)),
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )

    async def stop(self, within_s: float = 30.0, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the agent and waits; fails when it takes longer than it promises."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(how)
        async with asyncio.timeout(within_s):
            code = await self.process.wait()
        self.process = None
        return code

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Another `edge-agent` command on the same site: exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edge_agent", *arguments, "--config", str(self.site)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        return process.returncode or 0, out.decode(), errors.decode()

    async def queue(self) -> dict[str, Any]:
        code, out, errors = await self.command("queue", "stats", "--json")
        assert code == 0, errors
        stats: dict[str, Any] = json.loads(out)["stats"]
        return stats

    @property
    def logged(self) -> str:
        return self.log.read_text()


@asynccontextmanager
async def running(gateway: Gateway, environment: dict[str, str] | None = None) -> AsyncIterator[Gateway]:
    """The agent for as long as the block runs; killed if the block fails."""
    await gateway.start(environment)
    try:
        yield gateway
    finally:
        if gateway.process is not None and gateway.process.returncode is None:
            gateway.process.kill()
            await gateway.process.wait()


def meter(server: RegisterServer, device_id: str = "grid-meter", role: str = "grid", more: str = "") -> str:
    """The site file's line for an SDM630 behind that server."""
    return f'{{id: {device_id}, name: Main meter, profile: eastron-sdm630, connection: "tcp://127.0.0.1:{server.port}", role: {role}{more}}}'


async def count_up(server: RegisterServer, start_wh: float = 1000.0, power_w: float = 7200.0, unit: int = 1) -> None:
    """A meter that imports steadily: 7200 W are 2 Wh a second, and its counter says so."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await server.put(unit, "input", 52, power_w, "f32")
    while True:
        await server.put(unit, "input", 72, (start_wh + (loop.time() - begin) * power_w / 3600) / 1000, "f32")
        await asyncio.sleep(0.05)


def energies(cloud: LocalCloud, device_id: str, event_type: str = "ENERGY_CONSUMPTION", repeated: int = 0) -> dict[int, float]:
    """The energies that the cloud received for a device, by timestamp. Fails when more than `repeated` came twice, or one changed."""
    found = [event for event in cloud.received() if event["deviceId"] == device_id and event["type"] == event_type]
    by_end: dict[int, float] = {}
    for event in found:
        assert by_end.setdefault(event["timestamp"], float(event["value"])) == event["value"], "an interval was sent with two values"
    assert len(found) - len(by_end) <= repeated, "an interval was sent twice"
    return by_end


def at_terminal(arguments: list[str], answers: Sequence[str] = ()) -> tuple[int, str]:
    """The command at a terminal of its own; each answer is typed when a question (a line that ends with `: `) waits."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "edge_agent", *arguments])
    shown = ""
    waiting = list(answers)
    while select.select([terminal], [], [], 60)[0]:
        try:
            shown += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # the other end is closed
            break
        if waiting and shown.endswith(": "):
            os.write(terminal, f"{waiting.pop(0)}\n".encode())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown
