"""The rules of one energy counter: what a new reading adds, and which readings are not believed yet.

A counter only grows. What does not look like growth is either a known way to fall (a wrap, a daily reset,
a step of jitter) or it is doubted: nothing is counted until the doubted level has either gone away again or
stayed long enough to be the new truth. A doubt delays an interval; believing a wrong level would spoil it.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from edge_agent.metering.stored import instant, number
from edge_agent.model.measurements import Counter, CounterKind

LIMIT_WH = 1_000_000.0  # more than this in one step is believed only when it stays: it is rather another meter
STALL_S = 900.0  # a counter may catch up with so long a standstill in one jump that stays: some devices renew theirs every few minutes,
RARE_STALL_S = 3600.0  # those that move rarely: chargers count at a session's end,
COARSE_WH = 100.0  # and a counter of this step or a larger one
CONFIRM_READINGS = 3
CONFIRM_S = 60.0
CONFIRM_ZERO_S = 600.0  # a device that starts cold may read 0 for minutes before it knows its lifetime counter
GAP_S = 60.0
# Decision: what is dated up to an hour ahead of now waits for its time to come again, so that no end is sent twice;
# what is dated further ahead was dated by a wrong clock: it begins anew, for nothing may stay frozen.
AHEAD_S = 3600.0


class Step(NamedTuple):
    """Energy from the step before up to `at`, in Wh; None: it cannot be known."""

    at: float
    energy_wh: float | None
    note: str = ""


class Doubt(NamedTuple):
    """A level that is not believed yet, from its first reading to its latest."""

    first_at: float
    first_wh: float
    at: float
    wh: float
    readings: int


class CounterTrack:
    """The last believed reading of a counter (its high-water mark) and a doubt, if there is one.

    A rise over a longer silence than `gap_s` seconds, and than the one before it, has to stay, if it is more than can
    flow in those: a line may come back with the answer of another meter. A counter that starts again each day does so at
    midnight of `time_zone`; over a midnight that nobody read for longer than `gap_s`, nobody knows what it counted.
    """

    __slots__ = (
        "_counter",
        "_doubt",
        "_doubted_here",
        "_gap_s",
        "_moved_at",
        "_read_here",
        "_rhythm_s",
        "_slack_wh",
        "_stall_s",
        "_time_zone",
        "at",
        "wh",
    )

    def __init__(self, counter: Counter, gap_s: float = GAP_S, time_zone: tzinfo = UTC) -> None:
        self._counter = counter
        self._gap_s = gap_s
        self._time_zone = time_zone
        self._slack_wh = 2 * counter.step_wh
        rare = counter.kind is CounterKind.SESSION or counter.step_wh >= COARSE_WH
        self._stall_s = RARE_STALL_S if rare else STALL_S
        self.at: float | None = None  # UTC epoch seconds
        self.wh = 0.0
        self._rhythm_s = 0.0  # between the two readings that were believed last, in this process
        self._moved_at = 0.0  # the counter last grew after this, and before the next reading
        self._doubt: Doubt | None = None
        self._read_here = self._doubted_here = False  # since `restore`, so by the clock that `shift` speaks of

    def feed(self, at: float, wh: float) -> tuple[Step, ...]:
        """What a reading adds: nothing while it is doubted, else a step up to `at` (two when a doubt ends)."""
        if self.at is None:
            return self._believe(at, wh, None, "")
        if at <= self.at:
            return ()
        grown = wh - self.wh
        read_at = self.at if self._doubt is None else self._doubt.at
        if self._counter.kind is CounterKind.DAILY and at - read_at > self._gap_s and self._day(at) != self._day(read_at):
            return self._believe(at, wh, None, "a counter that starts again each day was silent over midnight")
        if 0.0 <= grown <= self._possible_wh(at, max(self.at, at - max(self._gap_s, self._rhythm_s))):
            return self._believe(at, wh, grown, "")
        if grown < 0.0:
            return self._fallen(at, wh, grown)
        return self._doubted(at, wh)

    def _day(self, at: float) -> int:
        return datetime.fromtimestamp(at, self._time_zone).toordinal()

    def _possible_wh(self, at: float, since: float) -> float:
        return min(self._counter.most_w * (at - since) / 3600, LIMIT_WH) + self._counter.step_wh

    def _unseen_wh(self, doubt: Doubt) -> float:
        """What a level that has stayed may hold of the time in which the counter stood still."""
        assert self.at is not None
        stood_s = min(doubt.first_at - self._moved_at, self._stall_s)
        return self._possible_wh(doubt.first_at, min(self.at, doubt.first_at - stood_s))

    def _believe(self, at: float, wh: float, energy_wh: float | None, note: str) -> tuple[Step, ...]:
        if energy_wh != 0.0:
            grown_at = at if self._doubt is None else self._doubt.first_at
            self._moved_at = grown_at if self.at is None else max(self.at, grown_at - self._gap_s)
        self._rhythm_s = 0.0 if self.at is None else at - self.at
        self.at, self.wh, self._doubt, self._read_here = at, wh, None, True
        return (Step(at, energy_wh, note),)

    def _fallen(self, at: float, wh: float, grown: float) -> tuple[Step, ...]:
        assert self.at is not None
        counter, restarts = self._counter, self._counter.kind is not CounterKind.LIFETIME
        if -grown <= self._slack_wh and not (restarts and wh < self.wh / 2):
            return self._believe(at, self.wh, 0.0, "")  # jitter: the high-water mark stays
        if counter.wrap_wh and self.wh > 0.75 * counter.wrap_wh and wh < 0.25 * counter.wrap_wh:
            wrapped = counter.wrap_wh + grown
            if wrapped <= self._possible_wh(at, self.at):
                return self._believe(at, wh, wrapped, "")
        if restarts and 0.0 < wh <= self._possible_wh(at, self.at):
            return self._believe(at, wh, wh, f"the counter fell from {self.wh:g} to {wh:g} Wh and counts from 0")
        return self._doubted(at, wh)

    def _doubted(self, at: float, wh: float) -> tuple[Step, ...]:
        doubt = self._doubt
        if doubt is not None and at <= doubt.at:
            return ()
        self._doubted_here = True
        if doubt is None or not self._goes_on(doubt, at, wh):
            self._doubt = Doubt(at, wh, at, wh, 1)
            return ()
        self._doubt = doubt = Doubt(doubt.first_at, doubt.first_wh, at, max(wh, doubt.wh), doubt.readings + 1)
        patience = CONFIRM_ZERO_S if doubt.wh == 0 and self._counter.kind is CounterKind.LIFETIME else CONFIRM_S
        if doubt.readings < CONFIRM_READINGS or at - doubt.first_at < patience:
            return ()
        return self._new_level(doubt)

    def _goes_on(self, doubt: Doubt, at: float, wh: float) -> bool:
        """Whether the doubted level stays or grows. It may be one of a device that renews it now and then, so each reading alone may leap."""
        return wh - doubt.wh >= -self._slack_wh and wh - doubt.first_wh <= self._possible_wh(at, min(doubt.first_at, at - self._gap_s))

    def _new_level(self, doubt: Doubt) -> tuple[Step, ...]:
        """The doubted level is the truth: energy counts from its first reading on, or up to it where that is possible."""
        unseen_wh = self._unseen_wh(doubt)
        if 0.0 <= doubt.first_wh - self.wh <= unseen_wh:
            return self._believe(doubt.at, doubt.wh, doubt.wh - self.wh, "")
        fell = doubt.first_wh < self.wh
        note = f"the counter {'fell' if fell else 'jumped'} from {self.wh:g} to {doubt.first_wh:g} Wh and counts on from there"
        from_zero = fell and self._counter.kind is not CounterKind.LIFETIME and doubt.first_wh <= unseen_wh
        self._believe(doubt.at, doubt.wh, doubt.wh - doubt.first_wh, "")
        return (Step(doubt.first_at, doubt.first_wh if from_zero else None, note), Step(doubt.at, doubt.wh - doubt.first_wh, ""))

    def shift(self, offset_s: float) -> None:
        """Re-dates what was read since `restore`: the wall clock was set by that many seconds."""
        if self.at is not None and self._read_here:
            self.at += offset_s
            self._moved_at += offset_s
        if (doubt := self._doubt) is not None and self._doubted_here:
            self._doubt = doubt._replace(first_at=doubt.first_at + offset_s, at=doubt.at + offset_s)

    def forget_future(self, now: float) -> None:
        """What is dated too far ahead of `now` was read at an unknown time: its level is the baseline from now on."""
        if self.at is not None and self.at > now + AHEAD_S:
            self.at = self._moved_at = now
            self._doubt, self._read_here = None, True
        if self._doubt is not None and self._doubt.at > now + AHEAD_S:
            self._doubt = None

    def begin_anew(self) -> None:
        """Another counter is read from now on: nothing is counted across."""
        self.at, self._doubt = None, None

    def state(self) -> list[Any]:
        """What `restore` takes, as JSON has it."""
        return [self.at, self.wh, self._moved_at, list(self._doubt) if self._doubt else None]

    def restore(self, state: list[Any]) -> None:
        """Goes on where `state` was taken."""
        at, wh, moved_at, doubt = state
        self.at, self.wh, self._moved_at = None if at is None else instant(at), number(wh), instant(moved_at)
        self._doubt = Doubt(instant(doubt[0]), number(doubt[1]), instant(doubt[2]), number(doubt[3]), int(doubt[4])) if doubt else None
        self._read_here = self._doubted_here = False
