"""`edge-agent demo`: a whole house on this machine, with the agent in it and a cloud for it to talk to.

The agent is the one that runs in a cellar: it gets a site file, reads real Modbus and MQTT, queues on disk and
uploads over HTTP. Only the clock is another: it runs faster. All of it stands in a temporary folder and on the
loopback interface, and is gone afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from edge_agent.agent import Agent
from edge_agent.config import Site, load_site
from edge_agent.control import ask
from edge_agent.demo import screen
from edge_agent.demo.broker import Broker
from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, LocalCloud
from edge_agent.demo.devices import GRID_METER, HEAT_PUMP, HYBRID, ModbusDevice
from edge_agent.demo.house import House
from edge_agent.demo.ledger import Ledger
from edge_agent.demo.mqtt_devices import CHARGER_TOPIC, PLUG_TOPIC, go_e_charger, tasmota_plug
from edge_agent.demo.summary import Timing, compare
from edge_agent.model.clock import ScaledClock
from edge_agent.model.errors import EdgeAgentError
from edge_agent.outbox.queue import Queue
from edge_agent.profiles.meaning import meter_points

SEED = 1
INTERVAL_S = 900
POLL_S = 10.0
MAX_SPEED = 240.0
_HEAD_START_S = 120  # house time before the first boundary, for the devices to be met
_SLOWEST_POLL_S = 120.0
_PAGE_PORT = 8080
_LOOK_EVERY_S = 0.4
_SETTLED_S = 1.5  # real time after which all that a device says of one moment has arrived


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that stands while the demo runs."""

    clock: ScaledClock
    ledger: Ledger
    cloud: LocalCloud
    site: Site
    devices: list[ModbusDevice]

    @property
    def timing(self) -> Timing:
        """How the house was read so far; a slow machine polls less often, up to what may still be called polling."""
        slowest = min(_SLOWEST_POLL_S, 1.2 * max(device.longest_pause_s for device in self.devices))
        return Timing(self.site.interval_s, max(POLL_S, 0.4 * self.clock.speed, slowest), 1 + 0.05 * self.clock.speed)

    @property
    def names(self) -> dict[str, str]:
        """What sends events, by device id."""
        points = {point.id: point.name for setup in self.site.devices for point in meter_points(setup)}
        return points | {self.site.household.id: self.site.household.name}


def main(speed: float, duration_s: float | None) -> int:
    """Runs the demo until `duration_s` real seconds have passed or Ctrl-C. Returns 0 when house and cloud agree."""
    if speed > MAX_SPEED:
        raise EdgeAgentError(f"--speed: {speed:g} is too fast, at {MAX_SPEED:g} a second of this machine is four minutes of the house; write less")
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # the cloud of the demo is on this machine, whatever the proxy
    return asyncio.run(run_demo(speed, duration_s, screen.console()))


async def run_demo(speed: float, duration_s: float | None, console: Console, interval_s: int = INTERVAL_S) -> int:
    """The demo in a running event loop; `interval_s` is the reporting interval in the house's time."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        with tempfile.TemporaryDirectory(prefix="edge-agent-demo-") as folder, _warnings_on(console):
            async with _scene(Path(folder), speed, interval_s) as scene:
                await _watch(scene, console, stop, duration_s)
            return _conclude(scene, console)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def spring_morning(now: float) -> int:
    """08:45 UTC on the last 18 April before `now`: sun, a cool house and a car that is about to come home."""
    year = datetime.fromtimestamp(now, UTC).year
    days = [datetime(one, 4, 18, 8, 45, tzinfo=UTC).timestamp() for one in (year, year - 1)]
    return int(next(day for day in days if day <= now))


@contextlib.asynccontextmanager
async def _scene(folder: Path, speed: float, interval_s: int) -> AsyncIterator[Scene]:
    """Builds the house, its devices, broker and cloud."""
    start = spring_morning(datetime.now(UTC).timestamp()) - min(_HEAD_START_S, interval_s // 2)
    clock = ScaledClock(speed, start)
    ledger = Ledger(House(SEED, start), clock)
    async with contextlib.AsyncExitStack() as stack:
        cloud = stack.enter_context(LocalCloud(now=clock.now))
        broker = await stack.enter_async_context(Broker())
        devices = [await stack.enter_async_context(ModbusDevice(model, ledger.now)) for model in (GRID_METER, HYBRID, HEAT_PUMP)]
        tick_s = max(1.0, min(4.0, speed / 20))  # the charger's second; never more than twenty ticks in a real one
        for device in (go_e_charger(broker.port, ledger.now, clock, tick_s), tasmota_plug(broker.port, ledger.now, clock)):
            task = asyncio.create_task(device)
            stack.push_async_callback(_ended, task)
        site = load_site(write_site(folder, cloud.url, broker.port, [device.port for device in devices], interval_s, _page_port()))
        yield Scene(clock, ledger, cloud, site, devices)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _page_port() -> int:
    """8080, or where that is taken any free port of this machine."""
    for port in (_PAGE_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise EdgeAgentError("the demo's page needs a port of this machine, and none is free")


def write_site(folder: Path, cloud: str, broker: int, modbus: list[int], interval_s: int, page: int = _PAGE_PORT) -> Path:
    """The site file as an installer writes it, with the secret in a file of its own."""
    secret = folder / "client-secret"
    secret.touch(0o600)
    secret.write_text(CLIENT_SECRET + "\n", encoding="utf-8")
    meter, hybrid, heat_pump = modbus
    file = folder / "agent.yaml"
    file.write_text(
        f"""\
