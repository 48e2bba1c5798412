"""The judgement that an update stands or falls with: what worked before and no longer does is this program's fault."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edge_agent.health import RECENT_S, SETTLE_S, Facts, judge, reasons_in, to_file, worked_before

START_S = 5000.0
SETTLED = Facts(started_s=START_S, now_s=START_S + SETTLE_S, read_devices=2, uploaded=True)
ALL_WORKED = {"devices": START_S - 10, "queue": START_S - 10, "upload": START_S - 10}


def test_agent_that_reads_stores_and_uploads_is_healthy_and_remembers_it() -> None:
    health = judge(SETTLED, {})
    assert (health.state, health.reasons) == ("healthy", ())
    assert health.worked_s == {"devices": SETTLED.now_s, "queue": SETTLED.now_s, "upload": SETTLED.now_s}


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        ({"read_devices": 0, "silent_devices": {"meter": "meter: no answer"}}, "devices could be read"),
        ({"queue_trouble": "the queue cannot be written"}, "the queue could be written"),
        ({"uploaded": False, "upload_trouble": "uploads waiting: 400", "upload_refused": True}, "uploads were accepted"),
    ],
)
def test_what_worked_before_the_start_and_no_longer_does_condemns(broken: dict[str, object], part: str) -> None:
    facts = replace(SETTLED, **broken)  # type: ignore[arg-type]
    health = judge(facts, ALL_WORKED)
    assert health.state == "unhealthy"
    assert f"before this start {part}" in health.reasons
    assert judge(facts, {}).state == "degraded", "what did not work before does not condemn"
    assert judge(facts, {name: START_S - RECENT_S - 1 for name in ALL_WORKED}).state == "degraded", "nor what worked long ago"
    assert judge(replace(facts, now_s=START_S + SETTLE_S - 1), ALL_WORKED).state == "degraded", "nor anything right after the start"


def test_what_broke_after_it_worked_with_this_program_does_not_condemn() -> None:
    after = judge(SETTLED, ALL_WORKED)
    later = replace(SETTLED, now_s=SETTLED.now_s + 60, read_devices=0, silent_devices={"meter": "no answer"})
    assert judge(later, after.worked_s).state == "degraded"


def test_cloud_that_nobody_reaches_does_not_condemn() -> None:
    facts = replace(SETTLED, uploaded=False, upload_trouble="uploads waiting: no network")
    health = judge(facts, ALL_WORKED)
    assert (health.state, health.reasons) == ("degraded", ("uploads waiting: no network",))


def test_loop_that_hangs_condemns_at_once() -> None:
    health = judge(replace(SETTLED, now_s=START_S + 1, hanging=("uploading",)), {})
    assert (health.state, health.reasons) == ("unhealthy", ("uploading no longer turns",))


@pytest.mark.parametrize(("ours", "state"), [(False, "degraded"), (True, "unhealthy")])
def test_waiting_condemns_only_when_another_version_would_not_wait(ours: bool, state: str) -> None:
    facts = Facts(START_S, START_S + 300, waiting="there is no site file", waiting_is_ours=ours)
    health = judge(facts, ALL_WORKED)
    assert (health.state, health.reasons[0]) == (state, "there is no site file")
    assert health.worked_s == ALL_WORKED


def test_updater_is_told_what_works_and_what_fails_once_it_has_settled() -> None:
    broken = replace(SETTLED, read_devices=0, known_devices=2, uploaded=False, upload_trouble="uploads waiting: 400", upload_refused=True)
    told = json.loads(to_file(judge(broken, {}), "1.2.3", broken))
    assert (told["works"], told["fails"], told["devices_read"], told["devices_known"]) == (["queue"], ["devices", "upload"], 0, 2)
    early = replace(broken, now_s=START_S + SETTLE_S - 1)
    assert json.loads(to_file(judge(early, {}), "1.2.3", early))["fails"] == []


def test_mistake_in_the_site_file_degrades() -> None:
    assert judge(replace(SETTLED, remarks=("the site file has mistakes",)), ALL_WORKED).state == "degraded"


def test_file_carries_what_worked_to_the_next_program() -> None:
    health = judge(SETTLED, {})
    text = to_file(health, "1.2.3", SETTLED)
    told = json.loads(text)
    assert (told["version"], told["state"], told["ready"], told["uptime_s"]) == ("1.2.3", "healthy", True, SETTLED.now_s)
    assert worked_before(text, SETTLED.now_s + 5) == health.worked_s
    assert reasons_in(to_file(judge(replace(SETTLED, remarks=("a remark",)), {}), "1.2.3", SETTLED)) == ["a remark"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"worked_uptime_s": {"devices": "x"}}', '{"worked_uptime_s": 3}', '{"worked_uptime_s": {"devices": 9e9}}']
)
def test_file_that_is_damaged_or_of_another_boot_tells_nothing(text: str) -> None:
    assert worked_before(text, 100.0) == {}
    assert reasons_in(text) == []
