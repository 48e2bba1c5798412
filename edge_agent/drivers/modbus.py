"""One Modbus device: met when it answers first, polled in few requests, decoded to readings.

What meeting it told (SunSpec models, firmware variant, values read only once) is forgotten when the device
goes: another one may answer at its address afterwards, and its serial number is read on every new
connection before a value is believed. A point that fails is absent with its reason; a device that fails is
tried at growing, random distances. Logs one line when a device goes and one when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from edge_agent.codec.read_plan import Block
from edge_agent.drivers import BadAddress
from edge_agent.drivers.modbus_link import ModbusLink, jittered
from edge_agent.drivers.modbus_meeting import Acquaintance, meet, read_serial
from edge_agent.drivers.modbus_plan import Register, limits_of
from edge_agent.drivers.modbus_poller import Poller
from edge_agent.drivers.outages import Outages
from edge_agent.model.clock import Clock
from edge_agent.model.errors import DeviceError, NoAnswer, NoConnection, WrongDevice
from edge_agent.model.measurements import Quality, Reading, Role, Sample
from edge_agent.profiles.derive import add_derived, directed, is_there
from edge_agent.profiles.setup import DeviceSetup

logger = logging.getLogger(__name__)


class ModbusDriver:
    """Implements `drivers.Driver` for one device of a Modbus line."""

    def __init__(self, setup: DeviceSetup, link: ModbusLink, clock: Clock, known_serial: str = "") -> None:
        self.setup = setup
        self.serial = ""  # as read from the device; empty: not read yet, or it has none
        self.variant = setup.profile.variant  # given, or recognised when meeting the device
        self.last_error = ""  # why the device cannot be read now
        self._spec = setup.profile.spec.modbus
        self._link = link
        self._clock = clock
        self._known_serial = setup.serial or known_serial
        self._poller = Poller(link, clock, self._spec.timeout)
        self._met: Acquaintance | None = None
        self._generation = -1  # of the connection on which the serial number was read
        self._failures = 0
        self._retry_at = 0.0
        self._first_base = 0
        self._outages = Outages(setup.id, logger)
        self._reading = asyncio.Lock()
        link.join()

    @property
    def plan(self) -> tuple[Block, ...]:
        """The requests of one poll; empty until the device has been met."""
        return tuple(poll.block for poll in self._poller.polls)

    @property
    def poller(self) -> Poller:
        """What is asked of the device, and what is left out."""
        return self._poller

    @property
    def missing(self) -> Mapping[str, str]:
        """Points that the device does not have, and why; empty until it has been met."""
        return self._met.missing if self._met else {}

    @property
    def bad_addresses(self) -> Sequence[BadAddress]:
        """What the device refuses to give."""
        return self._poller.to_remember()

    @bad_addresses.setter
    def bad_addresses(self, bad: Sequence[BadAddress]) -> None:
        self._poller.remember(bad)

    @property
    def roles(self) -> frozenset[Role] | None:
        """The roles for which this device has points (a SunSpec device may have no battery); None until it has been met."""
        if self._met is None:
            return None
        spec, missing = self._met.spec, self._met.missing
        return frozenset(Role(point.role) for name, point in spec.points.items() if point.role and is_there(spec, name, missing))

    def register(self, point: str) -> Register | None:
        """Where a point is on this very device; None until it has been met, and for a point that it does not have."""
        return self._met.registers.get(point) if self._met else None

    async def read(self) -> Sample:
        async with self._reading:  # someone may ask for a reading while the device is polled
            return await self._read()

    async def _read(self) -> Sample:
        start = self._clock.monotonic()
        if start < self._retry_at:
            return self._sample({})
        try:
            readings = await self._round()
        except DeviceError as error:
            return self._failed(error)
        finally:
            if self._spec.close_after_poll:
                await self._link.rest()
        self._answered()
        return self._sample(readings, self._clock.monotonic() - start)

    def _sample(self, readings: dict[str, Reading], round_trip_s: float = 0.0) -> Sample:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        return Sample(self.setup.id, now, readings, self.last_error, round_trip_s, monotonic, self._clock.boot_id)

    async def close(self) -> None:
        await self._link.leave()

    async def _round(self) -> dict[str, Reading]:
        await self._link.connect(self._spec.timeout)
        if self._met is None:
            self._met = await self._meet()
        met = self._met
        await self._identify(met)
        readings = await self._poller.readings()
        await self._identify(met)  # connected anew on the way: is it still the same device?
        now = self._clock.now()
        for name, reason in met.missing.items():
            readings[name] = Reading(None, "", Quality.NOT_AVAILABLE, now, reason)
        _complete(met, readings, now)
        return readings

    async def _meet(self) -> Acquaintance:
        bases = self._spec.bases
        turned = [*bases[self._first_base :], *bases[: self._first_base]]
        try:
            met = await meet(self.setup, self._link, turned)
        except NoAnswer:
            # A device may be silent where it has no registers: the next try begins at the next base.
            self._first_base = (self._first_base + 1) % max(1, len(bases))
            raise
        self.variant = met.profile.variant
        self._generation = -1
        once = [name for name, point in met.spec.points.items() if point.once]
        self._poller.begin(met.registers.values(), once, limits_of(met.spec.modbus, met.chain))
        return met

    async def _identify(self, met: Acquaintance) -> None:
        """Reads the serial number on every new connection. Raises WrongDevice when it is not the known one."""
        if self._generation == self._link.generation:
            return
        serial = await read_serial(self._link, met)
        if serial and self._known_serial and serial != self._known_serial:
            raise WrongDevice(
                f"another device answers at {self._link.where} unit {self.setup.unit}: its serial number is {serial}, "
                f"not {self._known_serial}; check the address, or write `serial: {serial}` if the device was replaced"
            )
        self._generation = self._link.generation
        if serial:
            self.serial = self._known_serial = serial

    def _failed(self, error: DeviceError) -> Sample:
        self.last_error = f"{self.setup.id}: {error}"
        self._met = None
        if not isinstance(error, NoConnection):  # the link itself spaces out the attempts to connect
            self._failures += 1
            self._retry_at = self._clock.monotonic() + jittered(self._failures)
        self._outages.failed(self.last_error, self._clock.monotonic())
        return self._sample({})

    def _answered(self) -> None:
        self._failures, self._retry_at, self.last_error = 0, 0.0, ""
        self._outages.answered(self._clock.monotonic())


def _complete(met: Acquaintance, readings: dict[str, Reading], at: float) -> None:
    """Gives magnitudes their direction, then adds the points that are made of others."""
    for name in met.directed:
        positive = met.spec.points[name].positive
        readings[name] = directed(met.spec.points[name], readings[name], readings.get(getattr(positive, "by", "")))
    if met.has_derived:
        add_derived(met.spec, readings, at)
