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
        except DeviceRefused:
            continue
        if words == MARK:
            return await _walk(link, unit, base + 2, timeout)
    listed = ", ".join(str(base) for base in bases)
    raise DeviceError(f"{link.where} unit {unit} has no SunSpec map at {listed}; check `unit:` and that SunSpec is switched on in the device")


async def _walk(link: ModbusLink, unit: int, address: int, timeout: float) -> tuple[Model, ...]:
    """The chain from its first model on, to its end: a marker, a refusal behind the last register, or nonsense."""
    chain: list[Model] = []
    while len(chain) < _MOST_MODELS:
        try:
            id_, length = await link.read(unit, "holding", address, 2, timeout)
        except DeviceRefused:
            break
        model = next_model(address, id_, length)
        if model is None:
            break
        chain.append(model)
        address = model.end
    return tuple(chain)
