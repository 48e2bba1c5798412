"""What the platform counted, hour by hour, held against what was sent. Pure.

The platform's hourly statistics name an hour by its start; the hours, as all its dates, are those of the building's time zone. An
event whose timestamp is a full hour belongs to the hour before it where timestamps date an interval's end, to the hour after it where
they date its start. Which of the two the platform does is not documented, so both are tried: a shift by one interval is no loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal
from zoneinfo import ZoneInfo

from edge_agent.cloud.vocabulary import EventType

HOUR_S = 3600
# Event types that the statistics know, and their names there.
NAMES: Mapping[str, str] = MappingProxyType({
    EventType.ENERGY_GENERATION.value: "energyGeneration",
    EventType.ENERGY_CONSUMPTION.value: "energyConsumption",
    EventType.GRID_ENERGY_CONSUMPTION.value: "gridEnergyConsumption",
})  # fmt: skip
# Decision: what rounding may make of an hour; a quarter-hour of a sleeping house is more.
TOLERANCE_WH = 2.0
TOLERANCE = 0.002
_MOST_WH = 1e12  # in an hour: more is no energy; JSON knows numbers that no float holds, and Python's knows NaN
# Decision: fewer hours than this that fit only when shifted prove no shift.
FEWEST_SHIFTED = 3

Dated = Literal["end", "start"]
_BOTH: tuple[Dated, Dated] = ("end", "start")
Hour = tuple[str, int]  # event type, UTC epoch seconds of the hour's start
What = Literal["missing", "partly missing", "too much"]


class NoStatistics(ValueError):
    """What the platform answered is not its hourly statistics; the text says why."""


@dataclass(frozen=True, slots=True)
class SentValue:
    """An energy in Wh that the cloud has accepted, with the timestamp it was sent with; `resent`: twice on purpose."""

    type: str
    at: int
    value: float
    resent: bool = False


@dataclass(frozen=True, slots=True)
class HourFinding:
    """An hour of which the platform counted something else than was sent. `since`, `until`: timestamps of its events, both included."""

    what: What
    type: str
    hour: int  # UTC epoch seconds of its start
    sent_wh: float
    counted_wh: float
    since: int
    until: int
    resent: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """`agreeing` and `findings` are of the `hours` that were compared; `uncounted` hours lie before or after all that the platform counted."""

    hours: int
    agreeing: int
    uncounted: int
    findings: tuple[HourFinding, ...]
    dated: Dated  # what the platform takes timestamps for
    shifted: bool  # that is not what the agent means by them
    unit: Literal["Wh", "kWh"]


def read_statistics(body: object) -> dict[Hour, float]:
    """The platform's answer as energies by event type and hour; hours and types without a number are left out. Raises NoStatistics."""
    if not isinstance(body, list):
        raise NoStatistics("the answer is no list of hours")
    found: dict[Hour, float] = {}
    for row in body:
        start = row.get("startTimestamp") if isinstance(row, dict) else None
        if not isinstance(start, int) or isinstance(start, bool) or not 0 < start < 10**11:
            raise NoStatistics("an hour has no startTimestamp in seconds")
        found |= {(kind, start): value for kind, name in NAMES.items() if (value := _energy(row, name)) is not None}
    return found


def _energy(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < _MOST_WH:
        raise NoStatistics(f"{name} of the hour {row['startTimestamp']} is no number")
    return float(value)


def compare(sent: Iterable[SentValue], counted: Mapping[Hour, float], zone: ZoneInfo, dated: Dated, since: int, until: int) -> Comparison:
    """Holds what was sent against what was counted, for the hours from `since` up to `until`. `dated`: which end of an interval our timestamps mean.

    Decision: an event type's hours are compared only between the first and the last one that the platform counted: before and after,
    its service may have been off or late, which is no loss. Our own first hour is left out, for the beginning of it may not be known.
    """
    values = list(sent)
    unit = _unit(values, counted)
    energies = {key: energy * (1000 if unit == "kWh" else 1) for key, energy in counted.items()}
    spans = _counted_spans(energies)
    begin = max(since, 1 + min((one.at for one in values), default=until))
    hours = {which: {key: found for key, found in _by_hour(values, zone, which).items() if begin <= key[1] < until} for which in _BOTH}
    inside = {which: {key: found for key, found in hours[which].items() if _within(key, spans)} for which in _BOTH}
    findings = {which: _findings(inside[which], energies) for which in _BOTH}
    which = _convention({which: sum(one.what != "missing" for one in found) for which, found in findings.items()}, dated)
    compared, found = len(inside[which]), findings[which]
    return Comparison(compared, compared - len(found), len(hours[which]) - compared, tuple(found), which, which != dated, unit)


def _convention(wrong: Mapping[Dated, int], dated: Dated) -> Dated:
    """What the platform takes timestamps for, from the hours that do not fit either way: ours, unless the other is clearly better."""
    other: Dated = "start" if dated == "end" else "end"
    return other if wrong[dated] >= FEWEST_SHIFTED and 2 * wrong[other] < wrong[dated] else dated


def _counted_spans(counted: Mapping[Hour, float]) -> dict[str, tuple[int, int]]:
    """The first and the last hour of each event type in which the platform counted anything."""
    hours: dict[str, list[int]] = defaultdict(list)
    for (kind, hour), energy in counted.items():
        if energy:
            hours[kind].append(hour)
    return {kind: (min(found), max(found)) for kind, found in hours.items()}


def _within(key: Hour, spans: Mapping[str, tuple[int, int]]) -> bool:
    first, last = spans.get(key[0], (0, 0))
    return first <= key[1] < last  # the last one may still be counted


def _by_hour(values: Iterable[SentValue], zone: ZoneInfo, dated: Dated) -> dict[Hour, list[SentValue]]:
    """What was sent, by the hour that it belongs to."""
    found: dict[Hour, list[SentValue]] = defaultdict(list)
    for one in values:
        found[one.type, hour_of(one.at - (dated == "end"), zone)].append(one)
    return found


def hour_of(at: int, zone: ZoneInfo) -> int:
    """The start of the hour that an instant lies in; where the zone is half an hour off, full hours are too."""
    offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    off_s = int(offset.total_seconds()) if offset else 0
    return (at + off_s) // HOUR_S * HOUR_S - off_s


def _findings(sent: Mapping[Hour, list[SentValue]], counted: Mapping[Hour, float]) -> list[HourFinding]:
    found = []
    for (kind, hour), values in sorted(sent.items(), key=lambda item: (item[0][1], item[0][0])):
        total, energy = sum(one.value for one in values), counted.get((kind, hour), 0.0)
        if abs(energy - total) > max(TOLERANCE_WH, TOLERANCE * total):
            what: What = "too much" if energy > total else "partly missing" if energy else "missing"
            times = [one.at for one in values]
            resent = all(one.resent for one in values)
            found.append(HourFinding(what, kind, hour, round(total, 3), round(energy, 3), min(times), max(times), resent))
    return found


def _unit(sent: Iterable[SentValue], counted: Mapping[Hour, float]) -> Literal["Wh", "kWh"]:
    """Decision: statistics are in Wh as the events are, unless all of them together are about a thousandth of what was sent."""
    total = sum(one.value for one in sent)
    return "kWh" if total and 0.0004 < sum(counted.values()) / total < 0.004 else "Wh"
