"""`edge-agent scan`: what the user says and sees. Progress goes to stderr, and only to a terminal."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import ConfigError, EdgeAgentError
from edge_agent.profiles.library import load_profile, profile_names
from edge_agent.scan.draft import account_of, check_target, write_site
from edge_agent.scan.fingerprint import Library
from edge_agent.scan.found import Found, without_repeats
from edge_agent.scan.modbus import Pace, PortScan
from edge_agent.scan.mqtt import listen
from edge_agent.scan.network import hosts_of, named_network, own_networks
from edge_agent.scan.options import UNITS_THAT_MATTER
from edge_agent.scan.running import Running, running_agent
from edge_agent.scan.sweep import Sweep
from edge_agent.terminal import table

_HEAD = ("address", "unit", "what", "serial", "profile")


def run(options: argparse.Namespace, default_config: str) -> int:
    """Scans and shows; 3 when the broker cannot be reached, 130 when it was interrupted."""
    running = running_agent(options.config, Path(default_config))
    networks = [named_network(text) for text in options.networks] or own_networks()
    account = None
    if options.write is not None:
        check_target(options.write)
        account = account_of(options, running.document)
    broker = options.mqtt or running.broker
    settings = running.settings(broker) if broker else None
    library = shipped_profiles(running.remarks)
    outcome = asyncio.run(search(options, networks, settings, library, running))
    if options.json:
        print(json.dumps(outcome.to_json(networks, options.ports), indent=2, ensure_ascii=False))
    else:
        print(outcome.text(networks, options.ports, broker))
    if account is not None and not outcome.interrupted:
        for line in write_site(options.write, outcome.found, account, broker, running.document, library):
            print(line, file=sys.stderr if options.json else sys.stdout)
    return 130 if outcome.interrupted else 3 if outcome.failed else 0


def shipped_profiles(remarks: list[str]) -> Library:
    """All shipped profiles; one that cannot be used is named and does not hide the others."""
    library = {}
    for name in profile_names():
        try:
            library[name] = load_profile(name)
        except ConfigError as error:
            remarks.append(f"profile {name} is left out: {error.problems[0]}")
    return library


class Outcome:
    """What a scan came to."""

    def __init__(self, found: Sequence[Found], remarks: Sequence[str], hosts: int, interrupted: bool, failed: bool) -> None:
        self.found = list(found)
        self.remarks = list(remarks)
        self.hosts = hosts
        self.interrupted = interrupted
        self.failed = failed

    def to_json(self, networks: Sequence[IPv4Network], ports: Sequence[int]) -> dict[str, Any]:
        """As `--json` shows it."""
        scanned = {"networks": [str(network) for network in networks], "addresses": self.hosts, "ports": list(ports)}
        return {"devices": [one.to_json() for one in self.found], "scanned": scanned, "complete": not self.interrupted, "remarks": self.remarks}

    def text(self, networks: Sequence[IPv4Network], ports: Sequence[int], broker: str) -> str:
        """As a terminal shows it."""
        where = ", ".join(str(network) for network in networks)
        head = f"{self.hosts} addresses of {where}, ports {', '.join(map(str, ports))}" + (f"; {broker}" if broker else "")
        rows = [(one.address, "" if one.unit is None else str(one.unit), one.what, one.serial, _profile_cell(one)) for one in self.found]
        lines = [head, table(_HEAD, rows) if rows else "  no device was found"]
        if any(len(one.profiles) > 1 for one in self.found):
            lines.append("Where several profiles fit, choose one: `edge-agent profiles show NAME` tells them apart.")
        if not broker:
            lines.append("No broker was listened to; name it with --mqtt.")
        return "\n".join([*lines, *self.remarks])


def _profile_cell(one: Found) -> str:
    more = f" variant={one.variant}" if one.variant else ""
    more += "".join(f" {name}={value}" for name, value in one.parameters.items())
    sure = f"{one.confidence}, device {one.device_id}" if one.device_id else one.confidence
    return f"{' or '.join(one.profiles) or '-'}{more} ({sure})"


async def search(
    options: argparse.Namespace, networks: Sequence[IPv4Network], broker: MqttSettings | None, library: Library, running: Running
) -> Outcome:
    """What is there, until all is done, `options.seconds` are over or Ctrl-C; progress is shown on a terminal."""
    clock = SystemClock()
    hosts = hosts_of(networks)
    homes = sorted({profile.spec.modbus.unit for profile in library.values() if profile.spec.transport == "modbus"} - set(UNITS_THAT_MATTER))
    scan = PortScan(library, options.units or (*UNITS_THAT_MATTER, *homes), Pace(), clock)
    sweep = Sweep(found=[], remarks=running.remarks)
    show = _progress if sys.stderr.isatty() else None
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    work = asyncio.create_task(sweep.run(scan, hosts, options.ports, running.lines, show))
    tasks: list[asyncio.Task[Any]] = [work]
    heard = asyncio.create_task(listen(broker, library, options.wait, clock)) if broker is not None else None
    tasks += [heard] if heard is not None else []
    interrupted = await _until(tasks, stop, options.seconds)
    if show is not None:
        print(file=sys.stderr)
    if not work.done():
        await asyncio.gather(*_cancelled([work]), return_exceptions=True)
        if not interrupted:
            sweep.remarks.append(f"ended after {options.seconds:g} s with {sweep.done} of {len(hosts)} addresses; --seconds gives more time")
    elif (error := work.exception()) is not None:
        raise error
    devices: list[Found] = []
    failed = False
    if heard is not None:
        try:
            devices = await heard if heard.done() or not interrupted else []
        except EdgeAgentError as error:
            sweep.remarks.append(str(error))
            failed = True
        finally:
            heard.cancel()
    found = running.devices + without_repeats(sorted(sweep.found, key=_order)) + [one for one in devices if not running.reads(one)]
    return Outcome(found, sweep.remarks, len(hosts), interrupted, failed)


async def _until(tasks: Sequence[asyncio.Task[Any]], stop: asyncio.Event, seconds: float) -> bool:
    """Waits for all tasks, but no longer than that; whether the user ended it."""
    stopping = asyncio.create_task(stop.wait())
    everything = asyncio.create_task(asyncio.wait(tasks))
    await asyncio.wait([everything, stopping], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*_cancelled([everything, stopping]), return_exceptions=True)
    return stop.is_set()


def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> Sequence[asyncio.Task[Any]]:
    for task in tasks:
        task.cancel()
    return tasks


def _order(one: Found) -> tuple[object, ...]:
    scheme, _, rest = one.address.partition("://")
    host, _, port = rest.rpartition(":")
    return tuple(int(part) for part in host.split(".")), int(port), scheme, one.unit or 0


def _progress(done: int, total: int, found: int) -> None:
    print(f"\r{done} of {total} addresses, {found} found ", end="", file=sys.stderr, flush=True)
