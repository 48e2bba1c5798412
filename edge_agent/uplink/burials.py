"""What the cloud refuses for good, said once and not at every interval: a type that it does not know comes again and again.

One line when it begins, by event type and reason, and one with the count when the cloud takes such an event
again. Numbers in a reason are left out of the comparison: they are the event's, not the reason's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.model.clock import utc_text
from edge_agent.outbox.rows import Key, Queued

log = logging.getLogger(__name__)

_KEPT = 50  # reasons at once; a bound should each be another
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
_CALL = re.compile(r"^[A-Z]+ \S+: ")  # whether as a live event or as history makes no other reason


@dataclass(slots=True)
class _Run:
    """The events of one type that were refused for one reason: by which devices, and how many."""

    reason: str
    devices: set[str] = field(default_factory=set)
    count: int = 0


class Burials:
    """The runs of refusals that go on."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], _Run] = {}

    def note(self, queued: Queued, reason: str) -> None:
        """An event became a dead letter."""
        device, kind = queued.key
        name = kind, _NUMBER.sub("#", _CALL.sub("", reason))
        if name not in self._runs:
            if len(self._runs) >= _KEPT:
                self._end(next(iter(self._runs)))
            self._runs[name] = _Run(reason)
            where = "further ones are only counted, see `edge-agent queue dead`"
            log.warning("%s %s of %s is refused for good: %s (%s)", device, kind, utc_text(queued.at), reason, where)
        run = self._runs[name]
        run.devices.add(device)
        run.count += 1

    def accepted(self, part: Iterable[Queued]) -> None:
        """The cloud has taken these: what it refused of the same device and type is over."""
        if self._runs:
            keys: set[Key] = {queued.key for queued in part}
            for name in [name for name, run in self._runs.items() if any((device, name[0]) in keys for device in run.devices)]:
                self._end(name)

    def _end(self, name: tuple[str, str]) -> None:
        run = self._runs.pop(name)
        if run.count > 1:
            devices = ", ".join(sorted(run.devices))
            log.warning("%d %s of %s were refused for good in all: %s", run.count, name[0], devices, run.reason)
