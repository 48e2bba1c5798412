import json

from edge_agent.metering.changes import Changes
from edge_agent.model.measurements import Change, MeterPoint, Quality, Quantity, Reading, Role, Value

Q = Quantity
CHARGER = MeterPoint("car", "Car", "car", Role.CHARGER, "", frozenset({Q.STATUS, Q.SWITCH_ON, Q.SOC_PERCENT}), offline_after_s=60)
PLUG = MeterPoint("plug", "Plug", "plug", Role.PLUG, "", frozenset({Q.POWER_W}), offline_after_s=60)


def poll(changes: Changes, at: float, **values: Value) -> list[tuple[str, Value]]:
    readings = {Q(name): Reading(value, "", Quality.OK, at) for name, value in values.items()}
    return [(change.quantity, change.value) for change in changes.update(readings, bool(values), at)]


def test_a_state_is_reported_once_per_change() -> None:
    changes = Changes(CHARGER)
    assert poll(changes, 0, status="ready", switch_on=False) == [("status", "ready"), ("switch_on", False)]
    assert poll(changes, 10, status="ready", switch_on=False) == []
    assert poll(changes, 20, status="running", switch_on=True) == []
    assert poll(changes, 30, status="running", switch_on=True) == [("status", "running"), ("switch_on", True)]
    assert poll(changes, 40, status="running", switch_on=True) == []


def test_a_state_that_does_not_stand_is_not_reported() -> None:
    changes = Changes(CHARGER)
    poll(changes, 0, switch_on=False)
    flickers = [poll(changes, at, switch_on=on) for at, on in [(10, True), (20, False), (30, True), (33, True), (34, False), (50, False)]]
    assert flickers == [[]] * 6
    assert poll(changes, 60, switch_on=True) == []
    assert poll(changes, 65, switch_on=True) == [("switch_on", True)]


def test_a_state_that_changes_twice_is_reported_as_it_ends() -> None:
    changes = Changes(CHARGER)
    for at, status in [(0, "ready"), (10, "running"), (14, "fault"), (18, "fault")]:
        poll(changes, at, status=status)
    readings = {Q.STATUS: Reading("fault", "", Quality.OK, 20)}
    assert changes.update(readings, True, 20) == [Change("car", Q.STATUS, 14, "fault")]


def test_a_change_is_dated_when_it_was_true() -> None:
    changes = Changes(CHARGER)
    assert changes.update({Q.STATUS: Reading("ready", "", Quality.OK, 17.5)}, True, 20) == [Change("car", Q.STATUS, 17.5, "ready")]


def test_a_state_that_is_older_than_the_last_one_changes_nothing() -> None:
    changes = Changes(CHARGER)
    assert poll(changes, 12, switch_on=True) == [("switch_on", True)]
    assert changes.update({Q.SWITCH_ON: Reading(False, "", Quality.OK, 11)}, True, 13) == []
    assert poll(changes, 20, switch_on=True) == []
    assert poll(changes, 30, switch_on=False) == []
    assert poll(changes, 40, switch_on=False) == [("switch_on", False)]


def test_a_state_from_before_the_clock_was_set_back_does_not_hide_the_next() -> None:
    changes = Changes(CHARGER)
    poll(changes, 7200, switch_on=True)
    changes.shift(-3600)
    poll(changes, 3610, switch_on=False)
    assert poll(changes, 3620, switch_on=False) == [("switch_on", False)]


def test_an_unknown_state_changes_nothing() -> None:
    changes = Changes(CHARGER)
    poll(changes, 0, status="ready")
    assert changes.update({Q.STATUS: Reading(None, "", Quality.UNKNOWN, 10, "'9' is not in the list")}, True, 10) == []
    assert poll(changes, 20, status="ready") == []


def test_the_state_of_charge_moves_by_a_percent_or_to_an_end() -> None:
    changes = Changes(CHARGER)
    found = [poll(changes, index, soc_percent=soc) for index, soc in enumerate([50.0, 50.4, 50.9, 51.0, 50.2, 99.5, 100.0, 100.0])]
    assert [value for step in found for _, value in step] == [50.0, 51.0, 99.5, 100.0]


def test_a_state_of_charge_that_flickers_between_two_percents_is_told_once() -> None:
    changes = Changes(CHARGER)
    found = [told for index in range(60) for told in poll(changes, 10 * index, soc_percent=49 + index % 2)]
    assert found == [("soc_percent", 49), ("soc_percent", 50)]


