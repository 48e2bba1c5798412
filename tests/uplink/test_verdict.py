"""Answers and what they mean: as tables through the client, and the words that come with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from edge_agent.model.clock import ScaledClock
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.settings import MoostAccount
from edge_agent.uplink.verdict import Kind, Verdict, retry_after
from tests.uplink.rig import NOW, event

PORTAL = b"<!DOCTYPE html><html><body>Welcome to the hotel</body></html>"
HTML = {"content-type": "text/html; charset=utf-8"}


async def verdict_on(answer: httpx.Response, send: Callable[[MoostClient], Awaitable[Verdict]], token: str = "abc") -> Verdict:
    """What the client makes of this answer to every call but the token's."""

    def transport(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"access_token": token, "token_type": "Bearer"}) if request.url.path == "/auth/token/v1" else answer

    account = MoostAccount("http://cloud.test", "6" * 24, "home", "id", "the-secret")
    client = MoostClient(account, ScaledClock(1, NOW), transport=httpx.MockTransport(transport))
    verdict = await send(client)
    await client.close()
    return verdict


async def live(client: MoostClient) -> Verdict:
    return await client.send_live(event("meter", NOW))


async def batch(client: MoostClient) -> Verdict:
    return await client.send_batch([event("meter", NOW)])


@pytest.mark.parametrize(
    ("status", "of_live", "of_batch"),
    [
        (200, Kind.LATER, Kind.ACCEPTED),
        (201, Kind.ACCEPTED, Kind.LATER),
        (202, Kind.LATER, Kind.LATER),
        (204, Kind.LATER, Kind.LATER),
        (301, Kind.LATER, Kind.LATER),
        (302, Kind.LATER, Kind.LATER),
        (307, Kind.LATER, Kind.LATER),
        (400, Kind.REFUSED, Kind.REFUSED),
        (401, Kind.UNAUTHORIZED, Kind.UNAUTHORIZED),
        (403, Kind.UNAUTHORIZED, Kind.UNAUTHORIZED),
        (404, Kind.MISSING, Kind.MISSING),
        (405, Kind.LATER, Kind.LATER),
        (408, Kind.LATER, Kind.LATER),
        (413, Kind.TOO_LARGE, Kind.TOO_LARGE),
        (415, Kind.LATER, Kind.LATER),
        (422, Kind.REFUSED, Kind.REFUSED),
        (429, Kind.LATER, Kind.LATER),
        (500, Kind.LATER, Kind.LATER),
        (502, Kind.LATER, Kind.LATER),
        (503, Kind.LATER, Kind.LATER),
        (511, Kind.LATER, Kind.LATER),
    ],
)
async def test_each_status_has_its_verdict(status: int, of_live: Kind, of_batch: Kind) -> None:
    assert (await verdict_on(httpx.Response(status), live)).kind is of_live
    assert (await verdict_on(httpx.Response(status), batch)).kind is of_batch


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 409])
@pytest.mark.parametrize("headers", [HTML, {}], ids=["declared", "undeclared"])
async def test_a_web_page_is_never_an_answer_of_the_cloud(status: int, headers: dict[str, str]) -> None:
    for send in (live, batch):
        verdict = await verdict_on(httpx.Response(status, content=PORTAL, headers=headers), send)
        assert verdict.kind is Kind.LATER
        assert "a web page instead of the cloud's answer" in verdict.reason
        assert "Welcome" not in verdict.reason


async def test_what_calls_itself_html_is_a_page_however_it_begins() -> None:
    assert (await verdict_on(httpx.Response(200, content=b"Welcome", headers=HTML), batch)).kind is Kind.LATER


async def test_a_page_with_a_byte_order_mark_is_a_page() -> None:
    assert (await verdict_on(httpx.Response(201, content=b"\xef\xbb\xbf\n <html>"), live)).kind is Kind.LATER


async def test_a_proxys_page_with_a_status_that_speaks_for_itself_counts_by_its_status() -> None:
    assert (await verdict_on(httpx.Response(413, content=PORTAL, headers=HTML), batch)).kind is Kind.TOO_LARGE
    assert (await verdict_on(httpx.Response(502, content=PORTAL, headers=HTML), batch)).status == 502


async def test_a_redirect_is_not_followed() -> None:
    verdict = await verdict_on(httpx.Response(302, headers={"location": "http://login.test/"}), live)
    assert verdict.kind is Kind.LATER
    assert "redirects elsewhere, which is not followed" in verdict.reason


async def test_a_refusal_carries_the_clouds_reason_and_its_map() -> None:
    verdict = await verdict_on(httpx.Response(400, json={"3": "value: is no number"}), batch)
    assert verdict.errors == {"3": "value: is no number"}
    assert verdict.reason == 'POST /events/historical/v1: 400 {"3":"value: is no number"}'


