"""Meeting a Modbus device: which SunSpec models it has, which variant of its profile it is, who it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.codec.read_plan import Block
from edge_agent.codec.sunspec import Model
from edge_agent.codec.values import key_of
from edge_agent.drivers.modbus_link import ModbusLink
from edge_agent.drivers.modbus_plan import Poll, Register, locate
from edge_agent.drivers.modbus_poller import NO_SUCH_REGISTER
from edge_agent.drivers.sunspec import find_chain
from edge_agent.model.errors import DeviceError, DeviceRefused
from edge_agent.model.measurements import Quality, Reading
from edge_agent.profiles.library import DeviceProfile
from edge_agent.profiles.profile import DirectionFrom, ProfileSpec, WhenSpec
from edge_agent.profiles.setup import DeviceSetup


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """What is known of the device that answers now, until it goes."""

    profile: DeviceProfile  # with the recognised variant
    chain: tuple[Model, ...]
    registers: Mapping[str, Register]
    missing: Mapping[str, str]  # points that the device does not have, and why
    directed: tuple[str, ...]  # points whose sign stands in another point
    has_derived: bool

    @property
    def spec(self) -> ProfileSpec:
        """The profile's content."""
        return self.profile.spec


async def meet(setup: DeviceSetup, link: ModbusLink, bases: Sequence[int]) -> Acquaintance:
    """Gets to know the device. Raises DeviceError when it cannot be read or has nothing of its profile."""
    profile = setup.profile
    timeout = profile.spec.modbus.timeout
    has_chain = any(point.sunspec for point in profile.spec.points.values())
    chain = await find_chain(link, setup.unit, bases, timeout) if has_chain else ()
    found = _acquaintance(setup, profile, chain)
    if not profile.variant:
        for name, variant in profile.spec.variants.items():
            if variant.when is not None and await _applies(variant.when, setup, link, found.registers):
                found = _acquaintance(setup, profile.in_variant(name), chain)
                break
    if not found.registers:
        raise DeviceError(f"{link.where} unit {setup.unit} has none of the points of profile {profile.name!r}; check `profile:`")
    return found


def _acquaintance(setup: DeviceSetup, profile: DeviceProfile, chain: tuple[Model, ...]) -> Acquaintance:
    registers, missing = locate(setup, profile.spec, chain)
    points = profile.spec.points.items()
    return Acquaintance(
        profile=profile,
        chain=chain,
        registers=registers,
        missing=missing,
        directed=tuple(name for name, point in points if isinstance(point.positive, DirectionFrom) and name in registers),
        has_derived=any(point.sum or point.first for _, point in points),
    )


async def _applies(when: WhenSpec, setup: DeviceSetup, link: ModbusLink, registers: Mapping[str, Register]) -> bool:
    """Whether all that a variant is recognised by is there."""
    if when.transport is not None and (setup.connection is None or setup.connection.scheme not in when.transport):
        return False
    if when.point is None:
        return True
    if when.point not in registers:
        return False
    reading = await read_one(link, registers[when.point], setup.profile.spec.modbus.timeout)
    if reading.value is None:
        return False
    if when.values and key_of(reading.value) not in when.values:
        return False
    number = reading.number
    if when.below is not None and (number is None or number >= when.below):
        return False
    return when.from_ is None or (number is not None and number >= when.from_)


async def read_one(link: ModbusLink, register: Register, timeout: float, at: float = 0.0) -> Reading:
    """One point by itself; not available when the device has no such register."""
    span = register.span
    poll = Poll(Block(span.unit, span.table, span.address, span.count, (span,)), [register])
    try:
        words = await link.read(span.unit, span.table, span.address, span.count, timeout)
    except DeviceRefused as error:
        if error.code not in NO_SUCH_REGISTER:
            raise
        return Reading(None, register.rule.unit, Quality.NOT_AVAILABLE, at, str(error))
    found: dict[str, Reading] = {}
    poll.readings(words, at, found)
    return found[register.name]


async def read_serial(link: ModbusLink, met: Acquaintance) -> str:
    """The device's serial number; empty when it has none."""
    name = met.spec.identity
    if not name or name not in met.registers:
        return ""
    reading = await read_one(link, met.registers[name], met.spec.modbus.timeout)
    return key_of(reading.value).strip() if reading.value is not None else ""
