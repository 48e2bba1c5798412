"""How fast the backlog leaves and how long it will take, for people. Pure."""

from __future__ import annotations

_WEIGHT = 0.2  # of the newest part: an estimate that is steady, but follows a line that becomes slow within some parts


class Progress:
    """The pace of the backlog's parts that were accepted."""

    def __init__(self) -> None:
        self.events_per_s: float | None = None

    def note(self, events: int, seconds: float) -> None:
        """So many events were accepted and settled, so long after they were begun."""
        pace = events / max(seconds, 0.001)
        self.events_per_s = pace if self.events_per_s is None else self.events_per_s + _WEIGHT * (pace - self.events_per_s)
