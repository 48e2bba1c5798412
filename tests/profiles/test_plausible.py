"""A power that no house can draw is a fault in reading it, not a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.metering.metering import Metering
from edge_agent.model.measurements import EnergyInterval, Outcome, Quality, Quantity, Reading, Role, Sample, Snapshot
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.meaning import meanings, measurements, meter_points
from edge_agent.profiles.setup import DeviceSetup

T0 = 1_800_000_000

PROFILE = """
vendor: Somebody
kind: plug
transport: modbus
role: plug
sources: [a document]
points:
  power: {{holding: 0, as: f32, unit: kW, is: power_w, positive: consumption{valid}}}
"""


def plug(folder: Path, valid: str = "", scale: float = 1.0) -> DeviceSetup:
    (folder / "plug.yaml").write_text(PROFILE.format(valid=valid), "utf-8")
    return DeviceSetup("plug", "Plug", load_profile("./plug.yaml", folder), role=Role.PLUG, scale=scale)


def read(setup: DeviceSetup, watts: float, at: float = T0) -> Reading:
    sample = Sample("plug", at, {"power": Reading(watts, "W", Quality.OK, at)})
    return measurements(meanings(setup), sample)["plug"][Quantity.POWER_W]


@pytest.mark.parametrize("watts", [2.1e9, -1e5 - 1, 3.4e38, float("inf")])
def test_a_power_beyond_any_house_is_absent_with_its_reason(watts: float, tmp_path: Path) -> None:
    reading = read(plug(tmp_path), watts)
    assert (reading.value, reading.quality) == (None, Quality.OUT_OF_RANGE)
    assert reading.reason == f"{watts:g} W is more than any house draws or feeds; the profile's `valid:` can allow it"


def test_a_power_that_a_house_can_draw_is_a_value(tmp_path: Path) -> None:
    assert read(plug(tmp_path), 86_000.0).value == 86_000.0


def test_the_ratio_of_a_current_transformer_is_reckoned_with(tmp_path: Path) -> None:
    assert read(plug(tmp_path, scale=40.0), 2_000.0).value == 80_000.0
    assert read(plug(tmp_path, scale=40.0), 3_000.0).value is None


def test_what_a_profile_calls_possible_goes_before_it(tmp_path: Path) -> None:
    assert read(plug(tmp_path, ", valid: [0, 250]"), 200_000.0).value == 200_000.0


def test_a_spike_leaves_no_trace_in_power_or_energy(tmp_path: Path) -> None:
    setup = plug(tmp_path)
    metering, found = Metering(meter_points(setup), 900, 10), list[Outcome]()
    for second in range(0, 910, 10):
        at = T0 + second
        found += metering.update("plug", {Quantity.POWER_W: read(setup, 4.29e9 if second in (450, 900) else 360.0, at)}, at)
    assert [outcome.energy_wh for outcome in found if isinstance(outcome, EnergyInterval)] == []
    found += metering.update("plug", {Quantity.POWER_W: read(setup, 360.0, T0 + 910)}, T0 + 910)
    assert [outcome.energy_wh for outcome in found if isinstance(outcome, EnergyInterval)] == [90]
    assert [outcome.value for outcome in found if isinstance(outcome, Snapshot)] == [360.0]