@pytest.mark.parametrize("body", [b"", b"not json", b"[1]", b"null"])
async def test_a_refusal_without_a_map_has_none(body: bytes) -> None:
    verdict = await verdict_on(httpx.Response(400, content=body), batch)
    assert (verdict.kind, verdict.errors) == (Kind.REFUSED, {})


async def test_the_clouds_words_are_one_short_line() -> None:
    verdict = await verdict_on(httpx.Response(500, content=b"a\n" * 5000), live)
    assert "\n" not in verdict.reason
    assert len(verdict.reason) < 400


async def test_an_answer_that_repeats_secrets_is_masked() -> None:
    verdict = await verdict_on(httpx.Response(400, json={"the-secret": "Bearer abc"}), batch)
    assert "the-secret" not in repr(verdict)
    assert "Bearer ***" in verdict.reason


@pytest.mark.parametrize("secret", ["the-secret", "an-abc-token"])
async def test_no_part_of_a_secret_is_left_where_an_answers_words_are_cut(secret: str) -> None:
    for before in range(280, 301):
        verdict = await verdict_on(httpx.Response(500, text=f"{'.' * before}{secret}"), live, token="an-abc-token")
        shown = verdict.reason.removeprefix("POST /events/v1: 500 ")
        assert shown == ("." * before + "***")[:300]


async def test_a_refusals_map_is_masked_before_it_is_cut_too() -> None:
    verdict = await verdict_on(httpx.Response(400, json={"3": "." * 295 + "the-secret", "4" * 5000: "x"}), batch)
    assert verdict.errors == {"3": "." * 295 + "***", "4" * 300: "x"}


@pytest.mark.parametrize("status", [200, 201])
async def test_an_answer_that_is_too_long_is_no_acceptance(status: int) -> None:
    for send in (live, batch):
        verdict = await verdict_on(httpx.Response(status, content=b" " * 65_537), send)
        assert verdict.kind is Kind.LATER
        assert f"{status} an answer of more than 64 kB: not an answer of this call" in verdict.reason


async def test_a_status_that_speaks_for_itself_counts_however_long_its_answer_is() -> None:
    verdict = await verdict_on(httpx.Response(400, json={str(place): "value: is no number" * 10 for place in range(500)}), batch)
    assert (verdict.kind, verdict.errors) == (Kind.REFUSED, {})
    assert (await verdict_on(httpx.Response(413, content=b" " * 100_000), batch)).kind is Kind.TOO_LARGE


async def test_a_building_may_be_larger_than_other_answers() -> None:
    for kilobytes, kind in ((1000, Kind.ACCEPTED), (1100, Kind.LATER)):
        answer = httpx.Response(200, json={"zip": "8010", "computed": "x" * kilobytes * 1024})
        assert (await verdict_on(answer, lambda client: client.get_building())).kind is kind


@pytest.mark.parametrize("depth", [500, 990, 5000, 30_000])
@pytest.mark.parametrize("status", [200, 201, 400])
async def test_brackets_without_end_are_no_exception(status: int, depth: int) -> None:
    for body in (b"[" * depth + b"]" * depth, b'{"1":' * depth + b"1" + b"}" * depth):
        verdict = await verdict_on(httpx.Response(status, content=body), batch)
        assert verdict.kind in (Kind.ACCEPTED, Kind.LATER, Kind.REFUSED)


@pytest.mark.parametrize(
    ("status", "kind"), [(200, Kind.LATER), (201, Kind.ACCEPTED), (409, Kind.EXISTS), (404, Kind.MISSING), (500, Kind.LATER), (400, Kind.REFUSED)]
)
async def test_creating_a_building(status: int, kind: Kind) -> None:
    async def create(client: MoostClient) -> Verdict:
        return await client.create_building({"customerBuildingId": "home"})

    assert (await verdict_on(httpx.Response(status), create)).kind is kind


async def test_reading_a_building_gives_its_body() -> None:
    async def read(client: MoostClient) -> Verdict:
        return await client.get_building()

    assert (await verdict_on(httpx.Response(200, json={"zip": "8010"}), read)).body == {"zip": "8010"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("999999999999", 3600.0),
        ("Fri, 15 Jan 2027 12:11:00 GMT", 60.0),
        ("Fri, 15 Jan 2027 11:00:00 GMT", 0.0),
        ("Sat, 01 Jan 2050 00:00:00 GMT", 3600.0),
        ("Fri, 31 Dec 9999 23:59:59 -0000", 3600.0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_capped(text: str, seconds: float | None) -> None:
    noon_ten = 1_800_015_000.0  # 2027-01-15 12:10:00 UTC
    assert retry_after(text, noon_ten) == seconds


async def test_retry_after_comes_with_the_verdict() -> None:
    answer: Any = httpx.Response(429, headers={"retry-after": "30"})
    assert (await verdict_on(answer, live)).retry_after_s == 30.0
