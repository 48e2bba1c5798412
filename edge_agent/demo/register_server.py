"""Serves registers over Modbus TCP, or RTU frames over TCP, exactly as they were recorded.

Not pymodbus' server, since a replayed device must refuse what the recorded one was never asked for, word by
word, and have bits at any address. It knows the four read functions; every other is refused, so nothing can
be written.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping

from edge_agent.codec.frames import FUNCTIONS, crc16
from edge_agent.codec.read_plan import BIT_TABLES, MOST_BITS, MOST_REGISTERS

Place = tuple[int, str]  # unit and table
_TABLES = {function: table for table, function in FUNCTIONS.items()}
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _NO_SUCH_UNIT = 1, 2, 3, 11
_MOST_PENDING = 1024


class RegisterServer:
    """`async with RegisterServer(words) as server:` serves on the loopback interface; `words` may change meanwhile."""

    def __init__(self, words: Mapping[Place, Mapping[int, int]], rtu: bool = False, port: int = 0, told: Callable[[], None] = lambda: None) -> None:
        self._words = words
        self._rtu = rtu
        self._address = "127.0.0.1", port
        self._told = told  # called at each request
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "the server is not running"
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> RegisterServer:
        self._server = await asyncio.start_server(self._connected, *self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            await (self._serve_rtu(reader, writer) if self._rtu else self._serve_tcp(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            writer.close()
            del self._connections[task]

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, protocol, length = struct.unpack(">HHH", await reader.readexactly(6))
            if protocol != 0 or not 2 <= length <= 260:
                return  # no Modbus
            unit, *body = await reader.readexactly(length)
            answer = self.answer(unit, bytes(body))
            writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
            await writer.drain()

    async def _serve_rtu(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pending = b""
        while data := await reader.read(_MOST_PENDING):
            pending += data
            while len(pending) >= 8 and crc16(pending[:6]) == pending[6:8]:
                frame, pending = pending[:8], pending[8:]
                answer = frame[:1] + self.answer(frame[0], frame[1:6])
                writer.write(answer + crc16(answer))
            if len(pending) >= 8:  # no request to read: like a real device, it says nothing to what it cannot check
                pending = b""
            await writer.drain()

    def answer(self, unit: int, body: bytes) -> bytes:
        """The answer to a request, from its function code on: values, or an exception."""
        self._told()
        table = _TABLES.get(body[0])
        if table is None or len(body) != 5:
            return bytes((body[0] | 0x80, _ILLEGAL_FUNCTION))
        if all(unit != known for known, _ in self._words):
            return bytes((body[0] | 0x80, _NO_SUCH_UNIT))
        address, count = struct.unpack(">HH", body[1:])
        if not 0 < count <= (MOST_BITS if table in BIT_TABLES else MOST_REGISTERS):
            return bytes((body[0] | 0x80, _ILLEGAL_VALUE))
        held = self._words.get((unit, table), {})
        words = [held.get(one) for one in range(address, address + count)]
        values = [word for word in words if word is not None]
        if len(values) != count:
            return bytes((body[0] | 0x80, _ILLEGAL_ADDRESS))
        data = _bits(values) if table in BIT_TABLES else struct.pack(f">{count}H", *values)
        return bytes((body[0], len(data))) + data


def _bits(values: list[int]) -> bytes:
    """The first value in the lowest bit of the first byte."""
    number = sum(1 << place for place, value in enumerate(values) if value)
    return number.to_bytes((len(values) + 7) // 8, "little")
