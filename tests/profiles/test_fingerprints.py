"""No fingerprint fits another's device: each recording of the library, scanned as if it stood in the network."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.codec.payloads import parse_payload
from edge_agent.demo.register_server import RegisterServer
from edge_agent.demo.replay import words_by_place
from edge_agent.model.clock import SystemClock
from edge_agent.profiles.library import DeviceProfile, load_profile, profile_names
from edge_agent.profiles.profile import FingerprintSpec
from edge_agent.recording.file import RecordingSection, read_recording, recorded_setup
from edge_agent.scan.found import Found
from edge_agent.scan.modbus import Pace, PortScan
from edge_agent.scan.topics import identify

FOLDER = Path(__file__).parents[1] / "recordings"
DECLARED = {
    "sunspec": {"fronius-gen24"},  # the recorded device names Fronius as its maker, whose own profile knows more
    "sbfspot-sma-meter": {"sbfspot-sma"},  # one message tells of the inverter and of the meter behind it: two devices
}
PACE = Pace(pause_s=0, connect_pause_s=0)


@functools.cache
def library() -> dict[str, DeviceProfile]:
    return {name: load_profile(name) for name in profile_names()}


def recordings(transport: str) -> list[Path]:
    """Those of profiles with a fingerprint."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        spec = library()[path.stem.partition("--")[0]].spec
        if spec.fingerprint and spec.transport == transport:
            found.append(path)
    return found


def family_of(name: str) -> set[str]:
    """A profile with all that it extends, and that extend it: these may be taken for one another, and the user chooses."""

    def ancestors(one: str) -> list[str]:
        parent = library()[one].spec.extends
        return [one, *(ancestors(parent) if parent in library() else [])]

    return {one for one in library() if ancestors(one)[-1] == ancestors(name)[-1]}


def strangers(found: list[Found], name: str) -> set[str]:
    return {profile for one in found for profile in one.profiles} - family_of(name) - DECLARED.get(name, set())


@pytest.mark.parametrize("path", recordings("modbus"), ids=lambda path: path.stem)
async def test_modbus_device_is_known_by_no_other_fingerprint(path: Path) -> None:
    recording = read_recording(path)
    unit = recorded_setup(recording).unit
    found: list[Found] = []
    async with RegisterServer(words_by_place(recording.registers)) as server:
        await PortScan(library(), [unit], PACE, SystemClock()).examine("127.0.0.1", server.port, found)
    assert not strangers(found, recording.profile)


@pytest.mark.parametrize("name", DECLARED)
def test_what_is_declared_is_in_the_library(name: str) -> None:
    assert {name, *DECLARED[name]} <= set(library())


async def test_fingerprint_that_fits_two_profiles_would_be_noticed() -> None:
    """A profile that is known by too little: any meter with a frequency where the SDM630 has one."""
    sdm630 = library()["eastron-sdm630"]
    loose = replace(sdm630, name="loose", spec=replace(sdm630.spec, fingerprint=[FingerprintSpec(point="frequency", between=(45, 65))]))
    recording = read_recording(FOLDER / "eastron-sdm630.yaml")
    found: list[Found] = []
    async with RegisterServer(words_by_place(recording.registers)) as server:
        await PortScan(library() | {"loose": loose}, [1], PACE, SystemClock()).examine("127.0.0.1", server.port, found)
    assert strangers(found, "eastron-sdm630") == {"loose"}


def heard(recording: RecordingSection) -> list[Found]:
    messages: dict[str, list[str]] = {}
    for one in recording.messages:
        messages.setdefault(one.topic, []).append(one.payload)
    return identify({topic: [parse_payload(text.encode()) for text in said] for topic, said in messages.items()}, library())


@pytest.mark.parametrize("path", recordings("mqtt"), ids=lambda path: path.stem)
def test_mqtt_device_is_known_by_no_other_fingerprint(path: Path) -> None:
    recording = read_recording(path)
    assert not strangers(heard(recording), recording.profile)


@pytest.mark.parametrize("transport", ["modbus", "mqtt"])
def test_there_are_fingerprints_to_hold_against_each_other(transport: str) -> None:
    assert len(recordings(transport)) > 30
