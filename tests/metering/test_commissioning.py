"""A minute of powers, and what it says about a wrong sign, factor or role."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.metering.commissioning import Commissioning, Moment, examine, powers
from edge_agent.model.measurements import MeterPoint, Quality, Quantity, Reading, Role

GRID, PV, BATTERY, HOUSE, CAR = (
    ("grid", Quantity.POWER_W),
    ("pv", Quantity.GENERATION_W),
    ("battery", Quantity.POWER_W),
    ("house", Quantity.POWER_W),
    ("wallbox", Quantity.POWER_W),
)
ROLES = {GRID: Role.GRID, PV: Role.PV, BATTERY: Role.BATTERY, HOUSE: Role.HOUSE, CAR: Role.CHARGER}


def points(*keys: tuple[str, Quantity]) -> list[MeterPoint]:
    return [MeterPoint(key[0], key[0], key[0], ROLES[key], "", frozenset({key[1]})) for key in keys]


def minute(sun: float = 3000.0, base: float = 800.0, car: float = 0.0, steady: bool = False) -> list[dict[tuple[str, Quantity], float]]:
    """Clouds pass, the battery takes a part of the sun, the grid does the rest."""
    moments = []
    for second in range(30):
        pv = sun * (1.0 if steady else 0.7 + 0.3 * math.sin(second / 4))
        load = base + car + (0 if steady else 20 * math.sin(second * 1.7))
        charging = 0.3 * pv
        moments.append({GRID: load + charging - pv, PV: pv, BATTERY: charging, HOUSE: load, CAR: car + (500 if second > 20 and car else 0)})
        moments[-1][GRID] += 500 if second > 20 and car else 0
        moments[-1][HOUSE] += 500 if second > 20 and car else 0
    return moments


def found(keys: tuple[tuple[str, Quantity], ...], moments: list[dict[tuple[str, Quantity], float]]) -> Commissioning:
    return examine(points(*keys), [{key: moment[key] for key in keys} for moment in moments])


def times(key: tuple[str, Quantity], factor: float, moments: list[dict[tuple[str, Quantity], float]]) -> list[dict[tuple[str, Quantity], float]]:
    return [moment | {key: moment[key] * factor} for moment in moments]


def wrong(result: Commissioning) -> str:
    assert result.wrong
    return "; ".join(finding.text for finding in result.findings if finding.wrong)


WITH_HOUSE = (GRID, PV, BATTERY, HOUSE)
ALONE = (GRID, PV, BATTERY)


def test_right_house_with_its_own_meter_closes() -> None:
    result = found(WITH_HOUSE, minute())
    assert not result.wrong
    assert "the balance closes" in result.findings[0].text
    assert result.consumption_w == pytest.approx(result.measured_w)
    assert [term.point_id for term in result.terms] == ["grid", "pv", "battery", "house"]


def test_without_a_meter_of_the_house_it_says_what_it_cannot_say() -> None:
    result = found(ALONE, minute(steady=True))
    assert not result.wrong
    assert "nothing measures the consumption independently" in result.findings[0].text
    assert "Repeat the check" in result.findings[0].text
    assert "does not follow pv, battery" in found(ALONE, minute()).findings[0].text


@pytest.mark.parametrize("key", [GRID, PV, BATTERY])
def test_inverted_meter_is_named_against_the_meter_of_the_house(key: tuple[str, Quantity]) -> None:
    text = wrong(found(WITH_HOUSE, times(key, -1, minute())))
    assert f"{key[0]}" in text
    assert "sign" in text
    assert not any(f"sign of {other[0]}" in text for other in ALONE if other != key)


@pytest.mark.parametrize("key", WITH_HOUSE)
@pytest.mark.parametrize("factor", [10.0, 1000.0, 0.1, 0.01])
def test_factor_is_named_against_the_meter_of_the_house(key: tuple[str, Quantity], factor: float) -> None:
    text = wrong(found(WITH_HOUSE, times(key, factor, minute())))
    size = f"{factor:g} times too large" if factor > 1 else f"{1 / factor:g} times too small"
    assert f"{key[0]} is {size}" in text or "probably 1000 times too large" in text


def test_exchanged_roles_are_named() -> None:
    right = [moment | {GRID: moment[HOUSE] - moment[PV]} for moment in minute()]
    text = wrong(found((GRID, PV, HOUSE), [moment | {GRID: moment[HOUSE], HOUSE: moment[GRID]} for moment in right]))
    assert text == "the balance closes only if grid and house have each other's role"
    text = wrong(found((GRID, PV, HOUSE), [moment | {GRID: -moment[PV], PV: -moment[GRID]} for moment in right]))
    assert "it would be right if grid and pv have each other's role" in text


def test_consumer_that_takes_the_surplus_is_no_fault() -> None:
    heated = [moment | {GRID: 30.0} for moment in minute()]
    result = found((GRID, PV), heated)
    assert not result.wrong
    assert "something takes what pv gives (a heating rod" in result.findings[0].text
    metered = [moment | {CAR: moment[PV] - 300} for moment in heated]
    assert "as it should be" in found((GRID, PV, CAR), metered).findings[0].text


def test_negative_generation_is_named_without_any_other_meter() -> None:
    assert "pv generates a negative power (" in wrong(found((GRID, PV), times(PV, -1, minute())))


def test_inverted_grid_meter_shows_when_the_house_exports() -> None:
    text = wrong(found((GRID, PV), [moment | {GRID: -(moment[HOUSE] - moment[PV])} for moment in minute()]))
    assert "the sign of grid is inverted" in text


def test_inverted_battery_shows_by_what_follows_it() -> None:
    text = wrong(found(ALONE, times(BATTERY, -1, minute(base=3000))))
    assert "the sign of battery is inverted" in text


def test_grid_meter_that_measures_the_consumption_is_named() -> None:
    text = wrong(found((GRID, PV), [moment | {GRID: moment[HOUSE]} for moment in minute()]))
    assert "grid measures the consumption, not the grid (`role: house`)" in text


def test_consumption_below_what_consumers_take_is_wrong() -> None:
    assert "the consumers alone take" in wrong(found((GRID, CAR), times(GRID, 0.1, [m | {GRID: m[HOUSE]} for m in minute(car=7000)])))


def test_unmeasured_source_is_guessed_when_nothing_else_explains_it() -> None:
    text = wrong(found(WITH_HOUSE, [moment | {HOUSE: moment[HOUSE] + 737} for moment in minute()]))
    assert "a source (inverter, battery) that is not in the site file, of 737 W" in text


def test_silent_device_and_missing_grid_meter_are_named() -> None:
    silent = examine(points(GRID, PV), [{GRID: 100.0}] * 10)
    assert [finding.text for finding in silent.findings] == ["pv gave no power in all this time"]
    assert "nobody measures at the grid's connection" in wrong(examine(points(PV), [{PV: 100.0}] * 10))


def test_small_power_says_nothing_about_its_sign() -> None:
    result = found(WITH_HOUSE, minute(sun=10))
    assert not result.wrong
    assert any("pv was below 50 W" in finding.text for finding in result.findings)


@given(st.floats(200, 8000), st.floats(300, 6000), st.booleans(), st.sampled_from([ALONE, WITH_HOUSE, (GRID, PV), (*WITH_HOUSE, CAR)]))
def test_right_house_is_never_called_wrong(sun: float, base: float, steady: bool, keys: tuple[tuple[str, Quantity], ...]) -> None:
    moments = minute(sun, base, 3000, steady)
    if BATTERY not in keys:
        moments = [moment | {GRID: moment[GRID] - moment[BATTERY]} for moment in moments]
    assert not found(keys, moments).wrong


def test_powers_take_a_plain_inverters_ac_output_for_its_generation() -> None:
    inverter = MeterPoint("pv", "pv", "pv", Role.PV, "", frozenset({Quantity.AC_OUTPUT_W}))
    reading: Callable[[float | None], Reading] = lambda value: Reading(value, "W", Quality.OK if value else Quality.ERROR, 0.0)  # noqa: E731
    moment: Moment = powers([inverter], {"pv": {Quantity.AC_OUTPUT_W: reading(5.0)}})
    assert moment == {("pv", Quantity.GENERATION_W): 5.0}
    assert powers([inverter], {"pv": {Quantity.AC_OUTPUT_W: reading(None)}}) == {}
