"""The queue as the agent's loop sees it: asyncio outside, one thread with the one connection inside.

An fsync on an SD card takes up to a second, so nothing of SQLite runs in the loop. What waits together is
done in ONE transaction, in the order asked for; nobody is told before it is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from edge_agent.model.errors import StorageDamaged, StorageError, StorageFull
from edge_agent.model.events import NO_RULES, Event, QueueRules
from edge_agent.outbox.failures import failure
from edge_agent.outbox.opening import Opening
from edge_agent.outbox.queue import Queue
from edge_agent.outbox.rows import DeadLetter, Kind, Queued, Sent, Stats, Troubled, Waiting

__all__ = ["Outbox", "Queue"]

T = TypeVar("T")


class _Operation(NamedTuple):
    work: Callable[[Queue], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Outbox:
    """The open queue of a running agent. Every method raises StorageError when the file cannot be read or written."""

    def __init__(self, opening: Opening, queue: Queue, thread: ThreadPoolExecutor) -> None:
        self._opening = opening
        self._queue = queue
        self._usable = True  # False: what was damaged could not be mended, and nothing is open
        self._thread = thread
        self._waiting: list[_Operation] = []
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, max_size: int | None = None, rules: QueueRules = NO_RULES, building: str | None = None) -> Self:
        """Opens or makes the queue of a building; `max_size` in bytes bounds it. Raises StorageError in words."""
        thread = ThreadPoolExecutor(1, "outbox")
        opening = Opening(path, max_size, rules, building)
        try:
            queue = await asyncio.get_running_loop().run_in_executor(thread, opening.queue)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        outbox = cls(opening, queue, thread)
        with contextlib.suppress(StorageError):  # on a full disk it is counted before anything is sent
            await outbox.call(lambda queue: queue.count_doubt())
        return outbox

    async def close(self) -> None:
        """Finishes what was asked for, then closes the file."""
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._queue.close)
            self._thread.shutdown()

    async def call(self, work: Callable[[Queue], T]) -> T:
        """Runs `work` on the queue in its thread, in one transaction with whatever else waits. A cancelled caller's work is still done."""
        if self._closed:
            raise StorageError(f"{self._queue.path}: the queue is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._waiting.append(_Operation(work, loop, future))
            first = len(self._waiting) == 1
        if first:
            self._thread.submit(self._work_off)
        return await future

    def _work_off(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting, []
        results = self._together(group)
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
        for operation, result in zip(group, results, strict=True):
            by_loop.setdefault(operation.loop, []).append((operation.future, result))
        for loop, pairs in by_loop.items():
            loop.call_soon_threadsafe(_resolve, pairs)

    def _together(self, group: Sequence[_Operation], mend: bool = True) -> list[Any]:
        """One transaction for the group; when it fails, one for each, so that only the culprit's caller hears of it."""
        try:
            if not self._usable:
                self._queue, self._usable = self._opening.queue(), True
            with self._queue.transaction():
                return [operation.work(self._queue) for operation in group]
        except Exception as error:
            if mend and self._mended(error):
                return self._together(group, mend=False)
            return [self._read(error)] if len(group) == 1 else [self._alone(operation) for operation in group]

    def _alone(self, operation: _Operation) -> Any:
        try:
            with self._queue.transaction():
                return operation.work(self._queue)
        except Exception as error:
            return self._read(error)

    def _mended(self, error: Exception) -> bool:
        """True when something could be done about it, so that the same may be tried again."""
        if isinstance(error, StorageDamaged):
            self._usable = False
            with contextlib.suppress(StorageError):  # then the next one who asks tries again, and is told
                self._queue, self._usable = self._opening.mended(self._queue, error), True
            return self._usable
        return isinstance(error, StorageFull) and self._queue.release_reserve()

    def _read(self, error: Exception) -> _Failure:
        return _Failure(failure(self._queue.path, error) if isinstance(error, sqlite3.Error) else error)

    async def use_rules(self, rules: QueueRules) -> None:
        """Other rules from here on, since the site file is another."""
        self._opening = replace(self._opening, rules=rules)
        await self.call(lambda queue: queue.use_rules(rules))

    # putting in

    async def commit(self, events: Sequence[Event], state: Mapping[str, str], dropped: int = 0) -> None:
        """Stores events and the state they follow from (JSON by key) in one transaction; on disk when it returns.

        `dropped` events came before them that could not be stored in time: they are counted.
        """
        if events or state:
            await self.call(lambda queue: queue.put(events, state, dropped))

    async def load_state(self, key: str) -> str | None:
        """What was last committed under `key`."""
        return await self.call(lambda queue: queue.state(key))

    # the uploader's side: see Queue

    async def take_live(self, since: float, newest_since: float, limit: int) -> list[Queued]:
        """The oldest events dated `since` or later, and the newest of each device and type that has only older ones."""
        return await self.call(lambda queue: queue.take_live(since, newest_since, limit))

    async def take_old(self, before: float, newest_since: float, limit: int, after: int = 0) -> list[Queued]:
        """The oldest events dated before `before`, without those that go live all the same."""
        return await self.call(lambda queue: queue.take_old(before, newest_since, limit, after))

    async def troubled(self) -> list[Troubled]:
        """Those that wait apart."""
        return await self.call(lambda queue: queue.troubled())

    async def accept(self, taken: Sequence[Queued], historical: bool, possibly_doubled: int = 0) -> None:
        """The cloud has them; `possibly_doubled` counts copies that it may have of these or earlier ones."""
        await self.call(lambda queue: queue.accept(taken, historical, possibly_doubled))

    async def set_aside(self, queued: Queued, kind: Kind, status: int, reason: str, at: float) -> None:
        """It steps behind the others."""
        await self.call(lambda queue: queue.set_aside(queued, kind, status, reason, at))

    async def bury(self, queued: Queued, status: int, reason: str, at: float) -> None:
        """It becomes a dead letter."""
        await self.call(lambda queue: queue.bury(queued, status, reason, at))

    # what was sent

    async def sent(self, since: float, until: float) -> list[Sent]:
        """What the cloud has accepted of the remembered series."""
        return await self.call(lambda queue: queue.sent(since, until))

    async def send_again(self, kind: str, since: float, until: float) -> int:
        """Puts back once what was sent of an event type; gives the number of events."""
        return await self.call(lambda queue: queue.send_again(kind, since, until))

    # for people

    async def copy_to(self, path: Path) -> None:
        """A consistent copy of the file. Raises StorageError, with no copy left."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._queue.copy_to, path)

    async def stats(self) -> Stats:
        """The queue in numbers."""
        return await self.call(lambda queue: queue.stats())

    async def waiting(self, limit: int) -> list[Waiting]:
        """The oldest waiting events."""
        return await self.call(lambda queue: queue.waiting(limit))

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """The dead letters that were buried last."""
        return await self.call(lambda queue: queue.dead_letters(limit))

    async def retry_dead(self) -> int:
        """Puts the dead letters back; gives their number."""
        return await self.call(lambda queue: queue.retry_dead())


class _Failure(NamedTuple):
    error: Exception


def _resolve(pairs: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in pairs:
        if future.cancelled():
            continue
        if isinstance(result, _Failure):
            future.set_exception(result.error)
        else:
            future.set_result(result)
