"""Stands between the polls and metering: says whether a poll can be dated, and keeps it until it can.

Its state belongs into the same transaction as what was dated by it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from edge_agent.codec.human import counted
from edge_agent.model.clock import Clock, utc_text
from edge_agent.model.measurements import Quantity, Reading, Sample
from edge_agent.timekeeping.held import Held
from edge_agent.timekeeping.trust import SETTLE_S, ClockState, Evidence, Timekeeper, Trust

log = logging.getLogger(__name__)

CLOCK = "clock"  # keys of the stored state
HELD = "held"


class Dating:
    """The clock of one shift. `stored` is what was stored under CLOCK and HELD; `newest_at` is the newest date in the queue's state."""

    def __init__(self, clock: Clock, stored: Mapping[str, Any], newest_at: float, interval_s: float, poll_s: float) -> None:
        self._clock = clock
        self.settle_s = min(SETTLE_S, interval_s)
        self._keeper = Timekeeper(clock, stored.get(CLOCK), newest_at, self.settle_s)
        self._held = Held(clock.boot_id, poll_s, stored.get(HELD))
        self._stored_held = bool(stored.get(HELD))
        self._told = self._told_step = False
        self._steps = 0
        if self._held.lost:
            log.warning("%s from before the machine restarted cannot be dated; the counters bridge that time", counted(self._held.lost, "poll"))

    def watch(self) -> bool:
        """Notices when the clock was set. Returns whether what is read now can be dated."""
        if step := self._keeper.look():
            self._steps += 1
            if not self._told_step:
                log.warning("the clock was set by %+.0f s, to %s; readings are held until it proves right", step, utc_text(self._clock.now()))
            self._told = self._told_step = True
        return self._keeper.trusted

    def interruptions(self) -> tuple[int, int]:
        """Changes when the clock is set and when the machine was suspended."""
        self.watch()
        return self._steps, round(self._clock.suspended_s())

    def judge(self, evidence: Evidence) -> Trust | None:
        """Trust, when the clock becomes worth it by this evidence."""
        trust = self._keeper.judge(evidence)
        if trust is None and not self._told:
            log.warning("the clock is not trusted: %s; readings are held until it is", self._keeper.reason)
            self._told = True
        elif trust is not None and self._told:
            held = f"; it dates {counted(len(self._held), 'poll')} held until now" if len(self._held) else ""
            log.info("the clock is trusted, by %s: it is %s%s", self._keeper.reason, utc_text(self._clock.now()), held)
            self._told = self._told_step = False
        return trust

    def hold(self, point_id: str, readings: Mapping[Quantity, Reading], sample: Sample) -> None:
        """Keeps a poll that cannot be dated."""
        self._held.keep(point_id, readings, sample)

    def release(self) -> Iterator[tuple[float, str, dict[Quantity, Reading]]]:
        """What was held, dated in UTC epoch seconds, in its order; nothing is held then."""
        return self._held.release(self._keeper.at(0.0))

    def missing(self) -> dict[str, str]:
        """Why nothing is dated now, as a reason for missing totals."""
        fact = self.state()
        return {} if fact.trusted else {"clock": f"the clock is not trusted: {fact.reason}; {counted(fact.held, 'poll')} held"}

    def state(self) -> ClockState:
        """How the clock stands, for people."""
        return self._keeper.fact(len(self._held))

    def to_store(self) -> dict[str, str]:
        """What must outlive a restart, as JSON by key."""
        stored = {CLOCK: json.dumps(self._keeper.state())}
        if len(self._held) or self._stored_held:
            stored[HELD] = json.dumps(self._held.state()) if len(self._held) else ""
            self._stored_held = bool(len(self._held))
        return stored
