from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.status.updates import read_updates, update_text
from tests.status.examples import device, healthy, judged

REPORT = "at=1772600000\nstate={state}\nfrom=1.2.0\nto=1.3.0\nreason=it never became ready = dead\n"


def test_without_an_updater_nothing_is_known(tmp_path: Path) -> None:
    assert read_updates(tmp_path) is None
    assert read_updates(tmp_path / "nowhere") is None


def test_reports_are_read_with_the_rest_of_the_line_as_value(tmp_path: Path) -> None:
    (tmp_path / "report").write_text(REPORT.format(state="rolled-back"))
    (tmp_path / "check").write_text("at=1772600900\nresult=ok\nreason=\n")
    found = read_updates(tmp_path)
    assert found is not None
    assert (found["changed_at"], found["checked_at"], found["reason"]) == (1_772_600_000, 1_772_600_900, "it never became ready = dead")
    assert update_text(found) == "1.3.0 was taken back"


@pytest.mark.parametrize(("state", "health", "said"), [("rolled-back", "healthy", 1), ("refused", "healthy", 1), ("stuck", "degraded", 1)])
def test_version_that_failed_is_told_and_a_stuck_one_is_a_problem(tmp_path: Path, state: str, health: str, said: int) -> None:
    (tmp_path / "report").write_text(REPORT.format(state=state))
    status = healthy()
    status["updates"] = read_updates(tmp_path)
    judged(status)
    assert (status["health"], len(status["advice"])) == (health, said)


def test_devices_that_an_update_has_not_found_are_told_until_all_answer(tmp_path: Path) -> None:
    report = REPORT.format(state="confirmed").replace("it never became ready = dead", "fewer devices answer: 1 of 2, before 2")
    (tmp_path / "report").write_text(report)
    status = healthy()
    status["updates"] = read_updates(tmp_path)
    status["devices"] = [device(), device("hybrid", "silent", "hybrid: no answer")]
    judged(status)
    assert "version 1.3.0 has proved itself, but fewer devices answer: 1 of 2, before 2" in [one["text"] for one in status["advice"]]
    status["devices"] = [device(), device("hybrid")]
    judged(status)
    assert status["advice"] == []


def test_newer_of_the_two_places_counts_where_the_updaters_folder_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "check").write_text("at=1772600000\nresult=ok\nreason=\n")
    (tmp_path / "run/check").write_text("at=1772600900\nresult=failed\nreason=the system's root is read-only\n")
    status = healthy()
    status["updates"] = read_updates(tmp_path, tmp_path / "run")
    judged(status)
    assert [one["text"] for one in status["advice"]] == ["no updates: the system's root is read-only"]
    (tmp_path / "check").write_text("at=1772601800\nresult=ok\nreason=\n")
    found = read_updates(tmp_path, tmp_path / "run")
    assert found is not None
    assert found["check"] == "ok"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"no fields", b"at=soon\n"])
def test_damaged_report_is_no_trouble(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report").write_bytes(content)
    found = read_updates(tmp_path)
    assert found is None or found["changed_at"] is None
