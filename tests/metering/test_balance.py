import pytest

from edge_agent.metering.balance import Source, balance, energy_sources, gauges
from edge_agent.model.measurements import HouseQuantity, MeterPoint, Quantity, Role

Q = Quantity
METER = frozenset({Q.POWER_W, Q.IMPORT_WH, Q.EXPORT_WH})


def point(point_id: str, role: Role, *quantities: Quantity) -> MeterPoint:
    return MeterPoint(point_id, point_id, point_id.partition(".")[0], role, "", frozenset(quantities))


GRID = point("grid", Role.GRID, *METER)
INVERTER = point("pv", Role.PV, Q.GENERATION_W, Q.GENERATION_WH)
HYBRID_PV = point("hy.pv", Role.PV, Q.GENERATION_W, Q.GENERATION_WH, Q.AC_OUTPUT_W, Q.AC_OUTPUT_WH, Q.AC_INPUT_WH)
HYBRID_BATTERY = point("hy.battery", Role.BATTERY, *METER)
AC_BATTERY = point("ac", Role.BATTERY, *METER)
CHARGER = point("car", Role.CHARGER, Q.POWER_W, Q.IMPORT_WH)


def consumption(*points: MeterPoint) -> dict[str, float]:
    inputs = balance(points).energies.get(HouseQuantity.CONSUMPTION_WH, {})
    return {f"{point_id} {quantity}": weight for (point_id, quantity), weight in inputs.items()}


def consumption_w(*points: MeterPoint) -> dict[str, float]:
    inputs = balance(points).powers.get(HouseQuantity.CONSUMPTION_W, {})
    return {f"{point_id} {quantity}": weight for (point_id, quantity), weight in inputs.items()}


GRID_PART = {"grid import_wh": 1.0, "grid export_wh": -1.0}


def test_a_house_without_producers_consumes_what_it_imports_net() -> None:
    assert consumption(GRID) == GRID_PART
    assert consumption_w(GRID) == {"grid power_w": 1}


def test_a_meter_without_an_export_counter_will_do_where_nothing_is_produced() -> None:
    assert consumption(point("grid", Role.GRID, Q.IMPORT_WH)) == {"grid import_wh": 1}


def test_where_something_is_produced_the_export_must_be_known() -> None:
    found = balance([point("grid", Role.GRID, Q.IMPORT_WH), INVERTER])
    assert HouseQuantity.CONSUMPTION_WH not in found.energies
    assert found.missing == {"grid": "gives no export_wh, neither counted nor from a power"}
    assert set(found.energies) == {HouseQuantity.IMPORT_WH, HouseQuantity.GENERATION_WH}


def test_consumers_of_their_own_meter_add_nothing() -> None:
    assert consumption(GRID, CHARGER) == GRID_PART


def test_inverters_and_ac_batteries_feed_the_house() -> None:
    expected = GRID_PART | {"pv generation_wh": 1.0, "ac export_wh": 1.0, "ac import_wh": -1.0}
    assert consumption(GRID, INVERTER, AC_BATTERY) == expected
    assert consumption_w(GRID, INVERTER, AC_BATTERY) == {"grid power_w": 1, "pv generation_w": 1, "ac power_w": -1}


def test_a_battery_behind_a_hybrids_ac_output_is_not_added() -> None:
    assert consumption(GRID, HYBRID_PV, HYBRID_BATTERY) == GRID_PART | {"hy.pv ac_output_wh": 1.0, "hy.pv ac_input_wh": -1.0}
    assert consumption_w(GRID, HYBRID_PV, HYBRID_BATTERY) == {"grid power_w": 1, "hy.pv ac_output_w": 1}


def test_a_hybrid_without_an_ac_output_is_generation_and_battery() -> None:
    pv = point("hy.pv", Role.PV, Q.GENERATION_W, Q.GENERATION_WH, Q.AC_INPUT_WH)
    expected = GRID_PART | {"hy.pv generation_wh": 1.0, "hy.battery export_wh": 1.0, "hy.battery import_wh": -1.0}
    assert consumption(GRID, pv, HYBRID_BATTERY) == expected
    assert consumption_w(GRID, pv, HYBRID_BATTERY) == {"grid power_w": 1, "hy.pv generation_w": 1, "hy.battery power_w": -1}


