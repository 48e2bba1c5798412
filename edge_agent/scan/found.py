"""What a scan found: one device, where it is, and which profiles fit it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SURE, LIKELY, CHOOSE, UNKNOWN, RUNNING = "sure", "likely", "choose one", "no profile", "in use"


@dataclass(frozen=True, slots=True)
class Found:
    """A device. With one profile it is known; with several someone has to choose; without one it only speaks the protocol."""

    address: str  # `tcp://192.168.1.9:502`, or `topic go-eCharger/222819`
    unit: int | None  # None over MQTT
    what: str  # maker and model, as far as they are known
    serial: str
    profiles: tuple[str, ...]
    confidence: str
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the profile, found in the topics
    variant: str = ""  # of the profile, where the agent cannot tell it by itself
    topic: str = ""
    models: tuple[int, ...] = ()  # SunSpec
    reads_units: frozenset[int] = frozenset()  # that the profile reads on this line
    device_id: str = ""  # of the running agent's site file

    @property
    def host(self) -> str:
        """The host of a Modbus device; empty over MQTT."""
        return self.address.partition("://")[2].rpartition(":")[0] if self.unit is not None else ""

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {
            "address": self.address,
            "unit": self.unit,
            "what": self.what,
            "serial": self.serial,
            "profiles": list(self.profiles),
            "confidence": self.confidence,
            "variant": self.variant,
            "parameters": dict(self.parameters),
            "sunspec_models": list(self.models),
            "device": self.device_id,
        }


def without_repeats(found: Iterable[Found]) -> list[Found]:
    """Each device once: what has the same serial number on the same host is one device that answers at several units or ports.

    Of these a profile made for the device stays before the general one, then the first. A unit that another
    device's profile reads along is part of that device.
    """
    all_found = list(found)
    kept: list[Found] = []
    for one in all_found:
        if any(_is_part(one, other) for other in all_found):
            continue
        same = next((other for other in kept if _is_same(one, other)), None)
        if same is None:
            kept.append(one)
        elif _rank(one) < _rank(same):
            kept[kept.index(same)] = one
    return kept


def _is_part(one: Found, other: Found) -> bool:
    return other.address == one.address and other.unit != one.unit and one.unit in other.reads_units and one.profiles in ((), (GENERAL,))


def _is_same(one: Found, other: Found) -> bool:
    if not one.serial or one.serial != other.serial or one.host != other.host or one.unit is None:
        return False
    return one.profiles == other.profiles or GENERAL in (*one.profiles, *other.profiles)


GENERAL = "sunspec"  # the profile for whatever no other fits


def _rank(one: Found) -> int:
    return int(one.profiles == (GENERAL,))
