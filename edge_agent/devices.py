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
    from edge_agent.drivers.modbus import ModbusDriver
    from edge_agent.drivers.modbus_link import ModbusLink, ModbusLinks
    from edge_agent.drivers.mqtt import MqttDriver
    from edge_agent.drivers.mqtt_hub import MqttHub
    from edge_agent.drivers.settings import MqttSettings

CLOSE_S = 1.0  # a line that does not close in this time is left to the operating system


class Devices:
    """Opens nothing by itself: a driver connects when it is first read."""

    def __init__(self, setups: Iterable[DeviceSetup], mqtt: MqttSettings | None, clock: Clock, serials: Mapping[str, str]) -> None:
        self.drivers: dict[str, Driver] = {}
        self._mqtt = mqtt
        self._clock = clock
        self._serials = serials
        self._links: ModbusLinks | None = None
        self._hub: MqttHub | None = None
        for setup in setups:
            self.drivers[setup.id] = self.modbus_driver(setup) if setup.connection else self.mqtt_driver(setup)

    def modbus_driver(self, setup: DeviceSetup) -> ModbusDriver:
        """A driver that knows nothing of its device yet, on the line that all share."""
        from edge_agent.drivers.modbus import ModbusDriver

        return ModbusDriver(setup, self.link(setup), self._clock, self._serials.get(setup.id, ""))

    def mqtt_driver(self, setup: DeviceSetup) -> MqttDriver:
        """A driver that has heard nothing of its device yet, on the connection that all share."""
        from edge_agent.drivers.mqtt import MqttDriver

        return MqttDriver(setup, self.hub, self._clock, self._serials.get(setup.id, ""))

    def link(self, setup: DeviceSetup) -> ModbusLink:
        """The line of a Modbus device."""
        from edge_agent.drivers.modbus_link import ModbusLinks

        assert setup.connection is not None
        if self._links is None:
            self._links = ModbusLinks(self._clock)
        return self._links.get(setup.connection, setup.profile.spec.modbus)

    @property
    def hub(self) -> MqttHub:
        """The connection to the broker."""
        from edge_agent.drivers.mqtt_hub import MqttHub

        assert self._mqtt is not None, "config.py refuses an MQTT device without a broker"
        if self._hub is None:
            self._hub = MqttHub(self._mqtt, self._clock)
        return self._hub

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