def test_an_inverter_that_names_its_ac_output_only_generates_that() -> None:
    pv = point("pv", Role.PV, Q.AC_OUTPUT_W, Q.AC_OUTPUT_WH)
    assert consumption(GRID, pv) == GRID_PART | {"pv generation_wh": 1.0}
    assert consumption_w(GRID, pv) == {"grid power_w": 1, "pv generation_w": 1}
    assert energy_sources(pv, hybrid=False) == (Source(Q.GENERATION_WH, Q.AC_OUTPUT_WH),)


def test_a_meter_before_the_inverter_also_counts_what_the_inverter_draws() -> None:
    pv = point("pv", Role.PV, Q.GENERATION_W, Q.GENERATION_WH, Q.AC_INPUT_WH)
    assert consumption(GRID, pv) == GRID_PART | {"pv generation_wh": 1.0, "pv ac_input_wh": -1.0}


def test_a_meter_of_the_whole_house_goes_before_the_balance() -> None:
    house = point("house", Role.HOUSE, Q.POWER_W, Q.IMPORT_WH)
    assert consumption(GRID, house, INVERTER) == {"house import_wh": 1}
    assert consumption_w(GRID, house, INVERTER) == {"house power_w": 1}
    assert "grid" in balance([house]).missing


def test_two_grid_meters_are_added_up() -> None:
    second = point("heat", Role.GRID, *METER)
    assert consumption(GRID, second) == GRID_PART | {"heat import_wh": 1.0, "heat export_wh": -1.0}


def test_a_house_with_nothing_but_a_plug_has_no_totals() -> None:
    found = balance([point("plug", Role.PLUG, *METER)])
    assert (found.energies, found.powers) == ({}, {})
    assert "role: grid" in found.missing["grid"]


def test_a_battery_that_measures_nothing_is_named() -> None:
    found = balance([GRID, point("ac", Role.BATTERY, Q.SOC_PERCENT)])
    assert HouseQuantity.CONSUMPTION_WH not in found.energies
    assert found.missing == {"ac": "gives no export_wh, neither counted nor from a power"}


@pytest.mark.parametrize(
    ("quantities", "hybrid", "expected"),
    [
        ({Q.AC_OUTPUT_W}, False, (Source(Q.GENERATION_WH, Q.AC_OUTPUT_W, 1), Source(Q.AC_INPUT_WH, Q.AC_OUTPUT_W, -1))),
        ({Q.GENERATION_W}, False, (Source(Q.GENERATION_WH, Q.GENERATION_W, 1), Source(Q.AC_INPUT_WH, Q.GENERATION_W, -1))),
        ({Q.GENERATION_WH, Q.AC_OUTPUT_W}, False, (Source(Q.GENERATION_WH, Q.GENERATION_WH),)),
        (
            {Q.GENERATION_WH, Q.AC_OUTPUT_W},
            True,
            (Source(Q.GENERATION_WH, Q.GENERATION_WH), Source(Q.AC_OUTPUT_WH, Q.AC_OUTPUT_W, 1), Source(Q.AC_INPUT_WH, Q.AC_OUTPUT_W, -1)),
        ),
    ],
)
def test_an_inverters_energies_come_from_what_it_has(quantities: set[Quantity], hybrid: bool, expected: tuple[Source, ...]) -> None:
    assert energy_sources(point("pv", Role.PV, *quantities), hybrid) == expected


def test_a_hybrids_ac_output_is_no_generation() -> None:
    pv = point("hy.pv", Role.PV, Q.AC_OUTPUT_W)
    assert gauges(pv, hybrid=True) == {Q.AC_OUTPUT_W: Q.AC_OUTPUT_W}
    assert gauges(pv, hybrid=False) == {Q.AC_OUTPUT_W: Q.GENERATION_W}
    assert balance([GRID, pv, HYBRID_BATTERY]).missing == {"hy.pv": "gives no generation_wh, neither counted nor from a power"}
