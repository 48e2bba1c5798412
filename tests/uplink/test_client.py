"""The client over real sockets: token, network faults in words, and secrets that never get out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID, Answer, Drop, Fault, LocalCloud, Request, Slow
from edge_agent.uplink.client import MoostClient, Patience
from edge_agent.uplink.settings import MoostAccount
from edge_agent.uplink.verdict import Kind, Verdict
from tests.certificates import certificate, speak_tls
from tests.conftest import HandClock
from tests.uplink.rig import IMPATIENCE, NOW, PATIENCE, account_of, event


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW)


@pytest.fixture
async def client(cloud: LocalCloud, clock: HandClock) -> AsyncIterator[MoostClient]:
    client = MoostClient(account_of(cloud), clock, PATIENCE)
    yield client
    await client.close()


def tokens_asked(cloud: LocalCloud) -> int:
    return sum(request.path == "/auth/token/v1" for request in cloud.requests)


def on(path: str, fault: Fault, times: int = 10**9) -> Callable[[Request], Fault | None]:
    """A fault for the first `times` requests of one path."""
    left = iter(range(times))

    def answer(request: Request) -> Fault | None:
        return fault if request.path == path and next(left, None) is not None else None

    return answer


# the token


async def test_one_token_serves_many_calls_side_by_side(cloud: LocalCloud, client: MoostClient) -> None:
    verdicts = await asyncio.gather(*(client.send_live(event("meter", NOW, number)) for number in range(20)))
    assert all(verdict.accepted for verdict in verdicts)
    assert tokens_asked(cloud) == 1


@pytest.mark.parametrize(("stated", "lifetime"), [(None, 86400.0), (1000, 1000.0), (86400, 86400.0)])
async def test_the_token_is_renewed_before_it_expires(
    cloud: LocalCloud, clock: HandClock, client: MoostClient, stated: int | None, lifetime: float
) -> None:
    cloud.expires_in = stated
    await client.send_live(event("meter", NOW))
    clock.forward(lifetime * 0.85)
    await client.send_live(event("meter", NOW))
    assert tokens_asked(cloud) == 1
    clock.forward(lifetime * 0.149)
    await client.send_live(event("meter", NOW))
    assert tokens_asked(cloud) == 2


async def test_a_clock_set_forward_costs_no_token(cloud: LocalCloud, clock: HandClock, client: MoostClient) -> None:
    await client.send_live(event("meter", NOW))
    clock.set_wall(NOW + 1e8)
    await client.send_live(event("meter", NOW))
    assert tokens_asked(cloud) == 1


async def test_a_lifetime_that_no_float_holds_is_no_exception(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.fault = on("/auth/token/v1", Answer(200, {"access_token": "abc", "expires_in": 10**400}), times=1)
    assert (await client.send_live(event("meter", NOW))).accepted


async def test_a_revoked_token_is_renewed_once_and_the_call_repeated(cloud: LocalCloud, client: MoostClient) -> None:
    await client.send_live(event("meter", NOW, 1))
    cloud.revoke_tokens()
    verdicts = await asyncio.gather(*(client.send_live(event("meter", NOW, number)) for number in range(4)))
    assert all(verdict.accepted for verdict in verdicts)
    assert tokens_asked(cloud) == 2


async def test_a_new_token_that_is_refused_too_means_the_credentials(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.fault = on("/events/v1", Answer(401))
    verdict = await client.send_live(event("meter", NOW))
    assert verdict.kind is Kind.UNAUTHORIZED
    assert "the credentials are refused; check `client_id:`" in verdict.reason
    assert [request.path for request in cloud.requests] == ["/auth/token/v1", "/events/v1", "/auth/token/v1", "/events/v1"]


async def test_wrong_credentials_are_said_in_words(cloud: LocalCloud, clock: HandClock) -> None:
    client = MoostClient(MoostAccount(cloud.url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, "wrong"), clock, PATIENCE)
    verdict = await client.send_live(event("meter", NOW))
    await client.close()
    assert verdict.kind is Kind.UNAUTHORIZED
    assert "wrong" not in repr(verdict)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>sign in</html>"),
        Answer(200, b"nonsense"),
        Answer(200, {"token": "abc"}),
        Answer(200, {"access_token": 5}),
        Answer(200, {"access_token": ""}),
        Answer(200, {"access_token": "two\r\nlines"}),
        Answer(200, b"[" * 60_000),
        Answer(500),
        Answer(302, headers={"Location": "/elsewhere"}),
        Answer(404),
    ],
)
async def test_without_a_usable_token_it_is_tried_later(cloud: LocalCloud, client: MoostClient, answer: Answer) -> None:
    cloud.fault = on("/auth/token/v1", answer, times=1)
    verdict = await client.send_live(event("meter", NOW))
    assert verdict.kind is Kind.LATER
    assert verdict.reason.startswith("GET /auth/token/v1")
    assert (await client.send_live(event("meter", NOW))).accepted


# the network


async def refused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def send_to(url: str, clock: HandClock, ca_file: Path | None = None) -> Verdict:
    client = MoostClient(MoostAccount(url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, CLIENT_SECRET, ca_file), clock, PATIENCE)
    verdict = await client.send_live(event("meter", NOW))
    await client.close()
    return verdict


async def test_nobody_listening_is_said_in_words(clock: HandClock) -> None:
    verdict = await send_to(f"http://127.0.0.1:{await refused_port()}", clock)
    assert (verdict.kind, verdict.reached) == (Kind.LATER, False)
    assert "cannot be reached" in verdict.reason


async def test_an_unknown_host_is_said_in_words(clock: HandClock) -> None:
    verdict = await send_to("http://nowhere.invalid", clock)
    assert (verdict.kind, verdict.reached) == (Kind.LATER, False)
    assert "cannot be reached" in verdict.reason


async def test_an_address_that_makes_no_sense_is_no_exception(clock: HandClock) -> None:
    verdict = await send_to("http://[::1", clock)
    assert (verdict.kind, verdict.reached) == (Kind.LATER, True)


async def test_silence_ends_with_the_time_out(cloud: LocalCloud, clock: HandClock) -> None:
    cloud.fault = on("/events/v1", Slow(60.0), times=1)
    client = MoostClient(account_of(cloud), clock, IMPATIENCE)
    verdict = await client.send_live(event("meter", NOW))
    await client.close()
    assert (verdict.kind, verdict.reached) == (Kind.LATER, True)
    assert verdict.reason == "POST /events/v1: no answer in time"


@pytest.mark.parametrize("after_storing", [False, True])
async def test_a_connection_closed_without_an_answer_is_no_acceptance(cloud: LocalCloud, client: MoostClient, after_storing: bool) -> None:
    cloud.fault = on("/events/v1", Drop(after_storing), times=1)
    verdict = await client.send_live(event("meter", NOW))
    assert (verdict.kind, verdict.reached) == (Kind.LATER, True)
    assert (await client.send_live(event("meter", NOW))).accepted


async def test_something_that_speaks_no_http_is_no_acceptance(clock: HandClock) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        verdict = await send_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", clock)
    assert verdict.kind is Kind.LATER
    assert "SSH" not in verdict.reason


async def test_connections_are_kept_and_never_more_than_four(cloud: LocalCloud, client: MoostClient) -> None:
    server = cloud._server
    assert server is not None
    at_once: list[int] = []

    def count(request: Request) -> Fault | None:
        at_once.append(len(server._open))
        return Slow(0.01)

    cloud.fault = count
    for _ in range(3):
        await asyncio.gather(*(client.send_live(event("meter", NOW, number)) for number in range(10)))
    assert max(at_once) == 4
    assert len(server._serving) == 4


@contextlib.asynccontextmanager
async def answering(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """The address of a server that answers one request by writing what it likes, until the other side hangs up."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await answer(writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await ended.wait()


