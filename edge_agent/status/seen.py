"""What the agent has seen since the site file was read, for whoever asks: polls, intervals, and the charts' history if there is a page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_agent.model.measurements import EnergyInterval, MeterPoint, Outcome, Sample
from edge_agent.profiles.meaning import Meaning, measurements
from edge_agent.status.document import Intervals
from edge_agent.status.facts import DeviceFacts
from edge_agent.status.flow import Readings, flow
from edge_agent.status.history import History

HISTORY_STATE = "history"  # its key in the queue's state
_NOTE_S = 5.0  # at least between two flows in the history


class Seen:
    """All of it. Knows no loop and no disk: it is told, and asked."""

    def __init__(self, rows: Mapping[str, tuple[Meaning, ...]], history: History | None = None) -> None:
        """`rows`: the devices with their meanings; `history`: None where nobody will look at charts."""
        self._rows = rows
        self.devices = {device: DeviceFacts() for device in rows}
        self.intervals = Intervals(known=0, absent=0)
        self.history = history
        self._noted_at = float("-inf")

    def sample(self, device: str, sample: Sample, monotonic: float) -> None:
        """A poll of a device."""
        self.devices[device].note(sample, monotonic)

    def outcomes(self, outcomes: Sequence[Outcome], points: Mapping[str, MeterPoint]) -> None:
        """What metering found."""
        for outcome in outcomes:
            if isinstance(outcome, EnergyInterval):
                self.intervals["known" if outcome.energy_wh is not None else "absent"] += 1
        if self.history is not None:
            self.history.take(outcomes, points)

    def look(self, points: Iterable[MeterPoint], now: float, monotonic: float) -> None:
        """Notes the flow for the charts; call it with each round of polls."""
        if self.history is not None and monotonic - self._noted_at >= _NOTE_S:
            self._noted_at = monotonic
            self.history.note(flow(list(points), self.readings(), now), now)

    def readings(self) -> Readings:
        """The newest readings of all measuring points."""
        found: dict[str, Any] = {}
        for device, facts in self.devices.items():
            if facts.sample is not None:
                found |= measurements(self._rows[device], facts.sample)
        return found

    def clock_was_set(self, now: float) -> None:
        """What the clock from before dated ahead of `now` is forgotten."""
        if self.history is not None:
            self.history.forget_future(now)

    def to_store(self, everything: bool) -> dict[str, str]:
        """The history for the queue's state, once an interval is new in it; `everything`: what is open, too."""
        if self.history is None or not (self.history.unstored or everything):
            return {}
        return {HISTORY_STATE: json.dumps(self.history.state())}

    def stored(self) -> None:
        """What `to_store` gave is on disk."""
        if self.history is not None:
            self.history.unstored = False
