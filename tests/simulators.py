"""Modbus devices for tests: real pymodbus servers on a free port, and a raw one that misbehaves as told."""

from __future__ import annotations

import asyncio
import functools
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.codec.frames import FUNCTIONS, crc16
from edge_agent.codec.registers import encode

Words = Mapping[int, Sequence[int]]  # address -> words from there on
_TABLE_OF = {function: table for table, function in FUNCTIONS.items()}


@dataclass(frozen=True)
class Request:
    unit: int
    function: int
    address: int
    count: int

    @property
    def table(self) -> str:
        return _TABLE_OF[self.function]

    def covers(self, address: int) -> bool:
        return self.address <= address < self.address + self.count


Fault = Callable[[Request], Awaitable[ExcCodes | None]]


class RegisterServer:
    """Serves registers over Modbus TCP; notes requests and connections; `fault` may sleep or give an exception code."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[Request] = []
        self.functions: set[int] = set()
        self.connections = 0
        self.fault: Fault | None = None
        self.host = host
        self.port = port
        self._server: ModbusTcpServer | None = None

    async def start(self, units: Mapping[int, Mapping[str, Words]], rtu: bool = False) -> None:
        """Units by id, each with its tables (holding, input), each with words by address. Other addresses are illegal."""
        devices = [self._device(unit, tables) for unit, tables in units.items()]
        framer = FramerType.RTU if rtu else FramerType.SOCKET
        address = (self.host, self.port)
        self._server = ModbusTcpServer(devices, address=address, framer=framer, trace_pdu=self._on_pdu, trace_connect=self._on_connection)
        await self._server.serve_forever(background=True)
        assert isinstance(self._server.transport, asyncio.Server)
        self.port = self._server.transport.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
            self._server = None
            await asyncio.sleep(0)

    async def put(self, unit: int, table: str, address: int, value: float | str, encoding: str = "u16", word_order: str = "big") -> None:
        """Changes a value that is served."""
        assert self._server is not None
        await self._server.async_setValues(unit, FUNCTIONS[table], address, encode(value, encoding, word_order))

    def count(self, table: str, address: int) -> int:
        """How often a register was asked for."""
        return sum(request.table == table and request.covers(address) for request in self.requests)

    def _device(self, unit: int, tables: Mapping[str, Words]) -> SimDevice:
        bits = [SimData(0, count=16, values=False, datatype=DataType.BITS)]
        blocks = (bits, list(bits), _runs(tables.get("holding", {})), _runs(tables.get("input", {})))
        return SimDevice(unit, simdata=blocks, action=functools.partial(self._on_access, unit))

    async def _on_access(
        self, unit: int, function: int, _start: int, address: int, count: int, _registers: list[int], set_values: list[int] | list[bool] | None
    ) -> ExcCodes | None:
        if self.fault is None or set_values is not None:
            return None
        return await self.fault(Request(unit, function, address, count))

    def _on_pdu(self, sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if not sending:
            self.functions.add(pdu.function_code)
            self.requests.append(Request(pdu.dev_id, pdu.function_code, pdu.address, pdu.count))
        return pdu

    def _on_connection(self, up: bool) -> None:
        self.connections += up


def _runs(words: Words) -> list[SimData]:
    """Neighbouring registers as one block each; a table must not be empty."""
    flat = {address + offset: word for address, run in words.items() for offset, word in enumerate(run)}
    runs: dict[int, list[int]] = {}
    start = last = -2
    for address in sorted(flat):
        if address != last + 1:
            start = address
        runs.setdefault(start, []).append(flat[address])
        last = address
    return [SimData(address, values=run, datatype=DataType.REGISTERS) for address, run in runs.items()] or [
        SimData(65535, datatype=DataType.REGISTERS)
    ]


@asynccontextmanager
async def serving(
    units: Mapping[int, Mapping[str, Words]], rtu: bool = False, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RegisterServer]:
    server = RegisterServer(host, port)
    await server.start(units, rtu)
    try:
        yield server
    finally:
        await server.stop()


Reply = Callable[[Request, int], Sequence[tuple[float, bytes]]]  # request, transaction -> what to send after how many seconds


class RawServer:
    """Answers each request with the bytes that `reply` gives, when it gives them; more than one answer at a time if so told."""

    def __init__(self, reply: Reply, rtu: bool = False) -> None:
        self.reply = reply
        self.rtu = rtu
        self.connections = 0
        self.requests: list[Request] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        ended = self._open[writer] = asyncio.Event()
        try:
            while True:
                raw = await reader.readexactly(8 if self.rtu else 12)
                transaction = 0 if self.rtu else int.from_bytes(raw[:2])
                request = Request(*struct.unpack(">BBHH", raw[:6] if self.rtu else raw[6:]))
                self.requests.append(request)
                for delay, data in self.reply(request, transaction):
                    if delay:
                        task = asyncio.create_task(self._send_later(writer, delay, data))
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                    else:
                        writer.write(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            ended.set()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer, ended in self._open.items():
            writer.close()
            await asyncio.wait_for(ended.wait(), 30)
        await asyncio.sleep(0)

    async def _send_later(self, writer: asyncio.StreamWriter, delay: float, data: bytes) -> None:
        await asyncio.sleep(delay)
        if not writer.is_closing():
            writer.write(data)


@asynccontextmanager
async def misbehaving(reply: Reply, rtu: bool = False) -> AsyncIterator[RawServer]:
    raw = RawServer(reply, rtu)
    server = await asyncio.start_server(raw._serve, "127.0.0.1", 0)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        await raw.stop()


def frame(request: Request, transaction: int, words: Sequence[int], rtu: bool = False) -> bytes:
    """A correct answer."""
    body = struct.pack(f">BBB{len(words)}H", request.unit, request.function, 2 * len(words), *words)
    return body + crc16(body) if rtu else struct.pack(">HHH", transaction, 0, len(body)) + body
