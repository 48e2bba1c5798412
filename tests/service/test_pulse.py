"""A loop that misses its own time is late until it turns again."""

from __future__ import annotations

from edge_agent.pulse import Pulse


def test_loop_is_late_from_its_own_time_on_until_it_turns() -> None:
    now = 100.0
    pulse = Pulse(lambda: now)
    pulse.beat("uploading", 60)
    pulse.beat("polling every 900 s", 960)
    now = 160.0
    assert pulse.late() == []
    now = 160.1
    assert pulse.late() == ["uploading"]
    pulse.beat("uploading", 60)
    assert pulse.late() == []
