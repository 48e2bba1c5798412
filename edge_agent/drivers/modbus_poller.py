"""Asks a device for all its registers in few requests, and remembers what it does not like to be asked.

A refused request is asked in halves until the register that the device does not have stands alone; that one is
left out and tried again a day later (soon, when it has been there before). A request that stays unanswered while
others are answered goes to the end of the round, and is asked in halves from the second time on: some devices say nothing to long
requests. After a silence a round ends: a dead device costs its line one time-out, not one per request.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from edge_agent.codec.read_plan import Block, Limits, Span, halves, plan
from edge_agent.drivers import BadAddress
from edge_agent.drivers.modbus_link import ModbusLink
from edge_agent.drivers.modbus_plan import Poll, Register
from edge_agent.model.clock import Clock
from edge_agent.model.errors import DeviceError, DeviceRefused, GarbledAnswer, NoAnswer
from edge_agent.model.measurements import Quality, Reading

NO_SUCH_REGISTER = (2, 3)  # illegal address; some devices call it an illegal value
TARGET_SILENT = (10, 11)  # a gateway answers for a device that does not
_ASK_AGAIN_S = 86_400.0
_ASK_SOON_S = 300.0
_SILENT_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class _Refused:
    """A span that the device does not give: when to ask again (monotonic), and what its points say until then."""

    again_at: float
    quality: Quality
    reason: str


class Poller:
    """The requests for one device's registers. What was learnt about requests outlives `begin`."""

    def __init__(self, link: ModbusLink, clock: Clock, timeout: float) -> None:
        self.polls: list[Poll] = []
        self._link = link
        self._clock = clock
        self._timeout = timeout
        self._registers: list[Register] = []
        self._once: set[str] = set()
        self._limits = Limits()
        self._constants: dict[str, Reading] = {}
        self._given: set[Span] = set()  # what the device has answered at least once
        self._refused: dict[Span, _Refused] = {}
        self._in_halves: dict[Block, float] = {}  # until when (monotonic)
        self._silent: dict[Block, int] = {}  # rounds in a row
        self._plan_is_old = True
        self._again_at = math.inf  # when the first of what is left out or halved is due again

    def begin(self, registers: Iterable[Register], once: Collection[str], limits: Limits) -> None:
        """Starts anew with a device: these registers, some of them only once."""
        self._registers, self._once, self._limits = list(registers), set(once), limits
        self._constants = {}
        self._plan_is_old = True

    @property
    def once_read(self) -> tuple[str, ...]:
        """The points that are not asked for any more: they were read and do not change."""
        return tuple(self._constants)

    def plan(self) -> tuple[Poll, ...]:
        """The requests of the next round."""
        if self._plan_is_old or self._clock.monotonic() >= self._again_at:
            self._make_polls()
        return tuple(self.polls)

    def points_in(self, span: Span) -> list[str]:
        """The points that are made of exactly these registers."""
        return [register.name for register in self._registers if register.span == span]

    def left_out(self) -> tuple[BadAddress, ...]:
        """What is not asked for now, also when that is only for minutes."""
        return self._bad(self._refused)

    def to_remember(self) -> tuple[BadAddress, ...]:
        """What the device has never given: worth keeping over a restart."""
        return self._bad({span: one for span, one in self._refused.items() if one.quality is Quality.NOT_AVAILABLE})

    def _bad(self, refused: Mapping[Span, _Refused]) -> tuple[BadAddress, ...]:
        """Without what the profile does not want any more."""
        offset = self._clock.now() - self._clock.monotonic()
        wanted = {register.span for register in self._registers} or refused.keys()
        return tuple(BadAddress(span, one.again_at + offset, one.reason) for span, one in sorted(refused.items()) if span in wanted)

    def remember(self, bad: Iterable[BadAddress]) -> None:
        """Leaves out what was refused before a restart, until it is due again (a clock that was wrong makes it a day at most)."""
        now = self._clock.monotonic()
        for one in bad:
            wait = min(one.again_at - self._clock.now(), _ASK_AGAIN_S)
            if wait > 0:
                self._refused[one.span] = _Refused(now + wait, Quality.NOT_AVAILABLE, one.reason)
        self._plan_is_old = True

    async def readings(self) -> dict[str, Reading]:
        """All registers' readings now. Raises DeviceError when the device answered nothing at all."""
        self.plan()
        readings: dict[str, Reading] = {}
        await self._ask_all(readings)
        readings |= self._constants
        now = self._clock.now()
        for register in self._registers if self._refused else ():
            if register.name not in readings and (refused := self._refused.get(register.span)):
                readings[register.name] = Reading(None, register.rule.unit, refused.quality, now, refused.reason)
        return readings

    async def _ask_all(self, readings: dict[str, Reading]) -> None:
        answered = False
        failure: DeviceError | None = None
        waiting = deque(self.polls)
        while waiting:
            poll = waiting.popleft()
            try:
                await self._ask(poll, readings)
                answered = True
            except DeviceRefused as error:
                failure = error
                waiting.extendleft(reversed(self._after_refusal(poll, error, readings)))
                if error.code in TARGET_SILENT:
                    break
            except GarbledAnswer as error:
                failure = error
                poll.absent(Quality.ERROR, str(error), self._clock.now(), readings)
            except NoAnswer as error:
                failure = error
                poll.absent(Quality.ERROR, str(error), self._clock.now(), readings)
                if answered:  # so it is this request that the device is silent about
                    self._after_silence(poll.block)
                break
        for poll in waiting:
            poll.absent(Quality.ERROR, f"not asked, since before: {failure}", self._clock.now(), readings)
        if failure is not None and not answered:
            self._refused.clear()  # a device that refuses everything is not itself; nothing is learnt from it
            raise failure

    async def _ask(self, poll: Poll, readings: dict[str, Reading]) -> None:
        block = poll.block
        words = await self._link.read(block.unit, block.table, block.address, block.count, self._timeout)
        poll.readings(words, self._clock.now(), readings)
        if not poll.proven:
            poll.proven = True
            self._given.update(block.spans)
        if self._silent:
            self._silent.pop(block, None)
        if poll.once:
            self._constants |= {name: readings[name] for name in poll.names}
            self.polls = [one for one in self.polls if one is not poll]

    def _after_refusal(self, poll: Poll, error: DeviceRefused, readings: dict[str, Reading]) -> list[Poll]:
        """What to ask instead, at once. A refusal for another reason than the registers passes: nothing is learnt."""
        block = poll.block
        if error.code not in NO_SUCH_REGISTER:
            poll.absent(Quality.ERROR, str(error), self._clock.now(), readings)
            return []
        self._plan_is_old = True
        if len(block.spans) > 1:
            self._in_halves[block] = self._clock.monotonic() + _ASK_AGAIN_S
            return [Poll(half, self._registers, poll.once) for half in halves(block)]
        self._leave_out(block.spans[0], str(error))
        return []

    def _after_silence(self, block: Block) -> None:
        self._plan_is_old = True
        self._silent[block] = self._silent.get(block, 0) + 1
        if self._silent[block] < _SILENT_ROUNDS:
            return
        if len(block.spans) > 1:
            self._in_halves[block] = self._clock.monotonic() + _ASK_AGAIN_S
        else:
            self._leave_out(block.spans[0], "the device is silent when it is asked for this")

    def _leave_out(self, span: Span, reason: str) -> None:
        given = span in self._given  # it exists: `first:` must not turn to another counter meanwhile
        delay, quality = (_ASK_SOON_S, Quality.ERROR) if given else (_ASK_AGAIN_S, Quality.NOT_AVAILABLE)
        self._refused[span] = _Refused(self._clock.monotonic() + delay, quality, reason)

    def _make_polls(self) -> None:
        """Plans the requests, without what is refused, with what is due to be tried again."""
        now = self._clock.monotonic()
        self._refused = {span: one for span, one in self._refused.items() if one.again_at > now}
        self._in_halves = {block: again_at for block, again_at in self._in_halves.items() if again_at > now}
        self._again_at = min([math.inf, *(one.again_at for one in self._refused.values()), *self._in_halves.values()])
        proven = {poll.block for poll in self.polls if poll.proven}
        self.polls = []
        for once in (True, False):
            held = [one for one in self._registers if (one.name in self._once) is once and one.name not in self._constants]
            spans = {register.span for register in held} - self._refused.keys()
            for block in self._divided(plan(spans, self._limits, self._refused.keys())):
                poll = Poll(block, held, once)
                poll.proven = block in proven
                self.polls.append(poll)
        self.polls.sort(key=lambda poll: self._silent.get(poll.block, 0))
        self._plan_is_old = False

    def _divided(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The blocks, in halves where the device wants that."""
        for block in blocks:
            if block in self._in_halves and len(block.spans) > 1:
                yield from self._divided(halves(block))
            else:
                yield block
