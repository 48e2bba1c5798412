"""Keeps the building at the platform as the house is: the site file's words, the devices that are there, the newest prices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_agent.cloud.vocabulary import device_type_of
from edge_agent.config import Site
from edge_agent.model.clock import Clock
from edge_agent.model.measurements import MeterPoint
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.prices import PriceFeed
from edge_agent.uplink.registration import Wanted, keep_registered
from edge_agent.uplink.settings import Building

if TYPE_CHECKING:
    from edge_agent.drivers.mqtt_hub import MqttHub


class BuildingKeeper:
    """Registers the building when it starts, and again when something of it has changed."""

    def __init__(self, site: Site, clock: Clock, client: MoostClient, outbox: Outbox, points: Callable[[], Iterable[MeterPoint]]) -> None:
        """`points` gives the measuring points that are there, as far as is known."""
        self._site = site
        self._clock = clock
        self._client = client
        self._outbox = outbox
        self._points = points
        self._changed = asyncio.Event()
        self._refused = ""
        self._state = "taken as registered: the site file has no `building:`" if site.building is None else "not known to the platform yet"
        source = site.building.prices if site.building else None
        self._feed = PriceFeed(source, clock, self._changed.set) if source else None

    def points_changed(self) -> None:
        """A device turned out to have other roles."""
        self._changed.set()

    @property
    def state(self) -> str:
        """Whether the platform knows the building as it is, in words."""
        return self._state

    def problems(self) -> list[str]:
        """What is wrong with the building's data now, in words: the platform refuses it, or there are no good prices."""
        prices = f"prices of {self._feed.source}: {self._feed.problem}" if self._feed and self._feed.problem else ""
        return [problem for problem in (self._refused, prices) if problem]

    async def run(self, hub: Callable[[], MqttHub]) -> None:
        """Works until cancelled. `hub` gives the broker's connection, asked for only where prices come from a topic."""
        if self._site.building is None:
            return
        if self._feed is None:
            await self._register(self._site.building)
            return
        await self._feed.look()
        looking = asyncio.create_task(self._feed.run(hub() if self._feed.source.topic else None), name="prices")
        looking.add_done_callback(lambda _: self._changed.set())
        try:
            await self._register(self._site.building, looking)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _register(self, building: Building, looking: asyncio.Task[None] | None = None) -> None:
        """Registers for ever. Raises what ended `looking`."""
        while True:
            self._changed.clear()
            self._refused = await keep_registered(self._client, lambda: self._wish(building), self._outbox, self._clock)
            self._state = "refused by the platform" if self._refused else "registered"
            await self._changed.wait()
            if looking is not None and looking.done():
                looking.result()

    def _wish(self, building: Building) -> Wanted:
        """The building as it is now. Without good prices the platform keeps the tariff that it has."""
        if self._feed is not None:
            building = replace(building, tariff=self._feed.tariff())
        return Wanted(building, devices_of(self._site, self._points()))


def devices_of(site: Site, points: Iterable[MeterPoint]) -> list[dict[str, str]]:
    """The devices as the platform's building has them."""
    models = {setup.id: f"{setup.profile.spec.vendor} {next(iter(setup.profile.spec.models), '')}".strip() for setup in site.devices}
    return [
        {"id": point.id, "type": device_type_of(point.role, point.device_type).value, "name": point.name, "product_name": models[point.device_id]}
        for point in points
    ]
