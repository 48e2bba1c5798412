"""The building at the platform as the house is now: prices that arrive, devices that turn out otherwise, data that is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.building import BuildingKeeper
from edge_agent.config import Site, load_site
from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, Answer, LocalCloud
from edge_agent.drivers.mqtt_hub import MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import ScaledClock
from edge_agent.outbox.outbox import Outbox
from edge_agent.profiles.meaning import meter_points
from edge_agent.uplink.client import MoostClient
from tests.conftest import Mosquitto, until
from tests.drivers.mqtt_device import MqttDevice

START = 1_800_000_000 // 3600 * 3600


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud() as cloud:
        yield cloud


def site_of(folder: Path, cloud: LocalCloud, tariff: str = "") -> Site:
    account = f"base_url: '{cloud.url}', customer_id: {CUSTOMER_ID}, building_id: {BUILDING_ID}, client_id: {CLIENT_ID}"
    (folder / "agent.yaml").write_text(
        f"moost: {{{account}, client_secret_file: client-secret}}\n"
        f"mqtt: {{broker: mqtt://localhost}}\nbuilding: {{zip: '8010', city: Graz, country_code: AT{tariff}}}\n"
        "devices:\n  - {id: hybrid, name: Inverter, profile: sungrow-sh, connection: 'tcp://127.0.0.1:1'}\n"
    )
    (folder / "client-secret").write_text(CLIENT_SECRET)
    (folder / "client-secret").chmod(0o600)
    return load_site(folder / "agent.yaml")


@contextlib.asynccontextmanager
async def keeping(site: Site, folder: Path, hub: MqttHub | None = None) -> AsyncIterator[tuple[BuildingKeeper, list[Any]]]:
    """A keeper at work, at 1000 times the speed of time, and the measuring points that it sees."""
    clock = ScaledClock(1000, START)
    outbox, client = await Outbox.open(folder / "queue.db"), MoostClient(site.account, clock)
    points: list[Any] = [point for setup in site.devices for point in meter_points(setup)]
    keeper = BuildingKeeper(site, clock, client, outbox, lambda: points)

    def broker() -> MqttHub:
        assert hub is not None
        return hub

    task = asyncio.create_task(keeper.run(broker))
    try:
        yield keeper, points
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()
        await outbox.close()


def prices(cloud: LocalCloud) -> list[str]:
    tariff = cloud.buildings[BUILDING_ID].get("settings", {}).get("tariff", {})
    return [one["price"] for one in tariff.get("dynamic", {}).get("tariffs", [])]


def rates(value: float) -> str:
    day = range(START - 3600, START + 400 * 86400, 86400)
    return json.dumps([{"start": at, "end": at + 86400, "value": value} for at in day])


async def test_prices_from_a_topic_reach_the_building_and_so_do_others(cloud: LocalCloud, tmp_path: Path, mosquitto: Mosquitto) -> None:
    hub = MqttHub(MqttSettings("127.0.0.1", mosquitto.port), ScaledClock(1000, START))
    device = MqttDevice(mosquitto.port)
    async with keeping(site_of(tmp_path, cloud, ", tariff: {type: DYNAMIC, topic: evcc/site/forecast/grid}"), tmp_path, hub) as (keeper, _):
        await until(lambda: cloud.buildings[BUILDING_ID].get("devices"), 30)
        assert prices(cloud) == []
        await device.say("evcc/site/forecast/grid", rates(0.21), retain=True)
        await until(lambda: set(prices(cloud)) == {"0.21"}, 30)
        await device.say("evcc/site/forecast/grid", rates(0.34), retain=True)
        await until(lambda: set(prices(cloud)) == {"0.34"}, 30)
        await device.say("evcc/site/forecast/grid", "0.34", retain=True)
        await until(keeper.problems, 30)
        assert keeper.problems() == [
            "prices of topic evcc/site/forecast/grid: holds one price, not those of the time to come; evcc has them on site/forecast/grid"
        ]
        assert set(prices(cloud)) == {"0.34"}
    await hub.close()
    device.close()


async def test_a_device_that_turns_out_to_lack_a_role_leaves_the_building(cloud: LocalCloud, tmp_path: Path) -> None:
    def devices() -> list[str]:
        return [device["id"] for device in cloud.buildings[BUILDING_ID].get("devices", [])]

    async with keeping(site_of(tmp_path, cloud), tmp_path) as (keeper, points):
        await until(lambda: sorted(devices()) == ["hybrid.battery", "hybrid.grid", "hybrid.pv"], 30)
        points[:] = [point for point in points if point.id != "hybrid.battery"]
        keeper.points_changed()
        await until(lambda: sorted(devices()) == ["hybrid.grid", "hybrid.pv"], 30)


async def test_data_that_the_platform_refuses_is_a_problem_until_it_is_taken(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.fault = lambda request: Answer(400, {"message": "zip: unknown"}) if request.method == "PUT" else None
    async with keeping(site_of(tmp_path, cloud), tmp_path) as (keeper, _):
        await until(keeper.problems, 30)
        assert "zip: unknown" in keeper.problems()[0]
        cloud.fault = lambda request: None
        keeper.points_changed()
        await until(lambda: not keeper.problems(), 30)
