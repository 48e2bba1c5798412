"""Judges the wall clock by what is known about it, and dates by the time since boot. Pure but for the `Clock` it is given.

Decisions:

- A clock that a time service has set is believed. While a service runs that has not set it, nobody believes it,
  except an RTC that ran through the power cut and agrees, after ten minutes without the service.
- Where no service is to be seen (a container, a machine with an RTC alone), the clock is taken as it is.
- No clock is believed that is behind the program's own date or the newest stored reading. One that a service has
  set over an hour behind what is stored is believed after a quarter of an hour: then the stored dates are wrong.
- A clock once believed stays so for as long as the machine runs and the clock makes no step, also over a restart
  of the agent. A step is believed when the new time has stood for a minute and the rest holds, too.
- A step forward of a clock that a service had set is time in which the machine stood still. Any other step
  shows that the time before it was wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_agent.metering.counters import AHEAD_S
from edge_agent.metering.stored import DAMAGED, instant, number, text
from edge_agent.model.clock import EARLIEST_AT, Clock, utc_text

STEP_S = 2.0  # wall and boot time further apart than this between two looks: the clock was set
SETTLE_S = 60.0
GRACE_S = 600.0
PATIENCE_S = 900.0
_SET_IT = "set it, or let systemd-timesyncd or chrony set it"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the machine says about its clock. `synchronised` is None where nobody is to be seen who sets it."""

    synchronised: bool | None
    source: str
    rtc_agrees: bool = False  # with the wall clock, and the machine's clock was set from it at boot
    not_before: float = EARLIEST_AT  # UTC epoch seconds


NOBODY = Evidence(None, "no time service")


@dataclass(frozen=True, slots=True)
class ClockState:
    """How the clock stands, for people. Seconds are those since boot, but `says` is UTC in epoch seconds."""

    trusted: bool
    reason: str  # who set it, or why it is not trusted
    since_s: float  # for how long it has been so
    says: float
    offset_s: float | None  # from the time since boot to UTC, while it is trusted
    boot_id: str
    held: int = 0  # readings that wait for their date


@dataclass(frozen=True, slots=True)
class Trust:
    """The clock is trusted from now on. What was dated before by it was `wrong_by_s` too early."""

    wrong_by_s: float


class Timekeeper:
    """One machine's clock. `stored` is what `state()` gave before; `newest_at` is the newest date that is stored."""

    def __init__(self, clock: Clock, stored: Any, newest_at: float, settle_s: float = SETTLE_S) -> None:
        self._clock = clock
        self._settle_s = settle_s
        self._newest_at = newest_at
        self._seen = self._now_offset()  # at the last look
        self._believed: float | None = None  # the offset from the time since boot to UTC that was trusted last, in this boot
        self._by_service, self._source = False, ""  # who set it
        self._since = self._stands_since = clock.monotonic()
        self.trusted = False
        self.reason = "nobody has been asked about it yet"
        self._restore(stored)

    def _now_offset(self) -> float:
        return self._clock.now() - self._clock.monotonic()

    def at(self, monotonic: float) -> float:
        """The UTC of a moment of this boot, in epoch seconds; while the clock is not trusted, by what it says now."""
        return monotonic + self._seen

    def look(self) -> float:
        """Compares wall and boot time. Returns by how much the clock was set since the last look, 0.0 if it was not."""
        offset = self._now_offset()
        step, self._seen = offset - self._seen, offset
        if abs(step) <= STEP_S:
            if self.trusted:
                self._believed = offset
            return 0.0
        self._stands_since = self._clock.monotonic()
        if self.trusted:
            self._become(False, f"the clock was set by {step:+.0f} s")
        return step

    def judge(self, evidence: Evidence) -> Trust | None:
        """What the evidence makes of a clock that is not trusted: trust, or None and a new `reason`."""
        self.look()
        before, offset = self._believed, self._seen
        if before is not None and abs(offset - before) <= STEP_S:
            self._become(True, self._source)
            return Trust(0.0)
        stands_s = self._clock.monotonic() - self._stands_since
        self.reason = self._doubt(evidence, stands_s)
        if not self.reason and before is not None and stands_s < self._settle_s:
            self.reason = f"the clock was set by {offset - before:+.0f} s; it is watched whether it stays"
        if self.reason:
            return None
        paused = before is not None and self._by_service and offset > before
        self._believed, self._by_service, self._source = offset, bool(evidence.synchronised), evidence.source
        self._newest_at = min(self._newest_at, self._clock.now())
        self._become(True, evidence.source)
        return Trust(0.0 if before is None or paused else offset - before)

    def _doubt(self, evidence: Evidence, stands_s: float) -> str:
        now = self._clock.now()
        says = f"it says {utc_text(now)}"
        waited_s = self._clock.monotonic() - self._since
        by_rtc = evidence.rtc_agrees and waited_s >= GRACE_S
        if now < evidence.not_before:
            return f"{says}, and this program is newer; {_SET_IT}"
        if evidence.synchronised is False and not by_rtc:
            return f"{evidence.source} has not set it yet; {says}; can its time servers be reached (UDP port 123)?"
        if now >= self._newest_at:
            return ""
        sure = evidence.synchronised or by_rtc
        if sure and self._newest_at - now > AHEAD_S and stands_s >= PATIENCE_S:
            return ""
        return f"{says}, and what is stored is newer: from {utc_text(self._newest_at)}; {_SET_IT}"

    def _become(self, trusted: bool, reason: str) -> None:
        self.trusted, self.reason, self._since = trusted, reason, self._clock.monotonic()

    def fact(self, held: int) -> ClockState:
        """How the clock stands, while so many readings are held."""
        since_s = self._clock.monotonic() - self._since
        offset = self._believed if self.trusted else None
        return ClockState(self.trusted, self.reason, since_s, self._clock.now(), offset, self._clock.boot_id, held)

    def state(self) -> dict[str, Any]:
        """What must outlive a restart, to be stored with what is dated by this clock."""
        if self.trusted:
            self._newest_at = max(self._newest_at, self._clock.now())
        return {
            "boot_id": self._clock.boot_id,
            "offset_s": self._believed,
            "by_service": self._by_service,
            "source": self._source,
            "newest_at": self._newest_at,
        }

    def _restore(self, stored: Any) -> None:
        """A clock that was trusted since this boot needs no judgement again, if it has made no step."""
        try:
            self._newest_at = max(self._newest_at, instant(stored["newest_at"]))
            if stored["offset_s"] is None or not stored["boot_id"] or stored["boot_id"] != self._clock.boot_id:
                return
            self._believed, self._by_service, self._source = number(stored["offset_s"]), bool(stored["by_service"]), text(stored["source"])
        except DAMAGED:
            return  # nothing is known: the clock is judged anew
