"""The `edge-agent` command. Parses, calls one function, prints; errors become a line and an exit code (`EXIT_CODES`)."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_agent import __version__
from edge_agent.backup.options import add_backup_options, add_restore_options
from edge_agent.bounds import number
from edge_agent.logs import FORMATS, log_to_stderr
from edge_agent.model.errors import CLOSED_HINT, ConfigError, EdgeAgentError
from edge_agent.scan.options import add_options as add_scan_options
from edge_agent.setup.options import add_options as add_setup_options
from edge_agent.status.options import add_options as add_status_options

DEFAULT_CONFIG = "/etc/edge-agent/agent.yaml"
EXIT_CODES = (
    "0 done; 1 a mistake in the site file or a profile, or a check that found something; 2 wrong usage; 3 something is missing or does not work: "
    "a device that is silent or not in the site file, the agent, the cloud, the disk; 70 a fault of the program; 130 ended by Ctrl-C"
)
_EPILOG = (
    "A new house: `setup` makes the site file, `check` and `read` prove it, `run` (or the service) does the work, `status` tells how it goes. "
    "`edge-agent COMMAND --help` explains each; `demo` shows all of it without a house. "
    f"Exit codes: {EXIT_CODES}."
)

_READ_MORE = "Through the running agent, else by itself. Exit code 3 if a device could not be read; with --balance 1 if something is wrong."
_STATUS_MORE = "Exit code 0 healthy, 1 degraded (something needs a look) or a faulty site file, 3 failing or not running."
_SETUP_MORE = "Run again, it keeps your edits and adds what is new. Every question has an option. Exit code 1 if something is left to mend."
_VERIFY_MORE = "Exit code 1 if something does not fit, 3 if nothing could be compared."


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code. No traceback reaches a user."""
    options = parser().parse_args(arguments)
    _log(options)
    try:
        return int(options.run(options))
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    except EdgeAgentError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return 3
    except PermissionError as error:
        print(f"edge-agent: {error.filename}: {error.strerror}; {CLOSED_HINT}", file=sys.stderr)
        return 3
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if "EDGE_AGENT_DEBUG" in os.environ:
            raise
        print(_fault_text(error), file=sys.stderr)
        return 70


