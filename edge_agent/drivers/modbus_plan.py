"""From a profile to requests and back to readings: what is compiled once per connection and used at every poll.

Pure. `locate` turns the profile's rows into registers of this very device (unit, shifted address,
SunSpec model found); `Poll` is one request together with what decodes its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edge_agent.codec.read_plan import BIT_TABLES, Block, Limits, Span
from edge_agent.codec.registers import BlockDecoder, Decoded, Field, picker
from edge_agent.codec.sunspec import Model, locate_point
from edge_agent.codec.values import ValueRule, to_reading
from edge_agent.model.measurements import Quality, Reading
from edge_agent.profiles.derive import value_rule
from edge_agent.profiles.library import fill_parameters
from edge_agent.profiles.profile import ModbusSpec, PointSpec, ProfileSpec
from edge_agent.profiles.setup import DeviceSetup

_FARTHEST_EXPONENT = 10  # SunSpec scale factors lie within -10 to 10; others are not scale factors


@dataclass(frozen=True, slots=True)
class Register:
    """A point's place and encoding on this device."""

    name: str
    unit: int
    table: str
    addresses: tuple[int, ...]  # of its words, most significant first (before `word_order`)
    encoding: str  # `bool` for coils and discrete inputs
    rule: ValueRule
    word_order: str = "big"
    byte_order: str = "big"
    mask: int | None = None
    exponent: int | None = None  # address of the register with the power of ten

    @property
    def span(self) -> Span:
        """All that must come in one answer."""
        needed = (*self.addresses, *(() if self.exponent is None else (self.exponent,)))
        return Span(self.unit, self.table, min(needed), max(needed) - min(needed) + 1)


def limits_of(spec: ModbusSpec, chain: Sequence[Model]) -> Limits:
    """What the device allows, for the read planner. Some refuse a request that crosses from one SunSpec model to the next."""
    barriers = (*spec.barriers, *(model.address for model in chain))
    return Limits(spec.max_registers, spec.max_gap, barriers, spec.single_reads)


def locate(setup: DeviceSetup, spec: ProfileSpec, chain: Sequence[Model]) -> tuple[dict[str, Register], dict[str, str]]:
    """Where each register point is on this device; and why some are not there, by name."""
    found: dict[str, Register] = {}
    missing: dict[str, str] = {}
    for name, point in spec.points.items():
        if point.sunspec is not None:
            place = locate_point(chain, point.sunspec.models, point.sunspec.point, point.sunspec.module, _instance(setup, spec, point))
            if isinstance(place, str):
                missing[name] = place
                continue
            rule = value_rule(point)
            rule = replace(rule, sentinels=rule.sentinels | place.sentinels, is_text=rule.is_text or place.encoding.startswith("string"))
            unit = _unit(setup, point)
            found[name] = Register(name, unit, "holding", place.addresses, place.encoding, rule, exponent=place.exponent)
        elif _table(point):
            found[name] = _located(setup, spec, name, point)
    return found, missing


def _instance(setup: DeviceSetup, spec: ProfileSpec, point: PointSpec) -> int | None:
    """Which of several SunSpec models of a kind: what `shift` counts where there are no addresses to move."""
    if not point.shift:
        return None
    written = setup.parameters.get(point.shift, spec.parameters[point.shift].default or "1")
    return int(written) if written.isdigit() else 0


def _located(setup: DeviceSetup, spec: ProfileSpec, name: str, point: PointSpec) -> Register:
    table = _table(point)
    return Register(
        name=name,
        unit=_unit(setup, point),
        table=table,
        addresses=_addresses(setup, spec, point),
        encoding="bool" if table in BIT_TABLES else point.as_,
        rule=value_rule(point),
        word_order=point.word_order or spec.modbus.word_order,
        byte_order=point.byte_order or spec.modbus.byte_order,
        mask=point.mask,
        exponent=_addresses(setup, spec, spec.points[point.scale_by])[0] if point.scale_by else None,
    )


def _table(point: PointSpec) -> str:
    return next((table for table in ("holding", "input", "coil", "discrete") if getattr(point, table) is not None), "")


def _addresses(setup: DeviceSetup, spec: ProfileSpec, point: PointSpec) -> tuple[int, ...]:
    """The addresses of all words, moved to the wanted instance (second connector, third heat pump)."""
    written: list[int] | int = getattr(point, _table(point))
    listed = [written] if isinstance(written, int) else written
    if len(listed) == 1:
        listed = [listed[0] + offset for offset in range(point.registers if point.as_ else 1)]
    moved = 0
    if point.shift:
        parameter = spec.parameters[point.shift]
        moved = (int(setup.parameters.get(point.shift, parameter.default or 0)) - int(parameter.default or 0)) * (parameter.stride or 0)
    return tuple(address + moved for address in listed)


def _unit(setup: DeviceSetup, point: PointSpec) -> int:
    return int(fill_parameters(point.unit_id, setup.parameters)) if point.unit_id else setup.unit


class Poll:
    """One request and what decodes its answer."""

    def __init__(self, block: Block, registers: Iterable[Register], once: bool = False) -> None:
        self.block = block
        self.once = once  # asked until it is answered, then no more
        self.proven = False  # has been answered before
        spans = set(block.spans)
        held = [register for register in registers if register.span in spans]
        self.names = tuple(register.name for register in held)
        fields = [_field(register, block.address) for register in held]
        self._decoder = BlockDecoder(fields)
        self._rows = [(register.name, register.rule, picker(field.offsets)) for register, field in zip(held, fields, strict=True)]
        self._exponents = {index: register.exponent - block.address for index, register in enumerate(held) if register.exponent is not None}

    def readings(self, words: tuple[int, ...], at: float, into: dict[str, Reading]) -> None:
        """Adds the readings of an answer, true at `at`."""
        values = self._decoder.decode(words)
        if self._exponents:
            self._scaled_readings(words, values, at, into)
            return
        for (name, rule, pick), raw in zip(self._rows, values, strict=True):
            into[name] = to_reading(rule, raw, at, pick(words))

    def _scaled_readings(self, words: tuple[int, ...], values: Sequence[Decoded], at: float, into: dict[str, Reading]) -> None:
        for index, ((name, rule, pick), raw) in enumerate(zip(self._rows, values, strict=True)):
            if index not in self._exponents:
                into[name] = to_reading(rule, raw, at, pick(words))
                continue
            word = words[self._exponents[index]]
            exponent = word - 0x10000 if word & 0x8000 else word
            source = (*pick(words), word)
            if abs(exponent) > _FARTHEST_EXPONENT:
                into[name] = Reading(None, rule.unit, Quality.NOT_AVAILABLE, at, f"the device gives no scale factor ({exponent})", source)
            else:
                into[name] = to_reading(rule, raw, at, source, exponent)

    def absent(self, quality: Quality, reason: str, at: float, into: dict[str, Reading]) -> None:
        """Adds readings without a value for all points of the request."""
        for name, rule, _ in self._rows:
            into[name] = Reading(None, rule.unit, quality, at, reason)


def _field(register: Register, start: int) -> Field:
    offsets = tuple(address - start for address in register.addresses)
    return Field(offsets, register.encoding, register.word_order, register.byte_order, register.mask)