def test_a_state_of_charge_that_turns_is_told_by_the_second_percent_or_when_the_first_has_stood() -> None:
    changes = Changes(CHARGER)
    found = {
        at: told
        for at, soc in [(0, 49), (10, 50), (20, 49), (30, 48), (40, 49), (330, 49), (340, 49)]
        if (told := poll(changes, at, soc_percent=soc))
    }
    assert {at: told[0][1] for at, told in found.items()} == {0: 49, 10: 50, 30: 48, 340: 49}


def test_silence_is_reported_once_and_the_true_status_on_return() -> None:
    changes = Changes(CHARGER)
    poll(changes, 0, status="running")
    assert [poll(changes, at) for at in (30, 59)] == [[], []]
    assert poll(changes, 60) == [("status", "offline")]
    assert poll(changes, 70) == []
    assert changes.silent_since(70) == 0
    assert poll(changes, 80, status="running") == [("status", "running")]
    assert changes.silent_since(80) is None


def test_a_device_without_a_status_is_ready_when_it_is_back() -> None:
    changes = Changes(PLUG)
    assert poll(changes, 0, power_w=1.0) == []
    assert poll(changes, 30) == []
    assert poll(changes, 61) == [("status", "offline")]
    assert poll(changes, 90, power_w=1.0) == [("status", "ready")]


def test_a_device_never_heard_goes_offline_too() -> None:
    changes = Changes(PLUG)
    assert [bool(changes.tick(at)) for at in (1000, 1030, 1059, 1060, 1070)] == [False, False, False, True, False]


def test_the_time_in_which_nobody_listened_is_no_silence() -> None:
    changes = Changes(PLUG)
    poll(changes, 0, power_w=1.0)
    assert changes.tick(5000) == []
    assert changes.tick(5059) == []
    assert changes.tick(5060) != []


def restarted(before: Changes, point: MeterPoint) -> Changes:
    after = Changes(point)
    after.restore(json.loads(json.dumps(before.state())))
    return after


def test_states_are_told_once_more_after_a_restart() -> None:
    before = Changes(CHARGER)
    poll(before, 0, status="ready", soc_percent=50.0)
    after = restarted(before, CHARGER)
    read_before = {Q.STATUS: Reading("ready", "", Quality.OK, 5), Q.SOC_PERCENT: Reading(50.2, "", Quality.OK, 10)}
    assert after.update(read_before, True, 10) == [Change("car", Q.STATUS, 10, "ready"), Change("car", Q.SOC_PERCENT, 10, 50.2)]
    assert poll(after, 20, status="ready", soc_percent=50.0) == []


def test_what_changed_while_the_agent_was_down_is_dated_when_it_did() -> None:
    before = Changes(CHARGER)
    poll(before, 0, switch_on=False)
    after = restarted(before, CHARGER)
    assert after.update({Q.SWITCH_ON: Reading(True, "", Quality.OK, 70)}, True, 100) == [Change("car", Q.SWITCH_ON, 70, True)]


def test_a_state_that_stands_for_a_day_is_told_again() -> None:
    changes = Changes(CHARGER)
    day = 86_400
    told = [at for at in range(0, 3 * day, 600) if poll(changes, at, status="ready", soc_percent=50.0)]
    assert told == [0, day, 2 * day]


def test_a_device_that_stays_away_is_called_offline_after_a_restart_and_each_day() -> None:
    before = Changes(PLUG)
    poll(before, 0, power_w=1.0)
    assert poll(before, 60) == [("status", "offline")]
    after = restarted(before, PLUG)
    told = [at for at in range(70, 2 * 86_400, 30) if after.tick(at)]
    assert told == [70, 70 + 86_400]


def test_a_device_that_is_back_with_an_unknown_status_is_waited_for_before_it_is_called_ready() -> None:
    changes = Changes(CHARGER)
    poll(changes, 0, status="running")
    assert poll(changes, 60) == [("status", "offline")]
    unknown = {Q.STATUS: Reading(None, "", Quality.UNKNOWN, 70, "'9' is not in the list")}
    assert [changes.update(unknown, True, at) for at in (70, 129)] == [[], []]
    assert changes.update(unknown, True, 130) == [Change("car", Q.STATUS, 70, "ready")]


def test_a_step_of_the_clock_is_no_silence_and_hides_none() -> None:
    changes = Changes(PLUG)
    poll(changes, 0, power_w=1.0)
    changes.shift(1000)
    assert changes.tick(1030) == []
    assert changes.tick(1060) == [Change("plug", Q.STATUS, 1060, "offline")]
