"""Which events wait apart and what each waits for: the rules by which one becomes a dead letter or steps behind. Pure.

A refused event is a suspect. It is tried again once another one of the building was accepted ("cleared"),
and only a refusal after that is for good: until then the building may be to blame. An event that keeps
answering 500 while others are accepted is failing: it is tried again by itself, ever more seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge_agent.outbox.rows import Queued

STRIKES = 3  # so many 500s, while others are fine, and an event steps behind (a batch is halved)
STRIKES_ALONE = 9  # as many when there are no others to tell: some minutes, so that a short outage changes no order
SUSPECTS = 8  # as many refused one after the other say that it is the building
_AGAIN_S, _AGAIN_CAP_S = 60.0, 3600.0


@dataclass(slots=True)
class Trouble:
    """One event that waits apart. `try_at` (a failing one's next attempt) and `tried_at` are monotonic."""

    queued: Queued
    refused: bool
    attempts: int
    try_at: float = 0.0
    tried_at: float = 0.0
    cleared: bool = False


@dataclass(slots=True)
class _Strikes:
    """How often the cloud failed on the same bytes: in `all`, and (`count`) while it took others."""

    all: int = 0
    count: int = 0
    accepted: int = -1  # how many had been accepted at the last one that counted


class Troubles:
    """All of them, by their place in the queue."""

    def __init__(self) -> None:
        self._by_seq: dict[int, Trouble] = {}
        self._strikes: dict[int, _Strikes] = {}

    @property
    def suspects(self) -> int:
        """How many were refused."""
        return sum(trouble.refused for trouble in self._by_seq.values())

    @property
    def failing(self) -> int:
        """How many stepped behind."""
        return len(self._by_seq) - self.suspects

    def get(self, queued: Queued) -> Trouble | None:
        """What is known of this event."""
        return self._by_seq.get(queued.seq)

    def set_aside(self, queued: Queued, refused: bool, now: float, attempts: int | None = None) -> None:
        """It waits apart from now on (monotonic); `attempts` so far, when an earlier run counted them."""
        known = self._by_seq.get(queued.seq)
        count = attempts or (known.attempts + 1 if known else 1)
        wait_s = min(_AGAIN_CAP_S, _AGAIN_S * 2.0 ** min(count - 1, 10))
        self._by_seq[queued.seq] = Trouble(queued, refused, count, now + wait_s, now)
        self._strikes.pop(queued.seq, None)

    def forget(self, part: Iterable[Queued]) -> None:
        """They have left the queue."""
        if self._by_seq or self._strikes:
            for queued in part:
                self._by_seq.pop(queued.seq, None)
                self._strikes.pop(queued.seq, None)

    def clear(self, after_a_stop: bool) -> None:
        """Another event was accepted: the building is fine. After a stop the failing ones are due, too: it may have been the cloud."""
        for trouble in self._by_seq.values():
            trouble.cleared = True
            if after_a_stop:
                trouble.try_at = 0.0

    def strike(self, part: tuple[Queued, ...], accepted: int, alone: Callable[[], bool]) -> bool:
        """Counts a 500 against the same bytes. True when they must not be sent again as they are.

        `accepted`: how many events the cloud has taken so far; `alone`: there is nothing else by which it could show that it is fine.
        """
        strikes = self._strikes.setdefault(part[0].seq, _Strikes())
        strikes.all += 1
        if accepted > strikes.accepted or len(part) > 1:  # to halve a batch needs no proof: it costs no order
            strikes.count, strikes.accepted = strikes.count + 1, accepted
        enough = self.get(part[0]) is not None or strikes.count >= STRIKES or (strikes.all >= STRIKES_ALONE and alone())
        if enough:
            del self._strikes[part[0].seq]
        return enough

    def says_little(self, queued: Queued) -> tuple[bool, bool, int, int]:
        """Orders what may probe a cloud in doubt: another device, another type and one that has not failed yet say more; then the oldest."""
        suspects = [trouble.queued.key for trouble in self._by_seq.values() if trouble.refused]
        strikes = self._strikes.get(queued.seq)
        return queued.key[0] in {device for device, _ in suspects}, queued.key in suspects, strikes.all if strikes else 0, queued.seq

    def next_cleared(self, under_way: frozenset[int]) -> Trouble | None:
        """A suspect whose building turned out to be fine."""
        return next((one for seq, one in self._by_seq.items() if one.refused and one.cleared and seq not in under_way), None)

    def next_failing(self, now: float, under_way: frozenset[int]) -> Trouble | None:
        """The failing one that is due and was tried longest ago."""
        return _longest_ago(one for seq, one in self._by_seq.items() if not one.refused and one.try_at <= now and seq not in under_way)

    def next_suspect(self, under_way: frozenset[int]) -> Trouble | None:
        """The suspect that was tried longest ago."""
        return _longest_ago(one for seq, one in self._by_seq.items() if one.refused and seq not in under_way)

    def due_in_s(self, now: float) -> float | None:
        """Seconds until the next failing one is due; None without any."""
        return min((max(0.0, one.try_at - now) for one in self._by_seq.values() if not one.refused), default=None)


def _longest_ago(troubles: Iterable[Trouble]) -> Trouble | None:
    return min(troubles, key=lambda one: one.tried_at, default=None)
