from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import floor
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.metering.refinement import Refinement

BEGIN_WH = 5_000_000.0
STEPS_WH = st.sampled_from([10.0, 100.0, 1000.0])
FLOWS_WH = st.lists(st.one_of(st.just(0.0), st.floats(0, 80), st.floats(0, 2000)), min_size=2, max_size=200)  # from poll to poll


class At(NamedTuple):
    """A poll: what flowed since the start, what the counter shows since then, and what was counted."""

    true_wh: float
    shown_wh: float
    counted_wh: float
    ahead_wh: float


def refined(step_wh: float, flows_wh: Sequence[float], powers_wh: Sequence[float], begin_wh: float = BEGIN_WH, restarts: bool = False) -> list[At]:
    """Polls of a counter that stands at `begin_wh`; power says `powers_wh` of what flows between them."""
    meter, found, counted_wh = Refinement(step_wh), [At(0.0, 0.0, 0.0, 0.0)], 0.0
    begin = floor(begin_wh / step_wh) * step_wh
    for true_wh, power_wh in zip(accumulate(flows_wh), powers_wh, strict=True):
        shown_wh = floor((begin_wh + true_wh) / step_wh) * step_wh - begin
        more_wh = meter.refined(shown_wh - found[-1].shown_wh, power_wh, covered=True)
        assert more_wh >= 0
        counted_wh += more_wh
        found.append(At(true_wh, shown_wh, counted_wh, meter.ahead_wh))
        if restarts:
            state, meter = meter.state(), Refinement(step_wh)
            meter.restore(state)
    return found


def since_the_first_step(polls: list[At]) -> list[At]:
    return [poll for poll in polls if poll.shown_wh > 0]


@settings(max_examples=120, deadline=None)
@given(step_wh=STEPS_WH, flows=FLOWS_WH, begin_wh=st.floats(0, 5000), lie=st.data())
def test_whatever_power_says_the_value_lies_in_the_step_that_the_counter_shows(
    step_wh: float, flows: list[float], begin_wh: float, lie: st.DataObject
) -> None:
    powers = lie.draw(st.lists(st.floats(0, 3000), min_size=len(flows), max_size=len(flows)))
    polls = refined(step_wh, flows, powers, begin_wh)
    for poll in polls:
        assert 0 <= poll.ahead_wh <= step_wh
        assert poll.shown_wh - step_wh - 1e-6 <= poll.counted_wh <= poll.shown_wh + step_wh + 1e-6
    for before, after in pairwise(since_the_first_step(polls)):
        grown_wh = after.shown_wh + after.ahead_wh - before.shown_wh - before.ahead_wh
        assert after.counted_wh - before.counted_wh == pytest.approx(grown_wh, abs=1e-6), "sums never drift from the counter"


@settings(max_examples=120, deadline=None)
@given(step_wh=STEPS_WH, flows=FLOWS_WH, begin_wh=st.floats(0, 5000))
def test_where_power_is_right_the_distance_from_the_truth_never_grows(step_wh: float, flows: list[float], begin_wh: float) -> None:
    """So the sum between two polls is off by no more than what the steps since have pushed."""
    polls = since_the_first_step(refined(step_wh, flows, flows, begin_wh))
    fraction_wh = begin_wh - floor(begin_wh / step_wh) * step_wh
    distances = [abs(poll.shown_wh + poll.ahead_wh - poll.true_wh - fraction_wh) for poll in polls]
    assert all(after <= before + 1e-6 for before, after in pairwise(distances))


@given(step_wh=STEPS_WH, flows=FLOWS_WH, begin_wh=st.floats(0, 5000))
def test_without_a_power_it_is_the_counter(step_wh: float, flows: list[float], begin_wh: float) -> None:
    polls = since_the_first_step(refined(step_wh, flows, [0.0] * len(flows), begin_wh))
    assert all(poll.counted_wh - polls[0].counted_wh == pytest.approx(poll.shown_wh - polls[0].shown_wh) for poll in polls)


@given(step_wh=STEPS_WH, flows=FLOWS_WH, factor=st.floats(0, 3))
def test_a_restart_changes_nothing(step_wh: float, flows: list[float], factor: float) -> None:
    powers = [factor * flow for flow in flows]
    assert refined(step_wh, flows, powers) == refined(step_wh, flows, powers, restarts=True)


def test_of_what_flowed_between_the_two_readings_around_a_step_nothing_is_lost() -> None:
    """Of a step that comes in the middle of a minute at 5 kW, the rest of the minute belongs to the next step."""
    polls = refined(100, [83.0] * 400, [83.0] * 400)
    settled = polls[200:]
    assert [after.counted_wh - before.counted_wh for before, after in pairwise(settled)] == pytest.approx([83.0] * (len(settled) - 1))


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_power_that_is_a_tenth_wrong_is_off_by_a_tenth_of_a_step(factor: float) -> None:
    polls = since_the_first_step(refined(1000, [5.0] * 4000, [5.0 * factor] * 4000))
    assert max(abs(poll.shown_wh + poll.ahead_wh - poll.true_wh) for poll in polls) <= 100 + 5


@pytest.mark.parametrize("stuck_wh", [0.0, 40.0])
def test_a_power_that_is_stuck_gives_each_step_its_energy(stuck_wh: float) -> None:
    polls = refined(1000, [5.0] * 4000, [stuck_wh] * 4000)
    jumps = [poll for before, poll in pairwise(polls) if poll.shown_wh > before.shown_wh]
    assert [after.counted_wh - before.counted_wh for before, after in pairwise(jumps[1:])] == pytest.approx([1000.0] * (len(jumps) - 2), abs=40)


def test_after_a_gap_of_both_the_value_is_taken_in_the_middle_of_what_is_possible() -> None:
    meter = Refinement(100)
    counted = [meter.refined(grown, power, covered=True) for grown, power in [(0, 2.0), (100, 2.0)]]
    assert meter.refined(900, 0.0, covered=False, missed=True) + sum(counted) == pytest.approx(4.0 + 900 + 50 - 1)
    assert meter.ahead_wh == 50


def test_a_counter_that_counts_from_zero_takes_nothing_back() -> None:
    """A daily counter of 100 Wh steps: what it did not show of the day before stays counted, and the morning is not shortened by it."""
    meter = Refinement(100)
    for grown, power in [(100, 5.0), *[(0, 5.0)] * 12]:
        meter.refined(grown, power, covered=True)
    meter.begin_at_zero()
    morning = [meter.refined(grown, 5.0, covered=True) for grown in [0] * 19]
    assert morning == [5.0] * 19


@pytest.mark.parametrize("stored", [[True, -5.0], [True, 700.0]])
def test_what_was_stored_by_other_rules_lies_in_a_step_too(stored: list[object]) -> None:
    meter = Refinement(100)
    meter.restore(stored)
    assert 0 <= meter.ahead_wh <= 100
