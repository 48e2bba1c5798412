"""How finely a profile's counters count, which decides what metering takes for a jump or for jitter."""

from __future__ import annotations

import pytest

from edge_agent.model.measurements import Quantity, Role
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.meaning import meter_points
from edge_agent.profiles.setup import DeviceSetup


@pytest.mark.parametrize(
    ("profile", "role", "quantity", "step", "wrap"),
    [
        ("keba-p30", Role.CHARGER, Quantity.IMPORT_WH, 0.1, 2**32 * 0.1),
        ("sungrow-sh", Role.GRID, Quantity.EXPORT_WH, 100.0, 2**32 * 100.0),
        ("eastron-sdm630", Role.GRID, Quantity.IMPORT_WH, 1.0, None),
        ("stiebel-eltron-isg-wpm", Role.HEAT_PUMP, Quantity.IMPORT_WH, 1000.0, None),
        ("sunspec", Role.PV, Quantity.GENERATION_WH, 1.0, None),
    ],
)
def test_counter_knows_its_step_and_where_it_wraps(profile: str, role: Role, quantity: Quantity, step: float, wrap: float | None) -> None:
    points = meter_points(DeviceSetup("d", "Device", load_profile(profile), role=role))
    counter = next(point for point in points if point.role is role).counters[quantity]
    assert counter.step_wh == pytest.approx(step)
    assert counter.wrap_wh == pytest.approx(wrap)


def test_current_transformer_makes_the_steps_coarser() -> None:
    (point,) = meter_points(DeviceSetup("d", "Device", load_profile("eastron-sdm630"), role=Role.GRID, scale=40.0))
    assert point.counters[Quantity.IMPORT_WH].step_wh == 40.0


@pytest.mark.parametrize(("profile", "most_w"), [("go-e-charger", 50_000.0), ("keba-p30", 100_000.0), ("carlo-gavazzi-em24-rs485", 100_000.0)])
def test_counter_grows_no_faster_than_the_profile_calls_possible_of_its_power(profile: str, most_w: float) -> None:
    (point,) = meter_points(DeviceSetup("d", "Device", load_profile(profile), role=Role.CHARGER))
    assert {counter.most_w for counter in point.counters.values()} == {most_w}
