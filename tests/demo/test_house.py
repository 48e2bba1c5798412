"""The simulated house: its energy adds up, and its first hour shows everything a demo should show."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.demo.appliances import CarState, HeatPumpMode
from edge_agent.demo.house import Flows, House, watt_hours
from edge_agent.demo.hybrid import Hybrid
from edge_agent.demo.weather import clear_sky_w_m2, draw

SPRING_MORNING = 1_776_501_900  # 2026-04-18 08:45 UTC
YEAR_S = 365 * 86400

seeds = st.integers(0, 10_000)
starts = st.integers(SPRING_MORNING, SPRING_MORNING + YEAR_S)


@settings(max_examples=12, deadline=None)
@given(seeds, starts)
def test_every_second_adds_up(seed: int, start: int) -> None:
    house = House(seed, start, car_home_after_s=300)
    for _ in range(900):
        before = house.hybrid.stored
        house.advance(house.at + 1)
        flows = house.flows
        assert min(flows) >= 0
        assert flows.ac_imbalance == 0
        converted = flows.inverter_output - flows.inverter_input + flows.inverter_loss
        assert flows.pv + flows.battery_discharge == flows.battery_charge + converted
        assert flows.battery_charge - flows.battery_discharge == house.hybrid.stored - before + flows.battery_loss
        assert flows.inverter_output <= Hybrid.AC_LIMIT + 1000
        assert max(flows.battery_charge, flows.battery_discharge) <= Hybrid.BATTERY_LIMIT
        assert Hybrid.RESERVE - 1_000_000 <= house.hybrid.stored <= Hybrid.CAPACITY


@settings(max_examples=8, deadline=None)
@given(seeds, starts, st.floats(0, 1))
def test_what_came_in_is_used_lost_or_stored(seed: int, start: int, soc: float) -> None:
    house = House(seed, start, soc=max(0.1, soc))
    stored = house.hybrid.stored
    house.advance(start + 7200)
    total = house.totals
    came_in = total.pv + total.grid_import
    went_out = total.grid_export + total.consumption + total.inverter_loss + total.battery_loss
    assert came_in == went_out + house.hybrid.stored - stored


@settings(max_examples=8, deadline=None)
@given(seeds, starts, st.lists(st.floats(0, 400), min_size=1, max_size=8))
def test_the_day_does_not_depend_on_how_it_is_advanced(seed: int, start: int, hops: list[float]) -> None:
    in_hops, at_once = House(seed, start), House(seed, start)
    earlier = Flows()
    to = float(start)
    for hop in hops:
        to += hop
        in_hops.advance(to)
        assert all(new >= old for new, old in zip(in_hops.totals, earlier, strict=True))
        earlier = in_hops.totals
    at_once.advance(to)
    assert in_hops.totals == at_once.totals
    assert in_hops.at == at_once.at


def test_the_first_hour_shows_sun_export_import_and_a_charging_car() -> None:
    house = House(1, SPRING_MORNING)
    house.advance(SPRING_MORNING + 1500)
    assert watt_hours(house.totals.grid_export) > 200
    assert watt_hours(house.totals.washing_machine) > 100
    assert not house.car.is_plugged
    house.advance(SPRING_MORNING + 3600)
    total = house.totals
    assert watt_hours(total.pv) > 2000
    assert watt_hours(total.grid_import) > 500
    assert watt_hours(total.car) > 1000
    assert watt_hours(total.battery_charge) > 50
    assert watt_hours(total.battery_discharge) > 50
    assert watt_hours(total.heat_pump) > 100
    assert house.car.state is CarState.CHARGING


def test_a_day_brings_every_state() -> None:
    house = House(3, SPRING_MORNING)
    cars, modes, inputs = set(), set(), 0
    for _ in range(26 * 60):
        house.advance(house.at + 60)
        cars.add(house.car.state)
        modes.add(house.heat_pump.mode)
        inputs += house.flows.inverter_input
        assert 25 < house.heat_pump.buffer_c < 45
        assert 35 < house.heat_pump.tank_c < 55
    assert cars == {CarState.AWAY, CarState.CHARGING, CarState.COMPLETE}
    assert modes == set(HeatPumpMode)
    assert inputs > 0


def test_the_car_takes_what_it_misses_and_no_more() -> None:
    house = House(1, SPRING_MORNING, car_home_after_s=0)
    house.advance(SPRING_MORNING + 1)
    missing = house.car.missing_mws
    house.advance(SPRING_MORNING + 4 * 3600)
    assert house.car.state is CarState.COMPLETE
    assert house.totals.car == house.car.session_mws == missing


def test_the_sun_knows_hour_and_season() -> None:
    noon, midnight = SPRING_MORNING + 8100, SPRING_MORNING + 8100 + 43200
    assert clear_sky_w_m2(noon) > clear_sky_w_m2(noon - 7200) > 0
    assert clear_sky_w_m2(midnight) == 0
    assert clear_sky_w_m2(noon + 240 * 86400) < 0.7 * clear_sky_w_m2(noon)


def test_chance_is_the_same_in_every_process() -> None:
    numbers = [draw(7, "clouds", number) for number in range(2000)]
    assert numbers[0] == draw(7, "clouds", 0)
    assert 0.47 < sum(numbers) / len(numbers) < 0.53
    assert round(draw(1, "trip", 20561), 6) == 0.096459
