"""What feeds a measuring point is told apart by all that changes the meaning of its counters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_agent.model.measurements import Role
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.meaning import meter_points
from edge_agent.profiles.setup import DeviceSetup

METER = DeviceSetup("meter", "Meter", load_profile("eastron-sdm630"), role=Role.GRID)


def source(setup: DeviceSetup) -> str:
    (point,) = meter_points(setup)
    return point.source


@pytest.mark.parametrize(
    "other",
    [
        replace(METER, invert=True),
        replace(METER, scale=40.0),
        replace(METER, role=Role.PV),
        replace(METER, parameters={"phase": "1"}),
    ],
)
def test_another_sign_ratio_role_or_parameter_is_another_source(other: DeviceSetup) -> None:
    assert source(other) != source(METER)


def test_another_name_address_or_serial_number_is_the_same_source() -> None:
    assert source(replace(METER, name="Main", unit=7, serial="123", poll_interval_s=5.0)) == source(METER)
    assert source(METER).startswith("eastron-sdm630 grid x1 ")
