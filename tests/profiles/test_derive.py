"""Points made of other points: sums, first ones, directions; nothing is made up where a part is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.model.measurements import Quality, Reading
from edge_agent.profiles.derive import add_derived, directed, is_there, value_rule
from edge_agent.profiles.document import checked
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.profile import PointSpec, ProfileSpec

MakeSpec = Callable[[str], ProfileSpec]


@pytest.fixture
def spec_of(tmp_path: Path) -> MakeSpec:
    def spec(points: str) -> ProfileSpec:
        rows = "\n".join(f"  {row.strip()}" for row in points.strip().splitlines())
        (tmp_path / "mine.yaml").write_text(f"vendor: Test\nkind: meter\ntransport: modbus\nrole: any\npoints:\n{rows}\n", encoding="utf-8")
        return load_profile("./mine.yaml", tmp_path).spec

    return spec


def ok(value: float, unit: str = "W", at: float = 10.0) -> Reading:
    return Reading(value, unit, Quality.OK, at)


def gone(quality: Quality = Quality.NOT_AVAILABLE, reason: str = "the device says so") -> Reading:
    return Reading(None, "W", quality, 10.0, reason)


def derived(spec: ProfileSpec, name: str, **readings: Reading) -> Reading:
    held = dict(readings)
    add_derived(spec, held, 12.0)
    return held[name]


SUM = """
a: {input: 0, as: u16, unit: W}
b: {input: 1, as: u16, unit: W}
c: {input: 2, as: u16, unit: W}
total: {sum: [a, -b, c?]}
"""


def test_sum_adds_and_subtracts_and_is_as_old_as_its_oldest_part(spec_of: MakeSpec) -> None:
    total = derived(spec_of(SUM), "total", a=ok(5), b=ok(2, at=9.0), c=ok(1))
    assert (total.value, total.unit, total.at) == (4.0, "W", 9.0)


def test_part_that_may_be_missing_is_left_out_only_when_the_device_says_so(spec_of: MakeSpec) -> None:
    spec = spec_of(SUM)
    assert derived(spec, "total", a=ok(5), b=ok(2), c=gone()).value == 3.0
    failed = derived(spec, "total", a=ok(5), b=ok(2), c=gone(Quality.ERROR, "no answer"))
    assert (failed.value, failed.quality, failed.reason) == (None, Quality.ERROR, "c: no answer")


def test_sum_without_one_of_its_parts_is_absent(spec_of: MakeSpec) -> None:
    spec = spec_of(SUM)
    assert derived(spec, "total", a=ok(5), b=gone()).reason == "b: the device says so"
    assert derived(spec, "total", a=ok(5)).reason == "b: b was not read"


FIRST = """
new: {input: 0, as: s16, unit: W, positive: discharging}
old: {input: 1, as: s16, unit: W, positive: charging}
power: {first: [new, old], is: power_w}
"""


def test_first_value_counts_turned_to_be_positive_into_the_point(spec_of: MakeSpec) -> None:
    spec = spec_of(FIRST)
    assert derived(spec, "power", new=ok(100), old=ok(7)).value == -100.0
    assert derived(spec, "power", new=gone(), old=ok(7)).value == 7.0
    assert derived(spec, "power", new=gone(), old=gone()).quality is Quality.NOT_AVAILABLE


def test_part_that_failed_ends_the_search(spec_of: MakeSpec) -> None:
    """Another counter in its place would look like a jump."""
    power = derived(spec_of(FIRST), "power", new=gone(Quality.ERROR, "no answer"), old=ok(7))
    assert (power.value, power.quality, power.reason) == (None, Quality.ERROR, "no answer")


def test_whole_with_a_direction_of_its_own_takes_its_parts_as_they_are(spec_of: MakeSpec) -> None:
    spec = spec_of("""
        ac: {input: 0, as: s16, unit: W, positive: generation}
        battery: {input: 1, as: s16, unit: W, positive: discharging}
        pv: {sum: [ac, -battery], positive: generation, is: generation_w}
    """)
    assert derived(spec, "pv", ac=ok(3000), battery=ok(1000)).value == 2000.0


def test_derived_points_may_be_made_of_derived_points_in_any_order(spec_of: MakeSpec) -> None:
    spec = spec_of("""
        whole: {sum: [part, c]}
        part: {first: [a, b]}
        a: {input: 0, as: u16}
        b: {input: 1, as: u16}
        c: {input: 2, as: u16}
    """)
    assert derived(spec, "whole", a=gone(), b=ok(2), c=ok(3)).value == 5.0


def test_impossible_whole_is_absent(spec_of: MakeSpec) -> None:
    spec = spec_of("a: {input: 0, as: u16}\nb: {input: 1, as: u16}\nwhole: {sum: [a, b], valid: [0, 10]}")
    whole = derived(spec, "whole", a=ok(6), b=ok(5))
    assert (whole.value, whole.quality) == (None, Quality.OUT_OF_RANGE)


DIRECTED = """
flags: {input: 0, as: u16}
by_bit: {input: 1, as: u16, unit: W, positive: {by: flags, bits: {1: charging, 2: discharging}}}
by_value: {input: 2, as: u16, unit: W, positive: {by: flags, values: {0: import, 1: export}}}
"""


@given(st.floats(0, 1e6), st.sampled_from([(2, 1), (4, -1), (3, 1)]), st.booleans())
def test_direction_comes_from_a_bit_whatever_sign_the_magnitude_has(magnitude: float, flag: tuple[int, int], negative: bool) -> None:
    point = checked({"input": "1", "as": "s16", "positive": {"by": "flags", "bits": {"1": "charging", "2": "discharging"}}}, PointSpec)
    assert directed(point, ok(-magnitude if negative else magnitude), ok(flag[0], "")).value == magnitude * flag[1]


def test_direction_comes_from_a_value(spec_of: MakeSpec) -> None:
    point = spec_of(DIRECTED).points["by_value"]
    assert [directed(point, ok(9), ok(flag, "")).value for flag in (0, 1)] == [9.0, -9.0]


def test_magnitude_without_a_known_direction_is_absent_unless_it_is_0(spec_of: MakeSpec) -> None:
    point = spec_of(DIRECTED).points["by_bit"]
    assert directed(point, ok(0), ok(1, "")).value == 0.0
    assert directed(point, ok(9), ok(1, "")).quality is Quality.UNKNOWN
    assert directed(point, ok(9), gone()).reason == "its direction (flags) is not known: the device says so"
    assert directed(point, ok(9), None).reason == "its direction (flags) is not known: not read"
    assert directed(point, gone(), ok(2, "")).value is None


def test_point_is_there_when_the_device_has_what_it_is_made_of(spec_of: MakeSpec) -> None:
    spec = spec_of(SUM + "any: {first: [a, b]}\nwhole: {sum: [total]}")
    assert is_there(spec, "whole", set())
    assert is_there(spec, "whole", {"c"})
    assert not is_there(spec, "whole", {"b"})
    assert is_there(spec, "any", {"a"})
    assert not is_there(spec, "any", {"a", "b"})


def test_rule_joins_unit_scale_offset_and_words() -> None:
    rule = value_rule(
        checked({"input": "1", "as": "s16", "unit": "kWh", "scale": "0.1", "offset": "-2", "valid": ["0", "5"], "sentinel": "-1"}, PointSpec)
    )
    assert (rule.unit, rule.factor, rule.offset, rule.valid, rule.sentinels) == ("Wh", 100.0, -2000.0, (0.0, 5000.0), frozenset({"-1"}))
    assert value_rule(checked({"input": "1", "as": "string(4)"}, PointSpec)).is_text
    assert value_rule(checked({"coil": "1", "is": "switch_on"}, PointSpec)).is_flag
