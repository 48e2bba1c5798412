from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.metering.cutter import BRIDGE_S, Cutter
from edge_agent.metering.energy import CounterEnergy, PowerEnergy
from edge_agent.model.measurements import Counter, CounterKind, EnergyInterval, Quantity

T0 = 1_800_000_000  # on a quarter of an hour


def counter(interval_s: int = 900, gap_s: float = 60.0) -> CounterEnergy:
    return CounterEnergy("meter", Quantity.IMPORT_WH, Counter(), interval_s, gap_s)


def fed(energy: CounterEnergy | PowerEnergy, readings: Sequence[tuple[float, float]]) -> list[EnergyInterval]:
    return [interval for at, value in readings for interval in energy.feed(at, value)]


def test_a_boundary_between_two_readings_is_interpolated() -> None:
    found = fed(counter(), [(T0, 0), (T0 + 895, 100), (T0 + 905, 110), (T0 + 1800, 210)])
    assert [(interval.end, interval.energy_wh, interval.estimated) for interval in found] == [(T0 + 900, 105, False), (T0 + 1800, 105, False)]


def test_an_interval_not_covered_from_its_beginning_is_absent() -> None:
    found = fed(counter(), [(T0 + 100, 0), (T0 + 900, 80), (T0 + 1800, 90)])
    assert [interval.energy_wh for interval in found] == [None, 10]
    assert found[0].reason == "measured only from 2027-01-15T08:01:40Z on"


def test_a_gap_is_spread_evenly_and_marked() -> None:
    found = fed(counter(), [(T0, 0), (T0 + 850, 85), (T0 + 3650, 365), (T0 + 4500, 450), (T0 + 5400, 540)])
    assert [interval.energy_wh for interval in found] == [90] * 6
    assert [interval.estimated for interval in found] == [True] * 5 + [False]


def test_after_an_outage_no_interval_holds_a_spike() -> None:
    found = fed(counter(), [(T0, 0), *((T0 + 36_000 + second, 4_000 + second / 9) for second in range(0, 901, 30))])
    assert [interval.end for interval in found] == list(range(T0 + 900, T0 + 36_901, 900))
    assert [interval.energy_wh for interval in found] == pytest.approx([100.0] * 41, abs=0.001)


def test_a_silence_too_long_to_bridge_is_absent() -> None:
    found = fed(counter(), [(T0, 0), *((T0 + BRIDGE_S + 100_000 + second, 5_000) for second in (0, 30, 60))])
    assert found
    assert {interval.energy_wh for interval in found} == {None}
    assert len(found) <= BRIDGE_S / 900 + 1


def test_a_reset_in_an_interval_is_marked() -> None:
    readings = [(T0 + 10.0 * step, 5_000.0 + step) for step in range(40)] + [(T0 + 400 + 10.0 * step, 3.0 + step) for step in range(60)]
    found = fed(counter(), readings)
    assert len(found) == 1
    assert found[0].energy_wh == pytest.approx(39 + 50)
    assert found[0].estimated
    assert "the counter fell from 5039 to 3 Wh" in found[0].reason


def test_a_replaced_meter_after_a_long_outage_leaves_the_outage_absent() -> None:
    readings = [(T0, 5_000_000.0), *((T0 + 7_200 + 30.0 * step, 3.0 + step) for step in range(100))]
    found = fed(counter(), readings)
    assert [interval.energy_wh for interval in found[:8]] == [None] * 8
    assert [interval.energy_wh for interval in found[8:]] == [30, 30, 30]


@pytest.mark.parametrize("poll_s", [5, 10, 30])
def test_a_counter_of_the_day_that_shows_zero_all_night_costs_no_interval(poll_s: int) -> None:
    """Its zero is doubted for a while, but it is read all the time."""
    midnight, found = 1_800_057_600, []
    energy = CounterEnergy("inverter", Quantity.GENERATION_WH, Counter(CounterKind.DAILY), 900, max(60.0, 3.0 * poll_s))
    for second in range(-7200, 3 * 3600, poll_s):
        wh = 8000.0 if second < 0 else max(0.0, second / 3600 - 2) * 500
        found += energy.feed(midnight + second, wh)
    assert [interval.energy_wh for interval in found[:14]] == [0.0] * 14
    assert sum(interval.energy_wh or 0 for interval in found) == pytest.approx(375)


def test_power_is_integrated_by_trapezoids() -> None:
    meter = PowerEnergy("plug", Quantity.IMPORT_WH, None, 900, 60.0)
    found = fed(meter, [(T0 + 30.0 * step, 10.0 * step) for step in range(31)])
    assert [(interval.quantity, interval.energy_wh) for interval in found] == [(Quantity.IMPORT_WH, 37.5)]


