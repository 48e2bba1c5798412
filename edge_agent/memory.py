"""What was learnt about the devices and outlives a restart: serial numbers, roles, addresses that they refuse.

It is kept in the queue's state. What is damaged or was written by another version is learnt anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_agent.codec.read_plan import Span
from edge_agent.drivers import BadAddress, Driver
from edge_agent.profiles.setup import DeviceSetup

log = logging.getLogger(__name__)


@dataclass
class Memory:
    """What is known, by device. It is of no use once a device has another profile."""

    profiles: dict[str, str]
    serials: dict[str, str] = field(default_factory=dict)
    roles: dict[str, list[str]] = field(default_factory=dict)  # those that a device really has, where it tells
    bad_addresses: dict[str, list[list[Any]]] = field(default_factory=dict)

    @classmethod
    def from_state(cls, state: Any, setups: Iterable[DeviceSetup]) -> Memory:
        """What `to_json` gave, as far as it is of use for these devices."""
        data = state if isinstance(state, dict) else {}
        profiles = {setup.id: setup.profile.name for setup in setups}
        known = {device for device, profile in profiles.items() if data.get("profiles", {}).get(device) == profile}

        def of(name: str) -> dict[str, Any]:
            return {device: value for device, value in data.get(name, {}).items() if device in known}

        return cls(profiles, of("serials"), of("roles"), of("bad_addresses"))

    def to_json(self) -> str:
        """For the queue's state."""
        return json.dumps(asdict(self))

    def note(self, drivers: Mapping[str, Driver]) -> None:
        """Takes over what the drivers have learnt."""
        self.serials |= {device: driver.serial for device, driver in drivers.items() if driver.serial}
        self.bad_addresses |= {device: _rows(driver.bad_addresses) for device, driver in drivers.items()}

    def remind(self, drivers: Mapping[str, Driver]) -> None:
        """What the devices refused before the restart is not asked for again until its day is over."""
        for device, driver in drivers.items():
            try:
                driver.bad_addresses = [BadAddress(Span(*row[:4]), *row[4:]) for row in self.bad_addresses.get(device, [])]
            except (TypeError, ValueError) as error:
                log.warning("%s: the stored bad addresses cannot be used (%s)", device, error)


def loaded(text: str | None) -> Any:
    """What was stored as JSON; None when nothing was, or when it is damaged."""
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        log.error("stored state is damaged (%s); it begins anew", error)
        return None


def _rows(bad: Iterable[BadAddress]) -> list[list[Any]]:
    return [[one.span.unit, one.span.table, one.span.address, one.span.count, one.again_at, one.reason] for one in bad]
