from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest

from edge_agent.metering.counters import CounterTrack
from edge_agent.model.measurements import Counter, CounterKind

LIFETIME = Counter()
DAILY = Counter(CounterKind.DAILY)


def counted(counter: Counter, values: Sequence[float], every_s: float = 10.0) -> float:
    """The energy that a row of readings adds up to."""
    track = CounterTrack(counter)
    steps = [step for index, value in enumerate(values) for step in track.feed(1000.0 + index * every_s, value)]
    return sum(step.energy_wh or 0.0 for step in steps)


def notes(counter: Counter, values: Sequence[float], every_s: float = 10.0) -> list[str]:
    track = CounterTrack(counter)
    return [step.note for index, value in enumerate(values) for step in track.feed(1000.0 + index * every_s, value) if step.note]


def test_the_first_reading_is_a_baseline() -> None:
    assert counted(LIFETIME, [123_456]) == 0


def test_growth_adds_up() -> None:
    assert counted(LIFETIME, [100, 100, 105, 117]) == 17


def test_jitter_by_a_step_is_not_counted_twice() -> None:
    assert counted(LIFETIME, [100, 101, 100, 101, 102]) == 2


def test_a_cold_start_at_zero_that_returns_adds_nothing_but_the_growth() -> None:
    assert counted(LIFETIME, [500_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 500_003]) == 3


def test_a_fall_that_stays_is_a_new_baseline_and_says_so() -> None:
    values = [500_000, 500_010, *(40 + step for step in range(10))]
    assert counted(LIFETIME, values) == 10 + 9
    assert notes(LIFETIME, values) == ["the counter fell from 500010 to 40 Wh and counts on from there"]


def test_a_fall_is_not_believed_before_it_has_stayed() -> None:
    track = CounterTrack(LIFETIME)
    track.feed(0.0, 500_000)
    assert [track.feed(at, 40) for at in (10.0, 20.0, 30.0)] == [(), (), ()]
    assert [step.energy_wh for step in track.feed(70.0, 40)] == [None, 0]


@pytest.mark.parametrize("kind", [CounterKind.DAILY, CounterKind.SESSION])
def test_a_counter_that_starts_again_counts_from_zero(kind: CounterKind) -> None:
    assert counted(Counter(kind), [8_000, 8_005, 3, 7]) == 5 + 7


def test_a_daily_counter_that_stays_at_zero_after_midnight_counts_from_zero() -> None:
    assert counted(DAILY, [8_000, *[0.0] * 30, 2, 9]) == 9


def test_a_daily_counter_that_blinks_to_zero_counts_nothing_twice() -> None:
    assert counted(DAILY, [8_000, 0, 0, 8_001]) == 1


def test_a_daily_counter_silent_over_midnight_is_unknown_though_it_grew() -> None:
    track = CounterTrack(DAILY)
    eight = 1_800_000_000.0  # in the morning, UTC
    steps = [step for at, wh in ((eight, 2_000), (eight + 3_600, 2_100), (eight + 23 * 3_600, 2_500)) for step in track.feed(at, wh)]
    assert [step.energy_wh for step in steps] == [None, 100, None]
    assert steps[-1].note == "a counter that starts again each day was silent over midnight"
    assert [step.energy_wh for step in track.feed(eight + 24 * 3_600, 2_600)] == [100]


def test_a_daily_counter_that_is_read_over_midnight_counts_on() -> None:
    track = CounterTrack(DAILY)
    midnight = 1_800_057_600.0
    steps = [step for at, wh in ((midnight - 20, 2_000), (midnight + 20, 2_001), (midnight + 60, 2)) for step in track.feed(at, wh)]
    assert [step.energy_wh for step in steps] == [None, 1, 2]


def test_midnight_is_the_house_s() -> None:
    track = CounterTrack(DAILY, time_zone=ZoneInfo("Europe/Vienna"))
    eleven = 1_800_057_600.0 - 3_600  # midnight in Vienna
    steps = [step for at, wh in ((eleven + 60, 10), (eleven + 7_200, 1_510)) for step in track.feed(at, wh)]
    assert [step.energy_wh for step in steps] == [None, 1_500]


def test_a_daily_counter_silent_for_over_a_day_is_unknown() -> None:
    track = CounterTrack(DAILY)
    track.feed(0.0, 100)
    assert [step.energy_wh for step in track.feed(90_000.0, 400)] == [None]


def test_a_counter_that_wraps_goes_on() -> None:
    assert counted(Counter(wrap_wh=6_553_600, step_wh=100), [6_553_400, 6_553_500, 0, 100]) == 300


