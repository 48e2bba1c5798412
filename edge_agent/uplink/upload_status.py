"""How uploads stand, for people and the agent's socket."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """How uploads stand, for people. Instants are UTC epoch seconds, counts are since this start of the agent."""

    at: float
    state: str  # "running", or why it waits
    refused: bool  # it waits because the cloud refuses the credentials or all events
    accepted_at: float | None
    next_try_at: float | None
    in_flight: int
    suspects: int
    failing: int
    batch_size: int
    accepted_live: int
    accepted_historical: int
    buried: int
    stopped_at: float | None  # since when uploads have been failing
    backlog_starts_at: float | None  # the random moment after an interruption, while the backlog waits for it
    events_per_s: float | None  # the backlog's pace; None until a part of it was accepted
    calls: int  # with events, answered or not
    calls_s: float  # how long all of them took together

    def time_left_s(self, waiting: int) -> float | None:
        """Seconds until so many waiting events are delivered; None where nobody can say."""
        return waiting / self.events_per_s if self.events_per_s and self.stopped_at is None else None

    def as_answer(self, waiting: int) -> dict[str, Any]:
        """The same as JSON, with the time that so many waiting events need."""
        return asdict(self) | {"time_left_s": self.time_left_s(waiting)}
