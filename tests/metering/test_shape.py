import json
from collections.abc import Callable, Sequence
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.metering.energy import CounterEnergy
from edge_agent.metering.metering import Metering
from edge_agent.model.measurements import Counter, CounterKind, EnergyInterval, MeterPoint, Quality, Quantity, Reading, Role

T0 = 1_800_000_000  # on a quarter of an hour
Poll = tuple[float, float | None, float | None]  # seconds, what the counter shows, and the power; None: not read


def energies(step_wh: float, polls: Sequence[Poll], restart: Callable[[int], bool] = lambda _: False) -> list[EnergyInterval]:
    """What a counter with a power beside it gives, by quarter-hours; at `restart` it goes on from what was stored."""
    meter, found = _meter(step_wh), []
    for number, (second, wh, watts) in enumerate(polls):
        if restart(number):
            state = json.loads(json.dumps(meter.state()))
            meter = _meter(step_wh)
            meter.restore(state)
        if watts is not None:
            meter.note_power(T0 + second, watts)
        if wh is not None:
            found += meter.feed(T0 + second, wh)
    return found


def _meter(step_wh: float) -> CounterEnergy:
    return CounterEnergy("meter", Quantity.IMPORT_WH, Counter(step_wh=step_wh), 900, 60.0, power_sign=1)


def values(found: Sequence[EnergyInterval]) -> list[float | None]:
    return [interval.energy_wh for interval in found]


def coarse(watts: float, hours: float, power_factor: float = 1.0, begin_wh: float = 0.0) -> list[Poll]:
    """A counter of 1 kWh steps under a steady load."""
    return [
        (second, floor((begin_wh + watts * second / 3600) / 1000) * 1000.0, watts * power_factor) for second in range(0, int(hours * 3600) + 1, 30)
    ]


def test_a_coarse_counter_is_refined_by_the_power_beside_it() -> None:
    assert values(energies(1000, coarse(2000, 5))) == pytest.approx([500] * 20, abs=20)


def test_without_a_power_a_coarse_counter_is_taken_as_it_steps() -> None:
    meter, found = CounterEnergy("meter", Quantity.IMPORT_WH, Counter(step_wh=1000), 900, 60.0), []
    for second, wh, _ in coarse(2000, 2):
        assert wh is not None
        found += meter.feed(T0 + second, wh)
    assert sum(interval.energy_wh or 0 for interval in found) == pytest.approx(4000)
    assert max(interval.energy_wh or 0 for interval in found) >= 900


@pytest.mark.parametrize("power_factor", [0.1, 0.5, 0.9, 1.1, 2.0, 10.0])
def test_the_counter_decides_how_much_however_wrong_the_power_is(power_factor: float) -> None:
    found = energies(1000, coarse(2000, 10, power_factor))
    assert sum(interval.energy_wh or 0 for interval in found) == pytest.approx(20_000, abs=1000)
    assert min(interval.energy_wh or 0 for interval in found) >= 0
    ahead = [sum(interval.energy_wh or 0 for interval in found[: number + 1]) - floor(2000 * (number + 1) / 4 / 1000) * 1000 for number in range(40)]
    assert max(ahead) <= 1000.001, "never past the next step"


def test_what_a_step_holds_from_before_the_start_is_not_counted() -> None:
    found = energies(1000, coarse(600, 1, begin_wh=900))
    assert values(found) == pytest.approx([150] * 4, abs=1)


def test_a_coarse_counter_that_never_moves_counts_no_more_than_a_step() -> None:
    polls: list[Poll] = [(second, 5000.0, 900.0) for second in range(0, 36_001, 30)]
    assert sum(interval.energy_wh or 0 for interval in energies(1000, polls)) == pytest.approx(1000)


def test_a_restart_changes_nothing_of_a_refined_counter() -> None:
    polls = coarse(1700, 4, 0.97)
    assert energies(1000, polls, lambda number: number % 7 == 3) == energies(1000, polls)


def test_a_coarse_counter_of_the_day_loses_nothing_at_midnight() -> None:
    """It shows 100 Wh steps and begins at 0 each midnight: what the last step of each day held is counted all the same."""
    meter, found = CounterEnergy("meter", Quantity.IMPORT_WH, Counter(CounterKind.DAILY, step_wh=100), 900, 60.0, power_sign=1), []
    midnight = T0 - T0 % 86_400 + 86_400
    for second in range(-43_200, 4 * 86_400 + 1, 30):
        of_day = second % 86_400
        true, watts = max(0, min(of_day - 21_600, 37_800)) / 3600 * 777, 777.0 if 21_600 <= of_day < 59_400 else 0.0
        meter.note_power(midnight + second, watts)
        found += meter.feed(midnight + second, floor(true / 100) * 100.0)
    days = [sum(one.energy_wh or 0 for one in found if begin < one.end <= begin + 86_400) for begin in range(midnight, midnight + 4 * 86_400, 86_400)]
    assert days == pytest.approx([777 * 10.5] * 4, abs=5)


def test_what_was_counted_over_a_gap_follows_the_power_that_was_read_meanwhile() -> None:
    """The counter is away for two hours; in one of their quarters the oven was on."""

    def watts(second: int) -> float:
        return 3600.0 if 2700 <= second < 3600 else 0.0

    polls: list[Poll] = [(second, None if 0 < second < 7200 else (450.0 if second else 0.0), watts(second)) for second in range(0, 7201, 10)]
    found = energies(1, polls)  # the power is scaled wrongly: the counter says half of it
    assert values(found) == pytest.approx([0, 0, 0, 450, 0, 0, 0, 0], abs=3)
    assert sum(interval.energy_wh or 0 for interval in found) == pytest.approx(450)
    assert all(interval.estimated for interval in found)


