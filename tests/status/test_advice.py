from __future__ import annotations

from edge_agent.status.document import Status
from tests.status.examples import device, healthy, judged


def said(status: Status) -> list[tuple[str, str]]:
    return [(one["subject"], one["text"]) for one in status["advice"]]


def test_healthy_agent_has_nothing_to_say() -> None:
    status = judged(healthy())
    assert (status["health"], status["advice"]) == ("healthy", [])


def test_silent_device_degrades_and_says_what_to_check_once() -> None:
    status = healthy()
    error = "hybrid: no connection to 192.168.1.12:502; check the cable"
    status["devices"] += [device("hybrid", "silent", error)]
    status["totals_missing"] = {"hybrid.pv": "has been silent since 2026-03-04T07:30:00Z"}
    judged(status)
    assert status["health"] == "degraded"
    assert said(status) == [("hybrid", "no connection to 192.168.1.12:502; check the cable")]


def test_all_devices_silent_is_failing_but_not_while_starting() -> None:
    status = healthy()
    status["devices"] = [device(state="silent", error="grid-meter: no answer")]
    assert judged(status)["health"] == "failing"
    status["uptime_s"] = 5.0
    assert judged(status)["health"] == "degraded"


def test_queue_that_cannot_be_written_is_failing() -> None:
    status = healthy()
    status["storage_failed"] = True
    assert judged(status)["health"] == "failing"


def test_uploads_that_wait_degrade_and_give_the_reason() -> None:
    status = healthy()
    status["uploads"]["state"] = "waiting: no connection to api.moost.io"
    status["queue"]["waiting"] = 1
    assert said(judged(status)) == [("uploads", "waiting: no connection to api.moost.io; what is measured is kept and sent later, 1 event so far")]
    assert status["health"] == "degraded"


def test_missing_role_is_named_with_what_to_write() -> None:
    status = healthy()
    status["totals_missing"] = {"grid": "nobody measures at the grid's connection: give one meter role: grid (or house)"}
    assert said(judged(status)) == [("grid", "no house totals: nobody measures at the grid's connection: give one meter role: grid (or house)")]


def test_failed_point_of_a_device_that_answers_is_named() -> None:
    status = healthy()
    one = status["devices"][0]
    one["state"] = "partial"
    one["values"] = [{**one["values"][0], "value": None, "quality": "out of range", "reason": "99999 W is beyond 30000 W"}]
    assert said(judged(status)) == [("grid-meter", "no power: 99999 W is beyond 30000 W")]


def test_dead_letters_are_a_note_and_no_fault_of_the_gateway() -> None:
    status = healthy()
    status["queue"]["dead"] = 2
    assert judged(status)["health"] == "healthy"
    assert "2 events" in said(status)[0][1]


def test_dropped_events_degrade() -> None:
    status = healthy()
    status["queue"]["dropped"] = 1000
    assert judged(status)["health"] == "degraded"


def test_what_the_platform_counted_wrong_is_a_note() -> None:
    status = healthy()
    status["verification"] = "of what was sent the platform counted hours wrong: 1 missing"
    assert said(judged(status)) == [("platform", "of what was sent the platform counted hours wrong: 1 missing")]
    assert status["health"] == "healthy"


def test_problems_of_the_building_degrade() -> None:
    status = healthy()
    status["building_problems"] = ["prices of prices.json: there is no such file"]
    assert said(judged(status)) == [("building", "prices of prices.json: there is no such file")]
    assert status["health"] == "degraded"


def test_device_whose_polls_hang_is_a_problem() -> None:
    status = healthy()
    status["devices"] += [{**device("hybrid", "stale"), "polled_s": 95.0}]
    assert said(judged(status)) == [("hybrid", "its polls no longer end, the last did 95 s ago; look at the line, and at the log")]
    assert status["health"] == "degraded"
    status["devices"] = status["devices"][1:]
    assert judged(status)["health"] == "failing"
