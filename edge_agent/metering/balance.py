"""What each measuring point adds to the house's totals: the energy balance, drawn at the AC bus.

consumption = grid import - grid export + every inverter's and battery's net AC output, or what a meter of the
whole house counts. Generation is the PV energy as the inverter counts it. What consumers meter themselves is a
part of the consumption and adds nothing. A total is a weighted sum of inputs; it exists when all its parts do.
Decision: several grid meters are added up (two connections, or a second tariff's meter).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edge_agent.model.measurements import HouseQuantity, MeterPoint, Quantity, Role

Input = tuple[str, Quantity]
_THROUGH_PV = {Quantity.GENERATION_WH: 1.0, Quantity.AC_OUTPUT_WH: -1.0}
_THROUGH_BATTERY = {Quantity.EXPORT_WH: 1.0, Quantity.IMPORT_WH: -1.0}
_GENERATION = frozenset({Quantity.GENERATION_W, Quantity.GENERATION_WH})


@dataclass(frozen=True, slots=True)
class Source:
    """Where an energy of a point comes from: its counter, or the positive or negative part of a power."""

    energy: Quantity
    read: Quantity
    sign: int = 0  # 0: a counter
    stands_in: bool = False  # for a counter that the profile knows but this device has not


@dataclass(frozen=True, slots=True)
class Balance:
    """The totals that this house can have, each as inputs with their weights, and why it lacks the others."""

    energies: Mapping[HouseQuantity, Mapping[Input, float]]
    powers: Mapping[HouseQuantity, Mapping[Input, float]]
    missing: Mapping[str, str] = field(default_factory=dict)

    def uses(self, point_id: str) -> bool:
        """Whether any energy total needs this point."""
        return any(point_id == used for inputs in self.energies.values() for used, _ in inputs)


def hybrids(points: Sequence[MeterPoint]) -> frozenset[str]:
    """The ids of the devices that are inverter and battery in one: one DC side, one AC output."""
    with_battery = {point.device_id for point in points if point.role is Role.BATTERY}
    return frozenset(point.device_id for point in points if point.role is Role.PV and point.device_id in with_battery)


def ac_output_is_generation(point: MeterPoint, hybrid: bool) -> bool:
    """A plain inverter that names its AC output only: that is what it generates."""
    return point.role is Role.PV and not hybrid and not point.quantities & _GENERATION


def energy_sources(point: MeterPoint, hybrid: bool) -> tuple[Source, ...]:
    """The energies that are metered at a point. A counter goes before the integral of power."""
    if point.role is Role.PV:
        return tuple(_pv_sources(point, hybrid))
    wanted = [(Quantity.IMPORT_WH, 1)]
    if point.role in (Role.GRID, Role.BATTERY):
        wanted.append((Quantity.EXPORT_WH, -1))
    return tuple(_sources(point, wanted, Quantity.POWER_W))


def _sources(point: MeterPoint, wanted: Iterable[tuple[Quantity, int]], power: Quantity) -> Iterable[Source]:
    for energy, sign in wanted:
        if energy in point.quantities:
            yield Source(energy, energy)
        if power in point.quantities:
            yield Source(energy, power, sign, energy in point.quantities)


def _pv_sources(point: MeterPoint, hybrid: bool) -> Iterable[Source]:
    has = point.quantities
    if ac_output_is_generation(point, hybrid):
        read = Quantity.AC_OUTPUT_WH if Quantity.AC_OUTPUT_WH in has else Quantity.AC_OUTPUT_W
        if read in has:
            yield Source(Quantity.GENERATION_WH, read, 1 if read.is_power else 0)
        signed = Quantity.AC_OUTPUT_W
        both_ways = not hybrid and Quantity.AC_OUTPUT_WH not in has
    else:
        yield from _sources(point, [(Quantity.GENERATION_WH, 1)], Quantity.GENERATION_W)
        # a plain inverter's counter of generation is better than the integral of its AC power, which has gaps at night
        if Quantity.AC_OUTPUT_WH in has or (hybrid and Quantity.AC_OUTPUT_W in has):
            yield from _sources(point, [(Quantity.AC_OUTPUT_WH, 1)], Quantity.AC_OUTPUT_W)
            signed, both_ways = Quantity.AC_OUTPUT_W, hybrid
        else:
            signed, both_ways = Quantity.GENERATION_W, not hybrid and Quantity.GENERATION_WH not in has
    if Quantity.AC_INPUT_WH in has:
        yield Source(Quantity.AC_INPUT_WH, Quantity.AC_INPUT_WH)
    elif both_ways and signed in has:
        yield Source(Quantity.AC_INPUT_WH, signed, -1)


def power_beside(energy: Quantity, has: frozenset[Quantity]) -> tuple[Quantity, int] | None:
    """The power that shows when an energy flows, and its sign; None where the point has none."""
    beside = {
        Quantity.IMPORT_WH: ((Quantity.POWER_W, 1),),
        Quantity.EXPORT_WH: ((Quantity.POWER_W, -1),),
        Quantity.GENERATION_WH: ((Quantity.GENERATION_W, 1), (Quantity.AC_OUTPUT_W, 1)),
        Quantity.AC_OUTPUT_WH: ((Quantity.AC_OUTPUT_W, 1),),
        Quantity.AC_INPUT_WH: ((Quantity.AC_OUTPUT_W, -1), (Quantity.GENERATION_W, -1)),
    }
    return next((found for found in beside[energy] if found[0] in has), None)


def gauges(point: MeterPoint, hybrid: bool) -> dict[Quantity, Quantity]:
    """The quantities that are reported as they are at an interval's end, and under which name."""
    wanted = (Quantity.POWER_W, Quantity.GENERATION_W, Quantity.AC_OUTPUT_W, Quantity.TEMPERATURE_C, Quantity.WATER_TEMPERATURE_C)
    found = {quantity: quantity for quantity in wanted if quantity in point.quantities}
    if Quantity.AC_OUTPUT_W in found and Quantity.GENERATION_W not in found and not hybrid:
        found[Quantity.AC_OUTPUT_W] = Quantity.GENERATION_W
    return found


