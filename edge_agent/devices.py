"""The drivers of a site's devices and the lines they share; used by the agent, and by `read` when none runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edge_agent.drivers import Driver
from edge_agent.model.clock import Clock
from edge_agent.profiles.setup import DeviceSetup

if TYPE_CHECKING:
    from edge_agent.drivers.modbus_link import ModbusLinks
    from edge_agent.drivers.mqtt_hub import MqttHub, MqttSettings

CLOSE_S = 1.0  # a line that does not close in this time is left to the operating system


class Devices:
    """Opens nothing by itself: a driver connects when it is first read."""

    def __init__(self, setups: Iterable[DeviceSetup], mqtt: MqttSettings | None, clock: Clock, serials: Mapping[str, str]) -> None:
        self.drivers: dict[str, Driver] = {}
        self._links: ModbusLinks | None = None
        self._hub: MqttHub | None = None
        for setup in setups:
            self.drivers[setup.id] = self._modbus(setup, clock, serials) if setup.connection else self._mqtt(setup, mqtt, clock, serials)

    def _modbus(self, setup: DeviceSetup, clock: Clock, serials: Mapping[str, str]) -> Driver:
        from edge_agent.drivers.modbus import ModbusDriver
        from edge_agent.drivers.modbus_link import ModbusLinks

        assert setup.connection is not None
        if self._links is None:
            self._links = ModbusLinks(clock)
        return ModbusDriver(setup, self._links.get(setup.connection, setup.profile.spec.modbus), clock, serials.get(setup.id, ""))

    def _mqtt(self, setup: DeviceSetup, settings: MqttSettings | None, clock: Clock, serials: Mapping[str, str]) -> Driver:
        from edge_agent.drivers.mqtt import MqttDriver
        from edge_agent.drivers.mqtt_hub import MqttHub

        assert settings is not None, "config.py refuses an MQTT device without a broker"
        if self._hub is None:
            self._hub = MqttHub(settings, clock)
        return MqttDriver(setup, self._hub, clock, serials.get(setup.id, ""))

    @property
    def serials(self) -> dict[str, str]:
        """The serial numbers learnt so far, by device."""
        return {device: serial for device, driver in self.drivers.items() if (serial := driver.serial)}

    async def close(self) -> None:
        """Lets go of every device, line and broker, in a second at most."""
        closing = [driver.close() for driver in self.drivers.values()]
        if self._links is not None:
            closing.append(self._links.close())
        if self._hub is not None:
            closing.append(self._hub.close())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(*closing, return_exceptions=True)
