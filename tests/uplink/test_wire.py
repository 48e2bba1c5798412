"""An event's bytes are the cloud's JSON, the same each time."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.demo.cloud import BUILDING_ID, CUSTOMER_ID
from edge_agent.demo.event_rules import complaint
from edge_agent.model.events import Event
from edge_agent.outbox.rows import Queued
from edge_agent.uplink.wire import EventWriter, Unwritable

EVENTS = st.builds(
    Event,
    st.from_regex(r"[a-zA-Z0-9:._-]{3,64}", fullmatch=True),
    st.text(st.characters(exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", codec="utf-8"), min_size=1, max_size=100),
    st.sampled_from(["GATEWAY", "BATTERY"]),
    st.sampled_from(["ENERGY_CONSUMPTION", "STATE_OF_CHARGE_RATE"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**40),
)


def writer() -> EventWriter:
    return EventWriter(CUSTOMER_ID, BUILDING_ID)


def as_guide(event: Event) -> dict[str, Any]:
    """The guide's event data structure."""
    return {
        "customerId": CUSTOMER_ID,
        "customerBuildingId": BUILDING_ID,
        "deviceId": event.device_id,
        "deviceName": event.device_name,
        "source": event.source,
        "type": event.type,
        "value": event.value,
        "timestamp": event.at,
    }


@given(EVENTS)
def test_an_event_is_written_as_the_guide_says_and_as_the_schema_asks(event: Event) -> None:
    written = json.loads(writer().one(event))
    assert written == as_guide(event)
    assert complaint(written) is None


@given(st.lists(EVENTS, max_size=20))
def test_a_batch_is_the_array_of_its_events_in_order(events: list[Event]) -> None:
    assert json.loads(writer().many(events)) == [as_guide(event) for event in events]


@given(st.lists(EVENTS, max_size=5))
def test_the_same_events_give_the_same_bytes_also_from_the_queue(events: list[Event]) -> None:
    one = writer()
    queued = [Queued(seq, (event.device_id, event.device_name, event.source, event.type), event.value, event.at) for seq, event in enumerate(events)]
    assert one.many(events) == one.many(events) == writer().many(queued)


def test_the_bytes_are_these() -> None:
    event = Event("c8f09e83046c", "Zähler", "GATEWAY", "ENERGY_CONSUMPTION", 858.71, 1727992800)
    assert writer().one(event) == (
        b'{"customerId":"656730be2bc9719e6e5ed51d","customerBuildingId":"99900000C048ADA6","deviceId":"c8f09e83046c",'
        b'"deviceName":"Z\\u00e4hler","source":"GATEWAY","type":"ENERGY_CONSUMPTION","value":858.71,"timestamp":1727992800}'
    )


def test_a_whole_number_is_a_number_too() -> None:
    assert b'"value":3.0,' in writer().one(Event("abc", "A", "GATEWAY", "DEVICE_STATUS", 3, 1))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_infinity_ever_gets_out(value: float) -> None:
    with pytest.raises(ValueError, match="abc DEVICE_STATUS"):
        writer().one(Event("abc", "A", "GATEWAY", "DEVICE_STATUS", value, 1))


def test_more_series_than_are_kept_in_memory_are_written_all_the_same() -> None:
    one = writer()
    events = [Event(f"device-{number}", "A", "GATEWAY", "DEVICE_STATUS", 1.0, 1) for number in range(5000)]
    assert json.loads(one.many(events)) == [as_guide(event) for event in events]


@pytest.mark.parametrize(("source", "kind"), [("GATEWAY", "POWER_GENERATION_FORECAST_1H"), ("MOOST", "ENERGY_CONSUMPTION"), ("GATEWAY", "")])
def test_what_only_the_platform_provides_is_never_written(source: str, kind: str) -> None:
    good, bad = Event("abc", "A", "GATEWAY", "DEVICE_STATUS", 3, 1), Event("abc", "A", source, kind, 1.0, 1)
    with pytest.raises(Unwritable, match="nothing that a customer provides") as refused:
        writer().many([good, bad])
    assert set(refused.value.places) == {"1"}


def test_every_type_of_the_guide_s_second_table_is_refused() -> None:
    for row in csv.DictReader((Path(__file__).parents[1] / "cloud" / "guide.csv").read_text("utf-8").splitlines()):
        event = Event("abc", "A", "GATEWAY", row["event type"], 1.0, 1)
        if row["provided by"] == "MOOST":
            with pytest.raises(Unwritable):
                writer().one(event)
        else:
            assert complaint(json.loads(writer().one(event))) is None
