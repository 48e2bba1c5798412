"""The local cloud refuses what the real one would refuse, and fails as asked."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, Answer, Drop, LocalCloud, Slow
from edge_agent.demo.event_rules import complaint

EVENT: dict[str, Any] = {
    "customerId": CUSTOMER_ID,
    "customerBuildingId": BUILDING_ID,
    "deviceId": "c8f09e83046c",
    "deviceName": "Main meter",
    "source": "GATEWAY",
    "type": "ENERGY_CONSUMPTION",
    "value": 858.71,
    "timestamp": 1727992800,
}


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    with LocalCloud() as cloud:
        yield cloud


class Caller:
    """One kept-alive connection with a token."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.http = http.client.HTTPConnection(cloud.url.removeprefix("http://"), timeout=30)
        status, answer = self("GET", f"/auth/token/v1?clientId={CLIENT_ID}&clientSecret={CLIENT_SECRET}", token=None)
        assert status == 200
        self.token = answer["access_token"]

    def __call__(self, method: str, path: str, body: object = None, token: str | None = "own", raw: bytes | None = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {self.token if token == 'own' else token}"
        self.http.request(method, path, raw if raw is not None else None if body is None else json.dumps(body), headers)
        response = self.http.getresponse()
        content = response.read()
        return response.status, json.loads(content) if content else None


@pytest.fixture
def call(cloud: LocalCloud) -> Iterator[Caller]:
    caller = Caller(cloud)
    yield caller
    caller.http.close()


def test_an_event_is_accepted_and_kept(cloud: LocalCloud, call: Caller) -> None:
    assert call("POST", "/events/v1", EVENT) == (201, None)
    assert call("POST", "/events/historical/v1", [EVENT | {"value": 1}, EVENT]) == (200, None)
    assert [(one.event["value"], one.call) for one in cloud.events] == [(858.71, "live"), (1, "historical"), (858.71, "historical")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"deviceId": "ab"}, "deviceId: does not match"),
        ({"deviceId": "a" * 65}, "deviceId"),
        ({"deviceId": "meter one"}, "deviceId"),
        ({"deviceId": "meter\n"}, "deviceId"),
        ({"deviceName": "two\nlines"}, "deviceName"),
        ({"deviceName": ""}, "deviceName"),
        ({"value": "1"}, "value: is no number"),
        ({"value": True}, "value: is no number"),
        ({"value": None}, "value: is no number"),
        ({"timestamp": 1.5}, "timestamp: is no int64"),
        ({"type": "ENERGY"}, "type: is none of the enum"),
        ({"source": "HOUSE"}, "source: is none of the enum"),
        ({"customerId": "6" * 23}, "customerId: does not match"),
        ({"customerId": "6" * 24}, "customerId: is not the token's customer"),
        ({"customerBuildingId": "elsewhere"}, "unknown building elsewhere"),
        ({"unit": "Wh"}, "unit: unknown property"),
    ],
)
def test_a_faulty_event_is_refused(cloud: LocalCloud, call: Caller, change: dict[str, Any], words: str) -> None:
    status, answer = call("POST", "/events/v1", EVENT | change)
    assert status == 400
    assert words in answer["message"]
    status, answer = call("POST", "/events/historical/v1", [EVENT, EVENT | change])
    assert (status, list(answer)) == (400, ["1"])
    assert cloud.events == []


@pytest.mark.parametrize("name", ["customerBuildingId", "customerId", "deviceId", "deviceName", "type", "value"])
def test_what_the_schema_requires_may_not_be_missing(name: str) -> None:
    assert complaint({key: value for key, value in EVENT.items() if key != name}) == f"{name}: is missing"


def test_infinite_numbers_are_no_numbers() -> None:
    assert complaint(EVENT | {"value": math.inf}) == "value: is no number"


def test_a_number_that_json_does_not_know_makes_the_whole_body_unreadable(call: Caller) -> None:
    status, answer = call("POST", "/events/historical/v1", raw=json.dumps([EVENT | {"value": math.nan}]).encode())
    assert (status, answer) == (400, {"message": "body: is no array"})


@pytest.mark.parametrize("raw", [b"{", b'{"value": NaN}', b"[]", b""])
def test_what_is_no_event_is_refused(call: Caller, raw: bytes) -> None:
    assert call("POST", "/events/v1", raw=raw)[0] == 400


def test_a_missing_unknown_or_expired_token_is_refused(cloud: LocalCloud, call: Caller) -> None:
    assert call("POST", "/events/v1", EVENT, token=None)[0] == 401
    assert call("POST", "/events/v1", EVENT, token="guessed")[0] == 401
    cloud.revoke_tokens()
    assert call("POST", "/events/v1", EVENT)[0] == 401


def test_wrong_credentials_give_no_token(call: Caller) -> None:
    assert call("GET", f"/auth/token/v1?clientId={CLIENT_ID}&clientSecret=wrong", token=None)[0] == 401


def test_other_paths_and_methods_are_refused(call: Caller) -> None:
    assert call("GET", "/", token=None)[0] == 404
    assert call("GET", "/events/v2")[0] == 404
    assert call("DELETE", f"/buildings/{BUILDING_ID}/v1")[0] == 405


