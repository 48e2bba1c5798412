"""`read --balance`: watches all devices for a minute, and shows the balance at the AC bus with what is wrong in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edge_agent.drivers import Driver
from edge_agent.metering.commissioning import Moment, examine, powers
from edge_agent.model.clock import Clock
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.measurements import MeterPoint, Quantity, Reading, Sample
from edge_agent.profiles.meaning import meanings, measurements, meter_points
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.terminal import table, wrapped

if TYPE_CHECKING:
    from edge_agent.config import Site

Answer = dict[str, Any]

_BETWEEN_S = 2.0  # two moments
_FEWEST = 10
_SHORTEST_S, _LONGEST_S = 5.0, 3600.0
_BAR = 30  # characters of the largest power


async def watch(
    setups: Sequence[DeviceSetup], drivers: Mapping[str, Driver], clock: Clock, seconds: float, read: Callable[[DeviceSetup], Awaitable[Sample]]
) -> Answer:
    """The balance over so many seconds, by readings that `read` gives. Raises EdgeAgentError for a time that is too short or too long."""
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise EdgeAgentError(f"--seconds: write a number from {_SHORTEST_S:g} to {_LONGEST_S:g}")
    between = min(_BETWEEN_S, seconds / _FEWEST)
    until = clock.monotonic() + seconds
    moments: list[Moment] = []
    errors: dict[str, str] = {}
    points: list[MeterPoint] = []
    while clock.monotonic() < until:
        next_at = clock.monotonic() + between
        samples = await asyncio.gather(*(read(setup) for setup in setups))
        readings: dict[str, dict[Quantity, Reading]] = {}
        for setup, sample in zip(setups, samples, strict=True):
            readings |= measurements(meanings(setup), sample)
            errors[setup.id] = sample.error
        points = _present(setups, drivers)
        moments.append(powers(points, readings))
        await clock.sleep(max(0.0, next_at - clock.monotonic()))
    return _answer(points, moments, seconds, [error for error in errors.values() if error])


def _present(setups: Sequence[DeviceSetup], drivers: Mapping[str, Driver]) -> list[MeterPoint]:
    """The measuring points that the devices really have, as far as is known."""
    found = []
    for setup in setups:
        roles = drivers[setup.id].roles if setup.profile.roles else None
        found += [point for point in meter_points(setup) if roles is None or point.role in roles]
    return found


def _answer(points: Sequence[MeterPoint], moments: Sequence[Moment], seconds: float, errors: list[str]) -> Answer:
    result = examine(points, moments)
    return {
        "seconds": seconds,
        "moments": result.moments,
        "terms": [{"point": term.point_id, "role": term.role.value, "watts": term.watts} for term in result.terms],
        "consumption_w": result.consumption_w,
        "measured_w": result.measured_w,
        "findings": [{"wrong": finding.wrong, "text": finding.text, "points": list(finding.point_ids)} for finding in result.findings],
        "errors": errors,
        "wrong": result.wrong,
    }


async def watch_without_agent(site: Site, seconds: float) -> Answer:
    """The same when no agent runs: connects by itself."""
    from edge_agent.devices import Devices
    from edge_agent.model.clock import SystemClock

    clock = SystemClock()
    devices = Devices(site.devices, site.mqtt, clock, {})
    try:
        return await watch(site.devices, devices.drivers, clock, seconds, lambda setup: devices.drivers[setup.id].read())
    finally:
        await devices.close()


def balance_text(answer: Answer) -> str:
    """The balance for the terminal: what flows into the house, what it consumes, and what is wrong."""
    rows = [(term["role"], term["point"], term["watts"]) for term in answer["terms"] if term["role"] in ("grid", "pv", "battery")]
    rows.append(("= consumption", "calculated", answer["consumption_w"]))
    rows += [(term["role"], term["point"], term["watts"]) for term in answer["terms"] if term["role"] not in ("grid", "pv", "battery")]
    largest = max([1.0, *(abs(watts) for _, _, watts in rows if watts is not None)])
    lines = [
        f"balance at the AC bus over {answer['seconds']:g} s, medians of {answer['moments']} moments; + flows into the house",
        table(("role", "point", "power", ""), ((role, point, _watts(watts), _bar(watts, largest)) for role, point, watts in rows)),
    ]
    if answer["consumption_w"] is not None and answer["measured_w"] is not None:
        lines.append(f"  left over: {_watts(answer['consumption_w'] - answer['measured_w'])}")
    lines += [wrapped(f"{'WRONG' if finding['wrong'] else 'note'}: {finding['text']}", 2) for finding in answer["findings"]]
    lines += [wrapped(error, 2) for error in answer["errors"]]
    return "\n".join(lines)


def _watts(watts: float | None) -> str:
    return "-" if watts is None else f"{watts:+.0f} W"


def _bar(watts: float | None, largest: float) -> str:
    return "" if watts is None else ("+" if watts > 0 else "-") * round(abs(watts) / largest * _BAR)