def test_a_fall_far_from_the_top_is_no_wrap() -> None:
    assert counted(Counter(wrap_wh=6_553_600, step_wh=100), [3_000_000, *[100] * 10]) == 0


def test_a_jump_that_no_house_can_draw_is_not_counted() -> None:
    values = [1_000, 9_000_000, 1_001, 1_002]
    assert counted(LIFETIME, values) == 2


def test_a_jump_that_stays_is_a_new_baseline_and_says_so() -> None:
    values = [1_000, *(9_000_000 + step for step in range(10))]
    assert counted(LIFETIME, values) == 9
    assert "jumped from 1000 to 9e+06 Wh" in notes(LIFETIME, values)[0]


def test_a_device_that_jumps_between_two_counters_counts_one_of_them() -> None:
    values = [value for step in range(20) for value in (1_000 + step, 700_000 + 3 * step)]
    assert counted(LIFETIME, values) == 19


@pytest.mark.parametrize("counter", [Counter(CounterKind.SESSION), Counter(step_wh=100)])
def test_a_counter_that_moves_rarely_may_catch_up_in_a_jump_that_stays(counter: Counter) -> None:
    assert counted(counter, [*[1_000.0] * 60, *[12_000] * 5]) == 0
    assert counted(counter, [*[1_000.0] * 60, *[12_000] * 7, 12_050]) == 11_050
    assert notes(counter, [*[1_000.0] * 60, *[12_000] * 7]) == []


@pytest.mark.parametrize("counter", [Counter(CounterKind.SESSION), Counter(step_wh=1000)])
def test_a_level_that_is_misread_once_after_an_hour_s_standstill_counts_nothing(counter: Counter) -> None:
    assert counted(counter, [*[1_000.0] * 361, 90_000, 90_000, *[1_000.0] * 9, *[2_000.0] * 8]) == 1_000