def test_each_direction_of_power_is_an_energy_of_its_own() -> None:
    meter = PowerEnergy("grid", Quantity.IMPORT_WH, Quantity.EXPORT_WH, 60, 60.0)
    found = fed(meter, [(T0, 3_600), (T0 + 20, -3_600), (T0 + 40, -3_600), (T0 + 60, -3_600)])
    assert {interval.quantity: interval.energy_wh for interval in found} == {Quantity.IMPORT_WH: 5, Quantity.EXPORT_WH: 45}


def test_a_power_that_is_no_newer_adds_nothing() -> None:
    meter = PowerEnergy("plug", Quantity.IMPORT_WH, None, 60, 60.0)
    found = fed(meter, [(T0, 360), (T0 + 30, 360), (T0 + 30, 9_000), (T0 + 10, 9_000), (T0 + 60, 360)])
    assert [interval.energy_wh for interval in found] == [6]


def test_power_over_too_long_a_gap_is_absent_not_zero() -> None:
    meter = PowerEnergy("plug", Quantity.IMPORT_WH, None, 900, 60.0)
    found = fed(meter, [(T0 + 10.0 * step, 360) for step in range(100)] + [(T0 + 2_000.0 + 10 * step, 360) for step in range(170)])
    assert [interval.energy_wh for interval in found] == [90, None, None, 90]
    assert found[1].reason.startswith("nothing was measured from")


def test_power_that_stays_away_is_given_up() -> None:
    meter = PowerEnergy("plug", Quantity.IMPORT_WH, None, 900, 60.0)
    fed(meter, [(T0 + 10.0 * step, 360) for step in range(80)])
    assert meter.overdue(T0 + 900) == []
    assert [(interval.end, interval.energy_wh) for interval in meter.overdue(T0 + 920)] == [(T0 + 900, None)]
    assert meter.overdue(T0 + 930) == []
    assert [interval.end for interval in meter.feed(T0 + 1900, 360)] == [T0 + 1800]


