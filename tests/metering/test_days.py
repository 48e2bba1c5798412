import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.metering.days import DayRule, Days, DayTotal
from edge_agent.metering.metering import Metering
from edge_agent.model.measurements import (
    DayEnergy,
    EnergyInterval,
    HouseholdDay,
    HouseQuantity,
    MeterPoint,
    Outcome,
    Quality,
    Quantity,
    Reading,
    Role,
)

Q, H = Quantity, HouseQuantity
ZONE = "Europe/Vienna"
GRID = MeterPoint("grid", "Grid", "grid", Role.GRID, "", frozenset({Q.IMPORT_WH, Q.EXPORT_WH}))
PV = MeterPoint("pv", "Roof", "pv", Role.PV, "", frozenset({Q.GENERATION_WH}))
PLUG = MeterPoint("plug", "Plug", "plug", Role.PLUG, "", frozenset({Q.POWER_W}))
BATTERY = MeterPoint("battery", "Battery", "battery", Role.BATTERY, "", frozenset({Q.IMPORT_WH, Q.EXPORT_WH}))


def at(text: str, zone: str = ZONE) -> int:
    """A local time of the house in UTC epoch seconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def meter(points: Sequence[MeterPoint] = (GRID, PV, PLUG), state: object = None) -> Metering:
    return Metering(points, 900, 300, json.loads(json.dumps(state)) if state else None, time_zone=ZONE)


def poll(metering: Metering, second: int, points: Iterable[str] = ("grid", "pv", "plug")) -> list[Outcome]:
    """A house that imports 400 W, exports 100 W and generates 300 W; a plug of 40 W."""
    hours = (second - at("2026-01-01")) / 3600
    values = {
        "grid": {Q.IMPORT_WH: 400 * hours, Q.EXPORT_WH: 100 * hours},
        "pv": {Q.GENERATION_WH: 300 * hours},
        "plug": {Q.POWER_W: 40.0},
    }
    found: list[Outcome] = []
    for point in points:
        found += metering.update(point, {q: Reading(value, "", Quality.OK, second) for q, value in values[point].items()}, second)
    return found + metering.tick(second)


def counters(second: int, import_wh: float, export_wh: float) -> dict[Quantity, Reading]:
    return {Q.IMPORT_WH: Reading(import_wh, "", Quality.OK, second), Q.EXPORT_WH: Reading(export_wh, "", Quality.OK, second)}


def run(metering: Metering, begin: int, end: int, points: Iterable[str] = ("grid", "pv", "plug")) -> list[Outcome]:
    return [outcome for second in range(begin, end, 300) for outcome in poll(metering, second, points)]


def days(outcomes: Sequence[Outcome]) -> dict[tuple[str, str, int], float | None]:
    """What was given away of days, by point, quantity and midnight."""
    found: dict[tuple[str, str, int], float | None] = {}
    for outcome in outcomes:
        if isinstance(outcome, DayEnergy | HouseholdDay):
            point = outcome.point_id if isinstance(outcome, DayEnergy) else ""
            key = (point, outcome.quantity.value, outcome.end)
            assert key not in found, "given twice"
            found[key] = outcome.energy_wh if isinstance(outcome, DayEnergy) else outcome.value
    return found


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_ends_at_the_house_s_midnight_however_long_it_was(day: str, hours: int) -> None:
    begin = at(day)
    midnight = begin + hours * 3600
    found = days(run(meter(), begin, midnight + 3600))
    assert found == {
        ("grid", "import_wh", midnight): pytest.approx(400 * hours),
        ("grid", "export_wh", midnight): pytest.approx(100 * hours),
        ("pv", "generation_wh", midnight): pytest.approx(300 * hours),
        ("plug", "import_wh", midnight): pytest.approx(40 * hours),
        ("", "import_wh", midnight): pytest.approx(400 * hours),
        ("", "export_wh", midnight): pytest.approx(100 * hours),
        ("", "generation_wh", midnight): pytest.approx(300 * hours),
        ("", "consumption_wh", midnight): pytest.approx(600 * hours),
        ("", "self_consumption_percent", midnight): pytest.approx(66.667),
        ("", "self_sufficiency_percent", midnight): pytest.approx(33.333),
    }


def test_a_day_comes_with_the_interval_that_ends_it() -> None:
    begin = at("2026-06-01")
    metering = meter()
    assert days(run(metering, begin, begin + 86_400)) == {}
    assert len(days(poll(metering, begin + 86_400))) == 10


@pytest.mark.parametrize("hour", [1, 12, 23.75, 24, 24.25])
def test_a_restart_neither_loses_nor_repeats_a_day(hour: float) -> None:
    begin = at("2026-06-01")
    cut, end = begin + int(hour * 3600), begin + 2 * 86_400 + 600
    before = meter()
    found = run(before, begin, cut)
    found += run(meter(state=before.state()), cut, end)
    assert len(days(found)) == 20
    assert {value for (point, *_), value in days(found).items() if point == "plug"} == {960.0}


def test_a_day_whose_midnight_the_agent_slept_through_comes_hours_later() -> None:
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    before = meter()
    run(before, begin, midnight - 2 * 3600)
    after = meter(state=before.state())
    found = days(poll(after, midnight + 6 * 3600))
    assert found["grid", "import_wh", midnight] == pytest.approx(400 * 24)
    assert found["", "consumption_wh", midnight] == pytest.approx(600 * 24)
    assert found["", "self_sufficiency_percent", midnight] == pytest.approx(33.333)


def test_the_days_of_a_device_that_was_away_for_long_come_each_with_its_own_midnight() -> None:
    begin = at("2026-06-01")
    metering = meter([PV])
    run(metering, begin, begin + 86_400 + 3600, ["pv"])
    found = days(poll(metering, begin + 4 * 86_400, ["pv"]))
    assert found == {("pv", "generation_wh", begin + number * 86_400): None for number in (2, 3, 4)}, "only a mean of three days is known"


def test_a_day_that_was_mostly_spread_over_midnight_is_not_known() -> None:
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = meter([GRID])
    run(metering, begin, begin + 12 * 3600, ["grid"])
    outcomes = poll(metering, midnight + 12 * 3600, ["grid"])
    assert days(outcomes)["grid", "import_wh", midnight] is None
    assert days(outcomes)["", "import_wh", midnight] is None
    reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, DayEnergy) and outcome.quantity is Q.IMPORT_WH]
    assert reasons == ["4900 Wh were counted over midnight while nobody read them"]


def test_a_gap_within_a_day_costs_nothing_of_it() -> None:
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = meter([GRID])
    run(metering, begin, begin + 3 * 3600, ["grid"])
    found = days(run(metering, begin + 20 * 3600, midnight + 300, ["grid"]))
    assert found["grid", "import_wh", midnight] == pytest.approx(400 * 24)


def test_a_counter_that_did_not_move_over_midnight_leaves_no_doubt() -> None:
    """An inverter that sleeps at night."""
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = meter([PV])
    found: list[Outcome] = []
    for second in [*range(begin, begin + 20 * 3600, 300), *range(midnight + 6 * 3600, midnight + 86_400 + 300, 300)]:
        wh = min(second - begin, 20 * 3600) / 36 + max(0, second - midnight - 7 * 3600) / 36
        found += metering.update("pv", {Q.GENERATION_WH: Reading(wh, "", Quality.OK, second)}, second)
    assert days(found)["pv", "generation_wh", midnight] == pytest.approx(2000, abs=10)
    assert not [outcome for outcome in found if isinstance(outcome, EnergyInterval) and outcome.estimated and outcome.energy_wh == 0]


@pytest.mark.parametrize(("lost_s", "known"), [(600, True), (3600, False)])
def test_of_what_is_absent_only_little_may_be_missing_from_a_day(lost_s: int, known: bool) -> None:
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = Metering([PLUG], 900, 60, time_zone=ZONE)
    found: list[Outcome] = []
    for second in [*range(begin, begin + 36_000, 60), *range(begin + 36_000 + lost_s, midnight + 60, 60)]:
        found += poll(metering, second, ["plug"])
    assert (days(found)["plug", "import_wh", midnight] is not None) is known


def test_the_day_on_which_the_agent_was_installed_is_not_sent() -> None:
    midnight = at("2026-06-02")
    found = [outcome for outcome in run(meter(), midnight - 6 * 3600, midnight + 300) if isinstance(outcome, DayEnergy)]
    assert {outcome.energy_wh for outcome in found} == {None}
    assert {outcome.reason for outcome in found} == {"only 25.0 % of the day are known"}


def test_a_day_s_rate_is_of_the_intervals_of_which_both_parts_are_known() -> None:
    """The inverter's counter is silent and begins anew: what is exported meanwhile is no part of the rate."""
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = meter([GRID, PV])
    found: list[Outcome] = []
    for second in range(begin, midnight + 300, 300):
        reset = 1_000_000.0 if second > begin + 43_200 else 0.0
        hours = (second - begin) / 3600
        if not 43_200 < second - begin < 44_700:
            pv = {Q.GENERATION_WH: Reading(2_000_000 - reset + 300 * hours, "", Quality.OK, second)}
            found += metering.update("pv", pv, second)
        burst = 3_000 if second > begin + 43_200 else 0  # in the same interval
        found += metering.update("grid", counters(second, 400 * hours, 100 * hours + burst), second)
    assert days(found)["", "export_wh", midnight] == pytest.approx(5_400)
    assert days(found)["", "self_consumption_percent", midnight] == pytest.approx(66.667)


