"""Do the meters of a house fit together? What a minute of their powers says about signs, factors and roles.

At the AC bus, grid + generation + battery is what the house consumes. Where something measures the consumption
itself, the two must agree: then one wrong sign, factor or role shows as the one change that closes the balance.
Where nothing does, there is less to hold on to: consumption is never negative, never less than what the
consumers' own meters show, and does not follow the sun; a change that mends this is named, with its rivals, and
where nothing moved nothing is said. Pure: powers in, findings in words out. It changes no number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from edge_agent.metering.balance import Input, balance, gauges, hybrids
from edge_agent.model.measurements import HouseQuantity, MeterPoint, Quantity, Reading, Role

Moment = Mapping[Input, float]  # watts at one time, as the balance names them

_ENOUGH_MOMENTS = 5
_SMALL_W = 50.0  # below it neither a sign nor a factor can be seen
_CLOSE = 0.05  # of the power that flows: devices are not read at the same instant, and inverters round
_OFF = 0.15
_IMPOSSIBLE_W = 150_000.0  # more than the connection of any house
_FOLLOWS = 0.85  # correlation above which a change is a consequence, and no chance
_MOVES_W = 100.0
_NEAR_ZERO_W = 150.0
_FACTORS = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001)


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence. `wrong`: something must be changed; else it is a remark."""

    wrong: bool
    text: str
    point_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """What a measuring point gave, as the median over the time, in watts into the AC bus (a consumer: out of it)."""

    point_id: str
    role: Role
    watts: float | None


@dataclass(frozen=True, slots=True)
class Commissioning:
    """The balance over the time, and what is to be said of it. Watts are medians; None: not known."""

    moments: int
    terms: tuple[Term, ...]
    consumption_w: float | None  # as the balance gives it
    measured_w: float | None  # as a meter of the house gives it
    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> bool:
        """Whether something must be changed."""
        return any(finding.wrong for finding in self.findings)


def powers(points: Sequence[MeterPoint], readings: Mapping[str, Mapping[Quantity, Reading]]) -> dict[Input, float]:
    """One moment from the readings of all measuring points; what has no value is absent."""
    found = hybrids(points)
    moment: dict[Input, float] = {}
    for point in points:
        for read, name in gauges(point, point.device_id in found).items():
            reading = readings.get(point.id, {}).get(read)
            if name.is_power and reading is not None and reading.number is not None:
                moment[point.id, name] = reading.number
    return moment


def examine(points: Sequence[MeterPoint], moments: Sequence[Moment]) -> Commissioning:
    """The balance of the house over these moments."""
    supply_weights = balance([point for point in points if point.role is not Role.HOUSE]).powers.get(HouseQuantity.CONSUMPTION_W, {})
    wanted = list(supply_weights) + [(point.id, Quantity.POWER_W) for point in points if _takes(point)]
    missing = _missing(points, wanted, moments, bool(supply_weights))
    whole = [moment for moment in moments if all(key in moment for key in wanted)]
    roles = {point.id: point.role for point in points}
    series = {key: [moment[key] * supply_weights.get(key, 1.0) for moment in whole] for key in wanted}
    house = _House(
        {key: series[key] for key in supply_weights},
        {key: series[key] for key in wanted if roles[key[0]] is Role.HOUSE},
        {key: series[key] for key in wanted if key not in supply_weights and roles[key[0]] is not Role.HOUSE},
        roles,
    )
    if len(whole) < _ENOUGH_MOMENTS:
        few = Finding(True, f"only {len(whole)} of {len(moments)} moments have all powers: too few to judge the balance")
        return Commissioning(len(whole), _terms(points, wanted, series), None, None, (*missing, *([] if missing else [few])))
    return Commissioning(
        len(whole),
        _terms(points, wanted, series),
        median(house.consumption()) if house.supply else None,
        median(_sum(house.house.values())) if house.house else None,
        (*missing, *_judge(house)),
    )


def _takes(point: MeterPoint) -> bool:
    return point.role not in (Role.GRID, Role.PV, Role.BATTERY) and Quantity.POWER_W in point.quantities


