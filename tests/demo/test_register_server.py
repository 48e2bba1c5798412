"""The server behind a replayed device: what was recorded is answered, everything else refused."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge_agent.codec.frames import crc16
from edge_agent.demo.register_server import Place, RegisterServer
from edge_agent.drivers.modbus_link import ModbusLink
from edge_agent.model.clock import SystemClock
from edge_agent.model.errors import DeviceRefused
from edge_agent.profiles.setup import Connection

WORDS: dict[Place, dict[int, int]] = {
    (1, "holding"): {0: 0x1234, 1: 0xFFFF, 65535: 7},
    (1, "coil"): {number: int(number % 3 == 0) for number in range(17, 40)},
    (2, "input"): dict.fromkeys(range(200), 5),
}


@asynccontextmanager
async def link(rtu: bool = False) -> AsyncIterator[ModbusLink]:
    async with RegisterServer(WORDS, rtu) as server:
        line = ModbusLink(Connection("rtu+tcp" if rtu else "tcp", "127.0.0.1", server.port), SystemClock())
        yield line
        await line.close()


@pytest.mark.parametrize("rtu", [False, True])
async def test_words_and_bits_are_answered(rtu: bool) -> None:
    async with link(rtu) as line:
        assert await line.read(1, "holding", 0, 2, 2) == (0x1234, 0xFFFF)
        assert await line.read(1, "holding", 65535, 1, 2) == (7,)
        assert await line.read(2, "input", 10, 125, 2) == (5,) * 125
        assert [bool(bit) for bit in await line.read(1, "coil", 17, 23, 2)] == [number % 3 == 0 for number in range(17, 40)]


@pytest.mark.parametrize("rtu", [False, True])
@pytest.mark.parametrize(
    ("unit", "table", "address", "count", "code"),
    [(1, "holding", 1, 2, 2), (1, "input", 0, 1, 2), (1, "coil", 16, 2, 2), (3, "holding", 0, 1, 11), (2, "input", 199, 2, 2)],
)
async def test_what_was_not_recorded_is_refused(rtu: bool, unit: int, table: str, address: int, count: int, code: int) -> None:
    async with link(rtu) as line:
        with pytest.raises(DeviceRefused) as refused:
            await line.read(unit, table, address, count, 2)
        assert refused.value.code == code


async def test_words_may_change_while_they_are_served() -> None:
    words: dict[Place, dict[int, int]] = {(1, "input"): {0: 1}}
    async with RegisterServer(words) as server:
        line = ModbusLink(Connection("tcp", "127.0.0.1", server.port), SystemClock())
        assert await line.read(1, "input", 0, 1, 2) == (1,)
        words[1, "input"][0] = 2
        assert await line.read(1, "input", 0, 1, 2) == (2,)
        await line.close()


@pytest.mark.parametrize("body", [b"\x06\x00\x00\x00\x01", b"\x10\x00\x00\x00\x01\x02\x00\x05", b"\x2b\x0e\x01\x00"])
async def test_every_other_function_is_refused_and_changes_nothing(body: bytes) -> None:
    words: dict[Place, dict[int, int]] = {(1, "holding"): {0: 3}}
    async with RegisterServer(words) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(struct.pack(">HHHB", 9, 0, len(body) + 1, 1) + body)
        assert await reader.readexactly(9) == struct.pack(">HHHBBB", 9, 0, 3, 1, body[0] | 0x80, 1)
        writer.close()
        await writer.wait_closed()
    assert words[1, "holding"] == {0: 3}


async def test_rtu_garbage_is_passed_over() -> None:
    question = struct.pack(">BBHH", 1, 3, 0, 1)
    async with RegisterServer(WORDS, rtu=True) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\xff" * 11)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(question + crc16(question))
        answer = b"\x01\x03\x02\x12\x34"
        async with asyncio.timeout(30):
            assert await reader.readexactly(7) == answer + crc16(answer)
        writer.close()
        await writer.wait_closed()


async def test_connection_that_speaks_no_modbus_is_closed() -> None:
    async with RegisterServer(WORDS) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(30):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
        writer.close()
