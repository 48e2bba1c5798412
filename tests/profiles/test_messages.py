"""What the shipped MQTT profiles make of any payload at all: a value, an absence with its reason, never an error."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codec.payloads import parse_payload
from edge_agent.model.measurements import Quality
from edge_agent.profiles.library import DeviceProfile, load_profile, profile_names
from edge_agent.profiles.messages import PayloadRow, payload_rows, position_of, read_payload
from edge_agent.profiles.setup import DeviceSetup

AT = 1_772_610_000.0


def rows_of(profile: DeviceProfile) -> tuple[PayloadRow, ...]:
    defaults = {name: spec.default or "x" for name, spec in profile.spec.parameters.items()}
    return payload_rows(DeviceSetup("d", "D", profile, topic="t"), {"topic": "t", "reply": "r", **defaults})


PROFILES = [profile for profile in map(load_profile, profile_names()) if profile.spec.transport == "mqtt"]
ROWS = [row for profile in PROFILES for row in rows_of(profile)]
KEYS = ["ENERGY", "Power", "Total", "POWER", "params", "switch:0", "em:0", "apower", "aenergy", "total", "output", "result", "ts", "src", "x"]
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["nan", "-", "ON", "1e999", "0x10"]),
    lambda inner: st.lists(inner, max_size=16) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=30,
)


@given(st.binary(max_size=100) | documents.map(lambda document: json.dumps(document).encode()), st.sampled_from(ROWS))
def test_any_payload_gives_a_value_or_a_reason(body: bytes, row: PayloadRow) -> None:
    payload = parse_payload(body)
    position_of(row, payload)
    reported = read_payload(row, payload, AT)
    if reported is None:
        return
    reading = reported.reading
    assert (reading.value is None) is (reading.quality is not Quality.OK)
    assert (reading.value is None) is bool(reading.reason)
    assert reading.at <= AT
    if isinstance(reading.value, float):
        assert math.isfinite(reading.value)


def test_there_are_profiles_to_test() -> None:
    assert {profile.name for profile in PROFILES} >= {"go-e-charger", "tasmota-energy-plug", "shelly-gen2-switch", "shelly-gen2-em"}


@pytest.mark.parametrize("body", ["007", "1e5", "222819", '"222819"', " 12 "])
def test_a_serial_number_stays_the_text_it_is(body: str) -> None:
    row = next(row for row in rows_of(load_profile("go-e-charger")) if row.name == "serial")
    reported = read_payload(row, parse_payload(body.encode()), AT)
    assert reported is not None
    assert reported.reading.value == body.strip().strip('"')


def test_a_word_that_means_no_value_elsewhere_may_mean_something_here(tmp_path: Path) -> None:
    text = "vendor: A\nkind: plug\ntransport: mqtt\nrole: plug\npoints:\n"
    text += "  mode: {topic: t, is: status, map: {unknown: ready, '-': off, run: running}}\n  other: {topic: t, is: switch_on}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    mode, other = rows_of(load_profile("./mine.yaml", tmp_path))
    found = [read_payload(row, parse_payload(body), AT) for row in (mode, other) for body in (b"unknown", b"-", b"nan")]
    assert [reported.reading.value if reported else "unchanged" for reported in found] == ["ready", "off", None, None, None, None]
    assert all(reported and reported.reading.quality is Quality.NOT_AVAILABLE for reported in found[2:])
