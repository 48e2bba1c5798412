"""What the running agent answers to commands and to the page: from what it knows, or by asking devices beside its polls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from edge_agent.inspection import Answer, describe_sample
from edge_agent.model.errors import EdgeAgentError
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.status.document import Status
from edge_agent.status.gather import Known, status_of
from edge_agent.status.updates import read_updates

if TYPE_CHECKING:
    from edge_agent.shift.shift import Shift

T = TypeVar("T")


class Answers:
    """The answers of one shift; work that was asked for ends with it."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self._setups = {setup.id: setup for setup in shift.site.devices}
        self._asked: set[asyncio.Task[Any]] = set()
        self._closed = False

    def close(self) -> list[asyncio.Task[Any]]:
        """Nothing is answered any more; gives the tasks that are under way, to be cancelled."""
        self._closed = True
        return list(self._asked)

    # from what is known

    async def status(self, uptime_s: float) -> Status:
        """How everything stands now; `uptime_s`: how long the agent has been running."""
        shift, measuring = self._shift, self._shift.measuring
        return status_of(
            Known(
                site=shift.site,
                now=shift.clock.now(),
                monotonic=shift.clock.monotonic(),
                uptime_s=uptime_s,
                rows=shift.rows,
                points=list(measuring.points.values()),
                seen=shift.seen,
                token_left_s=shift.client.token_left_s,
                building=shift.building.state,
                balance=measuring.metering.balance_facts(),
                clock=shift.clock_state(),
                updates=read_updates(),
                findings={device: measuring.findings(device) for device in self._setups},
                uploads=shift.uploader.status(),
                queue=await shift.outbox.stats(),
                storage_failed=shift.holds_unstored,
                totals_missing=measuring.missing(),
                building_problems=shift.building.problems(),
                verification=shift.check.summary,
            )
        )

    def charts(self) -> dict[str, Any]:
        """What the page's charts show."""
        history = self._shift.seen.history
        return history.charts(self._shift.clock.now()) if history is not None else {}

    def last_reading(self, device: str) -> Answer:
        """The newest sample of a device, point by point, as `read` shows it; nothing is asked. Raises EdgeAgentError for an unknown one."""
        setup = self._setup(device)
        sample = self._shift.seen.devices[device].sample
        if sample is None:
            raise EdgeAgentError(f"{device} has not been read yet")
        return describe_sample(setup, sample) | {"findings": self._shift.measuring.findings(device)}

    # by asking

    async def read_now(self, device: str) -> list[Answer]:
        """One reading of a device (of all: empty) now, as `read` shows it. Raises EdgeAgentError for an unknown one."""
        chosen = [self._setup(device)] if device else list(self._setups.values())
        return list(await self._while_open(asyncio.gather(*(self._read_and_describe(setup) for setup in chosen))))

    async def _read_and_describe(self, setup: DeviceSetup) -> Answer:
        sample = await self._shift.read(setup)
        return describe_sample(setup, sample) | {"findings": self._shift.measuring.findings(setup.id)}

    async def record(self, device: str, seconds: float, anonymous: bool) -> Answer:
        """A recording of a device, made beside its polls. Raises EdgeAgentError for an unknown one, or one that cannot be read."""
        return await self._while_open(self._record(self._setup(device), seconds, anonymous))

    async def _record(self, setup: DeviceSetup, seconds: float, anonymous: bool) -> Answer:
        from edge_agent.recording.recorder import finished, listen, recorder_of

        clock = self._shift.clock
        recorder = recorder_of(self._shift.devices, setup, clock)
        began = clock.monotonic()
        try:
            await self._shift.instead_of_polls(setup.id, recorder.begin())
            await listen(recorder, clock, seconds, None, asyncio.Event())
            recorded = await finished(recorder, setup, clock, clock.monotonic() - began, anonymous)
        finally:
            await recorder.close()
        return recorded.to_json()

    async def plans(self, device: str) -> list[Answer]:
        """The requests of one poll of a device (of all: empty), as `read --plan` shows them. Raises EdgeAgentError for an unknown one."""
        from edge_agent.planning import plans

        return await self._while_open(plans(self._shift.site.devices, device, self._shift.devices.drivers))

    async def verify(self, days: int) -> Answer:
        """What the platform counted in so many days against what was sent, as `verify` shows it."""
        return (await self._while_open(self._shift.check.check(days))).to_json()

    async def check_balance(self, seconds: float) -> Answer:
        """The balance of the house over so many seconds, as `read --balance` shows it."""
        from edge_agent.balance_check import watch

        shift = self._shift
        return await self._while_open(watch(shift.site.devices, shift.devices.drivers, shift.clock, seconds, shift.read))

    def _setup(self, device: str) -> DeviceSetup:
        if device not in self._setups:
            raise EdgeAgentError(f"there is no device {device!r}; known: {', '.join(self._setups)}")
        return self._setups[device]

    async def _while_open(self, work: Awaitable[T]) -> T:
        """Work that a command asked for; ends with the shift. Raises EdgeAgentError when the shift ended first."""
        task = asyncio.ensure_future(work)
        self._asked.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if self._closed:
                raise EdgeAgentError("the site file was read anew meanwhile; ask again") from None
            raise
        finally:
            self._asked.discard(task)
