"""The part of the backlog that is in hand: batches, and what is left of them once something in them was refused or failed. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from edge_agent.outbox.rows import Queued

Part = tuple[Queued, ...]


class Backlog:
    """Parts in the order in which they are sent, each as one call."""

    def __init__(self) -> None:
        self._parts: deque[Part] = deque()

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def add(self, part: Part) -> None:
        """Behind the others."""
        if part:
            self._parts.append(part)

    def next(self, limit: int) -> Part:
        """The next part, of at most `limit` events; what is above stays first in line."""
        part = self._parts.popleft()
        if len(part) > limit:
            self._parts.appendleft(part[limit:])
        return part[:limit]

    def put_back(self, part: Part) -> None:
        """To be sent again, the same bytes: at once, but a single event lets the next part try whether the cloud is fine."""
        self._parts.insert(1 if len(part) == 1 else 0, part)

    def put_first(self, part: Part) -> None:
        """Before the others."""
        if part:
            self._parts.appendleft(part)

    def halve(self, part: Part) -> None:
        """In two, before the others."""
        middle = (len(part) + 1) // 2
        self._parts.extendleft((part[middle:], part[:middle]))


def named_places(errors: Mapping[str, str], size: int) -> dict[int, str]:
    """The places (from 0) that a refused batch's map names, when all its keys are places in it; else none."""
    places = {int(key): text for key, text in errors.items() if key.isascii() and key.isdigit() and int(key) < size}
    return places if len(places) == len(errors) else {}
