"""The server bears whatever a stranger does to it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from edge_agent.web.messages import Request, Response, as_text
from edge_agent.web.server import Limits, Server
from tests.conftest import until
from tests.web.serving import House, client, serving

QUICK = Limits(connections=10, request_s=0.5, write_s=0.5)
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def exchange(port: int, sent: bytes) -> bytes:
    """Everything that comes back until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_connection_serves_one_request_after_the_other() -> None:
    async with serving(House()) as port:
        answer = await exchange(port, GET + GET + GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.endswith(b"healthy\n")


async def test_head_has_no_body() -> None:
    async with serving(House()) as port:
        answer = await exchange(port, b"HEAD /login HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: " in head
    assert body == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 this is TLS\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000, b"413"),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
        (b"POST /login HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"BREW / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", b"405"),
    ],
    ids=["TLS", "two hosts", "no host", "large body", "large head", "broken chunk", "two lengths", "unknown method"],
)
async def test_what_is_no_good_request_is_answered_with_its_status(sent: bytes, status: bytes) -> None:
    async with serving(House()) as port:
        assert (await exchange(port, sent)).startswith(b"HTTP/1.1 " + status)


async def test_slow_client_is_let_go() -> None:
    async with serving(House(), limits=QUICK) as port:
        assert await exchange(port, b"GET / HTT") == b""


async def test_client_that_does_not_read_is_let_go() -> None:
    ended = asyncio.Event()

    async def endless(_: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 100_000
            finally:
                ended.set()

        return Response(200, parts())

    async with Server(endless, QUICK).listening("127.0.0.1", 0) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(GET)
        async with asyncio.timeout(30):
            await ended.wait()
        writer.close()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_live_page_that_is_closed_frees_its_place_at_once(reset: bool) -> None:
    ended = asyncio.Event()

    async def answer(request: Request) -> Response:
        return Response(200, parts(), "text/event-stream")

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"retry: 3000\n\n"
            await asyncio.Event().wait()  # nothing more is written, on which the server could notice
        finally:
            ended.set()

    async with Server(answer).listening("127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await reader.readuntil(b"retry: 3000")
        if reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        await asyncio.wait_for(ended.wait(), 30)


async def test_a_hundred_idle_connections_keep_nobody_out() -> None:
    async with serving(House(), limits=Limits(request_s=60)) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        for _, writer in idle[::2]:
            writer.write(b"GET / HTTP/1.1\r\nhost: loc")  # and no more
        async with client(port) as http:
            for _ in range(5):
                assert (await http.get("/healthz")).text == "healthy\n"
        for _, writer in idle:
            writer.close()


async def test_no_more_connections_stay_open_than_there_are_places() -> None:
    async with serving(House(), limits=Limits(connections=10, request_s=60)) as port:
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(25)]
        await until(lambda: sum(reader.at_eof() or reader.exception() is not None for reader, _ in pairs) == 15, 30)
        for _, writer in pairs:
            writer.close()


async def test_fault_in_a_route_is_a_500_for_one_request_only(caplog: pytest.LogCaptureFixture) -> None:
    faults = iter([True, False])

    async def answer(_: Request) -> Response:
        if next(faults):
            raise ValueError("a fault")
        return as_text("fine")

    async with Server(answer).listening("127.0.0.1", 0) as port, client(port) as http:
        assert (await http.get("/")).status_code == 500
        assert (await http.get("/")).text == "fine\n"
    assert "was answered with a fault (ValueError)" in caplog.text


SEEDS = [
    b"GET /%s HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\npassword=%s",
    b"GET /api/device/%s HTTP/1.1\r\nhost: localhost\r\ncookie: edge-agent=%s\r\n\r\n",
    b"POST /api/retry HTTP/1.1\r\nhost: localhost\r\nx-csrf-token: %s\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic %s\r\naccept: %s\r\n\r\n",
    b"GET /api/status?%s HTTP/1.0\r\nhost: [::1]:80\r\nif-none-match: %s\r\n\r\n",
    b"POST /logout HTTP/1.1\r\nhost: %s\r\norigin: %s\r\nsec-fetch-site: none\r\ncontent-length: 0\r\n\r\n",
]
BITS = [
    b"a=1&b=2&c=3&d=4&e=5&",
    b"..",
    b"%00",
    b"%ff%fe",
    b"\xe9",
    b"\r\n",
    b" ",
    b"=",
    b";",
    b'"',
    b"Ym9iOg==",
    b"a" * 300,
    b"\x00",
    b"%2e%2e%2f",
    b"&",
    b"localhost",
    b"[",
    b"-1",
    b"{",
    b"",
]


def malformed(chance: random.Random) -> bytes:
    """A request with its gaps filled badly, then cut, doubled or bent."""
    seed = chance.choice(SEEDS)
    while b"%s" in seed:
        seed = seed.replace(b"%s", b"".join(chance.choices(BITS, k=chance.randrange(4))), 1)
    request = bytearray(seed.replace(b"%d", b"%d" % len(seed.partition(b"\r\n\r\n")[2])))
    for _ in range(chance.randrange(4)):
        place = chance.randrange(len(request))
        match chance.randrange(3):
            case 0:
                request[place] = chance.randrange(256)
            case 1:
                del request[place : place + chance.randrange(1, 8)]
            case _:
                request[place:place] = chance.choice(BITS)
        if not request:
            break
    return bytes(request)


@pytest.mark.parametrize("password", [None, "correct horse"])
async def test_ten_thousand_malformed_requests_cause_no_fault(password: str | None, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(7)
    async with serving(House(), password, Limits(request_s=0.05)) as port:

        async def send(count: int) -> set[bytes]:
            found = set()
            for _ in range(count):
                answer = await _half_closed(port, malformed(chance))
                found |= {line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")}
            return found

        statuses = set.union(*await asyncio.gather(*(send(250) for _ in range(20))))
        async with client(port) as http:
            assert (await http.get("/healthz")).status_code == 200
    assert {status for status in statuses if status >= b"500"} <= {b"501"}, "a malformed request is the client's fault"
    assert statuses >= {b"400", b"405", b"421"}
    assert "fault" not in caplog.text


async def _half_closed(port: int, sent: bytes) -> bytes:
    """Sends, says that no more will come, and takes what comes back."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(30):
            return await reader.read(65536)
    except ConnectionError:
        return b""
    finally:
        writer.close()
