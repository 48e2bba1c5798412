"""What lies between a gateway and the cloud, over real sockets: lines that break, portals, proxies, TLS with a wrong clock, IPv6."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, Answer, LocalCloud
from edge_agent.uplink.client import MoostClient, Patience
from edge_agent.uplink.settings import MoostAccount
from edge_agent.uplink.verdict import Kind, Verdict
from tests.certificates import certificate, speak_tls
from tests.conftest import HandClock, until
from tests.fault_proxy import FaultProxy, Harm, faulty_line, proxy_to
from tests.uplink.rig import IMPATIENCE, NOW, PATIENCE, event, rig

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def port_of(cloud: LocalCloud) -> int:
    return int(cloud.url.rpartition(":")[2])


@pytest.fixture
async def line(cloud: LocalCloud) -> AsyncIterator[FaultProxy]:
    async with faulty_line(port_of(cloud)) as line:
        yield line


def account_at(url: str, ca_file: Path | None = None) -> MoostAccount:
    return MoostAccount(url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, CLIENT_SECRET, ca_file)


async def send(url: str, ca_file: Path | None = None, patience: Patience = PATIENCE, now: float = NOW) -> Verdict:
    """One live event by a client of its own."""
    client = MoostClient(account_at(url, ca_file), HandClock(now), patience)
    try:
        return await client.send_live(event("meter", NOW))
    finally:
        await client.close()


# lines


async def test_a_connection_that_was_closed_while_idle_costs_no_failure(cloud: LocalCloud, line: FaultProxy) -> None:
    client = MoostClient(account_at(line.url), HandClock(NOW), PATIENCE)
    for number in range(3):
        verdict = await client.send_live(event("meter", NOW, number))
        assert verdict.accepted, verdict
        line.hang_up()
        await asyncio.sleep(0.05)
    await client.close()
    assert [received["value"] for received in cloud.received()] == [0, 1, 2]


async def test_half_open_connections_are_left_after_a_time_out(cloud: LocalCloud, line: FaultProxy, tmp_path: Path) -> None:
    async with rig(cloud, tmp_path, account=account_at(line.url), patience=IMPATIENCE) as one, one.running():
        await one.commit(*(event(f"device-{number}", NOW, number) for number in range(20)))
        await one.until_sent()  # up to four connections are kept
        line.forget()
        await one.commit(event("device-0", NOW, 20.0))
        await until(lambda: "no answer in time" in one.uploader.status().state)
        await one.until_sent()
    assert [received["value"] for received in cloud.received() if received["deviceId"] == "device-0"] == [0.0, 20.0]


@pytest.mark.parametrize("harm", [Harm.RESET, Harm.LOSE_ANSWER, Harm.HALF_ANSWER, Harm.SWALLOW, Harm.PORTAL, Harm.REDIRECT])
async def test_whatever_the_line_does_nothing_is_lost_and_uploads_resume(cloud: LocalCloud, line: FaultProxy, tmp_path: Path, harm: Harm) -> None:
    async with rig(cloud, tmp_path, account=account_at(line.url), patience=Patience(2.0, 0.5, 0.5)) as one, one.running():
        await one.commit(event("meter", NOW, 1.0), event("meter", NOW - 2 * 86400, 2.0))
        await one.until_sent()
        line.harm = harm
        line.hang_up()
        await one.commit(*(event("meter", NOW + number, 10 + number) for number in range(3)))
        await until(lambda: one.uploader.status().stopped_at is not None)
        assert (await one.outbox.stats())["waiting"] >= 3 - line.lost
        line.harm = Harm.NONE
        line.hang_up()
        await one.until_sent()
        stats = await one.outbox.stats()
    values = [received["value"] for received in cloud.received()]
    assert set(values) == {1.0, 2.0, 10.0, 11.0, 12.0}
    assert len(values) - len(set(values)) <= stats["possibly_doubled"]
    assert stats["dead"] == 0


async def test_a_connection_that_is_never_made_ends_with_its_time_out() -> None:
    """A listener whose queue is full drops what knocks, as a firewall does."""
    with socket.socket() as full, contextlib.ExitStack() as knocking:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            one = knocking.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        verdict = await send(f"http://127.0.0.1:{full.getsockname()[1]}", patience=Patience(0.3, 60.0, 60.0))
    assert (verdict.kind, verdict.reached, verdict.in_doubt) == (Kind.LATER, False, False)
    assert "no connection in time; check the network" in verdict.reason


async def test_a_sign_in_page_is_named_and_accepts_nothing(cloud: LocalCloud, line: FaultProxy) -> None:
    line.harm = Harm.PORTAL
    verdict = await send(line.url)
    assert verdict.kind is Kind.LATER
    assert "200 a web page instead of the cloud's answer" in verdict.reason
    assert "sign-in page" in verdict.reason


async def test_a_redirect_is_not_followed_and_sees_no_credentials(cloud: LocalCloud, line: FaultProxy) -> None:
    with LocalCloud() as elsewhere:
        line.elsewhere = f"{elsewhere.url}/auth/token/v1"
        line.harm = Harm.REDIRECT
        verdict = await send(line.url)
        line.harm = Harm.NONE
        client = MoostClient(account_at(line.url), HandClock(NOW), PATIENCE)
        assert (await client.send_live(event("meter", NOW))).accepted  # it has a token now
        line.harm = Harm.REDIRECT
        line.elsewhere = f"{elsewhere.url}/events/v1"
        with_token = await client.send_live(event("meter", NOW))
        await client.close()
        assert elsewhere.requests == []
    for one in (verdict, with_token):
        assert one.kind is Kind.LATER
        assert "redirects elsewhere, which is not followed" in one.reason


async def test_the_limits_are_those_that_are_stated(cloud: LocalCloud) -> None:
    """README: 5 s for a connection, 20 s for an answer, 60 s for a batch's; at most four connections, idle ones for 20 s."""
    patience = Patience()
    assert (patience.connect_s, patience.answer_s, patience.batch_s) == (5.0, 20.0, 60.0)
    client = MoostClient(account_at(cloud.url), HandClock(NOW), patience)
    seen: list[dict[str, Any]] = []
    await client.send_live(event("meter", NOW))
    http = client._http
    assert http is not None

    async def note(request: httpx.Request) -> None:
        seen.append(request.extensions["timeout"])

    http.event_hooks = {"request": [note]}
    await client.send_live(event("meter", NOW))
    await client.send_batch([event("meter", NOW - 2 * 86400)])
    assert patience.answer_s >= 20, "when one half-open connection times out, the other idle ones have been left as well"
    pool = http._transport._pool  # type: ignore[attr-defined]
    await client.close()
    assert [(one["connect"], one["read"], one["write"]) for one in seen] == [(5.0, 20.0, 20.0), (5.0, 60.0, 60.0)]
    assert (pool._max_connections, pool._max_keepalive_connections, pool._keepalive_expiry) == (4, 4, 20.0)