def test_a_building_is_created_read_updated_and_its_devices_attached(cloud: LocalCloud, call: Caller) -> None:
    building = {"customerBuildingId": "new", "zip": "8010", "city": "Graz", "countryCode": "AT"}
    assert call("GET", "/buildings/new/v1")[0] == 404
    assert call("PUT", "/buildings/v1", building)[0] == 404
    assert call("POST", "/buildings/v1", building)[0] == 201
    assert call("POST", "/buildings/v1", building)[0] == 409
    status, known = call("GET", "/buildings/new/v1")
    assert status == 200
    assert known.keys() >= {"id", "profile", "geolocation", "zip"}
    assert call("PUT", "/buildings/v1", known)[0] == 400, "computed attributes must not come back"
    assert call("PUT", "/buildings/v1", building | {"zip": "01067"})[0] == 200
    assert call("PUT", "/buildings/new/devices/v1", [{"id": "abc", "type": "BATTERY"}])[0] == 200
    assert call("PUT", "/buildings/new/devices/v1", [{"id": "abc", "type": "BATTERY", "createdAt": 1}])[0] == 400
    assert cloud.buildings["new"]["zip"] == "01067"
    assert [device["id"] for device in cloud.buildings["new"]["devices"]] == ["abc"]


def test_a_batch_above_the_limit_is_too_large(cloud: LocalCloud, call: Caller) -> None:
    cloud.max_batch = 1
    assert call("POST", "/events/historical/v1", [EVENT, EVENT])[0] == 413


def test_a_fault_answers_in_the_clouds_place(cloud: LocalCloud, call: Caller) -> None:
    cloud.fault = lambda request: Answer(500, {"oops": 1}, stored=1)
    assert call("POST", "/events/historical/v1", [EVENT, EVENT]) == (500, {"oops": 1})
    assert len(cloud.events) == 1


@pytest.mark.parametrize(("fault", "stored"), [(Drop(), 0), (Drop(after_storing=True), 1)])
def test_a_dropped_connection_has_no_answer(cloud: LocalCloud, call: Caller, fault: Drop, stored: int) -> None:
    cloud.fault = lambda request: fault
    with pytest.raises(http.client.RemoteDisconnected):
        call("POST", "/events/v1", EVENT)
    assert len(cloud.events) == stored


def test_a_slow_answer_is_the_true_one(cloud: LocalCloud, call: Caller) -> None:
    cloud.fault = lambda request: Slow(0.01)
    assert call("POST", "/events/v1", EVENT)[0] == 201


def test_it_listens_again_on_the_same_port(cloud: LocalCloud, call: Caller) -> None:
    url = cloud.url
    cloud.stop()
    call.http.close()
    with pytest.raises(ConnectionRefusedError):
        call("POST", "/events/v1", EVENT)
    call.http.close()
    cloud.start()
    assert cloud.url == url
    assert call("POST", "/events/v1", EVENT)[0] == 201
    assert [request.path for request in cloud.requests][-1] == "/events/v1"


def test_waiting_ends_with_the_event(cloud: LocalCloud, call: Caller) -> None:
    assert not cloud.wait_for(lambda cloud: bool(cloud.events), timeout_s=0.01)
    call("POST", "/events/v1", EVENT)
    assert cloud.wait_for(lambda cloud: bool(cloud.events))


STATISTICS = f"/buildings/{BUILDING_ID}/energy-statistics/hourly/v1?from=2024-10-03&to=2024-10-04&eventTypes="


def test_statistics_sum_the_household_s_energies_by_hour_and_date_them_by_its_start(cloud: LocalCloud, call: Caller) -> None:
    noon = 1727956800  # 2024-10-03T12:00:00Z
    for at, value in ((noon + 900, 1.0), (noon + 3600, 2.0), (noon + 4500, 4.0)):
        call("POST", "/events/v1", EVENT | {"timestamp": at, "value": value})
    call("POST", "/events/v1", EVENT | {"timestamp": noon + 900, "value": 8.0, "source": "BATTERY"})
    first, second = {"startTimestamp": noon, "energyConsumption": 3.0}, {"startTimestamp": noon + 3600, "energyConsumption": 4.0}
    assert call("GET", STATISTICS + "ENERGY_CONSUMPTION,ENERGY_GENERATION") == (200, [first, second])
    cloud.statistics_dated = "start"
    assert call("GET", STATISTICS + "ENERGY_CONSUMPTION")[1][1] == {"startTimestamp": noon + 3600, "energyConsumption": 6.0}


@pytest.mark.parametrize(
    ("query", "status"), [("POWER_EXCESS", 400), ("ENERGY_CONSUMPTION&from=yesterday", 400), ("ENERGY_CONSUMPTION&to=2030-01-01", 400)]
)
def test_statistics_of_nonsense_are_refused(call: Caller, query: str, status: int) -> None:
    assert call("GET", STATISTICS + query)[0] == status
    assert call("GET", STATISTICS.replace(BUILDING_ID, "other") + "ENERGY_CONSUMPTION")[0] == 404


@pytest.mark.parametrize(
    "tariff",
    [
        {"type": "CHEAP"},
        {"type": "SINGLE", "minPrice": 0.3},
        {"type": "DYNAMIC"},
        {"type": "DYNAMIC", "dynamic": {"tariffs": [{"price": 0.3, "from": 1, "to": 2}]}},
        {"type": "DYNAMIC", "dynamic": {"tariffs": [{"price": "0.3", "from": 3, "to": 4}, {"price": "0.3", "from": 1, "to": 2}]}},
    ],
)
def test_a_tariff_that_is_not_the_guide_s_is_refused(call: Caller, tariff: dict[str, Any]) -> None:
    building = {"customerBuildingId": BUILDING_ID, "settings": {"tariff": tariff}}
    assert call("PUT", "/buildings/v1", building)[0] == 400