def test_what_power_does_not_explain_is_spread_over_the_time_in_which_it_was_not_read() -> None:
    polls: list[Poll] = [(second, 0.0 if second == 0 else None, 400.0) for second in range(0, 3600, 10)]
    polls.append((7200, 800.0, 400.0))  # an hour without power holds the other 400 Wh
    assert values(energies(1, polls)) == pytest.approx([100] * 8, abs=3)


def test_a_gap_in_which_no_power_was_read_is_spread_evenly() -> None:
    assert values(energies(1, [(0, 0.0, 9000.0), (7200, 800.0, 0.0)])) == pytest.approx([100] * 8)


def test_where_a_counter_begins_anew_power_tells_what_nobody_counted() -> None:
    polls: list[Poll] = [(second, 500_000 + second / 10 if second < 450 else 3 + (second - 450) / 10, 360.0) for second in range(0, 1801, 10)]
    found = energies(1, polls)
    assert values(found) == pytest.approx([90, 90], abs=0.1)
    assert "the counter fell" in found[0].reason
    assert found[0].estimated


def test_power_of_the_other_direction_says_nothing() -> None:
    meter, found = CounterEnergy("meter", Quantity.EXPORT_WH, Counter(step_wh=1000), 900, 60.0, power_sign=-1), []
    for second in range(0, 1801, 30):
        meter.note_power(T0 + second, 4000.0)
        found += meter.feed(T0 + second, 7000.0)
    assert values(found) == [0, 0]


def test_a_long_silence_keeps_the_state_small() -> None:
    meter = _meter(1)
    meter.feed(T0, 0.0)
    for second in range(0, 14 * 86_400, 30):
        meter.note_power(T0 + second, 100.0)
    assert len(json.dumps(meter.state())) < 40_000
    found = [interval for second in (0, 30, 60) for interval in meter.feed(T0 + 14 * 86_400.0 + second, 33_600.0)]
    assert sum(interval.energy_wh or 0 for interval in found) == pytest.approx(33_600, abs=2), "the rest is in the open interval"


@settings(max_examples=60, deadline=None)
@given(
    load=st.lists(st.tuples(st.integers(5, 900), st.integers(0, 9_000)), min_size=2, max_size=120),
    step_wh=st.sampled_from([1.0, 10.0, 100.0, 1000.0]),
    factor=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    unread=st.sets(st.integers(1, 119)),
    restarts=st.sets(st.integers(0, 119)),
)
def test_intervals_add_up_to_the_counter(load: list[tuple[int, int]], step_wh: float, factor: float, unread: set[int], restarts: set[int]) -> None:
    """Whatever power says, and whenever the counter or the agent was away: up to the step that the counter cannot tell."""
    polls: list[Poll] = []
    second, true = 0, 0.0
    for number, (wait, watts) in enumerate(load):
        polls.append((second, None if number in unread else floor(true / step_wh) * step_wh, None if number % 5 == 4 else watts * factor))
        second, true = second + wait, true + watts * wait / 3600
    end = -(-second // 900) * 900 + 900.0
    polls.append((end, floor(true / step_wh) * step_wh, 0.0))
    found = energies(step_wh, polls, lambda number: number in restarts)
    counted = polls[-1][1] or 0.0
    assert sum(interval.energy_wh or 0 for interval in found) == pytest.approx(counted, abs=0.01 if step_wh == 1 else step_wh * 1.001)
    assert min(interval.energy_wh or 0 for interval in found) >= 0
    assert [interval.end for interval in found] == list(range(T0 + 900, T0 + int(end) + 1, 900))


@pytest.mark.parametrize(
    ("role", "energy", "power", "watts"),
    [
        (Role.HEAT_PUMP, Quantity.IMPORT_WH, Quantity.POWER_W, 1200.0),
        (Role.GRID, Quantity.EXPORT_WH, Quantity.POWER_W, -1200.0),
        (Role.BATTERY, Quantity.EXPORT_WH, Quantity.POWER_W, -1200.0),
        (Role.PV, Quantity.GENERATION_WH, Quantity.GENERATION_W, 1200.0),
        (Role.PV, Quantity.GENERATION_WH, Quantity.AC_OUTPUT_W, 1200.0),
        (Role.PV, Quantity.AC_INPUT_WH, Quantity.AC_OUTPUT_W, -1200.0),
    ],
)
def test_each_energy_is_refined_by_its_own_power(role: Role, energy: Quantity, power: Quantity, watts: float) -> None:
    point = MeterPoint("point", "Point", "point", role, "", frozenset({energy, power}), {energy: Counter(step_wh=1000)})
    metering, found = Metering([point], 900, 10), []
    for second in range(0, 7201, 10):
        values = {energy: floor(abs(watts) * second / 3600 / 1000) * 1000.0, power: watts}
        readings = {quantity: Reading(value, "", Quality.OK, T0 + second) for quantity, value in values.items()}
        found += metering.update("point", readings, T0 + second)
    cut = [outcome.energy_wh for outcome in found if isinstance(outcome, EnergyInterval) and outcome.quantity is energy]
    assert cut == pytest.approx([300] * 8, abs=5)
