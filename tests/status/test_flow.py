from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.model.measurements import MeterPoint, Quality, Quantity, Reading, Role
from edge_agent.status.document import Node
from edge_agent.status.flow import flow

NOW = 1_772_610_000.0


def point(role: Role, *quantities: Quantity, device: str = "") -> MeterPoint:
    name = device or role.value
    return MeterPoint(f"{name}.{role}" if device else name, name, name, role, "", frozenset(quantities))


def reading(value: float | None, age_s: float = 1.0) -> Reading:
    return Reading(value, "W", Quality.OK if value is not None else Quality.ERROR, NOW - age_s)


GRID = point(Role.GRID, Quantity.POWER_W)
SUN = point(Role.PV, Quantity.GENERATION_W)
BATTERY = point(Role.BATTERY, Quantity.POWER_W, Quantity.SOC_PERCENT)
CAR = point(Role.CHARGER, Quantity.POWER_W)
_POWER = {Role.PV: Quantity.GENERATION_W}


def nodes(*powers: tuple[MeterPoint, float | None], age_s: float = 1.0) -> dict[str, Node]:
    """The flow of a house with these measuring points, by kind."""
    readings = {one.id: {_POWER.get(one.role, Quantity.POWER_W): reading(value, age_s)} for one, value in powers}
    return {node["kind"]: node for node in flow([one for one, _ in powers], readings, NOW)}


def watts(found: dict[str, Node]) -> dict[str, float | None]:
    return {kind: node["power_w"] for kind, node in found.items()}


def test_house_consumes_what_its_sources_give() -> None:
    found = watts(nodes((GRID, -1500), (SUN, 4000), (BATTERY, 500), (CAR, 700)))
    assert found == {"sun": 4000, "grid": -1500, "battery": 500, "house": 2000, "charger": 700}


@given(st.lists(st.floats(-20_000, 20_000), min_size=3, max_size=3))
def test_flow_balances_or_says_why_not(powers: list[float]) -> None:
    grid, sun, battery = powers
    found = nodes((GRID, grid), (SUN, sun), (BATTERY, battery))
    house = found["house"]
    if grid + sun - battery < 0:
        assert house["power_w"] is None
        assert "the balance gives -" in house["reason"]
    else:
        assert house["power_w"] == pytest.approx(grid + sun - battery, abs=0.1)


def test_absent_power_is_none_with_a_reason_and_never_zero() -> None:
    found = nodes((GRID, None), (SUN, 4000))
    assert found["grid"]["power_w"] is None
    assert found["grid"]["reason"] == "no current power from grid"
    assert found["house"]["reason"] == "no current power from grid"
    assert found["sun"]["power_w"] == 4000


def test_power_that_is_too_old_is_not_current() -> None:
    found = nodes((GRID, 100), (SUN, 4000), age_s=GRID.stale_after_s + 1)
    assert watts(found) == {"sun": None, "grid": None, "house": None}


def test_sum_over_several_meters_needs_all_of_them() -> None:
    roofs = [point(Role.PV, Quantity.GENERATION_W, device="east"), point(Role.PV, Quantity.GENERATION_W, device="west")]
    assert watts(nodes((roofs[0], 1000), (roofs[1], 2000)))["sun"] == 3000
    lacking = nodes((roofs[0], 1000), (roofs[1], None))["sun"]
    assert lacking["power_w"] is None
    assert lacking["reason"] == "no current power from west.pv"
    assert lacking["names"] == ["east", "west"]


def test_inverter_that_draws_at_night_generates_nothing() -> None:
    assert watts(nodes((GRID, 300), (SUN, -8)))["sun"] == 0


def test_house_without_a_grid_meter_has_no_consumption() -> None:
    house = nodes((SUN, 4000))["house"]
    assert house["power_w"] is None
    assert house["reason"] == "not every source of the house is measured"


def test_state_of_charge_of_several_batteries_is_their_mean() -> None:
    both = [point(Role.BATTERY, Quantity.SOC_PERCENT, device="one"), point(Role.BATTERY, Quantity.SOC_PERCENT, device="two")]
    readings = {one.id: {Quantity.SOC_PERCENT: reading(soc)} for one, soc in zip(both, (20.0, 80.0), strict=True)}
    battery = next(node for node in flow(both, readings, NOW) if node["kind"] == "battery")
    assert battery["soc_percent"] == 50
