"""How the agent comes to a queue that it can work with: a damaged one is salvaged, one of another building is set aside."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from edge_agent.model.errors import StorageDamaged, StorageError
from edge_agent.model.events import NO_RULES, QueueRules
from edge_agent.outbox.aside import finish_replacing, set_aside
from edge_agent.outbox.queue import Queue
from edge_agent.outbox.salvage import is_text, salvage

log = logging.getLogger(__name__)

_BUILDING = "building"  # the state key: whose events these are


@dataclass(frozen=True, slots=True)
class Opening:
    """What the agent wants of its queue. `building` is whose events it holds, None where that does not matter."""

    path: Path
    max_size: int | None = None
    rules: QueueRules = NO_RULES
    building: str | None = None

    def queue(self) -> Queue:
        """The open queue, sound and of this building. Raises StorageError in words."""
        finish_replacing(self.path)
        try:
            queue = self._checked()
        except StorageDamaged as error:
            self._salvage(error)
            queue = self._checked()
        return queue if self.building is None else self._of_this_building(queue, self.building)

    def mended(self, queue: Queue, error: StorageDamaged) -> Queue:
        """A queue in the place of the open one, in which something cannot be read. Raises StorageError."""
        with contextlib.suppress(StorageError):
            queue.close()
        self._salvage(error)
        mended = self._checked()
        mended.taken, mended.doubtful = max(mended.taken, queue.taken), queue.doubtful
        return mended

    def _checked(self) -> Queue:
        queue = Queue(self.path, self.max_size, self.rules)
        try:
            queue.check()
        except StorageError:
            queue.close()
            raise
        return queue

    def _salvage(self, error: StorageDamaged) -> None:
        try:
            if is_text(self.path):
                other = "this is a text, and no queue of edge-agent; set `storage.path:` to another file. The file was not touched"
                raise StorageError(f"{self.path}: {other}")
            result = salvage(self.path, _today())
        except OSError as trouble:
            raise StorageError(f"{error}, and nothing can be salvaged ({trouble.strerror}); check the disk of {self.path.parent}") from None
        log.error(
            "%s. It is set aside as %s; %d events and %d dead letters of it wait in a new queue%s",
            str(error).split(";")[0],
            result.aside.name,
            result.events,
            result.letters,
            f", {result.lost} more cannot be told apart" if result.lost else "",
        )

    def _of_this_building(self, queue: Queue, building: str) -> Queue:
        """One building's events never go to another. Before the first was accepted, another id is a mistake that was mended."""
        known = queue.state(_BUILDING)
        stats = queue.stats()
        if known != json.dumps(building) and known is not None and stats["accepted_live"] + stats["accepted_historical"]:
            queue.close()
            other = json.loads(known)
            aside = set_aside(self.path, f"{other.replace('/', '-')}-{_today()}")
            log.error("%s: this queue is of building %s, not of %s; it is set aside as %s", self.path, other, building, aside.name)
            if stats["waiting"]:
                how = "they go when the site file names that building, and this file under `storage.path:`"
                log.error("%s: %d events wait in it; %s", aside, stats["waiting"], how)
            queue = self._checked()
        if queue.state(_BUILDING) != json.dumps(building):
            queue.put([], {_BUILDING: json.dumps(building)})
        return queue


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())
