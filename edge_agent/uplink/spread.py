"""When a building sends, so that a fleet does not knock at once. Pure.

Events of an interval wait for the building's own moment in the interval's first minute; what tells of a
change, or is late, does not. The backlog of an outage waits for a random moment that is the later, the longer
the outage was: it may have been the cloud's, and then the whole fleet's.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from edge_agent.outbox.rows import Queued

_SPREAD_S = 60.0
# decision: the backlog starts within a tenth of the time that uploads were away, at most an hour
_START_SHARE, _START_CAP_S = 0.1, 3600.0
# the guide's "on change": sent when it happens
_ON_CHANGE = frozenset({"CHARGING_MODE", "DEVICE_STATUS", "SWITCH_STATE", "STATE_OF_CHARGE_RATE"})


def spread_offset_s(building_id: str, interval_s: float) -> float:
    """The building's moment: stable, within the first minute or the first tenth of a shorter interval."""
    share = int.from_bytes(hashlib.sha256(building_id.encode()).digest()[:8]) / 2**64
    return share * min(_SPREAD_S, interval_s / 10)


class Spread:
    """One building's moment in each reporting interval."""

    def __init__(self, building_id: str, interval_s: float) -> None:
        self._interval_s = interval_s
        self._offset_s = spread_offset_s(building_id, interval_s)

    def held_s(self, now: float) -> float:
        """Seconds until the moment has come; 0 from then to the interval's end."""
        return max(0.0, self._offset_s - now % self._interval_s)

    def waits(self, queued: Queued, now: float) -> bool:
        """True for an event of the interval just ended, before the moment (dated by its end or by its start)."""
        of_interval = queued.at % self._interval_s == 0 and queued.names[3] not in _ON_CHANGE
        return of_interval and self.held_s(now) > 0 and queued.at >= now - 2 * self._interval_s


class BacklogStart:
    """When the backlog may go after an interruption. Drawn anew after each, so that many short ones never hold it for long."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` gives [0, 1)."""
        self._chance = chance
        self._due: float | None = None

    @property
    def drawn(self) -> bool:
        """False until the first interruption, which is the time before this start of the agent."""
        return self._due is not None

    def draw(self, away_s: float, now: float) -> None:
        """Uploads are possible again at `now` (monotonic), after `away_s` seconds."""
        start = now + self._chance() * min(_START_CAP_S, _START_SHARE * max(0.0, away_s))
        self._due = max(start, self._due or start)

    def wait_s(self, now: float) -> float:
        """Seconds until it may go; 0 from then on."""
        return max(0.0, (self._due or now) - now)
