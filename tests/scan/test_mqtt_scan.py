"""What is heard on a broker: devices by topic, with the profile that fits."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from dataclasses import replace

import pytest

from edge_agent.codec.payloads import Payload, parse_payload
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import EdgeAgentError
from edge_agent.profiles.library import load_profile
from edge_agent.recording.file import read_recording
from edge_agent.scan.fingerprint import Library
from edge_agent.scan.found import CHOOSE, Found
from edge_agent.scan.mqtt import listen
from edge_agent.scan.topics import filters_of, identify, shape_of
from tests.conftest import Mosquitto
from tests.scan.conftest import RECORDINGS

PLUG = '{"ENERGY": {"Total": 12.5, "Power": 40}}'
EVCC = {"evcc/site/grid/power": "120", "evcc/site/homePower": "500", "evcc/loadpoints/2/chargePower": "0", "evcc/loadpoints/2/mode": "pv"}


def heard(messages: Mapping[str, str]) -> dict[str, list[Payload]]:
    return {topic: [parse_payload(payload.encode())] for topic, payload in messages.items()}


def short(found: list[Found]) -> list[tuple[str, tuple[str, ...], dict[str, str]]]:
    return [(one.topic, one.profiles, dict(one.parameters)) for one in found]


@pytest.mark.parametrize("name", ["go-e-charger", "evcc", "evcc-loadpoint", "shelly-gen2-switch", "tasmota-energy-plug"])
def test_recorded_device_is_known_by_what_it_says(name: str, library: Library) -> None:
    recording = read_recording(RECORDINGS / f"{name}.yaml")
    messages: dict[str, list[Payload]] = {}
    for message in recording.messages:
        messages.setdefault(message.topic, []).append(parse_payload(message.payload.encode()))
    found = identify(messages, library)
    assert (name,) in [one.profiles for one in found]
    assert {one.topic for one in found} == {recording.topic or library[name].spec.mqtt.topic}


def test_topic_is_what_stands_in_its_place_however_deep(library: Library) -> None:
    found = identify(heard({"tele/washer/SENSOR": PLUG, "tele/cellar/freezer/SENSOR": PLUG}), library)
    assert short(found) == [("cellar/freezer", ("tasmota-energy-plug",), {}), ("washer", ("tasmota-energy-plug",), {})]


def test_number_in_a_topic_is_found_as_the_parameter(library: Library) -> None:
    assert short(identify(heard(EVCC), library)) == [("evcc", ("evcc",), {}), ("evcc", ("evcc-loadpoint",), {"loadpoint": "2"})]


def test_all_marks_must_hold_for_the_same_device(library: Library) -> None:
    assert identify(heard({"a/eto": "1200", "a/car": "1", "b/sse": "ABC"}), library) == []
    assert short(identify(heard({"a/eto": "1200", "a/car": "1", "a/sse": '"222819"'}), library)) == [("a", ("go-e-charger",), {})]


def test_message_without_a_value_is_no_mark(library: Library) -> None:
    assert identify(heard({"tele/washer/SENSOR": '{"ENERGY": {"Total": 12.5}}'}), library) == []
    assert identify(heard({"tele/washer/SENSOR": "no JSON"}), library) == []


def test_two_profiles_that_measure_the_same_are_both_named(library: Library) -> None:
    twin = replace(library["tasmota-energy-plug"], name="twin")
    (found,) = identify(heard({"tele/washer/SENSOR": PLUG}), {**library, "twin": twin})
    assert (found.profiles, found.confidence) == (("tasmota-energy-plug", "twin"), CHOOSE)


def test_nobody_listens_to_everything(library: Library) -> None:
    filters = filters_of(library)
    assert filters
    assert not any("#" in text for text in filters)
    assert "evcc/site/grid/power" in filters
    assert {"tele/+/SENSOR", "tele/+/+/SENSOR"} <= set(filters)


def test_topic_of_an_answer_to_a_question_is_not_listened_to() -> None:
    spec = load_profile("shelly-gen2-switch").spec
    assert shape_of("{reply}/rpc", spec) is None


async def test_devices_on_a_broker_are_found_live_and_retained(mosquitto: Mosquitto, library: Library) -> None:
    settings = MqttSettings("127.0.0.1", mosquitto.port)
    publish(mosquitto, "tele/washer/SENSOR", PLUG, "-r")
    task = asyncio.create_task(listen(settings, library, 1.5, SystemClock()))
    while not task.done():
        await asyncio.to_thread(publish, mosquitto, "tele/freezer/SENSOR", PLUG)
        await asyncio.sleep(0.2)
    assert [one.topic for one in await task] == ["freezer", "washer"]


async def test_broker_that_is_not_there_is_said_in_words(stopped_mosquitto: Mosquitto, library: Library) -> None:
    with pytest.raises(EdgeAgentError, match="connection refused; is the broker running"):
        await listen(MqttSettings("127.0.0.1", stopped_mosquitto.port), library, 0.1, SystemClock())


def publish(broker: Mosquitto, topic: str, payload: str, *options: str) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-m", payload, *options]
    subprocess.run(command, check=True, timeout=10)