def _terms(points: Sequence[MeterPoint], wanted: Sequence[Input], series: Mapping[Input, list[float]]) -> tuple[Term, ...]:
    roles = {point.id: point.role for point in points}
    return tuple(Term(key[0], roles[key[0]], median(series[key]) if series[key] else None) for key in wanted)


def _missing(points: Sequence[MeterPoint], wanted: Sequence[Input], moments: Sequence[Moment], has_supply: bool) -> list[Finding]:
    found = []
    if not has_supply:
        lacking = balance(points).missing
        found += [Finding(True, text if where == "grid" else f"{where} {text}", (where,)) for where, text in lacking.items()]
    for point_id, _ in wanted:
        count = sum(any(key[0] == point_id for key in moment) for moment in moments)
        if count == 0:
            found.append(Finding(True, f"{point_id} gave no power in all this time", (point_id,)))
    return found


@dataclass(frozen=True, slots=True)
class _House:
    """Series of watts of equal length: into the AC bus, the house's own meter, the consumers' meters."""

    supply: Mapping[Input, list[float]]
    house: Mapping[Input, list[float]]
    consumers: Mapping[Input, list[float]]
    roles: Mapping[str, Role]

    def consumption(self) -> list[float]:
        return _sum(self.supply.values())

    def scaled(self, key: Input, factor: float) -> _House:
        """As if one of the meters were off by that factor."""
        return _House(_times(self.supply, key, factor), _times(self.house, key, factor), self.consumers, self.roles)

    def exchanged(self, one: Input, other: Input) -> _House:
        """As if two meters of the supply had each other's role; a meter before an inverter counts the other way round."""
        supply = dict(self.supply)
        supply[one], supply[other] = [-watts for watts in supply[other]], [-watts for watts in supply[one]]
        return _House(supply, self.house, self.consumers, self.roles)


def _times(series: Mapping[Input, list[float]], key: Input, factor: float) -> dict[Input, list[float]]:
    return {one: [watts * factor for watts in values] if one == key else values for one, values in series.items()}


def _sum(series: Iterable[Sequence[float]]) -> list[float]:
    return [sum(values) for values in zip(*series, strict=True)]


@dataclass(frozen=True, slots=True)
class _Change:
    """What could be wrong, in words, and the house as it would be without that fault."""

    text: str
    point_ids: tuple[str, ...]
    house: _House
    is_sign: bool


def _judge(house: _House) -> list[Finding]:
    if exchanged := _exchanged(house):
        return [exchanged]
    found: list[Finding] = []
    for key, values in [*house.supply.items(), *house.house.items(), *house.consumers.items()]:
        finding, factor = _impossible(house.roles[key[0]], key, values)
        if finding is not None:
            found.append(finding)
            house = house.scaled(key, factor)
    if not house.supply:
        return found
    fault = _fault_against_meter if house.house else _fault_alone
    if taker := _surplus_taker(house):
        found.append(taker)
    elif text := fault(house):
        found.append(_explained(house, text, lambda one: fault(one) == ""))
    elif not found:
        found.append(Finding(False, _all_well(house)))
    return found + [_too_small(key) for key, values in house.supply.items() if median(map(abs, values)) < _SMALL_W]


def _exchanged(house: _House) -> Finding | None:
    """A meter that shows what cannot be, because it is another one's: with a meter of the house that can be told from a wrong sign."""
    odd = any(_impossible(house.roles[key[0]], key, values)[0] for key, values in [*house.supply.items(), *house.house.items()])
    if not (odd and house.supply and house.house):
        return None
    for change in _changes(house):
        if len(change.point_ids) > 1 and not _fault_against_meter(change.house) and _fits(change.house):
            return Finding(True, f"the balance closes only if {change.text}", change.point_ids)
    return None


