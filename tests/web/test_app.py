"""The routes: who gets what. Over a real socket, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path

import httpx
import pytest

import edge_agent.web
from edge_agent.web.guard import SESSION_S
from tests.conftest import HandClock
from tests.status.examples import device, healthy, judged
from tests.web.serving import PASSWORD, House, client, day_of_charts, serving

STATIC = Path(edge_agent.web.__file__).parent / "static"


async def logged_in(http: httpx.AsyncClient) -> str:
    """Logs in; gives the token that changes need."""
    answer = await http.post("/login", data={"password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    csrf: str = (await http.get("/api/session")).json()["csrf"]
    return csrf


async def test_without_a_password_everybody_reads_and_nobody_changes() -> None:
    house = House()
    async with serving(house) as port, client(port) as http:
        assert (await http.get("/")).headers["content-type"].startswith("text/html")
        assert (await http.get("/api/status")).json() == json.loads(json.dumps(house.status))
        assert (await http.get("/api/session")).json() == {"csrf": None, "password": False}
        assert (await http.post("/api/retry")).status_code == 403
        assert (await http.post("/login", data={"password": ""})).status_code == 401
    assert house.retried == 0


@pytest.mark.parametrize("path", ["/api/status", "/api/live", "/api/charts", "/api/dead", "/api/device/x", "/api/session", "/metrics", "/app.js"])
async def test_with_a_password_nothing_of_the_house_is_shown_before_it_is_given(path: str) -> None:
    async with serving(House(), PASSWORD) as port, client(port) as http:
        answer = await http.get(path)
        assert answer.status_code == 401
        assert "99900000C048ADA6" not in answer.text


async def test_password_opens_the_page_until_the_session_ends() -> None:
    clock = HandClock()
    async with serving(House(), PASSWORD, clock=clock) as port, client(port) as http:
        assert (await http.get("/")).headers["location"] == "/login"
        answer = await http.post("/login", data={"password": PASSWORD})
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert (await http.get("/")).status_code == 200
        clock.forward(SESSION_S + 1)
        assert (await http.get("/")).status_code == 303
        assert (await http.get("/api/status")).status_code == 401


async def test_log_out_ends_the_session_for_the_cookie_too() -> None:
    async with serving(House(), PASSWORD) as port, client(port) as http:
        await logged_in(http)
        cookie = f"edge-agent={http.cookies['edge-agent']}"
        assert (await http.get("/api/status", headers={"cookie": cookie})).status_code == 200
        assert (await http.post("/logout")).headers["location"] == "/login"
        assert (await http.get("/api/status", headers={"cookie": cookie})).status_code == 401


async def test_guessing_is_slowed_down_even_for_the_right_password() -> None:
    clock = HandClock()
    async with serving(House(), PASSWORD, clock=clock) as port, client(port) as http:
        for _ in range(5):
            assert (await http.post("/login", data={"password": "wrong"})).status_code == 401
        answer = await http.post("/login", data={"password": PASSWORD})
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert (await http.get("/metrics", auth=("any", PASSWORD))).status_code == 401
        clock.forward(61)
        assert (await http.post("/login", data={"password": PASSWORD})).status_code == 303


async def test_login_with_other_fields_is_only_a_wrong_password() -> None:
    async with serving(House(), PASSWORD) as port, client(port) as http:
        assert (await http.post("/login", content="password=wrong&a=1&b=2&c=3&d=4")).status_code == 401


async def test_dead_letters_go_back_with_session_and_token_only() -> None:
    house = House(letters=[{"device_id": "grid-meter", "reason": "unknown"}])
    async with serving(house, PASSWORD) as port, client(port) as http:
        csrf = await logged_in(http)
        forged = {"x-csrf-token": csrf, "origin": "http://evil.example"}
        assert (await http.post("/api/retry")).status_code == 403
        assert (await http.post("/api/retry", headers={"x-csrf-token": "guessed"})).status_code == 403
        assert (await http.post("/api/retry", headers=forged)).status_code == 403
        assert (await http.post("/api/retry", headers={"x-csrf-token": csrf, "sec-fetch-site": "cross-site"})).status_code == 403
        assert house.retried == 0
        assert (await http.post("/api/retry", headers={"x-csrf-token": csrf})).json() == {"retried": 1}
    assert house.retried == 1


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a b", ""])
async def test_name_of_somebody_else_is_refused(host: str) -> None:
    async with serving(House()) as port, client(port) as http:
        answer = await http.get("/api/status", headers={"host": host})
        assert answer.status_code == 421
        assert "99900000C048ADA6" not in answer.text


async def test_own_name_is_ours_in_the_house_and_a_trap_in_a_strangers_domain() -> None:
    own = socket.gethostname().partition(".")[0]
    async with serving(House()) as port, client(port) as http:
        for host, status in ((own.upper(), 200), (f"{own}.fritz.box:8080", 200), (f"{own}.local.", 200), (f"{own}.evil.example", 421)):
            assert (await http.get("/api/status", headers={"host": host})).status_code == status, host


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "192.168.1.20", "[::1]:8080", "[fe80::1]"])
async def test_addresses_and_localhost_are_our_names(host: str) -> None:
    async with serving(House()) as port, client(port) as http:
        assert (await http.get("/api/status", headers={"host": host})).status_code == 200


async def test_every_answer_forbids_foreign_code_and_frames() -> None:
    async with serving(House()) as port, client(port) as http:
        for path in ("/", "/login", "/api/status", "/nowhere", "/metrics"):
            policy = (await http.get(path)).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy


def test_page_needs_nothing_from_elsewhere_and_is_small() -> None:
    files = [path for path in STATIC.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 150_000
    for path in files:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import", text), f"{path.name} asks somebody else"
        if path.suffix == ".html":
            assert not re.search(r"<script(?! [^>]*src=)|\son\w+=|style=|<style", text), f"{path.name} has code or style inside"


async def test_files_are_asked_for_again_only_when_they_changed() -> None:
    async with serving(House()) as port, client(port) as http:
        tag = (await http.get("/style.css")).headers["etag"]
        assert (await http.get("/style.css", headers={"if-none-match": tag})).status_code == 304


@pytest.mark.parametrize("path", ["/../cli.py", "/%2e%2e/app.py", "/login.html", "/static/app.js", "/api", "/api/"])
async def test_nothing_but_the_routes_is_there(path: str) -> None:
    async with serving(House()) as port, client(port) as http:
        assert (await http.get(path)).status_code == 404


async def test_device_is_shown_point_by_point_and_an_unknown_one_is_named() -> None:
    house = House(devices={"grid meter": {"id": "grid meter", "points": []}})
    async with serving(house) as port, client(port) as http:
        assert (await http.get("/api/device/grid%20meter")).json()["id"] == "grid meter"
        missing = await http.get("/api/device/other")
        assert (missing.status_code, missing.json()) == (404, {"error": "there is no device 'other'"})


async def test_live_values_come_as_they_change() -> None:
    house = House()
    async with serving(house) as port, client(port) as http, http.stream("GET", "/api/live") as stream:
        seen = []
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: "))["flow"][0]["power_w"])
                if len(seen) == 2:
                    break
                changed = healthy()
                changed["flow"][0]["power_w"] = 42.0
                house.status = judged(changed)
    assert seen == [-1234.5, 42.0]


async def test_ninth_live_page_is_told_to_ask_instead() -> None:
    async with serving(House()) as port, client(port) as http:
        streams = [http.stream("GET", "/api/live") for _ in range(8)]
        reading = []  # a reader that nobody holds closes its stream
        for stream in streams:
            reading.append((await stream.__aenter__()).aiter_bytes())
            await anext(reading[-1])
        assert (await http.get("/api/live")).status_code == 503
        assert (await http.get("/api/status")).status_code == 200
        for stream in streams:
            await stream.__aexit__(None, None, None)


@pytest.mark.parametrize(("state", "status", "word"), [("ok", 200, "healthy"), ("silent", 503, "failing")])
async def test_health_is_one_word_for_a_watchdog_without_the_password(state: str, status: int, word: str) -> None:
    house = House()
    if state == "silent":
        house.status["devices"] = [device("grid-meter", "silent", "grid-meter: no answer")]
        judged(house.status)
    async with serving(house, PASSWORD) as port, client(port) as http:
        answer = await http.get("/healthz")
        assert (answer.status_code, answer.text) == (status, f"{word}\n")


@pytest.mark.parametrize("path", ["/api/status", "/api/live", "/api/charts", "/api/dead", "/api/check", "/api/session"])
async def test_other_sites_pages_cannot_make_the_agent_work(path: str) -> None:
    async with serving(House()) as port, client(port) as http:
        for site in ("cross-site", "same-site"):
            assert (await http.get(path, headers={"sec-fetch-site": site})).status_code == 403
        assert (await http.get(path, headers={"origin": "http://evil.example"})).status_code == 403


async def test_check_of_the_balance_runs_once_for_all_who_ask() -> None:
    house = House()
    async with serving(house) as port, client(port) as http:
        answers = await asyncio.gather(*(http.get("/api/check") for _ in range(5)))
        assert [answer.json() for answer in answers] == [house.checked] * 5
    assert house.checks == 1


async def test_charts_come_as_they_are() -> None:
    charts = day_of_charts(1_772_610_000)
    async with serving(House(charts=charts)) as port, client(port) as http:
        assert (await http.get("/api/charts")).json() == charts