@pytest.mark.parametrize("counter", [LIFETIME, Counter(CounterKind.SESSION), Counter(step_wh=100), Counter(most_w=30_000)])
@pytest.mark.parametrize("every_s", [60, 900])
def test_a_counter_that_is_renewed_every_few_minutes_counts_all(counter: Counter, every_s: int) -> None:
    """22 kW, polled each 10 seconds: from poll to poll nothing, then more than can flow from poll to poll."""
    values = [second // every_s * every_s * 22_000 / 3600 // 100 * 100 for second in range(0, 3601, 10)]
    assert counted(counter, [*values, *values[-1:] * 8]) == 22_000
    assert notes(counter, values) == []


def test_nothing_catches_up_faster_than_its_profile_calls_possible() -> None:
    charger = Counter(step_wh=100, most_w=11_000)
    assert counted(charger, [*[1_000.0] * 361, *[11_900] * 8]) == 10_900
    values = [*[1_000.0] * 361, *[51_000] * 8]
    assert counted(charger, values) == 0
    assert notes(charger, values) == ["the counter jumped from 1000 to 51000 Wh and counts on from there"]


def test_a_session_that_shows_its_first_energy_late_counts_from_zero() -> None:
    values = [*[40_000.0] * 361, *[3_000] * 8, 3_200]
    assert counted(Counter(CounterKind.SESSION), values) == 3_200


def test_a_session_counter_that_falls_to_what_nobody_can_have_drawn_is_a_new_baseline() -> None:
    assert counted(Counter(CounterKind.SESSION), [*[400_000.0] * 361, *[150_000] * 8, 150_100]) == 100


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("watts", [3_000, 8_000, 9_000])
@pytest.mark.parametrize(("renewed_s", "every_s"), [(45, 10), (60, 5), (65, 10), (90, 30), (120, 10), (300, 15), (900, 10)])
def test_a_counter_that_is_renewed_now_and_then_near_the_limit_of_its_power_counts_all(
    renewed_s: int, every_s: int, watts: int, restarts: bool
) -> None:
    counter = Counter(most_w=10_000)
    track, counted_wh, shown = CounterTrack(counter), 0.0, 0
    for at in range(0, 7200, every_s):
        shown = at // renewed_s * renewed_s * watts // 3600
        counted_wh += sum(step.energy_wh or 0.0 for step in track.feed(1000.0 + at, 1_000_000 + shown))
        assert 1000.0 + at - (track.at or 0.0) <= 120
        if restarts and at % 400 == 0:
            track, state = CounterTrack(counter), track.state()
            track.restore(state)
    assert counted_wh == track.wh - 1_000_000 > 0


def test_a_fine_counter_that_stood_still_may_not_jump() -> None:
    values = [*[5_000.0] * 361, *[95_000.0] * 10]
    assert counted(LIFETIME, values) == 0
    assert notes(LIFETIME, values) == ["the counter jumped from 5000 to 95000 Wh and counts on from there"]


def test_a_huge_rise_over_a_long_gap_is_believed_only_when_it_stays() -> None:
    track = CounterTrack(LIFETIME)
    track.feed(0.0, 5e6)
    assert [track.feed(86_400.0 + at, 7.3e6) for at in (0, 30)] == [(), ()]
    steps = track.feed(86_460.0, 7.3e6)
    assert [step.energy_wh for step in steps] == [None, 0]
    assert "jumped from 5e+06 to 7.3e+06 Wh" in steps[0].note


def test_a_large_but_possible_rise_over_a_long_gap_counts_when_it_stays() -> None:
    track, back = CounterTrack(LIFETIME), 14 * 86_400.0
    track.feed(0.0, 5e6)
    assert [track.feed(back + at, 5.9e6) for at in (0, 30)] == [(), ()]
    assert [(step.energy_wh, step.note) for step in track.feed(back + 60, 5.9e6 + 9)] == [(0.9e6 + 9, "")]


def test_what_is_misread_at_the_end_of_an_outage_is_not_counted() -> None:
    """The line comes back with the answer of another meter; the rise would be possible in ten hours."""
    track, back = CounterTrack(LIFETIME), 36_000.0
    track.feed(0.0, 5e6)
    values = [5.7e6, 5.7e6, *[5.008e6] * 8]
    assert [step for number, wh in enumerate(values) for step in track.feed(back + 10 * number, wh)][0] == (back + 80, 8_000, "")


def test_a_counter_that_is_told_once_an_hour_is_believed_once_its_rhythm_is_known() -> None:
    track = CounterTrack(LIFETIME)
    steps = [[step.energy_wh for step in track.feed(3600.0 * hour, 5e6 + 3_000 * hour)] for hour in range(7)]
    assert steps == [[None], [], [], [9_000], [3_000], [3_000], [3_000]]


def test_a_small_rise_over_a_gap_is_believed_at_once() -> None:
    track = CounterTrack(LIFETIME)
    track.feed(0.0, 5e6)
    assert [step.energy_wh for step in track.feed(3600.0, 5e6 + 1_600)] == [1_600]


def test_a_coarse_counter_that_is_misread_by_two_steps_counts_nothing() -> None:
    assert counted(Counter(step_wh=1_000), [5_000, 5_000, 7_000, 5_000, 5_000, 6_000]) == 1_000


def test_a_coarse_counter_steps() -> None:
    assert counted(Counter(step_wh=1_000), [5_000, 5_000, 6_000, 6_000, 7_000]) == 2_000


def test_a_reading_that_is_no_newer_adds_nothing() -> None:
    track = CounterTrack(LIFETIME)
    track.feed(10.0, 100)
    assert track.feed(10.0, 150) == ()
    assert track.feed(5.0, 150) == ()


def test_a_doubt_outlives_a_restart() -> None:
    one = CounterTrack(LIFETIME)
    for at, wh in ((0.0, 500_000), (10.0, 7), (20.0, 8)):
        one.feed(at, wh)
    other = CounterTrack(LIFETIME)
    other.restore(one.state())
    assert other.feed(80.0, 9) == one.feed(80.0, 9) != ()


def test_a_step_back_that_stays_keeps_the_high_water_mark() -> None:
    assert counted(LIFETIME, [100, 101, *[100.0] * 30, 101, 102]) == 2


def test_a_slow_poll_is_not_enough_to_believe_a_fall() -> None:
    track = CounterTrack(LIFETIME)
    assert [len(track.feed(at, wh)) for at, wh in ((0.0, 500_000), (300.0, 40), (600.0, 41), (900.0, 500_010))] == [1, 0, 0, 1]
    assert track.wh == 500_010


def test_a_reading_handed_over_again_does_not_confirm_a_fall() -> None:
    track = CounterTrack(LIFETIME)
    track.feed(0.0, 500_000)
    assert [track.feed(at, 40) for at in (10.0, 100.0, 100.0, 100.0)] == [(), (), (), ()]


def test_a_daily_counter_at_zero_has_counted_nothing() -> None:
    track = CounterTrack(DAILY)
    steps = [step for at, wh in ((0.0, 900), (5_000.0, 0), (5_050.0, 0), (5_100.0, 0)) for step in track.feed(at, wh)]
    assert [step.energy_wh for step in steps] == [None, 0, 0]


def test_a_clock_set_forward_makes_no_jump_possible() -> None:
    track = CounterTrack(LIFETIME)
    track.feed(0.0, 100)
    track.feed(10.0, 110)
    track.shift(5_000)
    assert track.feed(5_020.0, 50_000) == ()