def _surplus_taker(house: _House) -> Finding | None:
    """Something without a meter that is controlled by the surplus looks like a wrong factor: the grid stays near 0 all the same."""
    grid = _sum(values for key, values in house.supply.items() if house.roles[key[0]] is Role.GRID)
    if house.house or not grid or median(map(abs, grid)) > _NEAR_ZERO_W or median(_spare(house)) < -_SMALL_W:
        return None
    for key, values in house.supply.items():
        slope = None if house.roles[key[0]] is Role.GRID else _slope(values, _spare(house))
        if slope is not None and 0.5 < slope < 1.2:
            text = f"something takes what {key[0]} gives (a heating rod, a charger or a battery without a meter in the site file)"
            return Finding(False, f"{text}; if there is no such thing, the grid's meter is in the wrong place or shows too little", (key[0],))
    return None


def _spare(house: _House) -> list[float]:
    """The consumption without what the consumers' own meters show."""
    return [one - sum(known) for one, *known in zip(house.consumption(), *house.consumers.values(), strict=True)]


def _impossible(role: Role, key: Input, values: list[float]) -> tuple[Finding | None, float]:
    """What cannot be, whatever the others measure; with the factor that mends it."""
    name, middle = key[0], median(values)
    if role not in (Role.GRID, Role.BATTERY) and middle < -_SMALL_W and max(values) < 0:
        what = "generates a negative power" if role is Role.PV else "consumes a negative power"
        return Finding(True, f"{name} {what} ({_watts(middle)}): its sign is inverted (`invert: true`, or exchange its wires)", (name,)), -1.0
    if abs(middle) > _IMPOSSIBLE_W:
        return Finding(True, f"{name} shows {_watts(middle)}, which no house has: it is probably 1000 times too large (W for kW)", (name,)), 1e-3
    return None, 1.0


def _fault_against_meter(house: _House) -> str:
    """How the balance fails to be what the house's meter shows; empty when it does not."""
    measured, consumption = _sum(house.house.values()), house.consumption()
    gap = median(abs(one - other) for one, other in zip(consumption, measured, strict=True))
    flow = median(max(abs(one), abs(other)) for one, other in zip(consumption, measured, strict=True))
    if gap <= max(_SMALL_W, _OFF * flow):
        return ""
    return f"the balance does not close: {_watts(median(consumption))} flow into the house, its meter shows {_watts(median(measured))}"


def _fault_alone(house: _House) -> str:
    """What the consumption does that no consumption does; empty when nothing."""
    consumption = house.consumption()
    spare = _spare(house)
    known = [one - other for one, other in zip(consumption, spare, strict=True)]
    slack = max(_SMALL_W, _OFF * max(median(map(abs, values)) for values in house.supply.values()))
    if median(consumption) < -slack:
        return f"the consumption comes out negative ({_watts(median(consumption))})"
    if median(spare) < -slack:
        return f"the consumption comes out at {_watts(median(consumption))}, but the consumers alone take {_watts(median(known))}"
    for key, values in house.supply.items():
        slope = None if house.roles[key[0]] is Role.GRID else _slope(values, spare)
        if slope is not None and abs(slope) > 0.5:
            return f"the consumption seems to follow {key[0]}: the other meters do not answer to its changes as they must"
    slope = _slope(known, consumption)
    if slope is not None and not 0.5 < slope < 1.5:
        return "the consumption does not follow what the consumers' own meters show"
    return ""


def _slope(cause: Sequence[float], effect: Sequence[float]) -> float | None:
    """By how much the effect changes with the cause; None when the cause hardly moves, or something else moves the effect."""
    mean_cause, mean_effect = fmean(cause), fmean(effect)
    spread = sum((one - mean_cause) ** 2 for one in cause)
    together = sum((one - mean_cause) * (other - mean_effect) for one, other in zip(cause, effect, strict=True))
    effect_spread = sum((other - mean_effect) ** 2 for other in effect)
    if max(cause) - min(cause) < _MOVES_W or not effect_spread:
        return None
    return together / spread if together**2 > _FOLLOWS**2 * spread * effect_spread else None


