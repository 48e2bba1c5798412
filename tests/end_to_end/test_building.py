"""The building at the platform follows the site file: prices, deactivation, devices that join and leave."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

from edge_agent.demo.cloud import BUILDING_ID, LocalCloud
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, energies, meter, running
from tests.simulators import RegisterServer

THEIRS = {"id": "656830efc4515778b1ce4f2f", "type": "CAR", "name": "John's Car", "product_name": "Device Link Car"}
GRAZ = "zip: '8010', city: Graz, country_code: AT"


def put_prices(gateway: Gateway, price: str, hours: int) -> None:
    start = (int(time.time() // 3600) + 1) * 3600  # all of it ahead, also when an hour ends meanwhile
    rows = [{"price": price, "from": start + hour * 3600, "to": start + (hour + 1) * 3600} for hour in range(hours)]
    (gateway.folder / "prices.json").write_text(json.dumps({"currency": "EUR", "tariffs": rows}))


async def test_prices_activity_and_devices_follow_the_site_file(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    cloud.buildings[BUILDING_ID]["devices"] = [THEIRS]

    def building() -> dict[str, Any]:
        return cloud.buildings[BUILDING_ID]

    def devices() -> list[str]:
        return [device["id"] for device in building().get("devices", [])]

    put_prices(gateway, "0.21", 24)
    tariff = "tariff: {type: DYNAMIC, file: prices.json, currency: EUR}"
    both = [meter(meter_server), meter(meter_server, "charger-meter", "charger", ", unit: 1").replace("eastron-sdm630", "eastron-sdm72")]
    gateway.write_site(both[:1], building=f"{{{GRAZ}, active: false, {tariff}}}")
    async with running(gateway):
        await until(lambda: devices() == [THEIRS["id"], "grid-meter"], 30)
        assert building()["deactivatedTimestamp"]
        assert [one["price"] for one in building()["settings"]["tariff"]["dynamic"]["tariffs"]] == ["0.21"] * 24
        known = len(energies(cloud, "grid-meter"))
        await until(lambda: len(energies(cloud, "grid-meter")) > known, 30)  # a deactivated building's events go on

        put_prices(gateway, "0.33", 30)
        gateway.write_site(both, building=f"{{{GRAZ}, active: true, {tariff}}}")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: devices() == [THEIRS["id"], "grid-meter", "charger-meter"], 30)
        assert building()["deactivatedTimestamp"] is None
        assert [one["price"] for one in building()["settings"]["tariff"]["dynamic"]["tariffs"]] == ["0.33"] * 30

        (gateway.folder / "prices.json").write_text("{")
        gateway.write_site(both[1:], building=f"{{{GRAZ}, active: true, {tariff}}}")
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: devices() == [THEIRS["id"], "charger-meter"], 30)
        assert len(building()["settings"]["tariff"]["dynamic"]["tariffs"]) == 30, "without good prices the platform keeps what it has"
        await gateway.stop()
    assert f"building.tariff: {gateway.folder}/prices.json: is no JSON" in gateway.logged
    assert not any(request.method == "DELETE" for request in cloud.requests)