async def test_an_answer_that_drips_for_ever_ends_with_the_time_out(clock: HandClock) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with answering(drip) as url, asyncio.timeout(10):
        client = MoostClient(MoostAccount(url, CUSTOMER_ID, BUILDING_ID, CLIENT_ID, CLIENT_SECRET), clock, Patience(0.2, 0.2, 0.2))
        verdict = await client.send_batch([event("meter", NOW)])
        await client.close()
    assert (verdict.kind, verdict.reached) == (Kind.LATER, True)
    assert verdict.reason == "GET /auth/token/v1: no complete answer in time"


async def test_an_endless_answer_is_not_read_to_its_end(clock: HandClock) -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
        while written < 200_000_000 and not writer.is_closing():
            writer.write(b" " * 100_000)
            await writer.drain()
            written += 100_000

    async with answering(flood) as url:
        verdict = await send_to(url, clock)
    assert verdict.kind is Kind.LATER
    assert verdict.reason.startswith("GET /auth/token/v1: 200 an answer of more than 64 kB: not an answer of this call")
    assert written < 50_000_000


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return certificate(tmp_path / "tls")


@pytest.fixture
def tls_cloud(cloud: LocalCloud, authority: Path) -> str:
    """The cloud's address once it speaks TLS."""
    return f"https://127.0.0.1:{speak_tls(cloud, authority)}"


