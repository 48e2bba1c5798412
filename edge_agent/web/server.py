"""HTTP/1.1 over asyncio and h11. Knows no route: it reads requests, asks `answer`, and writes what that says.

Whatever comes in costs a bounded amount: so many connections, bytes and seconds, and no more. When all places are
taken, the connection that has kept us waiting longest makes room. A fault in a route ends one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

import h11

from edge_agent.web.messages import Request, Response, as_text

log = logging.getLogger(__name__)

Answer = Callable[[Request], Awaitable[Response]]

SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # without any, a browser hides the origin of our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stranger, and all of them, may cost. Times are real seconds."""

    connections: int = 40
    head_bytes: int = 16 * 1024
    body_bytes: int = 4 * 1024
    request_s: float = 10.0  # for a whole request, from the connection's opening or the answer before it
    write_s: float = 10.0  # for a part of an answer


class _TooLarge(Exception):
    """The request's body is longer than any that is meant."""


class _Gone(Exception):
    """The client left, or let us wait too long."""


class Server:
    """All connections of one listening address."""

    def __init__(self, answer: Answer, limits: Limits = Limits()) -> None:
        self._answer = answer
        self._limits = limits
        self._waiting: dict[asyncio.Task[None], None] = {}  # connections that owe us a request, the oldest first
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Serves while the block runs, which gets the port. Raises OSError when the address cannot be had."""
        server = await asyncio.start_server(self._accept, host, port, limit=self._limits.head_bytes, backlog=32)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._limits.connections:
            if not self._waiting:
                writer.transport.abort()
                return
            longest = next(iter(self._waiting))
            del self._waiting[longest]
            longest.cancel()
        self._open.add(task)
        try:
            await self._serve(task, reader, writer)
        except (ConnectionError, TimeoutError, _Gone, asyncio.CancelledError):
            pass  # the client's affair, or the end of the server
        finally:
            self._waiting.pop(task, None)
            self._open.discard(task)
            writer.transport.abort()

    async def _serve(self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.head_bytes)
        peer = str((writer.get_extra_info("peername") or ("unknown",))[0])
        while True:
            self._waiting[task] = None
            try:
                async with asyncio.timeout(self._limits.request_s):
                    request = await self._request(connection, reader, peer)
                response = await self._answered(request)
            except h11.RemoteProtocolError as error:
                request, response = None, as_text("this is no request", error.error_status_hint)
            except _TooLarge:
                request, response = None, as_text("the request is too large", 413)
            finally:
                self._waiting.pop(task, None)
            last = request is None or connection.their_state is not h11.DONE
            with _listening_for_the_end(task, reader, response):
                await self._send(connection, writer, request, response, last)
            if last or connection.our_state is not h11.DONE:
                await self._say_goodbye(writer)
                return
            connection.start_next_cycle()

    async def _request(self, connection: h11.Connection, reader: asyncio.StreamReader, peer: str) -> Request:
        head = await self._event(connection, reader)
        if not isinstance(head, h11.Request):
            raise _Gone
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in head.headers}:
            raise h11.RemoteProtocolError("two lengths")  # a proxy before us may believe the other one: what follows would be smuggled past it
        body = b""
        while isinstance(event := await self._event(connection, reader), h11.Data):
            body += event.data
            if len(body) > self._limits.body_bytes:
                raise _TooLarge
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        path = head.target.decode("latin-1").partition("?")[0]
        return Request(head.method.decode("latin-1"), path, headers, body, peer)

    async def _event(self, connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Event:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(self._limits.head_bytes))
        if not isinstance(event, h11.Request | h11.Data | h11.EndOfMessage):
            raise _Gone
        return event

    async def _answered(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except Exception as error:  # a fault of ours in one route must not end the others
            log.exception("web: %s was answered with a fault (%s)", request.path, type(error).__name__)
            return as_text("a fault in the agent; its log has more", 500)

    async def _send(self, connection: h11.Connection, writer: asyncio.StreamWriter, request: Request | None, response: Response, last: bool) -> None:
        if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = {"content-type": response.kind, **SECURITY, **response.headers}
        if isinstance(response.body, bytes):
            headers["content-length"] = str(len(response.body))
        if last:
            headers["connection"] = "close"
        head = h11.Response(status_code=response.status, headers=list(headers.items()), reason=HTTPStatus(response.status).phrase.encode())
        await self._write(writer, connection.send(head))
        if request is None or request.method != "HEAD":
            async for part in _parts(response.body):
                await self._write(writer, connection.send(h11.Data(data=part)))
        await self._write(writer, connection.send(h11.EndOfMessage()))

    async def _write(self, writer: asyncio.StreamWriter, data: bytes | None) -> None:
        if data:
            writer.write(data)
        async with asyncio.timeout(self._limits.write_s):
            await writer.drain()

    async def _say_goodbye(self, writer: asyncio.StreamWriter) -> None:
        """Lets the last bytes go out before the connection is cut."""
        with contextlib.suppress(OSError):
            writer.write_eof()
        async with asyncio.timeout(self._limits.write_s):
            writer.close()
            await writer.wait_closed()


@contextlib.contextmanager
def _listening_for_the_end(task: asyncio.Task[None], reader: asyncio.StreamReader, response: Response) -> Iterator[None]:
    """Ends a live page's connection as soon as its client goes, so that its place is free for the next."""
    if isinstance(response.body, bytes):
        yield
        return

    async def heard() -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(1)
        task.cancel()

    end = asyncio.create_task(heard())
    try:
        yield
    finally:
        end.cancel()


async def _parts(body: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        if body:
            yield body
        return
    async for part in body:
        yield part
