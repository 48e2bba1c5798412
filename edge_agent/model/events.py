"""An event as it waits in the queue: typed, without the ids of customer and building (added at sending)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Merging = Literal["sum", "mean", "last"]


@dataclass(frozen=True, slots=True)
class Event:
    """One value for the cloud. `source` and `type` are the cloud's words, put there by `cloud/mapping.py`."""

    device_id: str
    device_name: str
    source: str  # the device type, e.g. GATEWAY
    type: str  # the event type, which implies the unit
    value: float
    at: int  # UTC epoch seconds


@dataclass(frozen=True, slots=True)
class QueueRules:
    """What the queue must know of the cloud's words, which `cloud/queue_rules.py` owns."""

    remembered: frozenset[tuple[str, str]] = frozenset()  # source and type of the events whose values are kept once the cloud has them
    merged: Mapping[str, Merging] = field(default_factory=lambda: MappingProxyType({}))  # how an hour's events of a type become one; others never do
    at_start: frozenset[str] = frozenset()  # the types dated by their interval's start


NO_RULES = QueueRules()