@st.composite
def growth(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Tenths of a second to the next poll, and the mWh that a household can draw in them."""
    waits = draw(st.lists(st.integers(min_value=1, max_value=4_000), min_size=1, max_size=60))
    return [(wait, wait * draw(st.integers(min_value=0, max_value=90_000)) // 36) for wait in waits]


@given(start=st.integers(min_value=0, max_value=90_000), increments=growth(), interval_s=st.sampled_from([2, 60, 900]))
def test_intervals_add_up_to_the_counter(start: int, increments: list[tuple[int, int]], interval_s: int) -> None:
    """Whatever the poll times, between any two boundaries that a reading lies on."""
    at, mwh = T0 * 1000, start
    energy = counter(interval_s, gap_s=400.0)
    found = energy.feed(at / 1000, mwh / 1000)
    for wait, more in increments:
        at, mwh = at + wait * 100, mwh + more
        found += energy.feed(at / 1000, mwh / 1000)
    last = -(-at // (interval_s * 1000)) * interval_s  # a reading on the boundary closes the last interval
    found += energy.feed(float(last), mwh / 1000)
    assert sum(interval.energy_wh or 0 for interval in found) == pytest.approx((mwh - start) / 1000, abs=1e-6)
    assert [interval.end for interval in found] == list(range(T0 + interval_s, last + 1, interval_s))
    assert all(interval.energy_wh is not None and interval.energy_wh >= 0 for interval in found)


@given(increments=growth(), at=st.integers(min_value=0, max_value=59))
def test_a_restart_changes_no_interval(increments: list[tuple[int, int]], at: int) -> None:
    readings = [(float(T0), 0.0)]
    for wait, more in increments:
        readings.append((readings[-1][0] + wait / 10, readings[-1][1] + more / 1000))
    whole = fed(counter(), readings)
    before, after = counter(), counter()
    found = fed(before, readings[:at])
    after.restore(before.state())
    assert found + fed(after, readings[at:]) == whole


@given(
    powers=st.lists(st.tuples(st.integers(min_value=1, max_value=600), st.integers(min_value=-9_000, max_value=9_000)), min_size=2, max_size=60),
)
def test_import_less_export_is_the_integral_of_power(powers: list[tuple[int, int]]) -> None:
    meter = PowerEnergy("grid", Quantity.IMPORT_WH, Quantity.EXPORT_WH, 10, 60.0)
    tenths, integral, before = T0 * 10, 0.0, 0.0
    found = meter.feed(T0, before)
    for wait, watts in [*powers, (1, 0)]:
        tenths += wait
        integral += (before + watts) / 2 * wait / 36_000
        before = float(watts)
        found += meter.feed(tenths / 10, before)
    found += meter.feed(-(-tenths // 100) * 10, 0.0)
    signs = {Quantity.IMPORT_WH: 1, Quantity.EXPORT_WH: -1}
    assert sum(signs[interval.quantity] * (interval.energy_wh or 0) for interval in found) == pytest.approx(integral, abs=0.003)


def cut(cutter: Cutter, start: float, stop: float, step_s: float = 10.0, wh: float = 1.0) -> list[tuple[int, float | None]]:
    found = []
    at = start
    while at <= stop:
        found += [(end, energy) for end, energy, *_ in cutter.add(at, wh)]
        at += step_s
    return found


def test_a_clock_set_forward_by_an_hour_relabels_the_open_interval_and_loses_nothing() -> None:
    cutter = Cutter(900, 60.0)
    before = cut(cutter, T0, T0 + 1200)
    cutter.shift(3600)
    after = cut(cutter, T0 + 1210 + 3600, T0 + 1800 + 3600)
    assert before == [(T0 + 900, 90)]
    assert after == [(T0 + 5400, 90)]


def test_a_clock_set_forward_by_seconds_across_a_boundary_keeps_the_interval() -> None:
    cutter = Cutter(900, 60.0)
    found = cut(cutter, T0, T0 + 890)
    cutter.shift(20)
    found += cut(cutter, T0 + 920, T0 + 1800, wh=0.0)
    assert found == [(T0 + 900, 88), (T0 + 1800, 1)]


def test_a_clock_set_back_repeats_no_end() -> None:
    cutter = Cutter(900, 60.0)
    found = cut(cutter, T0, T0 + 1200)
    cutter.shift(-3600)
    found += cut(cutter, T0 + 1210 - 3600, T0 + 1800)
    assert found == [(T0 + 900, 90), (T0 + 1800, 90)]


def test_a_clock_set_back_by_seconds_across_a_boundary_loses_nothing() -> None:
    cutter = Cutter(900, 60.0)
    found = cut(cutter, T0, T0 + 910)
    cutter.shift(-20)
    found += cut(cutter, T0 + 900, T0 + 1800)
    assert [end for end, _ in found] == [T0 + 900, T0 + 1800]
    assert sum(energy or 0 for _, energy in found) == 91 + 91


def test_a_clock_that_goes_back_and_forth_loses_nothing() -> None:
    cutter = Cutter(900, 60.0)
    found = cut(cutter, T0, T0 + 1200)
    cutter.shift(-3600)
    found += cut(cutter, T0 + 1210 - 3600, T0 + 2300 - 3600)
    cutter.shift(3600)
    found += cut(cutter, T0 + 2310, T0 + 2700)
    assert found == [(T0 + 900, 90), (T0 + 1800, 90), (T0 + 2700, 90)]


@given(steps=st.lists(st.tuples(st.integers(min_value=-20_000, max_value=20_000), st.integers(min_value=1, max_value=300)), max_size=12))
def test_whatever_the_clock_does_no_end_comes_twice(steps: list[tuple[int, int]]) -> None:
    cutter = Cutter(60, 60.0)
    at = float(T0)
    ends = [end for end, *_ in cutter.add(at, 0)]
    for offset, polls in steps:
        cutter.shift(offset)
        at += offset
        for _ in range(polls):
            at += 7
            cuts = cutter.add(at, 1)
            ends += [end for end, *_ in cuts]
            assert all(energy is None or 0 <= energy <= 40 for _, energy, *_ in cuts)  # never a spike
    assert ends == sorted(set(ends))


def test_another_interval_length_goes_on_at_its_next_boundary() -> None:
    before, after = Cutter(60, 60.0), Cutter(900, 60.0)
    cut(before, T0, T0 + 100)
    after.restore(before.state())
    assert cut(after, T0 + 110, T0 + 1800) == [(T0 + 900, None), (T0 + 1800, 90)]


def watts(values: Sequence[float]) -> list[EnergyInterval]:
    return fed(
        PowerEnergy("plug", Quantity.IMPORT_WH, None, 900, 60.0, one_way=True), [(T0 + 30.0 * step, value) for step, value in enumerate(values)]
    )


def test_a_consumer_that_seems_to_feed_is_absent_with_advice() -> None:
    found = watts([-2000.0] * 31 + [100.0] * 60)
    assert [interval.energy_wh for interval in found] == [None, None, 25]  # the reading across the boundary counts to the second
    assert found[0].reason == "500.0 Wh flow the other way: is the meter wired the other way round? write invert: true"


def test_a_consumer_s_offset_below_zero_is_noise() -> None:
    assert [interval.energy_wh for interval in watts([-5.0] * 31)] == [0]
    assert [interval.energy_wh for interval in watts([4000.0, *[4000.0] * 28, -400.0, 4000.0])] == [pytest.approx(950, rel=0.05)]


def test_what_flowed_the_other_way_outlives_a_restart() -> None:
    before, after = (PowerEnergy("plug", Quantity.IMPORT_WH, None, 900, 60.0, one_way=True) for _ in range(2))
    fed(before, [(T0 + 30.0 * step, -2000.0) for step in range(28)])
    after.restore(before.state())
    assert [interval.energy_wh for interval in fed(after, [(T0 + 850, 0.0), (T0 + 900, 0.0)])] == [None]
