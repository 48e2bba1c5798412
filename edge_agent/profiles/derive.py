"""Points made of other points, and the bridge from a profile's row to its codec rule."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

from edge_agent.codec.values import ValueRule
from edge_agent.model.measurements import Quality, Quantity, Reading
from edge_agent.profiles.profile import UNITS, Direction, DirectionFrom, PointSpec, ProfileSpec


def value_rule(point: PointSpec) -> ValueRule:
    """The codec's rule for a row: unit factor and scale multiplied, sentinels and words as text."""
    unit, factor = UNITS[point.unit]
    flag = point.quantity is Quantity.SWITCH_ON
    return ValueRule(
        unit=unit,
        factor=factor * point.scale,
        offset=point.offset * factor,
        sentinels=frozenset(point.sentinel),
        valid=(point.valid[0] * factor, point.valid[1] * factor) if point.valid else None,
        words=point.map,
        bits=tuple(point.bits.items()),
        otherwise=point.otherwise,
        is_flag=flag,
        is_text=point.as_.startswith(("string", "text")) and not (point.map or flag),
    )


def directed(point: PointSpec, magnitude: Reading, flag: Reading | None) -> Reading:
    """A magnitude with the sign that another point's raw value gives: positive into the measuring point.

    The flag's raw number is in its `value`. Without a known direction only a magnitude of 0 is a value.
    """
    if not isinstance(point.positive, DirectionFrom) or magnitude.number is None:
        return magnitude
    if flag is None or flag.number is None:
        reason = f"its direction ({point.positive.by}) is not known: {flag.reason if flag else 'not read'}"
        return replace(magnitude, value=None, quality=Quality.NOT_AVAILABLE, reason=reason)
    raw = int(flag.number)
    found = point.positive.values.get(raw)
    if found is None:
        found = next((direction for bit, direction in point.positive.bits.items() if raw >> bit & 1), None)
    if found is not None:
        return replace(magnitude, value=abs(magnitude.number) * (1 if found.into_the_point else -1))
    if magnitude.number == 0:
        return magnitude
    return replace(magnitude, value=None, quality=Quality.UNKNOWN, reason=f"{point.positive.by} is {raw}, which names no direction")


def is_there(spec: ProfileSpec, name: str, missing: Container[str], inside: tuple[str, ...] = ()) -> bool:
    """Whether a device that lacks some points has this one: a sum needs all its parts, a `first` one of them."""
    point = spec.points[name]
    parts = point.sum or point.first
    if parts is None or name in inside:
        return name not in missing
    found = [is_there(spec, part.lstrip("-").rstrip("?"), missing, (*inside, name)) for part in parts]
    needed = [there for part, there in zip(parts, found, strict=True) if not part.endswith("?")]
    return any(found) and (point.sum is None or all(needed))


def add_derived(spec: ProfileSpec, readings: dict[str, Reading], at: float) -> None:
    """Adds the points that are made of others (`sum`, `first`), parts before wholes."""
    for name, point in spec.points.items():
        _derive(spec, name, point, readings, at, ())


def _derive(spec: ProfileSpec, name: str, point: PointSpec, readings: dict[str, Reading], at: float, inside: tuple[str, ...]) -> None:
    parts = point.sum or point.first
    if parts is None or name in readings or name in inside:
        return
    for part in parts:
        other = part.lstrip("-").rstrip("?")
        _derive(spec, other, spec.points[other], readings, at, (*inside, name))
    readings[name] = _sum(spec, point, readings, at) if point.sum else _first(spec, point, readings, at)


def _part(spec: ProfileSpec, whole: PointSpec, name: str, readings: Mapping[str, Reading], at: float) -> Reading:
    """A part's reading; turned to be positive into the measuring point unless the whole has a direction of its own."""
    reading = readings.get(name) or Reading(None, "", Quality.ERROR, at, f"{name} was not read")
    direction = spec.points[name].positive
    if whole.positive is None and isinstance(direction, Direction) and not direction.into_the_point and reading.number is not None:
        return replace(reading, value=-reading.number)
    return reading


def _sum(spec: ProfileSpec, point: PointSpec, readings: Mapping[str, Reading], at: float) -> Reading:
    total, unit, oldest = 0.0, "", at
    found = 0
    for text in point.sum or []:
        name = text.lstrip("-").rstrip("?")
        part = _part(spec, point, name, readings, at)
        unit = part.unit or unit
        if part.number is None:
            if text.endswith("?") and part.quality is Quality.NOT_AVAILABLE:
                continue
            return Reading(None, unit, part.quality, part.at, f"{name}: {part.reason}", part.raw)
        total += -part.number if text.startswith("-") else part.number
        oldest = min(oldest, part.at)
        found += 1
    if not found:
        return Reading(None, unit, Quality.NOT_AVAILABLE, at, "none of its parts is available")
    return _valid(point, Reading(total * point.scale + point.offset, unit, Quality.OK, oldest))


def _first(spec: ProfileSpec, point: PointSpec, readings: Mapping[str, Reading], at: float) -> Reading:
    """The first part with a value. A part that failed to be read ends the search: another counter would jump."""
    reading = Reading(None, "", Quality.NOT_AVAILABLE, at, "none of its parts is available")
    for name in point.first or []:
        reading = _part(spec, point, name, readings, at)
        if reading.quality is not Quality.NOT_AVAILABLE:
            return _valid(point, reading)
    return reading


def _valid(point: PointSpec, reading: Reading) -> Reading:
    if point.valid and reading.number is not None and not point.valid[0] <= reading.number <= point.valid[1]:
        reason = f"{reading.number:g} {reading.unit} is outside {point.valid[0]:g} to {point.valid[1]:g}"
        return replace(reading, value=None, quality=Quality.OUT_OF_RANGE, reason=reason)
    return reading
