"""Codes that a device says and its profile does not know: told to people once each, never guessed, never sent."""

from __future__ import annotations

from edge_agent.model.measurements import Quality, Sample

MOST = 20  # of one device: one that says ever new ones does not fill the log


class UnknownValues:
    """What has been told, by device."""

    def __init__(self) -> None:
        self._told: dict[str, set[tuple[str, str]]] = {}

    def new_in(self, sample: Sample) -> list[str]:
        """What is unknown in a sample and has not been told yet, in words with the raw value."""
        told = self._told.setdefault(sample.device_id, set())
        found = []
        for point, reading in sample.readings.items():
            if reading.quality is not Quality.UNKNOWN or (point, reading.reason) in told or len(told) >= MOST:
                continue
            told.add((point, reading.reason))
            raw = f" (raw {reading.raw_text[:80]})" if reading.raw else ""
            found.append(f"{sample.device_id}: {point}: {reading.reason}{raw}; it is not sent. Please report it, so that the profile can learn it")
        return found
