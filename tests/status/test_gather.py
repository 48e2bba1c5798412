from __future__ import annotations

import pytest

from edge_agent.model.measurements import Sample
from edge_agent.status.document import DeviceState, Value
from edge_agent.status.gather import device_state


def value(quality: str) -> Value:
    return Value(meter_point="m", role="grid", quantity="power_w", value=1.0 if quality == "ok" else None, quality=quality, reason="")


@pytest.mark.parametrize(
    ("error", "qualities", "polled_s", "state"),
    [
        ("", ["ok", "ok"], 5.0, "ok"),
        ("", ["ok", "not available"], 5.0, "ok"),
        ("", ["ok", "communication error"], 5.0, "partial"),
        ("no answer", [], 5.0, "silent"),
        ("", ["ok"], 71.0, "stale"),
        ("no answer", [], 71.0, "stale"),
    ],
)
def test_state_of_a_device(error: str, qualities: list[str], polled_s: float, state: DeviceState) -> None:
    sample = Sample("m", 1_772_610_000.0, {}, error)
    assert device_state(sample, [value(quality) for quality in qualities], polled_s, 70.0) == state


def test_device_that_was_not_polled_yet_is_waited_for() -> None:
    assert device_state(None, [], 0.0, 70.0) == "waiting"
