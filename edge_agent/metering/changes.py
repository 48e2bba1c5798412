"""What is reported when it changes: states, the state of charge, and whether a device can be reached at all.

What was sent last is kept, so a restart repeats nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.metering.stored import instant, number
from edge_agent.model.measurements import Change, DeviceStatus, MeterPoint, Quality, Quantity, Reading, Value

SOC_STEP_PERCENT = 1.0
# Decision: what a device without a status of its own is said to be when it can be reached again.
BACK = DeviceStatus.READY


class Changes:
    """The states of one measuring point as the cloud knows them."""

    __slots__ = ("_good_at", "_offline_after_s", "_point_id", "_read_at", "_sent", "_watched_at", "_watches")

    def __init__(self, point: MeterPoint) -> None:
        self._point_id = point.id
        self._offline_after_s = point.offline_after_s
        wanted = (Quantity.STATUS, Quantity.CHARGING_MODE, Quantity.SWITCH_ON, Quantity.SOC_PERCENT)
        self._watches = tuple(quantity for quantity in wanted if quantity in point.quantities)
        self._sent: dict[Quantity, Value] = {}
        self._read_at: dict[Quantity, float] = {}  # of the newest reading, in this process
        self._good_at: float | None = None
        self._watched_at: float | None = None

    def update(self, readings: Mapping[Quantity, Reading], good: bool, now: float) -> list[Change]:
        """One poll; `good` when any of its readings has a value."""
        found: list[Change] = []
        for quantity in self._watches:
            reading = readings.get(quantity)
            if reading is None or reading.quality is not Quality.OK or reading.value is None:
                continue
            if reading.at < self._read_at.get(quantity, reading.at):
                continue  # messages may overtake each other: an older state is no change
            self._read_at[quantity] = reading.at
            if _differs(quantity, self._sent.get(quantity), reading.value):
                found.append(self._change(quantity, reading.at, reading.value))
        if not good:
            return found + self.tick(now)
        self._good_at = self._watched_at = now
        if self._sent.get(Quantity.STATUS) == DeviceStatus.OFFLINE:
            found.append(self._change(Quantity.STATUS, now, BACK.value))
        return found

    def tick(self, now: float) -> list[Change]:
        """Calls the device offline once it has been silent for long enough while somebody listened."""
        if self._good_at is None or self._watched_at is None or self._good_at > now or now - self._watched_at > self._offline_after_s:
            self._good_at = now
        self._watched_at = now
        if now - self._good_at < self._offline_after_s or self._sent.get(Quantity.STATUS) == DeviceStatus.OFFLINE:
            return []
        return [self._change(Quantity.STATUS, now, DeviceStatus.OFFLINE.value)]

    def silent_since(self, now: float) -> float | None:
        """Since when the device counts as unreachable, in UTC epoch seconds; None while it answers."""
        silent = self._good_at is not None and now - self._good_at >= self._offline_after_s
        return self._good_at if silent else None

    def _change(self, quantity: Quantity, at: float, value: Value) -> Change:
        self._sent[quantity] = value
        return Change(self._point_id, quantity, at, value)

    def shift(self, offset_s: float) -> None:
        """Re-dates everything: the wall clock was set by that many seconds."""
        self._read_at = {quantity: at + offset_s for quantity, at in self._read_at.items()}
        if self._good_at is not None:
            self._good_at += offset_s
        if self._watched_at is not None:
            self._watched_at += offset_s

    def forget_future(self, now: float) -> None:
        """Nothing was heard later than `now`, whatever a wrong clock said."""
        self._read_at = {quantity: min(at, now) for quantity, at in self._read_at.items()}
        if self._good_at is not None and self._watched_at is not None:
            self._good_at, self._watched_at = min(self._good_at, now), min(self._watched_at, now)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        return {"sent": {quantity.value: value for quantity, value in self._sent.items()}, "good_at": self._good_at, "watched_at": self._watched_at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken."""
        self._sent = {Quantity(quantity): value if isinstance(value, str | bool) else number(value) for quantity, value in state["sent"].items()}
        self._good_at, self._watched_at = (None if state[key] is None else instant(state[key]) for key in ("good_at", "watched_at"))


def _differs(quantity: Quantity, sent: Value | None, value: Value) -> bool:
    if quantity is not Quantity.SOC_PERCENT or not isinstance(sent, int | float) or not isinstance(value, int | float):
        return sent != value
    return abs(value - sent) >= SOC_STEP_PERCENT or (value != sent and value in (0, 100))
