"""The daily check of what the platform counted: when it comes, what is said of it, what is remembered."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from dataclasses import replace

from edge_agent.model.clock import Clock
from edge_agent.model.errors import StorageError
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.reconcile import Question, Report, reconcile, shift_text

log = logging.getLogger(__name__)

_STATE = "uplink.verify"
_DAY_S, _HOUR_S = 86_400.0, 3600.0
_NAP_S = 600.0  # the machine may be suspended while the check waits
_MOST_TOLD = 500  # findings that are remembered as said


class DailyCheck:
    """Reconciles once a day, at a time of day that chance gives this gateway, so that a fleet does not come together."""

    def __init__(
        self,
        client: MoostClient,
        outbox: Outbox,
        clock: Clock,
        question: Question,
        wake: Callable[[], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`wake` tells the uploader of events that are queued again; `chance` gives [0, 1)."""
        self._client = client
        self._outbox = outbox
        self._clock = clock
        self._question = question
        self._wake = wake
        self._chance = chance
        self._due = 0.0  # monotonic: a clock that is set after a power cut shall not bring a fleet together
        self._told: set[str] = set()
        self.summary = ""  # of the last check's findings

    async def run(self) -> None:
        """Works until cancelled."""
        self._plan(await self._load())
        while True:
            await self._wait()
            try:
                self._note(await self.check())
                await self._save()
            except StorageError as error:
                self._later(str(error))

    def _plan(self, wait_s: float) -> None:
        self._due = self._clock.monotonic() + wait_s

    async def _wait(self) -> None:
        while (left_s := self._due - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(_NAP_S, left_s))

    async def check(self, days: int | None = None) -> Report:
        """One check now, of so many days."""
        question = self._question if days is None else replace(self._question, days=days)
        report = await reconcile(self._client, self._outbox, question, self._clock.now())
        if report.queued_again:
            self._wake()
        return report

    def _later(self, why: str) -> None:
        """Within hours, without a word: whatever keeps the cloud or the disk away is said by those who work with them."""
        log.debug("the daily check waits: %s", why)
        self._plan(_HOUR_S * (1 + self._chance()))

    def _note(self, report: Report) -> None:
        """Says what is new, and when all is well again."""
        self._plan(_DAY_S)
        if report.comparison is None:
            if report.service:
                self._later(report.problem)
            return
        lines = [line for line in (report.summary(), shift_text(report)) if line]
        found = {f"{one.what} {one.type} {one.hour}" for one in report.findings} | ({shift_text(report)} - {""})
        if found - self._told:
            log.warning("%s", "; ".join(lines))
        elif self._told and not found:
            log.info("the platform's statistics agree with what was sent")
        self._told, self.summary = found, "; ".join(lines)

    async def _load(self) -> float:
        """Takes over what an earlier run said; gives the seconds to the check that it planned, a new plan where that makes no sense.

        A check that was missed comes within the hour, not at once: after a power cut many gateways start together.
        """
        try:
            state = json.loads(await self._outbox.load_state(_STATE) or "{}")
            wait_s = float(state["due"]) - self._clock.now()
            self._told, self.summary = set(map(str, state["told"])), str(state["summary"])
        except (StorageError, ValueError, KeyError, TypeError):
            return self._chance() * _DAY_S
        return min(max(self._chance() * _HOUR_S, wait_s), _DAY_S)

    async def _save(self) -> None:
        due_at = self._clock.now() + self._due - self._clock.monotonic()
        state = {"due": due_at, "told": sorted(self._told)[-_MOST_TOLD:], "summary": self.summary}
        await self._outbox.commit([], {_STATE: json.dumps(state)})