def test_a_day_waits_for_what_is_late_when_its_last_interval_is_absent() -> None:
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = meter([GRID, MeterPoint("pv", "Roof", "pv", Role.PV, "", frozenset({Q.GENERATION_W}))])
    found: list[Outcome] = []
    for second in range(begin, midnight + 3 * 3600, 300):
        hours = (second - begin) / 3600
        if not midnight - 900 < second < midnight + 1200:  # its power is not known at midnight
            found += metering.update("pv", {Q.GENERATION_W: Reading(300.0, "", Quality.OK, second)}, second)
        if not midnight - 1500 < second < midnight + 7200:  # its counters bridge it later
            found += metering.update("grid", counters(second, 400 * hours, 100 * hours), second)
        found += metering.tick(second)
    assert days(found)["", "consumption_wh", midnight] == pytest.approx(600 * 23.75)


def test_a_day_s_rate_that_is_no_share_is_not_sent() -> None:
    """A battery that was charged from the grid yesterday is sold today."""
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = meter([GRID, BATTERY, PV])
    found: list[Outcome] = []
    for second in range(begin, midnight + 300, 300):
        hours = (second - begin) / 3600
        values = {"grid": (0, 500 * hours), "battery": (0, 700 * hours)}
        for point, (into, out) in values.items():
            found += metering.update(point, counters(second, into, out), second)
        found += metering.update("pv", {Q.GENERATION_WH: Reading(50 * hours, "", Quality.OK, second)}, second)
    assert days(found)["", "consumption_wh", midnight] == pytest.approx(250 * 24)
    assert days(found)["", "self_consumption_percent", midnight] is None
    assert days(found)["", "self_sufficiency_percent", midnight] == 100


