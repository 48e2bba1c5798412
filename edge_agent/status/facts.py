"""What is remembered of each device's polls, so that anybody who asks hears it without asking the device again."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.model.measurements import Sample


@dataclass(slots=True)
class DeviceFacts:
    """One device since the site file was read. `failing_since` is monotonic."""

    sample: Sample | None = None
    read_at: float | None = None  # UTC epoch seconds: when its newest value was true
    reads: int = 0
    failures: int = 0
    round_trips_s: float = 0.0  # of the polls that were answered
    failing_since: float | None = None
    polled_at: float | None = None  # monotonic: when the newest poll ended

    def note(self, sample: Sample, now: float) -> None:
        """Takes a poll's sample at `now` (monotonic)."""
        self.sample, self.polled_at = sample, now
        self.reads += 1
        newest = max((reading.at for reading in sample.readings.values() if reading.value is not None), default=None)
        if newest is not None:
            self.read_at = newest
        if sample.error:
            self.failures += 1
            self.failing_since = now if self.failing_since is None else self.failing_since
        else:
            self.round_trips_s += sample.round_trip_s
            self.failing_since = None