def balance(points: Sequence[MeterPoint]) -> Balance:
    """The balance of a house with these measuring points."""
    missing: dict[str, str] = {}
    roles = {point.role for point in points}
    if not roles & {Role.GRID, Role.HOUSE}:
        return Balance({}, {}, {"grid": "nobody measures at the grid's connection: give one meter role: grid (or house)"})
    if Role.GRID not in roles:
        missing["grid"] = "nobody measures at the grid's connection, so import, export and excess are unknown: give one meter role: grid"
    found = hybrids(points)
    energies = {point.id: frozenset(source.energy for source in energy_sources(point, point.device_id in found)) for point in points}
    powers = {point.id: frozenset(gauges(point, point.device_id in found).values()) for point in points}
    return Balance(_energy_totals(_House(points, energies, missing)), _power_totals(_House(points, powers, missing)), missing)


@dataclass(frozen=True, slots=True)
class _House:
    """The points with what each of them has (energies or powers); `missing` collects what is in the way."""

    points: Sequence[MeterPoint]
    has: Mapping[str, frozenset[Quantity]]
    missing: dict[str, str]

    def having(self, role: Role, quantity: Quantity) -> frozenset[str]:
        """The devices with a point of this role that has the quantity."""
        return frozenset(point.device_id for point in self.points if point.role is role and quantity in self.has[point.id])

    def total(self, role: Role, quantity: Quantity) -> dict[Input, float]:
        """One quantity over all points of a role; empty when one of them lacks it."""
        chosen = [point.id for point in self.points if point.role is role]
        return {} if any(self._lacks(point_id, quantity) for point_id in chosen) else {(point_id, quantity): 1.0 for point_id in chosen}

    def bus(self, parts: Mapping[str, Mapping[Quantity, float]]) -> dict[Input, float] | None:
        """Net AC output of all producers and batteries; None when one of them lacks a part."""
        if any(self._lacks(point_id, quantity) for point_id, weights in parts.items() for quantity in weights):
            return None
        return {(point_id, quantity): weight for point_id, weights in parts.items() for quantity, weight in weights.items()}

    def _lacks(self, point_id: str, quantity: Quantity) -> bool:
        if quantity in self.has[point_id]:
            return False
        self.missing.setdefault(point_id, f"gives no {quantity}, neither counted nor from a power")
        return True


