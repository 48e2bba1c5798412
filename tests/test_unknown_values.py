"""Codes that a profile does not know are told once each."""

from __future__ import annotations

from edge_agent.model.measurements import Quality, Reading, Sample
from edge_agent.unknown_values import MOST, UnknownValues


def sample(code: int, device: str = "heater") -> Sample:
    unknown = Reading(None, "", Quality.UNKNOWN, 0, f"'{code}' is not in the profile's list", (code,))
    return Sample(
        device, 0, {"state": unknown, "power": Reading(None, "W", Quality.ERROR, 0, "no answer"), "mode": Reading("auto", "", Quality.OK, 0)}
    )


def test_unknown_code_is_told_once_with_its_raw_value() -> None:
    unknown = UnknownValues()
    assert [text.partition(";")[0] for text in unknown.new_in(sample(9))] == ["heater: state: '9' is not in the profile's list (raw 0x0009)"]
    assert unknown.new_in(sample(9)) == []
    assert len(unknown.new_in(sample(10))) == 1
    assert len(unknown.new_in(sample(9, "another"))) == 1


def test_device_that_says_ever_new_codes_does_not_fill_the_log() -> None:
    unknown = UnknownValues()
    assert sum(len(unknown.new_in(sample(code))) for code in range(1000)) == MOST
