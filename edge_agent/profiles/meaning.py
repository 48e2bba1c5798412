"""From a device's points to what they mean for the house: measuring points and their quantities.

Here, and only here, the signs of a device, a meter wired the other way (`invert`), a current
transformer's ratio (`scale`) and the role that the site file gives a meter are turned into the
conventions of `model/measurements.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from edge_agent.model.measurements import MOST_W, Counter, CounterKind, MeterPoint, Quality, Quantity, Reading, Role, Sample
from edge_agent.profiles.profile import UNITS, Direction, PointSpec, ProfileSpec
from edge_agent.profiles.setup import DeviceSetup

# A stand-alone meter counts what passes it; before an inverter, what it exports is the generation.
_METER_AS_PV = {
    Quantity.POWER_W: (Quantity.GENERATION_W, -1.0),
    Quantity.EXPORT_WH: (Quantity.GENERATION_WH, 1.0),
    Quantity.IMPORT_WH: (Quantity.AC_INPUT_WH, 1.0),
}
_INVERTED = {Quantity.IMPORT_WH: Quantity.EXPORT_WH, Quantity.EXPORT_WH: Quantity.IMPORT_WH}
_SIGNED = (Quantity.POWER_W, Quantity.GENERATION_W, Quantity.AC_OUTPUT_W)
_OUT_OF_THE_POINT = (Quantity.GENERATION_W, Quantity.AC_OUTPUT_W)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one point of a device is for the house, and the factor from its value to the quantity."""

    point: str
    meter_point_id: str
    role: Role
    quantity: Quantity
    factor: float
    most: float = inf  # a value of a larger magnitude is not believed


def meanings(setup: DeviceSetup) -> tuple[Meaning, ...]:
    """The points of a device that mean something, in the order of the profile."""
    return tuple(_meanings(setup))


def _meanings(setup: DeviceSetup) -> Iterator[Meaning]:
    several = bool(setup.profile.roles)
    for name, point in setup.profile.spec.points.items():
        if (quantity := point.quantity) is None:
            continue
        role = Role(point.role) if several else setup.role or Role.CONSUMER
        if several and setup.roles is not None and role not in setup.roles:
            continue
        factor = 1.0
        if quantity in _SIGNED:
            factor = _sign(setup.profile.spec, point, quantity) * (-1.0 if setup.invert else 1.0)
        if setup.invert:
            quantity = _INVERTED.get(quantity, quantity)
        if quantity.is_power or quantity.is_counter:
            factor *= setup.scale
        if role is Role.PV and quantity in _METER_AS_PV:
            quantity, turn = _METER_AS_PV[quantity]
            factor *= turn
        most = MOST_W if quantity.is_power and point.valid is None else inf
        yield Meaning(name, f"{setup.id}.{role}" if several else setup.id, role, quantity, factor, most)


def _sign(spec: ProfileSpec, point: PointSpec, quantity: Quantity) -> float:
    """+1 when the point's value already has the quantity's sign, -1 when it is the other way round.

    A point whose direction comes from another point, or that is made of points with directions of their
    own, is positive into the measuring point (see `codec`).
    """
    into = point.positive.into_the_point if isinstance(point.positive, Direction) else True
    return 1.0 if into != (quantity in _OUT_OF_THE_POINT) else -1.0


def meter_points(setup: DeviceSetup) -> tuple[MeterPoint, ...]:
    """The measuring points of a device: one for each of its roles."""
    found: dict[str, list[Meaning]] = {}
    for meaning in meanings(setup):
        found.setdefault(meaning.meter_point_id, []).append(meaning)
    spec = setup.profile.spec
    stale = 3 * setup.poll_interval_s
    if spec.transport == "mqtt":
        stale = max(stale, spec.mqtt.stale_after)
    return tuple(
        MeterPoint(
            id=point_id,
            name=setup.name,
            device_id=setup.id,
            role=rows[0].role,
            device_type=setup.device_type,
            quantities=frozenset(row.quantity for row in rows),
            counters={row.quantity: _counter(setup, row, _most_w(setup, rows)) for row in rows if row.quantity.is_counter},
            stale_after_s=max([stale, *(spec.points[row.point].stale_after or 0 for row in rows)]),
            offline_after_s=spec.offline_after or max(60.0, 2 * stale),
            source=_source(setup, rows),
        )
        for point_id, rows in found.items()
    )


def _source(setup: DeviceSetup, rows: list[Meaning]) -> str:
    """What feeds a measuring point, as far as the site file says: a change of it is a change of the counters' meaning.

    Not the serial number: it becomes known only when the device answers.
    """
    profile = setup.profile.name + (f"/{setup.profile.variant}" if setup.profile.variant else "")
    parameters = [f"{name}={value}" for name, value in sorted(setup.parameters.items())]
    turned = ["invert"] if setup.invert else []
    return " ".join([profile, *parameters, rows[0].role, *turned, f"x{setup.scale:g}", *(row.point for row in rows)])


def _most_w(setup: DeviceSetup, rows: list[Meaning]) -> float:
    """What can flow at a measuring point: what the profile calls possible, where it says so of each of its powers."""
    powers = [setup.profile.spec.points[row.point] for row in rows if row.quantity.is_power]
    limits = [max(map(abs, power.valid)) * UNITS[power.unit][1] * setup.scale for power in powers if power.valid]
    return min(MOST_W, max(limits)) if limits and len(limits) == len(powers) else MOST_W


def _counter(setup: DeviceSetup, meaning: Meaning, most_w: float) -> Counter:
    """How the counter counts: its wrap from the width of its register, its step from the scale."""
    point = setup.profile.spec.points[meaning.point]
    wh = abs(point.scale) * UNITS[point.unit][1] * setup.scale
    bits = {"u16": 16, "u32": 32}.get(point.as_)
    wrap = 2.0**bits * wh if bits and point.counts is CounterKind.LIFETIME and not point.mask else None
    return Counter(point.counts, wrap, _step_wh(setup.profile.spec, meaning.point) * setup.scale, most_w)


def _step_wh(spec: ProfileSpec, name: str, inside: tuple[str, ...] = ()) -> float:
    """A counter's resolution: of a whole number its scale, of a float a watt-hour, of a sum that of its finest part."""
    point = spec.points[name]
    parts = [part.lstrip("-").rstrip("?") for part in point.sum or point.first or []]
    if parts and name not in inside:
        return min(_step_wh(spec, part, (*inside, name)) for part in parts)
    return abs(point.scale) * UNITS[point.unit][1] if re.match(r"[us]\d|bcd", point.as_) else 1.0


def measurements(rows: tuple[Meaning, ...], sample: Sample) -> dict[str, dict[Quantity, Reading]]:
    """A sample's readings as quantities, by measuring point. A point that the sample lacks is absent."""
    result: dict[str, dict[Quantity, Reading]] = {}
    for row in rows:
        reading = sample.readings.get(row.point)
        if reading is None:
            reading = Reading(None, "", Quality.ERROR, sample.at, sample.error or "not read")
        elif (number := reading.number) is not None:
            if abs(value := number * row.factor) > row.most:
                reading = _not_believed(reading, value)
            elif row.factor != 1.0:
                reading = replace(reading, value=value)
        result.setdefault(row.meter_point_id, {})[row.quantity] = reading
    return result


def _not_believed(reading: Reading, value: float) -> Reading:
    reason = f"{value:g} W is more than any house draws or feeds; the profile's `valid:` can allow it"
    return replace(reading, value=None, quality=Quality.OUT_OF_RANGE, reason=reason)
