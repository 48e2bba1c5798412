"""What is reported when it changes: states, the state of charge, and whether a device can be reached at all.

What was reported last is kept over a restart, and told once more after it: whoever listens may have missed
something meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from edge_agent.metering.stored import instant, number
from edge_agent.model.measurements import Change, DeviceStatus, MeterPoint, Quality, Quantity, Reading, Value

# Decisions
SOC_STEP_PERCENT = 1.0
SOC_TURN_S = 300.0  # one that turns by less than two steps is reported when that has stood so long: whole percents flicker
DEBOUNCE_S = 5.0  # a changed state is reported once a poll this much later sees it, too; it is dated when it was first seen
RESTATE_S = 86_400.0  # what does not change is told again once a day
BACK = DeviceStatus.READY  # what a device without a status of its own is said to be when it can be reached again


class _New(NamedTuple):
    """A state that differs from the reported one: since when it is true, and when it was first seen."""

    value: Value
    at: float
    seen_at: float


class Changes:
    """The states of one measuring point as the cloud knows them."""

    __slots__ = (
        "_back_at",
        "_good_at",
        "_new",
        "_offline_after_s",
        "_point_id",
        "_read_at",
        "_sent",
        "_sent_at",
        "_soc_by",
        "_watched_at",
        "_watches",
    )

    def __init__(self, point: MeterPoint) -> None:
        self._point_id = point.id
        self._offline_after_s = point.offline_after_s
        wanted = (Quantity.STATUS, Quantity.CHARGING_MODE, Quantity.SWITCH_ON, Quantity.SOC_PERCENT)
        self._watches = tuple(quantity for quantity in wanted if quantity in point.quantities)
        self._sent: dict[Quantity, Value] = {}
        self._sent_at: dict[Quantity, float] = {}  # in this process
        self._new: dict[Quantity, _New] = {}
        self._read_at: dict[Quantity, float] = {}  # of the newest reading, in this process
        self._soc_by = 0.0  # percent by which the reported state of charge moved last, in this process
        self._good_at: float | None = None
        self._back_at: float | None = None  # since when a device that was called offline answers again
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
            found += self._stated(quantity, reading.value, reading.at, now)
        if not good:
            return found + self.tick(now)
        self._good_at = self._watched_at = now
        return found + self._back(now)

    def _stated(self, quantity: Quantity, value: Value, at: float, now: float) -> list[Change]:
        """Reports a value that is news: at once after a restart, a silence or a day, else when it has stood for a while."""
        told_at = self._sent_at.get(quantity, now - RESTATE_S)
        if not _differs(quantity, self._sent.get(quantity), value):
            self._new.pop(quantity, None)
            return [self._change(quantity, now, value, now)] if now - told_at >= RESTATE_S else []
        if quantity not in self._sent_at or self._sent.get(quantity) == DeviceStatus.OFFLINE:
            return [self._change(quantity, at, value, now)]
        if quantity is Quantity.SOC_PERCENT:
            return self._charged(float(value), at, now)
        new = self._new.get(quantity)
        if new is None or new.value != value:
            self._new[quantity] = _New(value, at, now)
            return []
        return [self._change(quantity, new.at, value, now)] if now - new.seen_at >= DEBOUNCE_S else []

    def _charged(self, percent: float, at: float, now: float) -> list[Change]:
        """Reports a state of charge that moved: at once, but where it turns by little, when that has stood for a while."""
        quantity = Quantity.SOC_PERCENT
        by = percent - float(self._sent[quantity])
        if by * self._soc_by < 0 and abs(by) < 2 * SOC_STEP_PERCENT:
            new = self._new.setdefault(quantity, _New(percent, at, now))
            if now - new.seen_at < SOC_TURN_S:
                return []
        self._soc_by = by
        return [self._change(quantity, at, percent, now)]

    def _back(self, now: float) -> list[Change]:
        """A device that answers again is not offline, even when it tells no status: for one that has some, it is waited for."""
        if self._sent.get(Quantity.STATUS) != DeviceStatus.OFFLINE:
            self._back_at = None
            return []
        self._back_at = now if self._back_at is None else self._back_at
        if Quantity.STATUS in self._watches and now - self._back_at < self._offline_after_s:
            return []
        return [self._change(Quantity.STATUS, self._back_at, BACK.value, now)]

    def tick(self, now: float) -> list[Change]:
        """Calls the device offline once it has been silent for long enough while somebody listened."""
        if self._good_at is None or self._watched_at is None or self._good_at > now or now - self._watched_at > self._offline_after_s:
            self._good_at = now
        self._watched_at = now
        if now - self._good_at < self._offline_after_s:
            return []
        self._back_at = None
        if self._sent.get(Quantity.STATUS) == DeviceStatus.OFFLINE and now - self._sent_at.get(Quantity.STATUS, now - RESTATE_S) < RESTATE_S:
            return []
        return [self._change(Quantity.STATUS, now, DeviceStatus.OFFLINE.value, now)]

    def silent_since(self, now: float) -> float | None:
        """Since when the device counts as unreachable, in UTC epoch seconds; None while it answers."""
        silent = self._good_at is not None and now - self._good_at >= self._offline_after_s
        return self._good_at if silent else None

    def _change(self, quantity: Quantity, at: float, value: Value, now: float) -> Change:
        self._sent[quantity], self._sent_at[quantity] = value, now
        self._new.pop(quantity, None)
        return Change(self._point_id, quantity, at, value)

    def shift(self, offset_s: float) -> None:
        """Re-dates everything: the wall clock was set by that many seconds."""
        self._read_at = {quantity: at + offset_s for quantity, at in self._read_at.items()}
        self._sent_at = {quantity: at + offset_s for quantity, at in self._sent_at.items()}
        self._new = {quantity: _New(new.value, new.at + offset_s, new.seen_at + offset_s) for quantity, new in self._new.items()}
        if self._good_at is not None:
            self._good_at += offset_s
        if self._back_at is not None:
            self._back_at += offset_s
        if self._watched_at is not None:
            self._watched_at += offset_s

    def forget_future(self, now: float) -> None:
        """Nothing was heard later than `now`, whatever a wrong clock said."""
        self._read_at = {quantity: min(at, now) for quantity, at in self._read_at.items()}
        self._sent_at = {quantity: min(at, now) for quantity, at in self._sent_at.items()}
        self._new = {quantity: new for quantity, new in self._new.items() if max(new.at, new.seen_at) <= now}
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
