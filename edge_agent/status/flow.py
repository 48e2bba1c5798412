"""The energy flow at this moment: who gives and who takes how many watts. Pure.

A part whose power is not known has none: a sum over several meters exists when all of them have a current value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edge_agent.metering.balance import Input, balance
from edge_agent.metering.commissioning import powers
from edge_agent.model.measurements import HouseQuantity, MeterPoint, Quantity, Reading, Role
from edge_agent.status.document import Node

Readings = Mapping[str, Mapping[Quantity, Reading]]  # by measuring point

_SOURCES = {"sun": (Role.PV, Quantity.GENERATION_W), "grid": (Role.GRID, Quantity.POWER_W), "battery": (Role.BATTERY, Quantity.POWER_W)}
_CONSUMERS = (Role.CHARGER, Role.HEAT_PUMP, Role.WATER_HEATER, Role.PLUG, Role.SWITCH, Role.CONSUMER)


def flow(points: Sequence[MeterPoint], readings: Readings, now: float) -> list[Node]:
    """The parts that this house has: sun, grid, battery, house, then its consumers by role."""
    current = _current(points, readings, now)
    moment = powers(points, current)
    nodes = [_sum(kind, [point for point in points if point.role is role], quantity, moment) for kind, (role, quantity) in _SOURCES.items()]
    nodes.append(_house(points, moment))
    nodes += [_sum(role.value, [point for point in points if point.role is role], Quantity.POWER_W, moment) for role in _CONSUMERS]
    shown = [node for node in nodes if node["names"]]
    for node in shown:
        if node["kind"] == "battery":
            node["soc_percent"] = _soc([point for point in points if point.role is Role.BATTERY], current)
        elif node["kind"] == Role.CHARGER:
            node["soc_percent"] = _soc([point for point in points if point.role in (Role.CAR, Role.CHARGER)], current)
    return shown


def _current(points: Iterable[MeterPoint], readings: Readings, now: float) -> dict[str, dict[Quantity, Reading]]:
    """The readings that may be called current."""
    return {
        point.id: {quantity: reading for quantity, reading in readings.get(point.id, {}).items() if now - reading.at <= point.stale_after_s}
        for point in points
    }


def _sum(kind: str, points: Sequence[MeterPoint], quantity: Quantity, moment: Mapping[Input, float]) -> Node:
    absent = [point.id for point in points if (point.id, quantity) not in moment]
    total = sum(moment[point.id, quantity] for point in points) if points and not absent else None
    reason = f"no current power from {', '.join(absent)}" if absent else ""
    if kind == "sun" and total is not None:
        total = max(total, 0.0)  # what an inverter draws at night is no generation
    return Node(kind=kind, power_w=_rounded(total), reason=reason, soc_percent=None, names=[point.name for point in points])


def _house(points: Sequence[MeterPoint], moment: Mapping[Input, float]) -> Node:
    """The consumption of the whole house, by the balance at the AC bus or by its own meter."""
    total, reason = _consumption(points, moment)
    return Node(kind="house", power_w=_rounded(total), reason=reason, soc_percent=None, names=["House"])


def _consumption(points: Sequence[MeterPoint], moment: Mapping[Input, float]) -> tuple[float | None, str]:
    weights = balance(points).powers.get(HouseQuantity.CONSUMPTION_W)
    if weights is None:
        return None, "not every source of the house is measured"
    absent = sorted({point_id for point_id, quantity in weights if (point_id, quantity) not in moment})
    if absent:
        return None, f"no current power from {', '.join(absent)}"
    total = sum(weight * moment[key] for key, weight in weights.items())
    return (total, "") if total >= 0 else (None, f"the balance gives {total:.0f} W")


def _soc(points: Sequence[MeterPoint], readings: Readings) -> float | None:
    """The state of charge; of several the mean, as long as nobody says how large each is."""
    found = [reading.number for point in points if (reading := readings[point.id].get(Quantity.SOC_PERCENT)) is not None]
    known = [number for number in found if number is not None]
    return round(sum(known) / len(known), 1) if known and len(known) == len(found) else None


def _rounded(watts: float | None) -> float | None:
    return None if watts is None else round(watts, 1) + 0.0
