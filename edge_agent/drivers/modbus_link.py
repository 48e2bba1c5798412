"""One Modbus line: the one place that imports pymodbus, and the one that sends bytes to devices.

A line is a TCP port or a serial port; all units behind it share one connection and take turns, first come
first served, with the pauses that the slowest of them needs. pymodbus brings the transport and the request
frames; what it does not promise is done here: every answer is held against its question
(`codec.frames`), and after anything but a whole, fitting answer (silence, garbage, a cancelled caller) the
connection is dropped, or on a serial port waited for to fall quiet, before the next question. So no
late answer can land in the wrong point. RTU frames carry no number to tell answers apart: there a unit that
stayed silent is not asked again until its answer would be twice overdue, and a bus on which a caller gave up
is left alone until the answer came or its time is over. Only the four read functions exist here: nothing can write.

Pauses and time-outs are the network's own: they do not follow a demo's faster clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_agent.codec.frames import Misfit, Question, Refusal, Words, read_answer, without_echo
from edge_agent.drivers.modbus_words import cannot_connect, hung_up, refused, silent
from edge_agent.model.clock import Clock
from edge_agent.model.errors import DeviceRefused, GarbledAnswer, NoAnswer, NoConnection
from edge_agent.profiles.profile import ModbusSpec
from edge_agent.profiles.setup import Connection

if TYPE_CHECKING:
    from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

    Client = AsyncModbusTcpClient | AsyncModbusSerialClient

_FIRST_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0
_QUIET_S = 0.2  # silence after which an RTU line carries no late answer any more: 200 characters at 9600 baud
_LONGEST_NOISE_S = 3.0
_SHORTEST_SILENCE_S = 0.00175  # between two RTU frames; below 19200 baud the time of 3.5 characters, 11 bits each
_FRAME_GAP_BITS = 38.5
_MOST_BYTES = 1024  # held since a question; the library's 256 are too few for an echo and the longest frame


def jittered(failures: int) -> float:
    """How many seconds to wait after so many failures in a row: full jitter under 1 s doubling to 60 s."""
    return random.uniform(0, min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(failures - 1, 10)))


class _Closed(Exception):
    """The other side closed the connection while an answer was awaited."""


class ModbusLink:
    """A line and its present connection, if any. `generation` counts connections: another number may be another device."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.generation = 0
        self.listeners: list[Callable[[Question, Words | Refusal], None]] = []  # hear every answer, for a recording
        self._clock = clock
        self._retry_at = 0.0  # before it nobody tries to connect
        self._users = 0
        self._rtu = connection.scheme != "tcp"
        self._pause = max(_SHORTEST_SILENCE_S, _FRAME_GAP_BITS / connection.baudrate) if connection.scheme == "serial" else 0.0
        self._connect_pause = 0.0
        self._turn = asyncio.Lock()
        self._client: Client | None = None
        self._clean = True  # nothing unanswered is under way
        self._failures = 0
        self._refusal = ""
        self._transaction = 0
        self._last_end = 0.0
        self._question = Question(0, "holding", 0, 0)
        self._answer: asyncio.Future[Words | Refusal] | None = None
        self._noise_at = 0.0
        self._noise_bytes = 0  # since the question, that are no answer
        self._patience_s = 0.0  # the time-out of the last question; no answer takes twice as long
        self._owed: dict[int, float] = {}  # RTU unit -> until when (time.monotonic) an old answer of it may come
        self._busy_until = 0.0  # a unit may be about to answer to a caller who left

    @property
    def where(self) -> str:
        """The line in messages."""
        return self.connection.line

    @property
    def connected(self) -> bool:
        """Whether a connection is open now."""
        return self._client is not None

    def join(self) -> None:
        """Counts a device in."""
        self._users += 1

    def keep_pace(self, spec: ModbusSpec) -> None:
        """The line goes at the pace of the device that needs the longest pauses."""
        self._pause = max(self._pause, spec.pause)
        self._connect_pause = max(self._connect_pause, spec.connect_pause)

    async def leave(self) -> None:
        """Counts a device out; the last one closes the connection."""
        self._users -= 1
        if self._users <= 0:
            await self.close()

    async def connect(self, timeout: float) -> None:
        """Opens the connection when there is none. Raises NoConnection."""
        if self._client is None:
            async with self._turn:
                await self._ready(timeout)

    async def read(self, unit: int, table: str, address: int, count: int, timeout: float) -> Words:
        """The registers (or bits) of one table of one unit.

        Raises NoConnection, NoAnswer, DeviceRefused or GarbledAnswer; the text says where, not which device.
        """
        while True:
            await self._until_nothing_is_owed(unit)
            async with self._turn:
                if not self._debt_s(unit) > 0:
                    return await self._read(unit, table, address, count, timeout)

    async def _read(self, unit: int, table: str, address: int, count: int, timeout: float) -> Words:
        """`read` in our turn."""
        kept = self._client is not None and self._clean
        await self._ready(timeout)
        try:
            return await self._ask(unit, table, address, count, timeout)
        except _Closed:
            if not kept:
                raise NoConnection(hung_up(self.where)) from None
        # A connection that had been idle may be long dead (a device that restarted): asking once more is no retry.
        await self._ready(timeout)
        try:
            return await self._ask(unit, table, address, count, timeout)
        except _Closed:
            raise NoConnection(hung_up(self.where)) from None

    def _debt_s(self, unit: int) -> float:
        """For how many seconds an answer to an old question may still come from an RTU unit."""
        return self._owed.get(unit, 0.0) - time.monotonic()

    async def _until_nothing_is_owed(self, unit: int) -> None:
        """Waits, without holding up the other units, until an answer of this one can only be the one to the next question."""
        while (debt := self._debt_s(unit)) > 0:
            await asyncio.sleep(min(debt, _QUIET_S))
        self._owed.pop(unit, None)

    async def rest(self) -> None:
        """Closes the connection when it is our turn, so that others outside this agent can have it until the next question."""
        async with self._turn:
            self._drop()

    async def close(self) -> None:
        """Closes the connection at once; whoever waits for an answer is told. The next question opens a new one."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoConnection(f"the connection to {self.where} was closed"))
        self._drop()
        await asyncio.sleep(0)  # lets the transport close its socket

    async def _ask(self, unit: int, table: str, address: int, count: int, timeout: float) -> Words:
        """One question and its answer, in our turn, on a clean connection."""
        wait = self._last_end + self._pause - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        if self._client is None:  # it closed during the pause
            raise _Closed
        self._transaction = self._transaction % 0xFFFF + 1
        question = Question(unit, table, address, count, self._transaction)
        answer = await self._exchange(self._client, question, timeout)
        for hear in self.listeners:
            hear(question, answer)
        if isinstance(answer, Refusal):
            raise DeviceRefused(refused(self.where, question, answer.code), answer.code)
        return answer

    async def _exchange(self, client: Client, question: Question, timeout: float) -> Words | Refusal:
        """Sends the question and waits for its answer. Whatever else happens, a later answer is not believed."""
        loop = asyncio.get_running_loop()
        self._question = question
        waiting: asyncio.Future[Words | Refusal] = loop.create_future()
        self._answer = waiting
        self._clean = False
        self._noise_bytes = 0
        due = time.monotonic() + timeout
        self._patience_s = timeout
        deadline = loop.call_later(timeout, self._give_up, waiting)  # half the cost of asyncio.timeout
        left = False
        try:
            self._send(client, question)
            return await waiting
        except TimeoutError:
            self._owe(question.unit, timeout)
            raise NoAnswer(silent(self.where, question, timeout, self._noise_bytes)) from None
        except asyncio.CancelledError:
            left = self._rtu
            self._owe(question.unit, 2 * timeout)
            self._busy_until = due
            raise
        finally:
            deadline.cancel()
            if not self._clean or self._client is not client:
                self._drop_unclean(left)
            self._answer = None
            self._last_end = time.monotonic()

    def _owe(self, unit: int, for_s: float) -> None:
        """An answer of an RTU unit may come for so long yet: from now, as on a busy machine the question has only just left."""
        if self._rtu:
            self._owed[unit] = time.monotonic() + for_s

    @staticmethod
    def _give_up(waiting: asyncio.Future[Words | Refusal]) -> None:
        if not waiting.done():
            waiting.set_exception(TimeoutError())

    def _send(self, client: Client, question: Question) -> None:
        from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
        from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

        kinds = {
            "coil": ReadCoilsRequest,
            "discrete": ReadDiscreteInputsRequest,
            "holding": ReadHoldingRegistersRequest,
            "input": ReadInputRegistersRequest,
        }
        request = kinds[question.table](address=question.address, count=question.count, dev_id=question.unit)
        request.transaction_id = question.transaction
        client.ctx.pdu_send(request)

    # What pymodbus calls

    def _on_bytes(self, sending: bool, data: bytes) -> bytes:
        """Sees all bytes. What is received (all since the question) is judged here and not passed on to the library."""
        if sending:
            return data
        self._noise_at = time.monotonic()
        found = read_answer(self._question, data, self._rtu)
        if self._answer is None or self._answer.done():
            self._clean = self._clean and not self._rtu  # nobody waits for it: the next question waits until this is over
            if isinstance(found, tuple | Refusal):  # the answer to a question that was given up
                self._owed.pop(self._question.unit, None)
                self._busy_until = 0.0
        elif isinstance(found, Misfit):
            if found.foreign and self.connection.scheme == "serial":  # ours may come yet
                self._owe(self._question.unit, 2 * self._patience_s)
            self._answer.set_exception(GarbledAnswer(f"{self.where} unit {self._question.unit}: {found.reason}"))
        elif found is not None:
            self._clean = True
            self._answer.set_result(found)
        elif self._rtu:
            self._noise_bytes = len(without_echo(self._question, data))
        return b""

    def _on_connection(self, client: Client, up: bool) -> None:
        """The other side closed: forget the connection; whoever waits need not wait for the time-out."""
        if up or client is not self._client:
            return
        self._drop()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(_Closed())

    # The connection

    def _drop(self) -> None:
        client, self._client, self._clean = self._client, None, True
        if client is not None:
            client.close()

    def _drop_unclean(self, left: bool) -> None:
        """An answer may still come: nothing that arrives now is to be believed. `left`: RTU, and nobody waits for it."""
        if self._client is not None and (left or self.connection.scheme == "serial"):
            self._clean = False  # a new connection would not stop the bus: wait for the answer, or for quiet, instead
        else:
            self._drop()
            self._clean = not self._rtu  # behind an RTU gateway the bus may still be talking

    async def _ready(self, timeout: float) -> None:
        """A connection on which nothing is under way. Raises NoConnection."""
        quiet = self._clean
        if self._client is None:
            if self._clock.monotonic() < self._retry_at:
                raise NoConnection(self._refusal)
            try:
                await self._open(timeout)
            except OSError as error:
                self._failures += 1
                self._retry_at = self._clock.monotonic() + jittered(self._failures)
                self._refusal = cannot_connect(self.connection, error, timeout)
                raise NoConnection(self._refusal) from None
            self._failures = 0
            if self._connect_pause:
                await asyncio.sleep(self._connect_pause)
        if not quiet:
            await self._wait_for_quiet()
        self._clean = True

    async def _wait_for_quiet(self) -> None:
        """Waits until an RTU line has carried nothing for a moment."""
        self._clean = False
        while (busy := self._busy_until - time.monotonic()) > 0:  # ends at once when the answer comes
            await asyncio.sleep(min(busy, _QUIET_S))
        start = time.monotonic()
        self._noise_at = max(self._noise_at, start)
        while (quiet_for := time.monotonic() - self._noise_at) < _QUIET_S:
            if time.monotonic() - start > _LONGEST_NOISE_S:
                raise GarbledAnswer(f"{self.where} never falls silent; check that no other Modbus master is on the bus")
            await asyncio.sleep(_QUIET_S - quiet_for)

    async def _open(self, timeout: float) -> None:
        client = _new_client(self.connection, self, timeout)
        try:
            # pymodbus' own connect() does the same but keeps the reason of a failure to itself
            async with asyncio.timeout(timeout):
                client.ctx.transport, _ = await client.ctx.call_create()
        except BaseException:
            client.close()
            raise
        if tcp := client.ctx.transport.get_extra_info("socket"):
            _keep_alive(tcp)
        client.ctx.max_buffer_size = _MOST_BYTES
        self._client = client
        self._clean = True
        self.generation += 1


class ModbusLinks:
    """The lines of a house: devices on the same line get the same link."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._links: dict[str, ModbusLink] = {}

    def get(self, connection: Connection, spec: ModbusSpec) -> ModbusLink:
        """The link of a line, made when it is asked for first, at a pace that this device can follow."""
        link = self._links.setdefault(connection.line, ModbusLink(connection, self._clock))
        link.keep_pace(spec)
        return link

    async def close(self) -> None:
        """Closes all connections."""
        for link in self._links.values():
            await link.close()
        self._links.clear()


def _new_client(connection: Connection, link: ModbusLink, timeout: float) -> Client:
    """A pymodbus client that neither retries nor reconnects by itself, and keeps its logs to itself."""
    from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
    from pymodbus.framer import FramerType

    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)  # it logs each failure that the drivers report in words
    client: Client
    settings: dict[str, Any] = {
        "timeout": timeout,
        "retries": 0,
        "reconnect_delay": 0,
        "trace_packet": link._on_bytes,
        "trace_connect": lambda up: link._on_connection(client, up),
    }
    if connection.scheme == "serial":
        serial: dict[str, Any] = {"baudrate": connection.baudrate, "parity": connection.parity, "stopbits": connection.stopbits}
        client = AsyncModbusSerialClient(connection.path, framer=FramerType.RTU, **serial, **settings)
    else:
        framer = FramerType.SOCKET if connection.scheme == "tcp" else FramerType.RTU
        client = AsyncModbusTcpClient(connection.host, port=connection.port, framer=framer, **settings)
    return client


def _keep_alive(tcp: socket.socket) -> None:
    """Finds out within two minutes that a silent peer is gone, even when nothing is asked."""
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
