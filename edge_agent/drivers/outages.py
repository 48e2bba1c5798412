"""What the log says of a device that goes and comes back: a line for each, and one for all of it where that happens many times an hour.

A bus with a loose end fails every few polls for months: without this it would fill the journal and hide what else happens.
"""

from __future__ import annotations

import logging
from collections import deque

_OFTEN = 4  # outages within `_SPAN_S`
_SPAN_S = 3600.0
_STAYS_S = 600.0  # so long away is news, however often it went before


class Outages:
    """Those of one device. Times are monotonic."""

    def __init__(self, name: str, logger: logging.Logger) -> None:
        self._name, self._logger = name, logger
        self._began: deque[float] = deque(maxlen=_OFTEN)
        self._down = False
        self._unsteady = False  # it comes and goes, and that has been said

    def failed(self, error: str, now: float) -> None:
        """A poll failed, for the reason `error`, which names the device."""
        if self._down:
            if self._unsteady and now - self._began[-1] >= _STAYS_S:
                self._unsteady = False
                self._logger.warning("%s", error)
            return
        self._down = True
        self._began.append(now)
        if self._unsteady:
            return
        self._unsteady = len(self._began) == _OFTEN and now - self._began[0] < _SPAN_S
        more = f"; it comes and goes, {_OFTEN} times within an hour: nothing more is said until it stays" if self._unsteady else ""
        self._logger.warning("%s%s", error, more)

    def answered(self, now: float) -> None:
        """A poll was answered."""
        if self._down and not self._unsteady:
            self._logger.info("%s: answers again", self._name)
        elif not self._down and self._unsteady and now - self._began[-1] >= _SPAN_S:
            self._unsteady = False
            self._logger.info("%s: has answered for an hour without a break", self._name)
        self._down = False