def _fault_text(error: Exception) -> str:
    """A fault of the program itself in one line: what, where, and what to do."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"edge-agent: a fault in the program ({what}, {Path(frame.filename).name}:{frame.lineno}); please report it. EDGE_AGENT_DEBUG=1 shows more"


def parser() -> argparse.ArgumentParser:
    """The command line, whole: also the source of man page and completion."""
    whole = argparse.ArgumentParser(
        prog="edge-agent", description="Reads a house's energy devices and delivers their events to the MOOST cloud.", epilog=_EPILOG
    )
    whole.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_house(commands)
    _add_backup_and_help(commands)
    _add_cloud(commands)
    _add_devices(commands)
    return whole


def _add_house(commands: Any) -> None:
    run = _command(commands, "run", _run, "run the agent until it is stopped", "SIGTERM stops it with nothing lost, SIGHUP re-reads the site file.")
    run.add_argument("--verbose", action="store_true", help="log what is usually not worth a line")
    run.add_argument("--log-format", choices=FORMATS, default="text", help="json: one object a line, for a log collector (default: text)")

    check = _command(commands, "check", _check, "check the site file and the profiles it names", "Exit code 1 if there is a mistake.")
    check.add_argument("--json", action="store_true", help="print JSON")

    read = _command(commands, "read", _read, "show one reading of each point now", _READ_MORE)
    read.add_argument("device", nargs="?", default="", metavar="DEVICE", help="the device's id (default: all)")
    read.add_argument("--plan", action="store_true", help="show the requests of one poll, and what is left out of them")
    read.add_argument("--balance", action="store_true", help="watch all devices for a minute: do their signs, factors and roles fit together?")
    read.add_argument("--seconds", type=number(float, 5, 3600), default=60.0, metavar="N", help="how long to watch for --balance (default: 60)")
    read.add_argument("--json", action="store_true", help="print JSON")
    read.add_argument(
        "--wait",
        type=number(float, 0, 3600),
        default=10.0,
        metavar="SECONDS",
        help="how long to listen for MQTT devices when no agent runs (default: 10)",
    )

    status = _command(
        commands, "status", _module("status.command"), "show how the running agent, its devices and the way to the cloud stand", _STATUS_MORE
    )
    add_status_options(status)
    setup = _command(commands, "setup", _module("setup.command"), "ask what a site file needs, write it, and prove that it works", _SETUP_MORE)
    add_setup_options(setup)


def _add_backup_and_help(commands: Any) -> None:
    backup = _command(commands, "backup", _module("backup.make"), "write site file, queue and counters into one file")
    add_backup_options(backup)

    restore = _command(commands, "restore", _module("backup.restore"), "make this the gateway of a house from its backup")
    add_restore_options(restore)

    bundle = _command(commands, "support-bundle", _module("support"), "write what helps an operator to help into one file, without secrets")
    bundle.add_argument("--json", action="store_true", help="print JSON")
    bundle.add_argument("file", nargs="?", type=Path, metavar="FILE", help="where to write it (default: edge-agent-support-DATE.tar.gz)")


def _add_cloud(commands: Any) -> None:
    queue = _command(commands, "queue", _queue, "show and mend the queue of events")
    queue.add_argument(
        "action",
        nargs="?",
        default="stats",
        choices=["stats", "list", "dead", "retry"],
        help="stats: figures; list: what waits; dead: what the cloud refused; retry: put that back (default: stats)",
    )
    queue.add_argument("--json", action="store_true", help="print JSON")
    queue.add_argument("--limit", type=number(int, 1, 100_000), default=50, metavar="N", help="rows to list (default: 50)")

    verify = _command(commands, "verify", _module("verification"), "compare what the platform counted with what was sent", _VERIFY_MORE)
    verify.add_argument(
        "--days",
        type=number(int, 1, 35, "what was sent is remembered as long"),
        default=7,
        metavar="N",
        help="how many days back, up to 35 (default: 7)",
    )
    verify.add_argument("--json", action="store_true", help="print JSON")


def _add_devices(commands: Any) -> None:
    scan = commands.add_parser(
        "scan",
        help="find devices on the network and the broker",
        description="Finds Modbus and MQTT devices, and the profiles that fit them. Only reads.",
    )
    add_scan_options(scan, DEFAULT_CONFIG)
    scan.set_defaults(run=_scan, verbose=False)

    record = _command(commands, "record", _module("recording.command"), "write what a device says into one text file")
    record.add_argument("device", metavar="DEVICE", help="the device's id")
    record.add_argument(
        "--minutes", type=number(float, 0, 60, "0 is one reading"), default=2.0, metavar="N", help="for how long, up to 60 (default: 2)"
    )
    record.add_argument("--output", type=Path, metavar="FILE", help="where to write it (default: DEVICE.recording.yaml)")
    record.add_argument("--anonymous", action="store_true", help="take the serial number out")
    record.add_argument("--json", action="store_true", help="print JSON")

    replay = commands.add_parser("replay", help="serve a recording as a device", description="A recording as a device on this machine, until Ctrl-C.")
    replay.add_argument("file", type=Path, metavar="FILE", help="the recording")
    replay.add_argument("--port", type=number(int, 0, 65535), default=0, metavar="N", help="where to listen (default: a free port)")
    replay.add_argument("--rtu", action="store_true", help="RTU frames over TCP, as through a serial gateway")
    replay.add_argument("--broker", default="", metavar="URL", help="publish to this MQTT broker instead of an own one")
    replay.set_defaults(run=_module("demo.replay"), verbose=False)

    profiles = commands.add_parser("profiles", help="show the library of device profiles", description="The library of device profiles.")
    profiles.add_argument("action", nargs="?", default="list", choices=["list", "show", "check"], help="check: a profile of your own (default: list)")
    profiles.add_argument("name", nargs="?", default="", metavar="PROFILE", help="a profile's name, or a file such as ./my-meter.yaml")
    profiles.add_argument("--json", action="store_true", help="print JSON")
    profiles.set_defaults(run=_module("catalogue"), verbose=False)

    schema = commands.add_parser("schema", help="print a JSON Schema for editors", description="The JSON Schema of a kind of YAML file, for editors.")
    schema.add_argument("kind", choices=["agent", "profile", "recording"], help="agent: the site file")
    schema.set_defaults(run=_schema, verbose=False)

    demo = commands.add_parser(
        "demo", help="run a simulated house on this machine", description="A whole simulated house: devices, broker and cloud."
    )
    demo.add_argument("--speed", type=float, default=60.0, metavar="FACTOR", help="how much faster than real time (default: 60)")
    demo.add_argument("--duration", default=None, metavar="TIME", help="end after that time with a summary, e.g. 60s (default: until Ctrl-C)")
    demo.set_defaults(run=_demo, verbose=False)


def _command(commands: Any, name: str, run: Any, text: str, more: str = "") -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}".strip())
    command.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG), metavar="FILE", help=f"the site file (default: {DEFAULT_CONFIG})")
    command.set_defaults(run=run, verbose=False)
    return command


def _module(name: str) -> Callable[[argparse.Namespace], int]:
    """A command that has a module of its own, which is loaded when it is asked for."""
    return lambda options: int(importlib.import_module(f"edge_agent.{name}").run(options))


def _log(options: argparse.Namespace) -> None:
    level = logging.INFO if options.command == "run" else logging.ERROR
    log_to_stderr(level, logging.DEBUG if options.verbose else level, getattr(options, "log_format", "text"))


def _run(options: argparse.Namespace) -> int:
    from edge_agent.site_reading import SiteReading

    os.umask(0o007)  # what a house uses and when is nobody else's business; the group may use the queue when no agent runs
    begun = SiteReading(options.config) if options.config.exists() else None  # while it works, this process loads the rest

    import asyncio

    from edge_agent.model.clock import SystemClock
    from edge_agent.service import run
    from edge_agent.timekeeping.system import system_evidence

    asyncio.run(run(options.config, SystemClock(), system_evidence, begun))
    return 0


def _check(options: argparse.Namespace) -> int:
    from edge_agent.codec.human import counted
    from edge_agent.config import load_site

    if options.json:
        return _check_as_json(options.config)
    site = load_site(options.config)
    for warning in site.warnings:
        print(f"{options.config}: warning: {warning}")
    devices = f"{counted(len(site.devices), 'device')} ({', '.join(setup.id for setup in site.devices)})"
    print(f"{options.config}: ok: {devices} for building {site.account.building_id}")
    return 0


def _check_as_json(config: Path) -> int:
    from edge_agent.config import load_site

    answer: dict[str, Any] = {"file": str(config), "problems": [], "warnings": [], "devices": []}
    try:
        site = load_site(config)
        answer |= {"warnings": list(site.warnings), "devices": [setup.id for setup in site.devices]}
    except ConfigError as error:
        answer["problems"] = [asdict(problem) for problem in error.problems]
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return 1 if answer["problems"] else 0


def _read(options: argparse.Namespace) -> int:
    if options.balance:
        return _balance(options)
    return _plan(options) if options.plan else _values(options)


def _balance(options: argparse.Namespace) -> int:
    import asyncio

    from edge_agent.balance_check import balance_text, watch_without_agent
    from edge_agent.config import load_site
    from edge_agent.control import asked
    from edge_agent.progress import progress

    if options.device:
        raise EdgeAgentError("the balance is one of all devices: leave DEVICE out")
    site = load_site(options.config)
    request = {"command": "balance", "seconds": options.seconds}
    with progress(options.seconds):
        answer = asked(site.database.parent, request, lambda: asyncio.run(watch_without_agent(site, options.seconds)), options.seconds + 60)
    print(json.dumps(answer, indent=2, ensure_ascii=False) if options.json else balance_text(answer))
    return 1 if answer["wrong"] else 0


def _plan(options: argparse.Namespace) -> int:
    import asyncio

    from edge_agent.config import load_site
    from edge_agent.control import asked
    from edge_agent.planning import plan_text, plans_without_agent

    site = load_site(options.config)
    request = {"command": "plan", "device": options.device}
    answer = asked(site.database.parent, request, lambda: {"devices": asyncio.run(plans_without_agent(site, options.device))})
    return _print_devices(options, answer["devices"], plan_text)


def _values(options: argparse.Namespace) -> int:
    import asyncio

    from edge_agent.config import load_site
    from edge_agent.control import asked
    from edge_agent.inspection import read_without_agent, reading_text
    from edge_agent.progress import progress

    site = load_site(options.config)
    request = {"command": "read", "device": options.device}
    with progress(doing="reading"):
        answer = asked(site.database.parent, request, lambda: {"devices": asyncio.run(read_without_agent(site, options.device, options.wait))})
    return _print_devices(options, answer["devices"], reading_text)


def _print_devices(options: argparse.Namespace, devices: list[dict[str, Any]], text: Callable[[dict[str, Any]], str]) -> int:
    """Devices as JSON or as text; 3 when one could not be reached."""
    if options.json:
        print(json.dumps(devices, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(text(device) for device in devices))
    return 3 if any(device["error"] for device in devices) else 0


def _scan(options: argparse.Namespace) -> int:
    from edge_agent.scan.command import run

    return run(options, DEFAULT_CONFIG)


def _queue(options: argparse.Namespace) -> int:
    from edge_agent.config import load_site
    from edge_agent.control import ask, state_lock
    from edge_agent.inspection import queue_answer, queue_text
    from edge_agent.outbox.outbox import Queue

    site = load_site(options.config)
    folder = site.database.parent
    request = {"action": options.action, "limit": options.limit}
    answer = ask(folder, {"command": "queue", **request}) if folder.is_dir() else None
    if answer is None:
        if not site.database.exists():
            raise EdgeAgentError(f"there is no queue yet: {site.database} does not exist; it is made when the agent first runs")
        with state_lock(folder), Queue.opened(site.database, site.max_size) as queue:
            answer = queue_answer(queue, request)
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print(queue_text(answer))
    return 0


def _schema(options: argparse.Namespace) -> int:
    from edge_agent.json_schema import schema_file

    print(schema_file(options.kind).read_text(encoding="utf-8"), end="")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from edge_agent.codec.human import parse_duration
    from edge_agent.demo.app import main as demo

    try:
        duration = None if options.duration is None else float(str(parse_duration(options.duration)))
    except ValueError as error:
        raise EdgeAgentError(f"--duration: {error}") from None
    if not options.speed > 0:
        raise EdgeAgentError("--speed: write a number above 0, such as 60")
    return int(demo(options.speed, duration))
