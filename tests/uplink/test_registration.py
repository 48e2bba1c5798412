"""The building as the site file names it: created, updated and its devices attached, and nothing else touched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.demo.cloud import BUILDING_ID, Answer, LocalCloud
from edge_agent.model.clock import ScaledClock
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.registration import Registration, Wanted, keep_registered, merged, register
from edge_agent.uplink.settings import Building
from edge_agent.uplink.verdict import Kind
from tests.conftest import until
from tests.uplink.rig import NOW, PATIENCE, account_of

GRAZ = Building("8010", "Graz", "AT", "Europe/Vienna")
METER = {"id": "meter", "type": "SMART_METER", "name": "Main meter", "product_name": "Eastron SDM630"}
PLUG = {"id": "plug", "type": "SMART_PLUG", "name": "Washer", "product_name": "Tasmota"}
THEIRS = {"id": "656830efc4515778b1ce4f2f", "type": "CAR", "name": "John's Car", "product_name": "Device Link Car"}
FLAT = {"type": "SINGLE", "minPrice": "1"}
DUAL = {"type": "DUAL", "minPrice": "0.296", "maxPrice": "0.385", "dual": {"lowTariff": {"mondayStartTime": "19:00", "mondayEndTime": "07:00"}}}


@pytest.fixture
async def client(cloud: LocalCloud) -> AsyncIterator[MoostClient]:
    client = MoostClient(account_of(cloud), ScaledClock(50, NOW), PATIENCE)
    yield client
    await client.close()


def written(cloud: LocalCloud) -> list[str]:
    return [f"{request.method} {request.path}" for request in cloud.requests if request.method != "GET"]


async def done(client: MoostClient, building: Building, devices: list[dict[str, str]], before: set[str] | None = None) -> Registration:
    result = await register(client, Wanted(building, devices), before or set(), NOW)
    assert result.done, result.verdict
    return result


async def test_a_building_that_is_not_there_is_created_with_what_the_file_names(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.buildings.clear()
    result = await done(client, GRAZ, [METER])
    building = cloud.buildings[BUILDING_ID]
    assert (building["zip"], building["city"], building["countryCode"], building["timeZoneId"]) == ("8010", "Graz", "AT", "Europe/Vienna")
    assert [device["id"] for device in building["devices"]] == ["meter"]
    assert result.attached == {"meter"}
    assert result.changes == ("created", "devices attached")


async def test_a_second_registration_writes_nothing(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.buildings.clear()
    building = Building("8010", "Graz", "AT", "Europe/Vienna", DUAL)
    await done(client, building, [METER, PLUG])
    cloud.requests.clear()
    assert (await done(client, building, [METER, PLUG], {"meter", "plug"})).changes == ()
    assert written(cloud) == []


async def test_an_update_keeps_what_the_file_does_not_name_and_writes_nothing_computed(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.buildings[BUILDING_ID] |= {
        "zip": "01067",
        "userIds": ["user1"],
        "inactiveRules": ["rule1"],
        "isEarlyAdopter": True,
        "registrationTimestamp": 1645630735,
        "timeZoneId": "Europe/Berlin",
        "devices": [THEIRS | {"createdAt": 1, "updatedAt": 2}],
        "settings": {"other": 1, "tariff": {"type": "SINGLE", "minPrice": "0.3"}},
        "somethingComputed": [1, 2, 3],
    }
    assert (await done(client, Building("8010", "Graz", "AT"), [])).changes == ("updated",)
    building = cloud.buildings[BUILDING_ID]
    assert (building["zip"], building["userIds"], building["inactiveRules"], building["isEarlyAdopter"]) == ("8010", ["user1"], ["rule1"], True)
    assert (building["timeZoneId"], building["registrationTimestamp"]) == ("Europe/Berlin", 1645630735)
    assert building["settings"] == {"other": 1, "tariff": {"type": "SINGLE", "minPrice": "0.3"}}
    assert building["devices"] == [THEIRS]
    assert written(cloud) == ["PUT /buildings/v1"]  # the cloud refuses computed attributes, so none was written


@pytest.mark.parametrize(
    ("known", "named", "result"),
    [
        (None, DUAL, DUAL),
        (FLAT | {"currency": "CHF"}, FLAT | {"minPrice": "2"}, FLAT | {"minPrice": "2", "currency": "CHF"}),
        (DUAL, {"type": "SINGLE"}, {"type": "SINGLE"}),
        (DUAL, {"type": "DUAL", "dual": {"lowTariff": {"sundayStartTime": "00:00"}}}, DUAL | {"dual": {"lowTariff": {"sundayStartTime": "00:00"}}}),
    ],
)
def test_a_tariff_of_the_same_type_keeps_what_the_file_does_not_name(
    known: dict[str, Any] | None, named: dict[str, Any], result: dict[str, Any]
) -> None:
    building = merged({"zip": "8010", "settings": {"tariff": known} if known else None}, Building("8010", "Graz", "AT", None, named), NOW)
    assert building is not None
    assert building["settings"]["tariff"] == result


async def test_a_deactivated_building_is_told_once_and_its_devices_stay(cloud: LocalCloud, client: MoostClient) -> None:
    await done(client, GRAZ, [METER])
    assert "deactivatedTimestamp" not in cloud.buildings[BUILDING_ID], "what the file does not name is left alone"
    closed = replace(GRAZ, active=False)
    assert (await done(client, closed, [METER], {"meter"})).changes == ("deactivated",)
    assert cloud.buildings[BUILDING_ID]["deactivatedTimestamp"] == int(NOW)
    assert [device["id"] for device in cloud.buildings[BUILDING_ID]["devices"]] == ["meter"]
    later = await register(client, Wanted(closed, [METER]), {"meter"}, NOW + 86400)
    assert later.changes == ()
    assert cloud.buildings[BUILDING_ID]["deactivatedTimestamp"] == int(NOW), "the first deactivation stays"


@pytest.mark.parametrize("active", [None, True])
async def test_a_building_is_reactivated_only_where_the_file_says_so(cloud: LocalCloud, client: MoostClient, active: bool | None) -> None:
    await done(client, replace(GRAZ, active=False), [METER])
    assert (await done(client, replace(GRAZ, active=active), [METER], {"meter"})).changes == (("reactivated",) if active else ())
    assert bool(cloud.buildings[BUILDING_ID].get("deactivatedTimestamp")) is not active
    assert (await done(client, replace(GRAZ, active=active), [METER], {"meter"})).changes == ()


def slices(*hours: int, price: str = "0.25") -> list[dict[str, object]]:
    return [{"price": price, "from": int(NOW) + 3600 * hour, "to": int(NOW) + 3600 * (hour + 1)} for hour in hours]


async def test_dynamic_prices_are_written_when_those_of_the_time_to_come_are_others(cloud: LocalCloud, client: MoostClient) -> None:
    def priced(*hours: int, price: str = "0.25") -> Building:
        return replace(GRAZ, tariff={"type": "DYNAMIC", "minPrice": price, "maxPrice": price, "dynamic": {"tariffs": slices(*hours, price=price)}})

    assert (await done(client, priced(-1, 0, 1), [])).changes == ("updated",)
    assert (await done(client, priced(0, 1), [])).changes == (), "what is over makes no difference"
    assert (await done(client, priced(0, 1, 2), [])).changes == ("updated",)
    assert (await done(client, priced(0, 1, 2, price="0.3"), [])).changes == ("updated",)
    assert (await done(client, GRAZ, [])).changes == (), "without good prices the platform keeps what it has"
    assert cloud.buildings[BUILDING_ID]["settings"]["tariff"]["dynamic"]["tariffs"] == slices(0, 1, 2, price="0.3")


async def test_others_devices_stay_and_only_ours_that_vanished_are_dropped(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.buildings[BUILDING_ID] |= {"zip": "8010", "city": "Graz", "countryCode": "AT", "timeZoneId": "Europe/Vienna"}
    cloud.buildings[BUILDING_ID]["devices"] = [THEIRS, METER, PLUG]
    result = await done(client, GRAZ, [METER | {"name": "Renamed"}], {"meter", "plug"})
    names = [(device["id"], device["name"]) for device in cloud.buildings[BUILDING_ID]["devices"]]
    assert names == [(THEIRS["id"], "John's Car"), ("meter", "Renamed")]
    assert result.attached == {"meter"}
    assert written(cloud) == [f"PUT /buildings/{BUILDING_ID}/devices/v1"]


async def test_a_device_that_is_there_but_was_never_ours_stays(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.buildings[BUILDING_ID]["devices"] = [PLUG]
    await done(client, GRAZ, [METER])
    assert [device["id"] for device in cloud.buildings[BUILDING_ID]["devices"]] == ["plug", "meter"]


async def test_a_device_that_the_platform_gave_another_id_is_not_attached_twice(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.buildings[BUILDING_ID] |= {"zip": "8010", "city": "Graz", "countryCode": "AT", "timeZoneId": "Europe/Vienna"}
    cloud.buildings[BUILDING_ID]["devices"] = [METER | {"id": "65d0000000000000000000aa"}]
    assert (await done(client, GRAZ, [METER])).changes == ()


async def test_a_building_that_someone_else_creates_meanwhile_is_fine(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.fault = lambda request: Answer(404) if request.method == "GET" and "/buildings" in request.path and not written(cloud) else None
    result = await done(client, GRAZ, [])
    assert written(cloud) == ["POST /buildings/v1", "PUT /buildings/v1"]
    assert result.changes == ("found", "updated")


@pytest.mark.parametrize("path", [f"/buildings/{BUILDING_ID}/v1", "/buildings/v1", f"/buildings/{BUILDING_ID}/devices/v1"])
async def test_a_failure_on_the_way_keeps_what_was_attached_before(cloud: LocalCloud, client: MoostClient, path: str) -> None:
    cloud.fault = lambda request: Answer(503) if request.path == path else None
    result = await register(client, Wanted(GRAZ, [METER]), {"old"}, NOW)
    assert not result.done
    assert result.verdict.kind is Kind.LATER
    assert result.attached == {"old"}


async def test_a_page_in_the_buildings_place_writes_nothing(cloud: LocalCloud, client: MoostClient) -> None:
    for answer in (Answer(200, b"<html>"), Answer(200, b"[]"), Answer(200, b"nonsense"), Answer(404, b"<html>")):
        cloud.fault = lambda request, answer=answer: answer if request.path.startswith("/buildings") else None  # type: ignore[misc]
        result = await register(client, Wanted(GRAZ, [METER]), set(), NOW)
        assert result.verdict.kind is Kind.LATER
    assert written(cloud) == []


async def test_it_never_deletes(cloud: LocalCloud, client: MoostClient) -> None:
    await done(client, GRAZ, [METER])
    await done(client, GRAZ, [], {"meter"})
    assert not any(request.method == "DELETE" for request in cloud.requests)


async def test_it_is_tried_again_until_done_and_what_was_attached_is_remembered(
    cloud: LocalCloud, client: MoostClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = ScaledClock(50, NOW)
    failing = iter([True] * 4)
    cloud.fault = lambda request: Answer(500) if request.path.startswith("/buildings") and next(failing, False) else None
    outbox = await Outbox.open(tmp_path / "queue.db")
    await keep_registered(client, lambda: Wanted(GRAZ, [METER, PLUG]), outbox, clock)
    await keep_registered(client, lambda: Wanted(GRAZ, [METER]), outbox, clock)
    assert await outbox.load_state("uplink.attached") == '["meter"]'
    await outbox.close()
    assert [device["id"] for device in cloud.buildings[BUILDING_ID]["devices"]] == ["meter"]
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("edge_agent")]
    assert sum("the building's registration: stopped" in message for message in messages) == 1
    assert sum(message == f"building {BUILDING_ID}: updated, devices attached" for message in messages) == 1


@pytest.mark.parametrize("reading", [False, True])
async def test_a_queue_that_cannot_be_used_is_waited_for(
    cloud: LocalCloud, client: MoostClient, tmp_path: Path, caplog: pytest.LogCaptureFixture, reading: bool
) -> None:
    outbox = await Outbox.open(tmp_path / "queue.db")
    await outbox.call(lambda queue: queue._db.execute("ALTER TABLE state RENAME TO gone" if reading else "PRAGMA query_only=1"))
    task = asyncio.create_task(keep_registered(client, lambda: Wanted(GRAZ, [METER]), outbox, ScaledClock(50, NOW)))
    await until(lambda: task.done() or "the building's registration: stopped" in caplog.text)
    assert not task.done()
    assert ("no such table" if reading else "cannot be written") in caplog.text
    await outbox.call(lambda queue: queue._db.execute("ALTER TABLE gone RENAME TO state" if reading else "PRAGMA query_only=0"))
    await asyncio.wait_for(task, 30)
    assert await outbox.load_state("uplink.attached") == '["meter"]'
    await outbox.close()


@pytest.mark.parametrize("stored", ["", "nonsense", "5", '{"a": 1}', "[[1], 2]"])
async def test_a_memory_that_makes_no_sense_drops_no_device(cloud: LocalCloud, client: MoostClient, tmp_path: Path, stored: str) -> None:
    cloud.buildings[BUILDING_ID]["devices"] = [PLUG]
    outbox = await Outbox.open(tmp_path / "queue.db")
    await outbox.commit([], {"uplink.attached": stored})
    await keep_registered(client, lambda: Wanted(GRAZ, [METER]), outbox, ScaledClock(50, NOW))
    assert await outbox.load_state("uplink.attached") == '["meter"]'
    await outbox.close()
    assert [device["id"] for device in cloud.buildings[BUILDING_ID]["devices"]] == ["plug", "meter"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"devices": 5}',
        b'{"devices": {"id": "a"}}',
        b'{"devices": [1]}',
        b'{"devices": ["id"]}',
        b'{"settings": "text"}',
        b'{"settings": [1]}',
        b'{"settings": {"tariff": NaN}}',
        b'{"properties": 1e999}',
        b'{"properties": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=lambda body: body[:30].decode(),
)
async def test_an_answer_that_is_no_building_is_tried_later_and_writes_nothing(cloud: LocalCloud, client: MoostClient, body: bytes) -> None:
    cloud.fault = lambda request: Answer(200, body) if request.path.startswith("/buildings") else None
    result = await register(client, Wanted(Building("8010", "Graz", "AT", None, FLAT), [METER]), set(), NOW)
    assert result.verdict.kind is Kind.LATER
    assert "no building" in result.verdict.reason
    assert written(cloud) == []


async def test_data_that_the_platform_refuses_is_said_once_and_not_repeated(
    cloud: LocalCloud, client: MoostClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.fault = lambda request: Answer(400, {"message": "zip: unknown"}) if request.method == "PUT" else None
    outbox = await Outbox.open(tmp_path / "queue.db")
    async with asyncio.timeout(30):
        await keep_registered(client, lambda: Wanted(GRAZ, [METER]), outbox, ScaledClock(50, NOW))
    await outbox.close()
    assert "zip: unknown" in caplog.text
    assert "correct `building:` in the site file" in caplog.text
    assert len(written(cloud)) == 1
