"""What may lie between a gateway and the cloud: a line that breaks in every way, and a proxy that wants a password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto

from tests.conftest import free_port

_PORTAL = b"<html><title>Hotel</title>Please sign in</html>"


class Harm(Enum):
    """What the line does to whoever uses it."""

    NONE = auto()
    SWALLOW = auto()  # half-open: what is sent disappears, nobody says so
    RESET = auto()  # before the request gets through
    LOSE_ANSWER = auto()  # the request gets through, its answer does not
    HALF_ANSWER = auto()  # nor this one, as a whole
    PORTAL = auto()  # a page to sign in, with 200, instead of the cloud
    REDIRECT = auto()  # to `elsewhere`, instead of the cloud


class FaultProxy:
    """Passes bytes between a client and a port of this machine, and does the `harm` it is told to, from the next byte on."""

    def __init__(self, target_port: int, host: str = "127.0.0.1", elsewhere: str = "http://elsewhere.invalid/") -> None:
        self.target_port, self.host, self.elsewhere = target_port, host, elsewhere
        self.harm = Harm.NONE
        self.lost = 0  # answers that the client did not get, or not whole
        self.port = free_port()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Begins to listen; on the same port again after a `stop`."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port)

    async def stop(self) -> None:
        """Nobody listens any more, and whoever was connected is not."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.hang_up()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def forget(self) -> None:
        """Makes every connection half-open, as a router does that was restarted; new ones are fine."""
        self._forgotten.update(client for client, _ in self._pairs)

    def hang_up(self) -> None:
        """Ends every connection politely, as a load balancer does with idle ones."""
        for pair in self._pairs:
            for writer in pair:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            cloud_reader, cloud_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, cloud_writer)
        self._pairs.add(pair)
        try:
            await asyncio.gather(_pump(reader, cloud_writer, self._ask, writer), _pump(cloud_reader, writer, self._answer, writer))
        finally:
            self._pairs.discard(pair)
            self._forgotten.discard(writer)
            for one in pair:
                one.close()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    def _ask(self, data: bytes, client: asyncio.StreamWriter) -> bytes | None:
        """What goes on of what the client sends; None: nothing, ever again."""
        if self.harm is Harm.SWALLOW or client in self._forgotten:
            return b""
        if self.harm is Harm.RESET:
            client.transport.abort()
            return None
        if self.harm in (Harm.PORTAL, Harm.REDIRECT):
            if data.startswith((b"GET ", b"POST ", b"PUT ")):
                client.write(self._page())
            return b""
        return data

    def _answer(self, data: bytes, client: asyncio.StreamWriter) -> bytes | None:
        """What goes on of what the cloud answers."""
        if self.harm not in (Harm.LOSE_ANSWER, Harm.HALF_ANSWER, Harm.SWALLOW):
            return data
        self.lost += 1
        if self.harm is Harm.SWALLOW:
            return b""
        if self.harm is Harm.HALF_ANSWER:
            client.write(data[: len(data) // 2])
            client.close()
            return None
        client.transport.abort()
        return None

    def _page(self) -> bytes:
        head = "HTTP/1.1 200 OK" if self.harm is Harm.PORTAL else f"HTTP/1.1 302 Found\r\nLocation: {self.elsewhere}"
        return f"{head}\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: {len(_PORTAL)}\r\n\r\n".encode() + _PORTAL


Change = Callable[[bytes, asyncio.StreamWriter], bytes | None]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Change, client: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            passed = change(data, client)
            if passed is None:
                break
            writer.write(passed)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def faulty_line(target_port: int, host: str = "127.0.0.1", elsewhere: str = "http://elsewhere.invalid/") -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(target_port, host, elsewhere)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


class ConnectProxy:
    """An HTTP proxy that leads every `CONNECT` to one port of this machine, whatever name it asks for; `asked` holds the names."""

    def __init__(self, target_port: int, password: str = "") -> None:
        """With a password only `user` with it may pass."""
        self.target_port = target_port
        self.asked: list[str] = []
        self.port = free_port()
        self._expected = base64.b64encode(f"user:{password}".encode()) if password else b""
        self._open: list[asyncio.StreamWriter] = []
        self._serving: list[asyncio.Task[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.append(task)
        self._open.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await self._lead(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        if self._expected not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        cloud_reader, cloud_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        self._open.append(cloud_writer)
        await asyncio.gather(_pump(reader, cloud_writer, _all, writer), _pump(cloud_reader, writer, _all, writer))

    async def hang_up(self) -> None:
        """Ends every connection."""
        for writer in self._open:
            writer.close()
        await asyncio.gather(*self._serving)


def _all(data: bytes, _: asyncio.StreamWriter) -> bytes:
    return data


@asynccontextmanager
async def proxy_to(target_port: int, password: str = "") -> AsyncIterator[ConnectProxy]:
    proxy = ConnectProxy(target_port, password)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.hang_up()
