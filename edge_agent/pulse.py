"""Signs of life of the agent's loops: each says by when it will turn again, and the watchdog is fed while all keep their word.

A loop that hangs raises nothing and logs nothing; that it has missed its own time is all that can be known of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Pulse:
    """The times by which loops will have turned again; in seconds of a clock that stands while the machine is suspended."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due: dict[str, float] = {}

    def beat(self, loop: str, within_s: float) -> None:
        """The loop turns now, and will again within so many seconds."""
        self._due[loop] = self._now() + within_s

    def late(self) -> list[str]:
        """The loops that should have turned by now."""
        now = self._now()
        return sorted(loop for loop, due in self._due.items() if due < now)