moost:
  base_url: {cloud}
  customer_id: {CUSTOMER_ID}
  building_id: {BUILDING_ID}
  client_id: {CLIENT_ID}
  client_secret_file: client-secret
time_zone: Europe/Vienna
building: {{zip: "8010", city: Graz, country_code: AT}}
reporting: {{interval: {interval_s}s, poll_interval: {POLL_S:g}s}}
storage: {{path: {folder / "edge-agent.db"}}}
mqtt: {{broker: mqtt://127.0.0.1:{broker}}}
web: {{listen: 127.0.0.1:{page}}}
devices:
  - id: grid-meter
    name: Main meter
    profile: eastron-sdm630
    connection: rtu+tcp://127.0.0.1:{meter}
    role: grid
  - id: hybrid
    name: Sun and battery
    profile: sungrow-sh
    connection: tcp://127.0.0.1:{hybrid}
    roles: [pv, battery]
  - id: heat-pump
    name: Heat pump
    profile: lambda-eureka-luft
    connection: tcp://127.0.0.1:{heat_pump}
  - id: wallbox
    name: Garage
    profile: go-e-charger
    topic: {CHARGER_TOPIC}
  - id: washer
    name: Washing machine
    profile: tasmota-energy-plug
    topic: {PLUG_TOPIC}
""",
        encoding="utf-8",
    )
    return file


async def _watch(scene: Scene, console: Console, stop: asyncio.Event, duration_s: float | None) -> None:
    """Runs the agent and shows what arrives until `stop` is set, time is up, or the agent fails."""
    if scene.site.web is not None:
        console.print(f"The page of this house: http://{scene.site.web.host}:{scene.site.web.port}", style="bold")
    agent = asyncio.create_task(Agent(scene.site, scene.clock).run(stop))
    show = _show_live if console.is_terminal else _show_lines
    shown = asyncio.create_task(show(scene, console))
    stopped = asyncio.create_task(stop.wait())
    ended, _ = await asyncio.wait([agent, shown, stopped], timeout=duration_s, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    shown.cancel()
    await asyncio.wait([agent, shown, stopped])
    for task in ended:
        task.result()  # raises what ended it


async def _show_live(scene: Scene, console: Console) -> None:
    received = screen.Received(scene.names)
    seen = 0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            new = scene.cloud.events[seen:]
            seen += len(new)
            received.take(one.event for one in new)
            live.update(screen.live_view(scene.ledger.now(), received, await _figures(scene), scene.clock.speed, console.width), refresh=True)
            await asyncio.sleep(_LOOK_EVERY_S)


async def _show_lines(scene: Scene, console: Console) -> None:
    """Prints what devices say once all that belongs to one moment has arrived."""
    real = asyncio.get_running_loop().time
    waiting: dict[tuple[str, int], tuple[float, list[Mapping[str, Any]]]] = {}
    seen = interval = 0
    while True:
        new = scene.cloud.events[seen:]
        seen += len(new)
        for one in new:
            waiting.setdefault((one.event["deviceId"], one.event["timestamp"]), (real(), []))[1].append(one.event)
        for key in [key for key, (since, _) in waiting.items() if real() - since > _SETTLED_S]:
            for line in screen.lines(waiting.pop(key)[1], scene.names):
                console.print(line, markup=False)
        house = scene.ledger.now()
        if interval != (interval := house.at // scene.site.interval_s):
            console.print(f"{screen.clock_text(house.at)}  {screen.flow_line(house).plain}", markup=False)
        await asyncio.sleep(_LOOK_EVERY_S)


async def _figures(scene: Scene) -> screen.Figures:
    """The queue's numbers, asked the way `edge-agent queue stats` asks."""
    answer = await asyncio.to_thread(ask, scene.site.database.parent, {"command": "queue", "action": "stats"})
    stats = answer["stats"] if answer else {}
    return _figures_of(scene.cloud, stats)


def _figures_of(cloud: LocalCloud, stats: Mapping[str, Any]) -> screen.Figures:
    live = sum(one.call == "live" for one in list(cloud.events))
    refused = stats.get("refused", 0) + stats.get("dead", 0) + stats.get("buried", 0)
    return screen.Figures(stats.get("waiting", 0), live, len(cloud.events) - live, refused)


def _conclude(scene: Scene, console: Console) -> int:
    """Prints the comparison. Returns the exit code."""
    with Queue.opened(scene.site.database) as queue:
        figures = _figures_of(scene.cloud, queue.stats())
    events = [one.event for one in scene.cloud.events]
    found, empty = compare(events, scene.ledger.totals, scene.timing)
    if not found:
        console.print("No interval was complete before the end: let the demo run longer, or faster.")
        return 1
    console.print(screen.summary_view(found, empty, console.width))
    console.print(
        f"{figures.live} events arrived live, {figures.historical} as history, {figures.refused} were refused, {figures.waiting} were still queued."
    )
    agree = all(one.agrees for one in found) and not empty and not figures.refused
    console.print("House and cloud agree." if agree else "House and cloud do NOT agree.", style="green" if agree else "bold red")
    return 0 if agree else 1


@contextlib.contextmanager
def _warnings_on(console: Console) -> Iterator[None]:
    """The agent's own warnings, printed above the table rather than into it."""
    handler = _ConsoleLog(console.print)
    root = logging.getLogger()
    before, root.handlers, level = root.handlers, [handler], root.level
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(level)


class _ConsoleLog(logging.Handler):
    """Log lines to a console."""

    def __init__(self, say: Callable[..., None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(f"{record.levelname.lower()}: {record.getMessage()}", markup=False, style="yellow")
