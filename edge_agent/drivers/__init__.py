"""Floor 3: I/O with devices. A driver hands over one Sample of its device at a time.

Modbus asks the device; MQTT hands over what has arrived since. Neither ever writes to a device: only
read function codes, and on MQTT only the requests that a device needs in order to talk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_agent.codec.read_plan import Span
from edge_agent.model.measurements import Role, Sample


@dataclass(frozen=True, slots=True)
class BadAddress:
    """Registers that a device refuses: not asked for until `again_at` (UTC epoch seconds), for this reason."""

    span: Span
    again_at: float
    reason: str


class Driver(Protocol):
    """One device. A fault of the device is no exception but a Sample that says so."""

    bad_addresses: Sequence[BadAddress]  # what to leave out of the requests; given back after a restart

    @property
    def serial(self) -> str:
        """The device's serial number, empty until it is known or when the profile has none."""

    @property
    def roles(self) -> frozenset[Role] | None:
        """The roles of the profile that this device really has; None where the profile alone tells, or until it is known."""

    async def read(self) -> Sample:
        """All points now. Never raises for what a device does; a point that failed is absent with its reason."""

    async def close(self) -> None:
        """Lets go of the connection; the driver is not used again."""
