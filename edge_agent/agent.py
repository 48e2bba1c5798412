"""The agent: polls the devices, meters, queues and uploads, until it is told to stop.

It holds the state folder, the queue and the commands' socket; a `Shift` does the work while a site file is in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from edge_agent.cloud.queue_rules import queue_rules
from edge_agent.config import Site
from edge_agent.control import QUEUE_COPY, Answer, Handler, listening, state_lock
from edge_agent.handover import MOVED, moved_text, refuse_half_restored
from edge_agent.inspection import queue_answer
from edge_agent.model.clock import Clock
from edge_agent.model.errors import ConfigError, EdgeAgentError, HouseMoved
from edge_agent.outbox.outbox import Outbox
from edge_agent.shift import EvidenceOfTime, Shift, no_evidence
from edge_agent.shift.answers import Answers
from edge_agent.site_reading import SiteReading, read_site
from edge_agent.uplink.spread import BacklogStart

log = logging.getLogger(__name__)

RELOAD_ANSWER_S = 30.0  # a reload that takes longer is not waited for by the command that asked for it
RELOAD_FINISH_S = 3.5  # for an upload in flight when the site file is read anew: there is time, but a SIGTERM may follow


class Agent:
    """One house. `run` returns when `stop` is set, with everything that was measured on disk."""

    def __init__(self, site: Site, clock: Clock, remember: Callable[[Site], None] = lambda _: None, evidence: EvidenceOfTime = no_evidence) -> None:
        """`remember` is given each site file that is read anew and right; `evidence` tells who sets the clock."""
        self._site = site
        self._clock = clock
        self._remember = remember
        self._evidence = evidence
        self._reload = asyncio.Event()
        self._reloading: asyncio.Task[None] | None = None
        self._one_reading = asyncio.Lock()  # of two the older could end last
        self.shift: Shift | None = None
        self._backlog_start = BacklogStart()  # to read the site file anew is no reason to wait once more
        self._began = clock.monotonic()

    def reload(self) -> None:
        """Reads the site file again, beside the running loops. A faulty one is refused with its mistakes, and the old one stays in force."""
        self._reloading = asyncio.create_task(self._read_anew(), name="reload")

    async def _read_anew(self) -> None:
        async with self._one_reading:
            await self._take_over()

    async def _take_over(self) -> None:
        try:
            site = await asyncio.to_thread(read_site, self._site.file)
        except ConfigError as error:
            for problem in error.problems:
                log.error("%s", problem)
            log.error("the site file was not taken over; the one from before stays in force")
            return
        if (site.database, site.max_size) != (self._site.database, self._site.max_size):
            log.error("storage: cannot change while the agent runs; restart it. The site file from before stays in force")
            return
        if _building(site) != _building(self._site):
            log.error("moost: another building has another queue; restart the agent for it. The site file from before stays in force")
            return
        if self.shift is not None and self.shift.holds_unstored:
            log.error("the site file was not taken over: the queue cannot be written, and what is held in memory would be lost")
            return
        await asyncio.to_thread(self._remember, site)
        self._site = site
        self._reload.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set. Raises AgentBusy when another agent runs, StorageError when there is no queue to write, HouseMoved."""
        folder = self._site.database.parent
        with state_lock(folder):
            refuse_half_restored(self._site.file)
            outbox = await Outbox.open(self._site.database, self._site.max_size, building=_building(self._site))
            try:
                if (moved := await outbox.load_state(MOVED)) is not None:
                    raise HouseMoved(moved_text(self._site.database, moved))
                async with listening(
                    folder,
                    {
                        "read": self._answer_read,
                        "plan": self._answer_plan,
                        "balance": self._answer_balance,
                        "verify": self._answer_verify,
                        "record": self._answer_record,
                        "queue": self._answer_queue(outbox),
                        "status": self._answer_status,
                        "reload": self._answer_reload,
                        "backup": self._answer_backup(outbox),
                    },
                ):
                    while not stop.is_set():
                        self._reload.clear()
                        await outbox.use_rules(queue_rules(self._site.decisions))
                        started = Shift.started(self._site, self._clock, outbox, self._evidence, self._backlog_start)
                        async with started as self.shift, self._page(self.shift, outbox):
                            await _first_of(stop, self._reload, self.shift.failure)
                            if not stop.is_set():
                                self.shift.uploader.finish_s = RELOAD_FINISH_S
                        self.shift = None
            finally:
                await outbox.close()

    def _page(self, shift: Shift, outbox: Outbox) -> AbstractAsyncContextManager[None]:
        """The status page, where the site file asks for one; else not even its code is loaded."""
        if self._site.web is None:
            return contextlib.nullcontext()
        from edge_agent.web.page import shown

        return shown(self._site.web, shift, outbox, self._clock, self._uptime_s)

    def _uptime_s(self) -> float:
        return self._clock.monotonic() - self._began

    async def _answer_read(self, request: dict[str, Any]) -> Answer:
        return {"devices": await self._answers.read_now(str(request.get("device") or ""))}

    async def _answer_status(self, _: dict[str, Any]) -> Answer:
        return {**await self._answers.status(self._uptime_s())}

    async def _answer_record(self, request: dict[str, Any]) -> Answer:
        return await self._answers.record(str(request.get("device")), float(request.get("seconds") or 0), bool(request.get("anonymous")))

    async def _answer_plan(self, request: dict[str, Any]) -> Answer:
        return {"devices": await self._answers.plans(str(request.get("device") or ""))}

    async def _answer_reload(self, request: dict[str, Any]) -> Answer:
        """Answers when the site file is in force, or was refused."""
        before = self.shift
        self.reload()
        assert self._reloading is not None
        await self._reloading
        async with asyncio.timeout(RELOAD_ANSWER_S):
            while self._reload.is_set() or self.shift is None:
                await asyncio.sleep(0.05)
        return {"taken": self.shift is not before}

    async def _answer_verify(self, request: dict[str, Any]) -> Answer:
        return await self._answers.verify(int(request.get("days") or 1))

    async def _answer_balance(self, request: dict[str, Any]) -> Answer:
        return await self._answers.check_balance(float(request.get("seconds") or 0))

    def _answer_backup(self, outbox: Outbox) -> Handler:
        """A copy of the queue in the state folder, until the command that asked for it has read it."""
        copy = self._site.database.parent / QUEUE_COPY

        async def answer(request: dict[str, Any]) -> Answer:
            copy.unlink(missing_ok=True)
            if request.get("action") == "copy":
                await outbox.copy_to(copy)
            return {}

        return answer

    @property
    def _answers(self) -> Answers:
        if self.shift is None:
            raise EdgeAgentError("the agent is starting; ask again in a moment")
        return self.shift.answers

    def _answer_queue(self, outbox: Outbox) -> Handler:
        async def answer(request: dict[str, Any]) -> Answer:
            result = await outbox.call(lambda queue: queue_answer(queue, request))
            uploader = self.shift.uploader if self.shift is not None else None
            if uploader is not None and "retried" in result:
                uploader.wake()
            if uploader is not None and "stats" in result:
                result["upload"] = uploader.status().as_answer(result["stats"]["waiting"])
            return result

        return answer


def _building(site: Site) -> str:
    """Whose events a queue holds."""
    return f"{site.account.customer_id}/{site.account.building_id}"


async def _first_of(stop: asyncio.Event, reload: asyncio.Event, failure: asyncio.Future[None]) -> None:
    """Waits until one of the events is set. Raises what the failure holds when that comes first."""
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(event.wait()) for event in (stop, reload)]
    try:
        await asyncio.wait([*waiting, failure], return_when=asyncio.FIRST_COMPLETED)
        if failure.done():
            failure.result()
    finally:
        for one in waiting:
            one.cancel()


async def run_agent(path: Path, clock: Clock, stop: asyncio.Event, evidence: EvidenceOfTime = no_evidence, begun: SiteReading | None = None) -> None:
    """One agent for a site file, until `stop` is set; made to re-read it by SIGHUP."""
    site = await asyncio.to_thread((begun or SiteReading(path)).site)
    agent = Agent(site, clock, evidence=evidence)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, agent.reload)
    await agent.run(stop)
