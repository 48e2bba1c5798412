import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC

import pytest

from edge_agent.metering.balance import balance
from edge_agent.metering.days import DayRule, Days
from edge_agent.metering.household import KEEP_S, Household
from edge_agent.model.measurements import EnergyInterval, HouseholdDay, HouseholdInterval, HouseQuantity, MeterPoint, Quantity, Role

Q, H = Quantity, HouseQuantity
T0 = 1_800_000_000
METER = frozenset({Q.POWER_W, Q.IMPORT_WH, Q.EXPORT_WH})
GRID = MeterPoint("grid", "Grid", "grid", Role.GRID, "", METER)
PV = MeterPoint("pv", "Roof", "pv", Role.PV, "", frozenset({Q.GENERATION_W, Q.GENERATION_WH}))
BATTERY = MeterPoint("battery", "Battery", "battery", Role.BATTERY, "", METER)


RULE = DayRule(UTC, 0.97, 0.25)


def household(*points: MeterPoint) -> Household:
    return Household(balance(points or (GRID, PV)), 900, 2, Days(900, RULE))


def given(house: Household, number: int, point_id: str, **energies: float | None) -> list[HouseholdInterval]:
    """Energies of a point in the interval of that number; None is absent."""
    found: list[HouseholdInterval | HouseholdDay] = []
    for name, wh in energies.items():
        found += house.energies([EnergyInterval(point_id, Q(name), T0 + 900 * number, wh, reason="" if wh is not None else "it was away")])
    return [outcome for outcome in found if isinstance(outcome, HouseholdInterval)]


