"""What `read --plan` shows: the requests of one poll of each device, and what is left out of them, as data and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edge_agent.drivers import Driver
from edge_agent.model.clock import utc_text
from edge_agent.model.errors import EdgeAgentError
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.terminal import table, wrapped

if TYPE_CHECKING:
    from edge_agent.config import Site
    from edge_agent.drivers.modbus import ModbusDriver

Answer = dict[str, Any]


async def plans(setups: Sequence[DeviceSetup], device: str, drivers: Mapping[str, Driver]) -> list[Answer]:
    """The plans of a device (of all: empty). Reads one that has not been met. Raises EdgeAgentError for an unknown one."""
    chosen = [setup for setup in setups if device in ("", setup.id)]
    if not chosen:
        raise EdgeAgentError(f"there is no device {device!r}; known: {', '.join(setup.id for setup in setups)}")
    return [await _plan(setup, drivers[setup.id]) for setup in chosen]


async def plans_without_agent(site: Site, device: str) -> list[Answer]:
    """The same when no agent runs: connects by itself, and learns anew what the devices refuse."""
    from edge_agent.devices import Devices
    from edge_agent.model.clock import SystemClock

    devices = Devices(site.devices, site.mqtt, SystemClock(), {})
    try:
        return await plans(site.devices, device, devices.drivers)
    finally:
        await devices.close()


async def _plan(setup: DeviceSetup, driver: Driver) -> Answer:
    head: Answer = {"id": setup.id, "name": setup.name, "profile": setup.profile.name, "error": ""}
    if setup.connection is None:
        return head | {"address": f"topic {setup.topic}", "requests": [], "left_out": [], "read_once": [], "missing": {}}
    from edge_agent.drivers.modbus import ModbusDriver

    assert isinstance(driver, ModbusDriver)
    error = "" if driver.plan else (await driver.read()).error
    return head | {"address": f"{setup.connection} unit {setup.unit}", "error": error} | _requests(driver)


def _requests(driver: ModbusDriver) -> Answer:
    poller = driver.poller
    return {
        "requests": [
            {
                "unit": poll.block.unit,
                "table": poll.block.table,
                "address": poll.block.address,
                "count": poll.block.count,
                "points": list(poll.names),
                "once": poll.once,
            }
            for poll in poller.plan()
        ],
        "left_out": [
            {
                "unit": bad.span.unit,
                "table": bad.span.table,
                "address": bad.span.address,
                "count": bad.span.count,
                "points": poller.points_in(bad.span),
                "reason": bad.reason,
                "again_at": utc_text(bad.again_at),
            }
            for bad in poller.left_out()
        ],
        "read_once": list(poller.once_read),
        "missing": dict(driver.missing),
    }


def plan_text(device: Answer) -> str:
    """A device's plan for the terminal."""
    head = f"{device['id']} ({device['name']}): {device['profile']} at {device['address']}"
    if device["error"]:
        return f"{head}\n  {device['error']}"
    if device["address"].startswith("topic"):
        return f"{head}: nothing is asked for, it sends by itself"
    requests = device["requests"]
    lines = [wrapped(f"{head}: {len(requests)} request{'s' * (len(requests) != 1)} a poll", 2)]
    if requests:
        lines.append(table(("unit", "table", "addresses", "count", "points"), (_cells(one) for one in requests)))
    if device["left_out"]:
        lines.append("  left out:")
        rows = ((*_cells(one)[:-1], one["again_at"], f"{', '.join(one['points'])}: {one['reason']}") for one in device["left_out"])
        lines.append(table(("unit", "table", "addresses", "count", "tried again", "points and reason"), rows))
    if device["read_once"]:
        lines.append(wrapped(f"  read once and not asked for again: {', '.join(device['read_once'])}", 4))
    lines += [wrapped(f"  not on this device: {point}: {reason}", 4) for point, reason in device["missing"].items()]
    return "\n".join(lines)


def _cells(row: Answer) -> tuple[str, ...]:
    last = f"-{row['address'] + row['count'] - 1}" if row["count"] > 1 else ""
    return str(row["unit"]), row["table"], f"{row['address']}{last}", str(row["count"]), ", ".join(row["points"])
