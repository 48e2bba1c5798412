"""The simulated house by the clock, and what had flowed at each moment that is worth comparing later."""

from __future__ import annotations

from edge_agent.demo.house import Flows, House
from edge_agent.model.clock import Clock

NOTE_EVERY_S = 10
_KEEP_FIRST_S = _KEEP_LAST_S = 4 * 3600  # of a demo that runs for weeks only both ends are compared


class Ledger:
    """Hands out the house as it is now, and keeps its totals every ten seconds of its own time."""

    def __init__(self, house: House, clock: Clock) -> None:
        self._house = house
        self._clock = clock
        self._begin = house.at
        self._noted: dict[int, Flows] = {}

    def now(self) -> House:
        """The house, having lived until now."""
        to = self._clock.now()
        while (mark := self._house.at - self._house.at % NOTE_EVERY_S + NOTE_EVERY_S) <= to:
            self._house.advance(mark)
            self._noted[mark] = self._house.totals
            if (old := mark - _KEEP_LAST_S) > self._begin + _KEEP_FIRST_S:
                self._noted.pop(old, None)
        self._house.advance(to)
        return self._house

    def __len__(self) -> int:
        return len(self._noted)

    def totals(self, at: int) -> Flows:
        """What had flowed until `at` (epoch seconds, rounded to ten); the nearest end when that is not known."""
        mark = min(max(at - at % NOTE_EVERY_S, next(iter(self._noted), at)), self._house.at)
        return self._noted.get(mark, self._house.totals)