def test_what_is_carried_belongs_to_the_day_on_which_it_arose() -> None:
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = meter([GRID])
    found: list[Outcome] = []
    for second in range(begin, midnight + 86_400 + 300, 300):
        late = max(0, second - (midnight - 900))  # from then on the counters run apart by 20 Wh in the last interval
        into = (min(second, midnight - 900) - begin) / 36 + max(0, second - midnight) / 36
        out = min(late, 900) / 45
        found += metering.update("grid", counters(second, into, out), second)
    assert days(found)["", "consumption_wh", midnight] == pytest.approx(2400 - 25 - 20)
    assert days(found)["", "consumption_wh", midnight + 86_400] == pytest.approx(2400)


def test_a_mistake_in_the_balance_spoils_the_day_s_consumption_alone() -> None:
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering = meter([GRID])
    found: list[Outcome] = []
    for second in range(begin, midnight + 86_400 + 300, 300):
        hours = (second - begin) / 3600
        wrong = min(max(0.0, hours - 5), 1) * 3000  # exported in one hour by a house that produces nothing
        found += metering.update("grid", counters(second, hours * 400, wrong), second)
    assert days(found)["", "consumption_wh", midnight] is None
    assert days(found)["", "import_wh", midnight] == pytest.approx(9600)
    assert days(found)["", "consumption_wh", midnight + 86_400] == pytest.approx(9600)
    assert any("a sign or role is wrong" in outcome.reason for outcome in found if isinstance(outcome, HouseholdDay))


def totals(zone: str, interval_s: int, begin: int, end: int) -> list[DayTotal]:
    """One Wh per second, in intervals."""
    sums = Days(interval_s, DayRule(ZoneInfo(zone), 0.97, 0.25))
    return [total for at in range(begin + interval_s, end + 1, interval_s) for total in sums.add("x", at, (float(interval_s),))]