def _energy_totals(house: _House) -> dict[HouseQuantity, Mapping[Input, float]]:
    grid_in, pv = house.total(Role.GRID, Quantity.IMPORT_WH), house.total(Role.PV, Quantity.GENERATION_WH)
    producing = any(point.role in (Role.PV, Role.BATTERY) for point in house.points)
    # a house that produces nothing exports nothing, so its grid meter need not count that
    grid_out = house.total(Role.GRID, Quantity.EXPORT_WH) if producing or house.having(Role.GRID, Quantity.EXPORT_WH) else {}
    consumption = house.total(Role.HOUSE, Quantity.IMPORT_WH)
    if not consumption and grid_in and (grid_out or not producing):
        bus = house.bus({point.id: parts for point in house.points if (parts := _net_energy(house, point))})
        consumption = {} if bus is None else grid_in | {key: -1.0 for key in grid_out} | bus
    totals = {
        HouseQuantity.IMPORT_WH: grid_in,
        HouseQuantity.EXPORT_WH: grid_out,
        HouseQuantity.GENERATION_WH: pv,
        HouseQuantity.CONSUMPTION_WH: consumption,
        HouseQuantity.LOSS_WH: _losses(house),
    }
    return {total: inputs for total, inputs in totals.items() if inputs}


def _losses(house: _House) -> dict[Input, float]:
    """What goes into the hybrids on both sides and does not come out again; empty when one of them does not tell."""
    found = hybrids(house.points)
    weights: dict[Input, float] = {}
    for point in house.points:
        if point.device_id not in found or point.role not in (Role.PV, Role.BATTERY):
            continue
        wanted, optional = (_THROUGH_PV, {Quantity.AC_INPUT_WH: 1.0}) if point.role is Role.PV else (_THROUGH_BATTERY, {})
        if not wanted.keys() <= house.has[point.id]:
            return {}
        parts = wanted | {quantity: weight for quantity, weight in optional.items() if quantity in house.has[point.id]}
        weights |= {(point.id, quantity): weight for quantity, weight in parts.items()}
    return weights


def _net_energy(house: _House, point: MeterPoint) -> dict[Quantity, float]:
    """What a point feeds to the AC bus, as its energies with their weights; empty when it is no source."""
    has = house.has[point.id]
    if point.role is Role.PV:
        output = Quantity.AC_OUTPUT_WH if Quantity.AC_OUTPUT_WH in has else Quantity.GENERATION_WH
        # without an AC counter the battery's own energies hold what a hybrid charged from the grid
        taken = Quantity.AC_INPUT_WH in has and (output is Quantity.AC_OUTPUT_WH or point.device_id not in hybrids(house.points))
        return {output: 1.0} | ({Quantity.AC_INPUT_WH: -1.0} if taken else {})
    if point.role is Role.BATTERY and point.device_id not in house.having(Role.PV, Quantity.AC_OUTPUT_WH):
        return {Quantity.EXPORT_WH: 1.0, Quantity.IMPORT_WH: -1.0}
    return {}  # a battery behind a hybrid's AC output is in it already


def _power_totals(house: _House) -> dict[HouseQuantity, Mapping[Input, float]]:
    """The same balance of watts. IMPORT_W is the net power at the grid: its negative part is the export."""
    grid, consumption = house.total(Role.GRID, Quantity.POWER_W), house.total(Role.HOUSE, Quantity.POWER_W)
    if not consumption and grid:
        bus = house.bus({point.id: parts for point in house.points if (parts := _net_power(house, point))})
        consumption = {} if bus is None else grid | bus
    totals = {
        HouseQuantity.IMPORT_W: grid,
        HouseQuantity.GENERATION_W: house.total(Role.PV, Quantity.GENERATION_W),
        HouseQuantity.CONSUMPTION_W: consumption,
    }
    return {total: inputs for total, inputs in totals.items() if inputs}


def _net_power(house: _House, point: MeterPoint) -> dict[Quantity, float]:
    if point.role is Role.PV:
        return {Quantity.AC_OUTPUT_W if Quantity.AC_OUTPUT_W in house.has[point.id] else Quantity.GENERATION_W: 1.0}
    if point.role is Role.BATTERY and point.device_id not in house.having(Role.PV, Quantity.AC_OUTPUT_W):
        return {Quantity.POWER_W: -1.0}
    return {}
