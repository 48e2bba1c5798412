from __future__ import annotations

from edge_agent.status.text import status_text
from tests.status.examples import NOW, device, healthy, judged


def test_status_reads_like_this() -> None:
    assert (
        status_text(judged(healthy()))
        == """\
edge-agent 1.2.3: healthy
building 99900000C048ADA6, up 2 h, 2026-03-04 08:40:00 CET

NOW
  grid  1.23 kW  takes  Main meter

DEVICES
  grid-meter  ok  4 s ago  grid -1.23 kW

CLOUD
  uploads    running, last accepted 30 s ago
  delivered  12 live, 3 as history
  queue      empty (0.3 MB)
  token      good for 22 h
  building   registered
  clock      right"""
    )


def test_no_line_is_wider_than_80_columns() -> None:
    status = healthy()
    status["devices"] += [device("a-device-with-a-rather-long-identifier-" * 2, "silent", "x: " + "a long explanation " * 12)]
    status["flow"][0]["names"] = ["A meter with a long name"] * 6
    status["uploads"]["state"] = "waiting: " + "the cloud answers with an error " * 5
    status["uploads"]["next_try_at"] = NOW + 30
    status["queue"] = {**status["queue"], "waiting": 123_456, "oldest_at": int(NOW - 90 * 86400), "dead": 5, "dropped": 3}
    text = status_text(judged(status))
    assert max(map(len, text.splitlines())) <= 80
    assert "the oldest from 90 d ago" in text


def test_a_backlog_tells_its_pace_or_its_start() -> None:
    status = healthy()
    status["queue"]["waiting"] = 500_000
    status["uploads"] |= {"events_per_s": 1000.0, "time_left_s": 500.0}
    assert "  backlog    1000 events/s, about 8 min left" in status_text(status)
    status["uploads"]["backlog_starts_at"] = NOW + 1500
    assert "  backlog    starts in 25 min, at random" in status_text(status)


def test_unknown_power_is_a_question_mark() -> None:
    status = healthy()
    status["flow"][0]["power_w"] = None
    assert "  grid  ?" in status_text(status)
