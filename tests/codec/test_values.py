"""A raw value becomes a value, or is absent with its reason; never 0, never clamped."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codec.values import Raw, ValueRule, key_of, to_reading
from edge_agent.model.measurements import Quality

WATTS = ValueRule("W", factor=1000.0, sentinels=frozenset({"-32768"}), valid=(-10_000.0, 10_000.0))


def test_value_is_scaled_and_keeps_its_source() -> None:
    reading = to_reading(WATTS, 3, 5.0, (3,))
    assert (reading.value, reading.unit, reading.quality, reading.at, reading.raw) == (3000.0, "W", Quality.OK, 5.0, (3,))


@pytest.mark.parametrize(
    ("raw", "quality", "reason"),
    [
        (-32768, Quality.NOT_AVAILABLE, "not available (-32768)"),
        (-32768.0, Quality.NOT_AVAILABLE, "not available (-32768)"),
        (math.nan, Quality.NOT_AVAILABLE, "not available (nan)"),
        (math.inf, Quality.NOT_AVAILABLE, "not available (inf)"),
        (None, Quality.NOT_AVAILABLE, "null"),
        (11, Quality.OUT_OF_RANGE, "11000 W is outside -10000 to 10000"),
        ("abc", Quality.UNKNOWN, "'abc' is no number"),
        (True, Quality.UNKNOWN, "'true' is no number"),
    ],
)
def test_value_that_is_none_says_why(raw: Raw, quality: Quality, reason: str) -> None:
    reading = to_reading(WATTS, raw, 0.0)
    assert reading.value is None
    assert reading.quality is quality
    assert reason in reading.reason


def test_exponent_of_the_device_is_applied_before_the_rule() -> None:
    rule = ValueRule("W", factor=1.0)
    assert to_reading(rule, 1234, 0.0, exponent=-1).value == 123.4
    assert to_reading(rule, 1234, 0.0, exponent=2).value == 123_400.0
    assert to_reading(WATTS, -32768, 0.0, exponent=-3).quality is Quality.NOT_AVAILABLE


def test_overflow_is_no_value() -> None:
    assert to_reading(ValueRule("W", factor=1e308), 1e10, 0.0).value is None


def test_words_flags_and_bits() -> None:
    status = ValueRule(words={"0": "off", "4": "running", "9": None})
    assert to_reading(status, 4, 0.0).value == "running"
    assert to_reading(status, 9, 0.0).quality is Quality.NOT_AVAILABLE
    assert to_reading(status, 5, 0.0).quality is Quality.UNKNOWN
    bits = ValueRule(bits=((3, "fault"), (0, "running")), otherwise="ready")
    assert [to_reading(bits, raw, 0.0).value for raw in (0b1001, 0b0001, 0b0100)] == ["fault", "running", "ready"]
    plug = ValueRule(words={"0": "off", "7": "on"}, is_flag=True)
    assert [to_reading(plug, raw, 0.0).value for raw in (0, 7)] == [False, True]


def test_text_is_trimmed() -> None:
    assert to_reading(ValueRule(is_text=True), " A12 ", 0.0).value == "A12"


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)))
def test_any_raw_value_gives_a_finite_number_or_a_reason(raw: Raw) -> None:
    reading = to_reading(WATTS, raw, 0.0)
    if reading.value is None:
        assert reading.reason
    else:
        assert reading.number is not None
        assert math.isfinite(reading.number)


def test_key_is_what_a_profile_writes() -> None:
    assert [key_of(raw) for raw in (3.0, 3, True, "x", None, 0.5)] == ["3", "3", "true", "x", "", "0.5"]