def values(found: Sequence[HouseholdInterval]) -> dict[tuple[int, HouseQuantity], float]:
    seen: dict[tuple[int, HouseQuantity], float] = {}
    for interval in found:
        for quantity, value in interval.values.items():
            key = ((interval.end - T0) // 900, quantity)
            assert key not in seen, "given twice"
            seen[key] = value
    return seen


def reasons(found: Sequence[HouseholdInterval]) -> dict[HouseQuantity, str]:
    return {quantity: reason for interval in found for quantity, reason in interval.reasons.items()}


def test_totals_and_rates_follow_from_the_balance() -> None:
    house = household()
    found = given(house, 1, "grid", import_wh=100, export_wh=300) + given(house, 1, "pv", generation_wh=400)
    assert values(found) == {
        (1, H.IMPORT_WH): 100, (1, H.EXPORT_WH): 300, (1, H.GENERATION_WH): 400, (1, H.CONSUMPTION_WH): 200,
        (1, H.SELF_CONSUMPTION_PERCENT): 25, (1, H.SELF_SUFFICIENCY_PERCENT): 50,
    }  # fmt: skip


def test_a_total_does_not_wait_for_what_it_does_not_need() -> None:
    house = household()
    assert values(given(house, 1, "grid", import_wh=100, export_wh=0)) == {(1, H.IMPORT_WH): 100, (1, H.EXPORT_WH): 0}
    assert house.waiting() == ("pv generation_wh",)


def test_a_late_input_completes_each_interval_with_its_own_end() -> None:
    house = household()
    for number in (1, 2, 3):
        given(house, number, "grid", import_wh=number, export_wh=0)
    found = [interval for number in (1, 2, 3) for interval in given(house, number, "pv", generation_wh=10)]
    assert {end: value for (end, quantity), value in values(found).items() if quantity is H.CONSUMPTION_WH} == {1: 11, 2: 12, 3: 13}
    assert house.waiting() == ()


def test_an_absent_input_makes_the_totals_that_need_it_absent_with_its_reason() -> None:
    house = household()
    found = given(house, 1, "grid", import_wh=1, export_wh=None) + given(house, 1, "pv", generation_wh=5)
    assert values(found) == {(1, H.IMPORT_WH): 1, (1, H.GENERATION_WH): 5}
    assert reasons(found)[H.CONSUMPTION_WH] == "grid: it was away"
    assert reasons(found)[H.SELF_CONSUMPTION_PERCENT] == "export_wh is not known"


def test_an_input_that_begins_later_leaves_no_total_waiting() -> None:
    house = household()
    found = [interval for number in (1, 2) for interval in given(house, number, "grid", import_wh=1, export_wh=0)]
    found += given(house, 3, "pv", generation_wh=None) + given(house, 3, "grid", import_wh=1, export_wh=0)
    assert house.waiting() == ()
    assert H.CONSUMPTION_WH not in {quantity for _, quantity in values(found)}
    assert "pv generation_wh is not known for this interval" in {interval.reasons.get(H.CONSUMPTION_WH) for interval in found}


def test_an_input_that_has_passed_an_interval_over_is_not_awaited() -> None:
    house = household()
    given(house, 3, "pv", generation_wh=9)
    found = given(house, 2, "grid", import_wh=1, export_wh=0) + given(house, 3, "grid", import_wh=1, export_wh=0)
    assert {end for end, quantity in values(found) if quantity is H.CONSUMPTION_WH} == {3}
    assert house.waiting() == ()


def test_waiting_ends_after_a_fortnight() -> None:
    house = household()
    for number in range(1, KEEP_S // 900 + 100):
        given(house, number, "grid", import_wh=1, export_wh=0)
    assert given(house, 1, "pv", generation_wh=10) == []
    assert len(house.state()["energies"]["rows"]) <= KEEP_S // 900 + 1


def test_a_negative_remainder_is_carried_so_that_sums_hold() -> None:
    house = household()
    found = []
    for number, (exported, generated) in enumerate([(30, 10), (0, 5), (10, 40)], start=1):
        found += given(house, number, "grid", import_wh=0, export_wh=exported) + given(house, number, "pv", generation_wh=generated)
    consumed = {end: value for (end, quantity), value in values(found).items() if quantity is H.CONSUMPTION_WH}
    assert consumed == {3: 15}
    assert house.remainder_wh == 0
    assert "-15.000 Wh" in reasons(found)[H.CONSUMPTION_WH]


def test_rates_are_of_the_consumption_that_is_given() -> None:
    house = household()
    first = given(house, 1, "grid", import_wh=0, export_wh=30) + given(house, 1, "pv", generation_wh=10)
    second = given(house, 2, "grid", import_wh=10, export_wh=0) + given(house, 2, "pv", generation_wh=40)
    assert H.SELF_SUFFICIENCY_PERCENT not in {quantity for _, quantity in values(first)}
    assert values(second)[2, H.CONSUMPTION_WH] == 30
    assert values(second)[2, H.SELF_SUFFICIENCY_PERCENT] == pytest.approx(66.667)


def test_an_input_after_all_is_decided_decides_nothing_again() -> None:
    house = household(GRID, PV, BATTERY)
    given(house, 1, "grid", import_wh=None, export_wh=None)
    given(house, 1, "pv", generation_wh=5)
    assert given(house, 1, "battery", import_wh=1, export_wh=1) == []
    assert house.waiting() == ()


def late(house: Household, point_id: str, quantity: Quantity, energies: Sequence[float]) -> list[HouseholdInterval]:
    """What a device counted in the intervals from the first on, spread over them since nobody read it meanwhile."""
    found = house.energies([EnergyInterval(point_id, quantity, T0 + 900 * number, wh, True) for number, wh in enumerate(energies, 1)])
    return [outcome for outcome in found if isinstance(outcome, HouseholdInterval)]


def test_what_some_intervals_of_a_gap_lack_is_in_the_others() -> None:
    """The inverter was silent over a sunny day: its energy, spread evenly, does not make up for the export at noon."""
    house = household()
    for number, exported in enumerate((0, 3000, 3000, 0), 1):
        given(house, number, "grid", import_wh=100, export_wh=exported)
    found = late(house, "pv", Q.GENERATION_WH, [2000] * 4)
    assert {end: value for (end, quantity), value in values(found).items() if quantity is H.CONSUMPTION_WH} == dict.fromkeys((1, 2, 3, 4), 600)
    assert house.remainder_wh == 0


def test_totals_that_become_known_together_give_each_rate_once() -> None:
    house = household()
    house.energies([EnergyInterval("pv", Q.GENERATION_WH, T0 + 900, 10.0)])
    found = house.energies([EnergyInterval("grid", quantity, T0 + 900, 5.0) for quantity in (Q.IMPORT_WH, Q.EXPORT_WH)])
    assert [sorted(outcome.values) for outcome in found if isinstance(outcome, HouseholdInterval)] == [
        [H.CONSUMPTION_WH, H.EXPORT_WH, H.IMPORT_WH, H.SELF_CONSUMPTION_PERCENT, H.SELF_SUFFICIENCY_PERCENT]
    ]


def test_a_gap_whose_intervals_come_out_right_is_left_as_it_is() -> None:
    house = household()
    for number, exported in enumerate((0, 200, 0), 1):
        given(house, number, "grid", import_wh=100, export_wh=exported)
    found = late(house, "pv", Q.GENERATION_WH, [150] * 3)
    assert {end: value for (end, quantity), value in values(found).items() if quantity is H.CONSUMPTION_WH} == {1: 250, 2: 50, 3: 250}


def test_a_gap_that_lacks_energy_as_a_whole_is_no_matter_of_its_intervals() -> None:
    house = household()
    for number in (1, 2, 3):
        given(house, number, "grid", import_wh=0, export_wh=2000)
    found = late(house, "pv", Q.GENERATION_WH, [100] * 3)
    assert H.CONSUMPTION_WH not in {quantity for _, quantity in values(found)}
    assert "a sign or role is wrong" in house.mistake


def test_rates_that_are_no_shares_are_not_sent() -> None:
    house = household(GRID, PV, BATTERY)
    found = given(house, 1, "grid", import_wh=500, export_wh=50) + given(house, 1, "pv", generation_wh=40)
    found += given(house, 1, "battery", import_wh=300, export_wh=0)
    assert values(found)[1, H.CONSUMPTION_WH] == 190
    assert not {H.SELF_CONSUMPTION_PERCENT, H.SELF_SUFFICIENCY_PERCENT} & {quantity for _, quantity in values(found)}
    assert "is no share" in reasons(found)[H.SELF_SUFFICIENCY_PERCENT]


def test_without_generation_there_is_no_rate_of_it() -> None:
    house = household()
    found = given(house, 1, "grid", import_wh=10, export_wh=0) + given(house, 1, "pv", generation_wh=0)
    assert reasons(found) == {H.SELF_CONSUMPTION_PERCENT: "generation_wh is 0"}
    assert values(found)[1, H.SELF_SUFFICIENCY_PERCENT] == 0


def test_a_house_without_pv_has_no_generation_at_all() -> None:
    found = given(household(GRID), 1, "grid", import_wh=10, export_wh=0)
    assert values(found) == {(1, H.IMPORT_WH): 10, (1, H.EXPORT_WH): 0, (1, H.CONSUMPTION_WH): 10, (1, H.SELF_SUFFICIENCY_PERCENT): 0}


def test_excess_is_the_export_of_two_intervals_on_the_half_hour() -> None:
    house = household()
    found = [interval for number in range(1, 5) for interval in given(house, number, "grid", import_wh=0, export_wh=number)]
    assert {end: value for (end, quantity), value in values(found).items() if quantity is H.EXCESS_WH} == {2: 3, 4: 7}


def test_excess_with_an_unknown_half_is_not_sent() -> None:
    house = household()
    found = given(house, 2, "grid", import_wh=0, export_wh=5)
    assert H.EXCESS_WH not in {quantity for _, quantity in values(found)}
    assert "not known" in reasons(found)[H.EXCESS_WH]


@pytest.mark.parametrize("restart", [False, True])
def test_excess_of_two_grid_meters_waits_for_the_late_one_while_the_other_is_absent(restart: bool) -> None:
    points = (GRID, replace(GRID, id="garage"), PV)
    house = household(*points)
    found = given(house, 1, "grid", export_wh=10) + given(house, 1, "garage", export_wh=1)
    for number, wh in ((2, 20), (3, None), (4, 40), (5, 50), (6, None)):
        found += given(house, number, "grid", export_wh=wh)
    if restart:
        state, house = json.loads(json.dumps(house.state())), household(*points)
        house.restore(state)
    for number in range(2, 9):
        found += given(house, number, "garage", export_wh=number)
    for number in range(7, 9):
        found += given(house, number, "grid", export_wh=70)
    assert {end: value for (end, quantity), value in values(found).items() if quantity is H.EXCESS_WH} == {2: 33, 8: 155}
    assert len(house.state()["exports"]) == 1, "the half whose other half was absent first"


def test_powers_are_split_at_the_grid() -> None:
    house = household()
    found = house.powers("grid", T0, {Q.POWER_W: -300}) + house.powers("pv", T0, {Q.GENERATION_W: 1000})
    assert values(found) == {(0, H.IMPORT_W): 0, (0, H.EXPORT_W): 300, (0, H.GENERATION_W): 1000, (0, H.CONSUMPTION_W): 700}


def test_a_power_that_is_not_current_makes_no_total() -> None:
    house = household()
    found = house.powers("grid", T0, {Q.POWER_W: 300}) + house.powers("pv", T0, {Q.GENERATION_W: None})
    assert values(found) == {(0, H.IMPORT_W): 300, (0, H.EXPORT_W): 0}
    assert reasons(found)[H.CONSUMPTION_W] == "pv: no current generation_w"


def test_what_an_inverter_draws_at_night_is_no_generation() -> None:
    house = household()
    found = house.powers("grid", T0, {Q.POWER_W: 300}) + house.powers("pv", T0, {Q.GENERATION_W: -3})
    assert values(found)[0, H.GENERATION_W] == 0
    assert values(found)[0, H.CONSUMPTION_W] == 297


def test_a_negative_balance_of_powers_is_not_sent() -> None:
    house = household()
    found = house.powers("grid", T0, {Q.POWER_W: -300}) + house.powers("pv", T0, {Q.GENERATION_W: 200})
    assert H.CONSUMPTION_W not in {quantity for _, quantity in values(found)}


@pytest.mark.parametrize("cut", range(7))
def test_a_restart_changes_no_total(cut: int) -> None:
    calls = [(number, point) for number in range(1, 5) for point in ("grid", "pv")][:7]

    def run(restart_at: int | None) -> list[HouseholdInterval]:
        house, found = household(), []
        for index, (number, point) in enumerate(calls):
            if index == restart_at:
                state = json.loads(json.dumps(house.state()))
                house = household()
                house.restore(state)
            energies: dict[str, float | None] = {"import_wh": 1, "export_wh": 7 * number} if point == "grid" else {"generation_wh": 5 * number}
            found += given(house, number, point, **energies)
        return found

    assert run(cut) == run(None)


def test_a_restart_in_a_long_wait_keeps_every_interval() -> None:
    before = household()
    for number in range(1, 500):
        given(before, number, "grid", import_wh=1, export_wh=0)
    state = json.dumps(before.state())
    assert len(state) < 500 * 100
    after = household()
    after.restore(json.loads(state))
    found = [interval for number in range(1, 500) for interval in given(after, number, "pv", generation_wh=number)]
    assert {end: value for (end, quantity), value in values(found).items() if quantity is H.CONSUMPTION_WH} == {n: n + 1 for n in range(1, 500)}


def test_what_was_passed_over_before_a_restart_is_not_awaited_after_it() -> None:
    before, after = household(), household()
    given(before, 3, "pv", generation_wh=9)
    after.restore(json.loads(json.dumps(before.state())))
    given(after, 2, "grid", import_wh=1, export_wh=0)
    given(after, 3, "grid", import_wh=1, export_wh=0)
    assert after.waiting() == ()


def test_rows_of_another_interval_s_length_are_dropped() -> None:
    before, after = Household(balance([GRID, PV]), 60, 2, Days(60, RULE)), household()
    given(before, 1, "grid", import_wh=1, export_wh=0)
    after.restore(json.loads(json.dumps(before.state())))
    assert after.waiting() == ()


def test_an_estimate_in_an_input_is_one_in_the_total() -> None:
    house = household(GRID)
    found = house.energies([EnergyInterval("grid", Q.IMPORT_WH, T0, 5.0, True), EnergyInterval("grid", Q.EXPORT_WH, T0, 5.0)])
    assert all(isinstance(interval, HouseholdInterval) and interval.estimated for interval in found)


def test_a_new_device_costs_no_total_that_does_not_need_it() -> None:
    before, after = household(), household(GRID, PV, BATTERY)
    given(before, 1, "grid", import_wh=1, export_wh=None)
    given(before, 2, "grid", import_wh=1, export_wh=0)
    after.restore(json.loads(json.dumps(before.state())))
    found = given(after, 1, "pv", generation_wh=5) + given(after, 2, "pv", generation_wh=6)
    found += given(after, 3, "battery", import_wh=0, export_wh=0)
    assert {key: value for key, value in values(found).items() if key[1] is not H.SELF_CONSUMPTION_PERCENT} == {
        (1, H.GENERATION_WH): 5,
        (2, H.GENERATION_WH): 6,
    }
    found = given(after, 3, "grid", import_wh=7, export_wh=0) + given(after, 3, "pv", generation_wh=1)
    assert values(found)[3, H.CONSUMPTION_WH] == 8
    assert after.waiting() == ()


def test_a_total_that_waits_is_not_made_of_other_inputs_than_then() -> None:
    before, after = household(GRID, PV, BATTERY), household()
    given(before, 1, "grid", import_wh=9, export_wh=None)
    given(before, 2, "grid", import_wh=9, export_wh=0)
    given(before, 2, "battery", import_wh=4, export_wh=0)
    after.restore(json.loads(json.dumps(before.state())))
    found = given(after, 2, "pv", generation_wh=5)
    assert values(found)[2, H.GENERATION_WH] == 5
    assert (2, H.CONSUMPTION_WH) not in values(found)


def test_rows_of_a_house_with_other_inputs_are_dropped() -> None:
    before = household()
    given(before, 1, "grid", import_wh=1, export_wh=0)
    after = household(GRID)
    after.restore(json.loads(json.dumps(before.state())))
    assert after.waiting() == ()
    assert values(given(after, 2, "grid", import_wh=1, export_wh=0))[2, H.CONSUMPTION_WH] == 1