# proxies


@pytest.fixture
def tls(cloud: LocalCloud, tmp_path: Path) -> tuple[int, Path]:
    """The cloud behind TLS: its port, and the authority to trust."""
    pem = certificate(tmp_path / "tls")
    return speak_tls(cloud, pem), pem


async def test_the_proxy_of_the_environment_is_used(cloud: LocalCloud, tls: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    port, authority = tls
    async with proxy_to(port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        verdict = await send("https://cloud.test:8443", authority)
    assert verdict.accepted, verdict
    assert set(proxy.asked) == {"cloud.test:8443"}


async def test_the_proxy_gets_the_password_of_its_address(cloud: LocalCloud, tls: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    port, authority = tls
    async with proxy_to(port, password="p@ss word") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss%20word@127.0.0.1:{proxy.port}")
        verdict = await send("https://cloud.test", authority)
    assert verdict.accepted, verdict


async def test_no_proxy_leads_past_it(cloud: LocalCloud, tls: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    port, authority = tls
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret-word@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "cloud.test")
    monkeypatch.setattr(socket, "getaddrinfo", _resolving("cloud.test", ["127.0.0.1"]))
    verdict = await send(f"https://cloud.test:{port}", authority)
    assert verdict.accepted, verdict


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"])
async def test_a_cloud_on_this_machine_is_never_looked_for_through_a_proxy(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await send(cloud.url)).accepted


@pytest.mark.parametrize(
    ("proxy_url", "words"),
    [
        ("http://user:secret-word@127.0.0.1:{port}", "the proxy refuses (407); check HTTPS_PROXY and the password in it"),
        ("http://user:secret-word@127.0.0.1:9", "cannot be reached"),
        ("socks5://user:secret-word@127.0.0.1:9", "(SOCKS is not supported)"),
        ("gopher://user:secret-word@127.0.0.1:9", "check HTTPS_PROXY and ALL_PROXY: write http://host:port"),
        ("http://user:secret-word@[::1", "check HTTPS_PROXY"),
    ],
)
async def test_a_proxy_that_fails_is_named_without_its_password(
    cloud: LocalCloud, tls: tuple[int, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, proxy_url: str, words: str
) -> None:
    caplog.set_level(logging.DEBUG)
    port, authority = tls
    async with proxy_to(port, password="another") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy_url.format(port=proxy.port))
        verdict = await send("https://cloud.test", authority)
    assert verdict.kind is Kind.LATER
    assert words in verdict.reason
    assert not verdict.in_doubt
    assert "secret-word" not in caplog.text + repr(verdict)


async def test_a_page_that_repeats_the_proxys_password_is_masked(cloud: LocalCloud, tls: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    port, authority = tls
    cloud.fault = lambda request: Answer(503, b"user:p%40ss user:p@ss dXNlcjpwQHNz cannot be served")
    async with proxy_to(port, password="p@ss") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        verdict = await send("https://cloud.test", authority)
    assert verdict.reason == "GET /auth/token/v1: 503 user:*** user:*** *** cannot be served"


# TLS


async def test_a_clock_before_the_certificate_is_named_and_the_events_are_held(cloud: LocalCloud, tmp_path: Path) -> None:
    """A gateway without a clock of its own boots years ago; here the certificate is of the future instead."""
    pem = certificate(tmp_path / "tls", start="20900101000000Z")
    port = speak_tls(cloud, pem)
    async with rig(cloud, tmp_path, account=account_at(f"https://127.0.0.1:{port}", pem)) as one, one.running():
        await one.commit(event("meter", NOW, 1.0))
        await until(lambda: one.uploader.status().stopped_at is not None)
        state = one.uploader.status().state
        assert "TLS is refused (certificate is not yet valid); the clock says 2027-01-15T" in state
        assert "wait until it is set" in state
        tried = one.uploader.status().next_try_at
        await until(lambda: (one.uploader.status().next_try_at or 0) > (tried or 0))
        stats = await one.outbox.stats()
    assert (stats["waiting"], stats["dead"], stats["possibly_doubled"]) == (1, 0, 0)
    assert cloud.requests == []


async def test_uploads_go_on_once_the_certificate_fits_the_clock(cloud: LocalCloud, tmp_path: Path) -> None:
    early, good = certificate(tmp_path / "early", start="20900101000000Z"), certificate(tmp_path / "good")
    both = tmp_path / "both.pem"
    both.write_text(early.read_text() + good.read_text())
    port = speak_tls(cloud, early)
    async with rig(cloud, tmp_path, account=account_at(f"https://127.0.0.1:{port}", both)) as one, one.running():
        await one.commit(event("meter", NOW, 1.0))
        await until(lambda: one.uploader.status().stopped_at is not None)
        cloud.stop()
        cloud.start()
        speak_tls(cloud, good)
        await one.until_sent()
    assert [received["value"] for received in cloud.received()] == [1.0]


async def test_a_certificate_that_has_expired_is_named_with_the_clock(cloud: LocalCloud, tmp_path: Path) -> None:
    pem = certificate(tmp_path / "tls", start="20200101000000Z", end="20210101000000Z")
    verdict = await send(f"https://127.0.0.1:{speak_tls(cloud, pem)}", pem)
    assert verdict.kind is Kind.LATER
    assert "TLS is refused (certificate has expired); the clock says 2027-01-15T" in verdict.reason
    assert "if that is right" in verdict.reason


async def test_a_certificate_of_somebody_else_is_refused(cloud: LocalCloud, tmp_path: Path) -> None:
    pem = certificate(tmp_path / "tls", names="DNS:somebody.test")
    verdict = await send(f"https://127.0.0.1:{speak_tls(cloud, pem)}", pem)
    assert verdict.kind is Kind.LATER
    assert "TLS is refused (IP address mismatch" in verdict.reason
    assert cloud.requests == []


async def test_an_authority_that_cannot_be_read_is_named(cloud: LocalCloud, tmp_path: Path) -> None:
    verdict = await send("https://127.0.0.1:9", tmp_path / "nothing.pem")
    assert verdict.kind is Kind.LATER
    assert "check `ca_file:`" in verdict.reason


# IPv6


def _resolving(name: str, addresses: list[str]) -> Any:
    """The resolver of a network where `name` has these addresses."""
    real = socket.getaddrinfo

    def resolve(host: str | bytes | None, port: Any, family: int = 0, type: int = 0, *more: Any, **others: Any) -> Any:
        known = host.decode() if isinstance(host, bytes) else host
        if known != name:
            return real(host, port, family, type, *more, **others)
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        chosen = [address for address in addresses if family in (0, kinds[":" in address])]
        return [entry for address in chosen for entry in real(address, port, 0, socket.SOCK_STREAM)]

    return resolve


def _require_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"this machine has no IPv6, not even ::1 ({error.strerror})")


async def test_a_network_with_ipv6_only_is_enough(cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _require_ipv6()
    monkeypatch.setattr(socket, "getaddrinfo", _resolving("cloud.test", ["::1"]))
    pem = certificate(tmp_path / "tls")
    async with faulty_line(speak_tls(cloud, pem), host="::1") as line:
        assert (await send(f"https://cloud.test:{line.port}", pem)).accepted
        assert (await send(f"https://[::1]:{line.port}", pem)).accepted


async def test_an_ipv6_that_leads_nowhere_is_passed_over(cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _require_ipv6()
    monkeypatch.setattr(socket, "getaddrinfo", _resolving("cloud.test", ["::1", "127.0.0.1"]))
    pem = certificate(tmp_path / "tls")
    assert (await send(f"https://cloud.test:{speak_tls(cloud, pem)}", pem)).accepted
