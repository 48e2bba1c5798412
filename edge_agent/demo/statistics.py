"""The local cloud's hourly statistics: the energies of the household, summed by hour of the building's time zone. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

Json = dict[str, Any]
_NAMES = {"ENERGY_GENERATION": "energyGeneration", "ENERGY_CONSUMPTION": "energyConsumption", "GRID_ENERGY_CONSUMPTION": "gridEnergyConsumption"}


def hourly(events: Iterable[Json], query: Mapping[str, str], zone: ZoneInfo, dated: Literal["end", "start"]) -> list[Json] | str:
    """The statistics that a query asks for, or what is wrong with it. `dated`: whether timestamps are taken for an interval's end or start."""
    types = query.get("eventTypes", "").split(",")
    if unknown := [kind for kind in types if kind not in _NAMES]:
        return f"eventTypes: {unknown[0]!r} has no statistics"
    try:
        first, last = (date.fromisoformat(query.get(name, "")) for name in ("from", "to"))
    except ValueError:
        return "from, to: are dates as YYYY-MM-DD"
    if not first <= last <= first + timedelta(days=366):
        return "from, to: up to a year"
    rows: dict[int, Json] = defaultdict(dict)
    for event in events:
        if event["source"] != "GATEWAY" or event["type"] not in types:
            continue
        start = _hour(event["timestamp"] - (dated == "end"), zone)
        if first <= datetime.fromtimestamp(start, UTC).astimezone(zone).date() < last:
            name = _NAMES[event["type"]]
            rows[start][name] = rows[start].get(name, 0.0) + event["value"]
    return [{"startTimestamp": start, **rows[start]} for start in sorted(rows)]


def _hour(at: int, zone: ZoneInfo) -> int:
    local = datetime.fromtimestamp(at, UTC).astimezone(zone)
    return at - local.minute * 60 - local.second