def test_a_device_that_answers_seldom_leaves_only_its_own_gap_in_doubt() -> None:
    """Read once in each half hour, never at a quarter's end: of the day only what lies around its midnights is in doubt."""
    begin, midnight = at("2026-06-01"), at("2026-06-02")
    metering, found = Metering([GRID], 900, 60, time_zone=ZONE), list[Outcome]()
    for second in range(begin - 1400, midnight + 1801, 1500):
        found += metering.update("grid", counters(second, second / 36, 0.0), second)
    assert days(found)["grid", "import_wh", midnight] == pytest.approx(2400)
    assert any(outcome.bridged for outcome in found if isinstance(outcome, EnergyInterval))


def test_a_day_that_was_given_away_is_not_given_again() -> None:
    """When the clock goes back over midnight: also after a restart, and nothing of it gets into the next day."""
    rule, midnight = DayRule(UTC, 0.97, 0.25), 1_799_971_200
    sums = Days(900, rule)
    yesterday = range(midnight - 86_400 + 900, midnight + 1, 900)
    assert [total.sums for end in yesterday for total in sums.add("x", end, (1.0,))] == [(96.0,)]
    after = Days(900, rule)
    after.restore(json.loads(json.dumps(sums.state())))
    assert [total for end in yesterday for total in after.add("x", end, (5.0,))] == []
    today = range(midnight + 900, midnight + 86_401, 900)
    assert [total.sums for end in today for total in after.add("x", end, (2.0,))] == [(192.0,)]


def test_where_the_clocks_skip_midnight_the_day_begins_when_they_do_so() -> None:
    zone = "America/Havana"  # at 0:00 on 2026-03-08 it is 1:00
    begin = at("2026-03-07", zone)
    assert [(total.end - begin, total.sums) for total in totals(zone, 900, begin, begin + 2 * 86_400)] == [(86_400, (86_400,)), (169_200, (82_800,))]


def test_an_interval_that_midnight_cuts_is_shared_out() -> None:
    zone = "Asia/Kolkata"  # UTC+5:30, so midnight lies within an hour of UTC
    midnight = at("2026-06-02", zone)
    found = totals(zone, 3600, midnight - 86_400 - 1800, midnight + 86_400 + 1800)
    assert [(total.end, total.sums) for total in found] == [(midnight - 86_400, None), (midnight, (86_400,)), (midnight + 86_400, (86_400,))]


def test_days_of_a_clock_that_was_ahead_block_nothing() -> None:
    sums = Days(900, DayRule(UTC, 0.97, 0.25))
    sums.add("x", 1_900_000_800, (1.0,))
    sums.forget_future(1_799_971_200.0)
    found = [total for at in range(1_799_971_200 + 900, 1_799_971_200 + 86_401, 900) for total in sums.add("x", at, (1.0,))]
    assert [total.sums for total in found] == [(96.0,)]


@settings(max_examples=40, deadline=None)
@given(
    energies=st.lists(st.integers(0, 20_000), min_size=96 * 2, max_size=96 * 4),
    restarts=st.sets(st.integers(0, 400)),
    start=st.integers(0, 200),
    zone=st.sampled_from(["UTC", ZONE, "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]),
)
def test_days_add_up_to_their_intervals(energies: list[int], restarts: set[int], start: int, zone: str) -> None:
    """Over both changes of the clocks, wherever the agent is restarted; each whole day once."""
    rule = DayRule(ZoneInfo(zone), 1.0, 0.25)
    sums, begin = Days(900, rule), at("2026-03-27", "UTC") + 900 * start
    found: list[DayTotal] = []
    for number, mwh in enumerate(energies):
        if number in restarts:
            state = json.loads(json.dumps(sums.state()))
            sums = Days(900, rule)
            sums.restore(state)
        found += sums.add("x", begin + 900 * (number + 1), (mwh / 1000,))
    whole = [total for total in found if total.sums is not None]
    assert len({total.end for total in whole}) == len(whole) == len(found) - (found[0].sums is None)
    if whole:
        first = whole[0].end - min(90_000, whole[0].end - begin)
        at_midnight = [end for end in range(first, first + 90_001, 900) if datetime.fromtimestamp(end, ZoneInfo(zone)).strftime("%H%M") == "0000"]
        covered = energies[(at_midnight[0] - begin) // 900 : (whole[-1].end - begin) // 900]
        assert sum(total.sums[0] for total in whole if total.sums) == pytest.approx(sum(covered) / 1000)
