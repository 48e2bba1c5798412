"""Finds a device's chain of SunSpec models. What they mean is in `codec/sunspec.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.codec.sunspec import MARK, Model, next_model
from edge_agent.drivers.modbus_link import ModbusLink
from edge_agent.model.errors import DeviceError, DeviceRefused

_MOST_MODELS = 60  # the longest chains in the field (a gateway with several meters) have about 30


async def find_chain(link: ModbusLink, unit: int, bases: Sequence[int], timeout: float) -> tuple[Model, ...]:
    """The models of the device, from the first base address that holds the SunSpec mark.

    Raises DeviceError when there is none, or whatever the line raises.
    """
    for base in bases:
        try:
            words = await link.read(unit, "holding", base, 2, timeout)
        except DeviceRefused as error:
            if error.code not in _NOT_THERE:
                raise
            continue
        if words == MARK:
            return await _walk(link, unit, base + 2, timeout)
    listed = ", ".join(str(base) for base in bases)
    raise DeviceError(f"{link.where} unit {unit} has no SunSpec map at {listed}; check `unit:` and that SunSpec is switched on in the device")


_NOT_THERE = (2, 3)  # illegal address or length: there is nothing; any other refusal is a passing one


async def _walk(link: ModbusLink, unit: int, address: int, timeout: float) -> tuple[Model, ...]:
    """The chain from its first model on, to its end: a marker, an illegal address behind the last register, or nonsense."""
    chain: list[Model] = []
    while len(chain) < _MOST_MODELS:
        try:
            id_, length = await link.read(unit, "holding", address, 2, timeout)
        except DeviceRefused as error:
            if error.code not in _NOT_THERE:  # busy is no end of the chain: half a chain would make another device of it
                raise
            break
        model = next_model(address, id_, length)
        if model is None:
            break
        chain.append(model)
        address = model.end
    return tuple(chain)
