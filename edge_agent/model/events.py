"""An event as it waits in the queue: typed, without the ids of customer and building (added at sending)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One value for the cloud. `source` and `type` are the cloud's words, put there by `cloud/mapping.py`."""

    device_id: str
    device_name: str
    source: str  # the device type, e.g. GATEWAY
    type: str  # the event type, which implies the unit
    value: float
    at: int  # UTC epoch seconds