def _explained(house: _House, fault: str, mends: Callable[[_House], bool]) -> Finding:
    """The fault with the one change that would mend it, or with those that would."""
    good = [change for change in _changes(house) if mends(change.house) and _fits(change.house)]
    signs = [change for change in good if change.is_sign]
    chosen = (signs or good)[:4]
    if not chosen:
        return Finding(True, f"{fault}; no single sign, factor or role explains it: {_rest(house)}")
    names = tuple(dict.fromkeys(name for change in chosen for name in change.point_ids))
    return Finding(True, f"{fault}; it would be right if {', or if '.join(change.text for change in chosen)}", names)


def _fits(house: _House) -> bool:
    """A change must close the balance closely, and leave nothing that cannot be."""
    if any(_impossible(house.roles[key[0]], key, values)[0] for key, values in [*house.supply.items(), *house.house.items()]):
        return False
    if not house.house:
        return median(house.consumption()) < _IMPOSSIBLE_W
    consumption, measured = house.consumption(), _sum(house.house.values())
    gap = median(abs(one - other) for one, other in zip(consumption, measured, strict=True))
    return gap <= max(_SMALL_W / 2, _CLOSE * median(map(abs, measured)))


def _changes(house: _House) -> Iterable[_Change]:
    both = [*house.supply, *house.house]
    for key in house.supply:
        yield _Change(f"the sign of {key[0]} is inverted (`invert: true`)", (key[0],), house.scaled(key, -1.0), True)
    grid = [key for key in house.supply if house.roles[key[0]] is Role.GRID]
    for one in grid:
        for other in (key for key in house.supply if key not in grid):
            yield _Change(f"{one[0]} and {other[0]} have each other's role", (one[0], other[0]), house.exchanged(one, other), True)
        for other in house.house:
            supply = {**house.supply, one: house.house[other]}
            swapped = _House(supply, {**house.house, other: house.supply[one]}, house.consumers, house.roles)
            yield _Change(f"{one[0]} and {other[0]} have each other's role", (one[0], other[0]), swapped, True)
    for key in both:
        for factor in _FACTORS:
            size = f"{factor:g} times too small" if factor > 1 else f"{1 / factor:g} times too large"
            yield _Change(f"{key[0]} is {size} (unit or current transformer: `scale: {factor:g}`)", (key[0],), house.scaled(key, factor), False)
    if not house.house and len(house.supply) > 1:
        for one in grid:
            rest = {key: values for key, values in house.supply.items() if key != one}
            whole = _House({**rest, one: _minus(house.supply[one], rest)}, {}, house.consumers, house.roles)
            yield _Change(f"{one[0]} measures the consumption, not the grid (`role: house`)", (one[0],), whole, False)


def _minus(values: Sequence[float], others: Mapping[Input, Sequence[float]]) -> list[float]:
    return [one - other for one, other in zip(values, _sum(others.values()), strict=True)]


def _rest(house: _House) -> str:
    if not house.house:
        return "check the role, the direction and the unit of each meter"
    surplus = median(one - other for one, other in zip(house.consumption(), _sum(house.house.values()), strict=True))
    what = "a consumer that the house's meter does not see" if surplus > 0 else "a source (inverter, battery) that is not in the site file"
    return f"there may be {what}, of {_watts(abs(surplus))}"


def _all_well(house: _House) -> str:
    if house.house:
        return "the balance closes: the house's own meter shows what flows into the house"
    moved = [key[0] for key, values in house.supply.items() if house.roles[key[0]] is not Role.GRID and max(values) - min(values) >= _MOVES_W]
    text = "nothing measures the consumption independently, so the balance cannot be checked against it; the consumption is possible"
    if moved:
        return f"{text}, and does not follow {', '.join(moved)}, as it should be"
    return f"{text}. Repeat the check while the sun, the battery or a large consumer with a meter changes: then it says more"


def _too_small(key: Input) -> Finding:
    return Finding(False, f"{key[0]} was below {_SMALL_W:g} W: its sign and factor cannot be seen now", (key[0],))


def _watts(value: float) -> str:
    return f"{value:,.0f} W".replace(",", " ")
