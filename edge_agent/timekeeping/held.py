"""What is read while nobody knows what time it is: kept by the time since boot, dated when the clock is trusted.

A poll a minute of each measuring point is kept. Above `MOST` every second one goes and the resolution is halved: so
the whole time stays covered, and counters carry the energy between. It outlives a restart of the agent; what was kept
before the machine itself restarted can never be dated, and the counters bridge that time. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from edge_agent.metering.stored import DAMAGED, instant, number, text
from edge_agent.model.measurements import Quality, Quantity, Reading, Sample, Value

RESOLUTION_S = 60.0
MOST = 2000  # polls of single measuring points: three hours of a house of ten before the resolution falls
_AHEAD_S = 2.0  # a reading this much younger than its poll carries its device's own date


class Kept(NamedTuple):
    """A value, and by how many seconds it was older than its poll; or (None) its device's own date in UTC epoch seconds."""

    quantity: Quantity
    value: Value
    age_s: float | None
    at: float


class Poll(NamedTuple):
    """One poll of one measuring point, so many seconds since boot."""

    monotonic: float
    point_id: str
    values: tuple[Kept, ...]


class Held:
    """The polls of one boot of the machine, in their order. `poll_s` is the longest time from one poll to the next."""

    def __init__(self, boot_id: str, poll_s: float, stored: Any = None) -> None:
        self._boot_id = boot_id
        self._poll_s = poll_s
        self._polls: list[Poll] = []
        self._latest: dict[str, float] = {}
        self._every_s = RESOLUTION_S
        self.lost = 0  # polls of `stored` that nobody can date
        self._restore(stored)

    def __len__(self) -> int:
        return len(self._polls)

    def keep(self, point_id: str, readings: Mapping[Quantity, Reading], sample: Sample) -> None:
        """Takes a poll, where the next one might come later than the resolution after the last that was kept."""
        latest = self._latest.get(point_id)
        if latest is not None and sample.monotonic - latest < self._every_s - 1.5 * self._poll_s:
            return
        values = tuple(_kept(quantity, reading, sample.at) for quantity, reading in readings.items() if reading.value is not None)
        if not values:
            return
        self._polls.append(Poll(sample.monotonic, point_id, values))
        self._latest[point_id] = sample.monotonic
        if len(self._polls) > MOST:
            self._thin()

    def _thin(self) -> None:
        """Every second poll of each point goes; the first one stays, for energy is counted from it."""
        self._every_s *= 2
        places: dict[str, int] = {}
        kept = []
        for poll in self._polls:
            places[poll.point_id] = place = places.get(poll.point_id, -1) + 1
            if place % 2 == 0:
                kept.append(poll)
        self._polls = kept

    def release(self, offset_s: float) -> Iterator[tuple[float, str, dict[Quantity, Reading]]]:
        """Everything, dated in UTC epoch seconds, in order; nothing is held then. `offset_s` leads from the time since boot to UTC."""
        polls, self._polls, self._latest, self._every_s = self._polls, [], {}, RESOLUTION_S
        for poll in sorted(polls, key=lambda poll: poll.monotonic):
            at = poll.monotonic + offset_s
            yield (
                at,
                poll.point_id,
                {kept.quantity: Reading(kept.value, "", Quality.OK, kept.at if kept.age_s is None else at - kept.age_s) for kept in poll.values},
            )

    def state(self) -> dict[str, Any]:
        """What must outlive a restart of the agent, as JSON has it."""
        return {"boot_id": self._boot_id, "every_s": self._every_s, "polls": self._polls}

    def _restore(self, stored: Any) -> None:
        try:
            polls = [_poll(row) for row in stored["polls"]]
            if not self._boot_id or stored["boot_id"] != self._boot_id:
                self.lost = len(polls)
                return
            self._every_s, self._polls = max(RESOLUTION_S, number(stored["every_s"])), polls[:MOST]
        except DAMAGED:
            return  # nothing was held, or nothing that can be read: counters bridge it
        self._latest = {poll.point_id: poll.monotonic for poll in self._polls}


def _kept(quantity: Quantity, reading: Reading, polled_at: float) -> Kept:
    assert reading.value is not None
    age_s = polled_at - reading.at
    return Kept(quantity, reading.value, None if age_s < -_AHEAD_S else round(age_s, 3), round(reading.at, 3))


def _poll(row: Any) -> Poll:
    monotonic, point_id, values = row
    return Poll(number(monotonic), text(point_id), tuple(_value(*value) for value in values))


def _value(quantity: Any, value: Any, age_s: Any, at: Any) -> Kept:
    checked = value if isinstance(value, str | bool) else number(value)
    return Kept(Quantity(quantity), checked, None if age_s is None else number(age_s), instant(at))
