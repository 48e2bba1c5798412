"""When to try again: back-off with full jitter, by what went wrong. Knows no event and no socket.

Where nobody was reached the cap is small, so that uploads go on within two seconds of the network's return;
a cloud that answers but fails is left in peace for up to five minutes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edge_agent.model.clock import Clock

log = logging.getLogger(__name__)


class Cause(Enum):
    """Why uploads wait."""

    UNREACHED = "nobody reached"  # no network, no DNS, nobody listens
    FAILED = "cloud fails"  # an answer of 500 or 429, a time-out, a web page
    REFUSED = "refused"  # nothing of the building is accepted
    CREDENTIALS = "credentials refused"
    STORAGE = "queue unusable"  # the queue's own file


@dataclass(frozen=True, slots=True)
class Pace:
    """The first wait is up to `base_s`, each further one up to twice as long, none above `cap_s`."""

    base_s: float
    cap_s: float


PACES = {
    Cause.UNREACHED: Pace(0.5, 2.0),
    Cause.FAILED: Pace(1.0, 300.0),
    Cause.REFUSED: Pace(1.0, 300.0),
    Cause.CREDENTIALS: Pace(5.0, 300.0),
    Cause.STORAGE: Pace(1.0, 60.0),
}


class Gate:
    """Open, or closed until an instant. After a failure only one attempt passes at a time, until one succeeds."""

    def __init__(self, clock: Clock, chance: Callable[[], float] = random.random, subject: str = "uploads") -> None:
        """`chance` gives [0, 1): the jitter. `subject` begins the two log lines."""
        self._clock = clock
        self._subject = subject
        self._chance = chance
        self._failures: dict[Cause, int] = {}
        self._closed_until = 0.0
        self._since = 0.0
        self.reason = ""
        self.cause: Cause | None = None
        self.proven = False  # True once an attempt has succeeded
        self._said: set[Cause] = set()

    @property
    def doubtful(self) -> bool:
        """True from a failure until the next success."""
        return self.cause is not None

    @property
    def stopped(self) -> bool:
        """True when uploads count as stopped: more than one failure, or one that another attempt does not mend."""
        return bool(self._said)

    @property
    def lasted_s(self) -> float:
        """Seconds since the first failure; 0 when open."""
        return self._clock.monotonic() - self._since if self.doubtful else 0.0

    @property
    def wait_s(self) -> float:
        """Seconds until the next attempt may pass; 0 when open."""
        return max(0.0, self._closed_until - self._clock.monotonic()) if self.doubtful else 0.0

    def fail(self, cause: Cause, reason: str, waiting: str = "", retry_after_s: float | None = None) -> None:
        """Closes the gate for a while: as long as the cloud asks, else by the cause's pace. `waiting` ends the log line."""
        pace, now = PACES[cause], self._clock.monotonic()
        together = cause is self.cause and self.wait_s > 0  # several calls were under way: they failed as one
        count = self._failures.get(cause, 0) - together
        self._failures[cause] = count + 1
        delay = self._chance() * min(pace.cap_s, pace.base_s * 2.0 ** min(count, 20))
        if retry_after_s is not None:
            delay = max(delay, retry_after_s + self._chance() * pace.base_s)
        if not self.doubtful:
            self._since = now
        self._closed_until = max(self._closed_until, now + delay) if together else now + delay
        self.reason, self.cause = reason, cause
        if (sum(self._failures.values()) > 1 or cause is Cause.CREDENTIALS) and cause not in self._said:
            log.warning("%s: stopped: %s%s", self._subject, reason, waiting)
            self._said.add(cause)

    def succeed(self) -> None:
        """Opens the gate."""
        self.proven = True
        if not self.doubtful:
            return
        if self._said:
            log.info("%s: going on after %.0f s", self._subject, self.lasted_s)
        self._failures, self.cause, self._said, self.reason = {}, None, set(), ""