async def test_a_private_authority_is_trusted_when_named(tls_cloud: str, clock: HandClock, authority: Path) -> None:
    assert (await send_to(tls_cloud, clock, authority)).accepted


async def test_an_unknown_authority_is_refused_in_words(tls_cloud: str, clock: HandClock) -> None:
    verdict = await send_to(tls_cloud, clock)
    assert verdict.kind is Kind.LATER
    assert "TLS is refused (self-signed certificate); check `ca_file:`" in verdict.reason


# what must never get out


async def test_a_token_in_an_answer_that_is_not_the_tokens_is_masked(cloud: LocalCloud, client: MoostClient) -> None:
    cloud.fault = on("/auth/token/v1", Answer(202, {"access_token": "never-seen-before"}))
    verdict = await client.send_live(event("meter", NOW))
    assert "GET /auth/token/v1: 202" in verdict.reason
    assert "never" not in verdict.reason


async def test_no_log_error_or_repr_ever_holds_a_secret(cloud: LocalCloud, clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = MoostClient(account_of(cloud), clock, IMPATIENCE)
    verdicts = [await client.send_live(event("meter", NOW))]
    for logger in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
        logging.getLogger(logger).setLevel(logging.NOTSET)
    faults: list[Fault] = [Answer(500), Answer(401), Answer(302, headers={"Location": "/x"}), Drop(), Slow(2.5), Answer(200, b"<p>")]
    faults += [Answer(200, b"{"), Answer(200, {"access_token": f"{CLIENT_SECRET}\n"})]
    for fault in faults:
        for path in ("/auth/token/v1", "/events/v1"):
            cloud.revoke_tokens()
            cloud.fault = on(path, fault, times=2)
            verdicts.append(await client.send_live(event("meter", NOW)))
    token = next(iter(cloud.tokens))
    cloud.stop()
    verdicts.append(await client.send_live(event("meter", NOW)))
    await client.close()
    text = caplog.text + repr(verdicts) + repr(client.account) + repr(client) + str([record.__dict__ for record in caplog.records])
    for secret in (CLIENT_SECRET, token, "clientSecret"):
        assert secret not in text


def test_httpx_is_loaded_late_and_without_its_command_line() -> None:
    code = """
import sys
import edge_agent.uplink.client as client, edge_agent.uplink.uploader, edge_agent.uplink.registration, edge_agent.outbox.outbox
loaded = {"httpx", "click", "rich", "pygments", "sqlite_utils", "certifi", "ssl"} & sys.modules.keys()
assert loaded <= {"ssl"}, loaded
client.load_httpx()
assert "httpx" in sys.modules
assert not {"click", "rich", "pygments"} & sys.modules.keys()
import click
"""
    subprocess.run([sys.executable, "-c", code], check=True)
