"""A Modbus line against real servers: turns, pauses, reconnecting, and no answer in the wrong place."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
import tty
from collections.abc import Sequence
from typing import Any

import pytest

from edge_agent.drivers import modbus_link
from edge_agent.drivers.modbus_link import ModbusLink, ModbusLinks, jittered
from edge_agent.model.errors import DeviceRefused, GarbledAnswer, NoAnswer, NoConnection
from edge_agent.profiles.profile import ModbusSpec
from edge_agent.profiles.setup import Connection
from tests.conftest import HandClock, until
from tests.simulators import Request, frame, misbehaving, serving

TIMEOUT = 0.3


def link_to(port: int, clock: HandClock, scheme: str = "tcp", **pace: Any) -> ModbusLink:
    return ModbusLinks(clock).get(Connection(scheme, "127.0.0.1", port), ModbusSpec(**pace))


def own_words(request: Request) -> list[int]:
    """Registers whose content is their address: a value in the wrong point shows."""
    return list(range(request.address, request.address + request.count))


@pytest.mark.parametrize("scheme", ["tcp", "rtu+tcp"])
async def test_registers_of_both_tables_and_of_bits(scheme: str, hand_clock: HandClock) -> None:
    tables = {"holding": {10: [1, 2, 3]}, "input": {10: [7, 8, 9]}}
    async with serving({1: tables}, rtu=scheme != "tcp") as server:
        link = link_to(server.port, hand_clock, scheme)
        assert await link.read(1, "holding", 10, 3, TIMEOUT) == (1, 2, 3)
        assert await link.read(1, "input", 11, 2, TIMEOUT) == (8, 9)
        assert await link.read(1, "coil", 0, 3, TIMEOUT) == (0, 0, 0)
        assert await link.read(1, "discrete", 0, 9, TIMEOUT) == (0,) * 9
        await link.close()
        assert server.functions == {1, 2, 3, 4}


async def test_questions_of_many_go_one_at_a_time_over_one_connection(hand_clock: HandClock) -> None:
    running = most = 0

    async def slowly(_: Request) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1

    async with serving({unit: {"input": {0: [unit]}} for unit in (1, 2, 3)}) as server:
        server.fault = slowly
        link = link_to(server.port, hand_clock)
        answers = await asyncio.gather(*(link.read(unit, "input", 0, 1, TIMEOUT) for unit in (1, 2, 3, 1, 2, 3)))
        await link.close()
        assert answers == [(1,), (2,), (3,)] * 2
        assert (server.connections, most) == (1, 1)
        assert [request.unit for request in server.requests] == [1, 2, 3, 1, 2, 3]


def test_devices_on_one_line_share_its_link_at_the_slowest_pace(hand_clock: HandClock) -> None:
    links = ModbusLinks(hand_clock)
    one = links.get(Connection("tcp", "host", 502), ModbusSpec(pause=0.1))
    two = links.get(Connection("tcp", "host", 502), ModbusSpec(pause=0.3, connect_pause=1.0))
    assert one is two
    assert (one._pause, one._connect_pause) == (0.3, 1.0)
    assert links.get(Connection("tcp", "host", 503), ModbusSpec()) is not one


async def test_pause_between_two_questions_is_kept(hand_clock: HandClock) -> None:
    async with serving({1: {"input": {0: [5]}}}) as server:
        link = link_to(server.port, hand_clock, pause=0.1, connect_pause=0.1)
        start = time.monotonic()
        for _ in range(3):
            await link.read(1, "input", 0, 1, TIMEOUT)
        assert time.monotonic() - start >= 0.3
        await link.close()


async def test_refusal_carries_its_code_and_the_address(hand_clock: HandClock) -> None:
    async with serving({1: {"input": {0: [5]}}}) as server:
        link = link_to(server.port, hand_clock)
        with pytest.raises(DeviceRefused, match=r"unit 1 refuses input 100-101 with exception 2: it has no such register") as refused:
            await link.read(1, "input", 100, 2, TIMEOUT)
        assert refused.value.code == 2
        assert await link.read(1, "input", 0, 1, TIMEOUT) == (5,)
        await link.close()
        assert server.connections == 1


@pytest.mark.parametrize("rtu", [False, True])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda request, words: (Request(9, request.function, 0, 0), words), "unit 9 answered instead of unit 1"),
        (lambda request, words: (Request(1, 3, 0, 0), words), "function 3 instead of 4"),
        (lambda request, words: (request, words[:1]), "2 bytes of values instead of 8"),
    ],
)
async def test_answer_that_does_not_fit_is_refused_at_once(answer: object, reason: str, rtu: bool, hand_clock: HandClock) -> None:
    wrong = True

    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        assert callable(answer)
        asked, words = answer(request, own_words(request)) if wrong else (request, own_words(request))
        return [(0, frame(asked, transaction, words, rtu))]

    async with misbehaving(reply, rtu) as server:
        link = link_to(server.port, hand_clock, "rtu+tcp" if rtu else "tcp")
        start = time.monotonic()
        with pytest.raises(GarbledAnswer, match=reason):
            await link.read(1, "input", 20, 4, 5.0)
        assert time.monotonic() - start < 4
        wrong = False
        assert await link.read(1, "input", 20, 4, 5.0) == (20, 21, 22, 23)
        assert server.connections == 2
        await link.close()


async def test_web_page_at_the_port_is_garbage_in_words(hand_clock: HandClock) -> None:
    async with misbehaving(lambda _request, _transaction: [(0, b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n")]) as server:
        link = link_to(server.port, hand_clock)
        with pytest.raises(GarbledAnswer, match=f"127.0.0.1:{server.port} unit 1: the answer is no Modbus TCP"):
            await link.read(1, "input", 0, 2, 5.0)
        await link.close()


async def test_answer_in_pieces_is_put_together(hand_clock: HandClock) -> None:
    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        whole = frame(request, transaction, own_words(request))
        return [(0, whole[:5]), (0.02, whole[5:11]), (0.04, whole[11:])]

    async with misbehaving(reply) as server:
        link = link_to(server.port, hand_clock)
        assert await link.read(1, "input", 20, 4, 5.0) == (20, 21, 22, 23)
        await link.close()


@pytest.mark.parametrize("rtu", [False, True])
async def test_late_answer_never_lands_in_another_question(rtu: bool, hand_clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_link, "_QUIET_S", 0.05)
    chance = random.Random(7)
    tables = {3: "holding", 4: "input"}

    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        late = chance.random() < 0.05
        return [(chance.uniform(0.055, 0.095) if late else chance.choice([0, 0, 0, 0.001]), frame(request, transaction, own_words(request), rtu))]

    silences = cancelled = 0
    async with misbehaving(reply, rtu) as server:
        link = link_to(server.port, hand_clock, "rtu+tcp" if rtu else "tcp")

        async def ask(number: int) -> None:
            nonlocal silences, cancelled
            chooser = random.Random(number)
            address, count, function = chooser.randrange(60_000), chooser.choice([1, 2, 2, 2, 4]), chooser.choice([3, 4])
            try:
                async with asyncio.timeout(chooser.uniform(0.001, 0.2) if chooser.random() < 0.3 else None):
                    words = await link.read(1, tables[function], address, count, 0.05)
            except (NoAnswer, NoConnection):  # a busy machine may not connect in 0.05 s either
                silences += 1
            except TimeoutError:
                cancelled += 1
            else:
                assert words == tuple(range(address, address + count))

        for start in range(0, 500, 50):
            await asyncio.gather(*(ask(number) for number in range(start, start + 50)))
        await link.close()
        assert 5 < silences < 150
        assert cancelled > 10


async def test_bus_that_still_talks_is_waited_for(hand_clock: HandClock) -> None:
    """A gateway may hand the late answer to the new connection: with RTU framing it must be quiet first."""
    connections: list[asyncio.StreamWriter] = []
    ended: list[asyncio.StreamWriter] = []

    async def transparent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if len(connections) == 2:  # the answer to what was asked on the first connection
            writer.write(frame(Request(1, 4, 100, 1), 0, [100], rtu=True))
        try:
            while True:
                raw = await reader.readexactly(8)
                if len(connections) > 1:
                    writer.write(frame(Request(1, 4, 0, 1), 0, [int.from_bytes(raw[2:4])], rtu=True))
        except asyncio.IncompleteReadError:
            writer.close()
            ended.append(writer)

    server = await asyncio.start_server(transparent, "127.0.0.1", 0)
    link = link_to(server.sockets[0].getsockname()[1], hand_clock, "rtu+tcp")
    with pytest.raises(NoAnswer):
        await link.read(1, "input", 100, 1, 0.05)
    assert await link.read(1, "input", 200, 1, 1.0) == (200,)
    await link.close()
    server.close()
    await until(lambda: len(ended) == len(connections) == 2)


async def test_answer_that_nobody_asked_for_is_not_taken_for_the_next(hand_clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With RTU framing nothing but silence tells an answer given twice from the next one."""
    monkeypatch.setattr(modbus_link, "_QUIET_S", 0.5)

    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        answer = frame(request, transaction, own_words(request), rtu=True)
        return [(0, answer), (0.1, answer[:3]), (0.4, answer)] if request.address == 7 else [(0.1, answer)]

    async with misbehaving(reply, rtu=True) as server:
        link = link_to(server.port, hand_clock, "rtu+tcp")
        assert await link.read(1, "input", 7, 2, 1.0) == (7, 8)
        await asyncio.sleep(0.3)
        assert await link.read(1, "input", 70, 2, 1.0) == (70, 71)
        await link.close()


@pytest.mark.parametrize("rtu", [False, True])
async def test_cancelled_caller_leaves_the_line_sane(rtu: bool, hand_clock: HandClock) -> None:
    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        return [(0.05 if request.address == 1 else 0, frame(request, transaction, own_words(request), rtu))]

    async with misbehaving(reply, rtu) as server:
        link = link_to(server.port, hand_clock, "rtu+tcp" if rtu else "tcp")
        impatient = asyncio.create_task(link.read(1, "input", 1, 1, 2.0))
        waiting = asyncio.create_task(link.read(1, "input", 700, 1, 2.0))
        await until(lambda: server.requests)
        impatient.cancel()
        assert await waiting == (700,)
        assert await link.read(1, "input", 800, 1, 2.0) == (800,)
        await link.close()


async def test_silence_is_said_in_words_and_the_next_question_is_answered(hand_clock: HandClock) -> None:
    silent = True

    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        return [] if silent else [(0, frame(request, transaction, own_words(request)))]

    async with misbehaving(reply) as server:
        link = link_to(server.port, hand_clock)
        with pytest.raises(NoAnswer, match=f"no answer from 127.0.0.1:{server.port} unit 1 in 0.1 s; check the wiring and `unit:`"):
            await link.read(1, "input", 0, 1, 0.1)
        silent = False
        assert await link.read(1, "input", 3, 1, 1.0) == (3,)
        await link.close()


class SerialBus:
    """An RTU device at the other end of a pseudo terminal; answers with its addresses after `delay` seconds."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self.delay = 0.0
        self.requests: list[Request] = []
        asyncio.get_running_loop().add_reader(self.master, self._on_bytes)

    def _on_bytes(self) -> None:
        raw = os.read(self.master, 8)
        self.requests.append(request := Request(raw[0], raw[1], int.from_bytes(raw[2:4]), int.from_bytes(raw[4:6])))
        answer = frame(request, 0, own_words(request), rtu=True)
        asyncio.get_running_loop().call_later(self.delay, os.write, self.master, answer)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self._slave)


async def test_late_answer_on_a_serial_port_is_waited_out_without_reopening_it(hand_clock: HandClock) -> None:
    bus = SerialBus()
    link = ModbusLinks(hand_clock).get(Connection("serial", path=bus.path), ModbusSpec())
    assert await link.read(1, "input", 100, 2, TIMEOUT) == (100, 101)
    bus.delay = 0.15
    with pytest.raises(NoAnswer):
        await link.read(1, "input", 200, 2, 0.05)
    assert await link.read(1, "input", 300, 2, 2.0) == (300, 301)
    impatient = asyncio.create_task(link.read(1, "input", 400, 2, 2.0))
    await until(lambda: bus.requests[-1].address == 400)
    impatient.cancel()
    assert await link.read(1, "input", 500, 2, 2.0) == (500, 501)
    assert link.generation == 1
    await link.close()
    bus.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_nobody_there_is_said_in_words_and_not_tried_again_at_once(hand_clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    port = free_port()
    link = link_to(port, hand_clock)
    with pytest.raises(NoConnection, match=f"nothing listens at 127.0.0.1:{port}; check the port, and that Modbus TCP is switched on"):
        await link.connect(TIMEOUT)
    async with serving({1: {"input": {0: [5]}}}) as server:
        link.connection = Connection("tcp", "127.0.0.1", server.port)
        with pytest.raises(NoConnection):
            await link.read(1, "input", 0, 1, TIMEOUT)
        assert server.connections == 0
        hand_clock.forward(1.01)
        assert await link.read(1, "input", 0, 1, TIMEOUT) == (5,)
        await link.close()


async def test_unknown_name_and_serial_port_are_said_in_words(hand_clock: HandClock) -> None:
    link = ModbusLinks(hand_clock).get(Connection("tcp", "no-such-host.invalid", 502), ModbusSpec())
    with pytest.raises(NoConnection, match="the name 'no-such-host.invalid' is not known"):
        await link.connect(5.0)
    link = ModbusLinks(hand_clock).get(Connection("serial", path="/dev/no-such-port"), ModbusSpec())
    with pytest.raises(NoConnection, match="cannot open /dev/no-such-port.*group dialout"):
        await link.connect(TIMEOUT)


def test_waits_double_up_to_a_minute_with_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high if low == 0 else -1.0)
    assert [jittered(failures) for failures in (1, 2, 3, 7, 50)] == [1, 2, 4, 60, 60]


async def test_connection_closed_while_idle_is_opened_again_unnoticed(hand_clock: HandClock) -> None:
    async with serving({1: {"input": {0: [5]}}}) as server:
        link = link_to(server.port, hand_clock)
        assert await link.read(1, "input", 0, 1, TIMEOUT) == (5,)
        generation = link.generation
        await server.stop()
        await server.start({1: {"input": {0: [6]}}})
        assert await link.read(1, "input", 0, 1, TIMEOUT) == (6,)
        assert link.generation == generation + 1
        await link.close()


async def test_device_that_hangs_up_instead_of_answering_is_not_waited_for(hand_clock: HandClock) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    link = link_to(server.sockets[0].getsockname()[1], hand_clock)
    start = time.monotonic()
    with pytest.raises(NoConnection, match="closed the connection instead of answering"):
        await link.read(1, "input", 0, 1, 20.0)
    assert time.monotonic() - start < 10
    await link.close()
    server.close()


async def test_old_connection_that_dies_with_the_question_is_replaced_once(hand_clock: HandClock) -> None:
    connections: list[asyncio.StreamWriter] = []

    async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        raw = await reader.readexactly(12)
        request = Request(1, 4, int.from_bytes(raw[8:10]), 1)
        writer.write(frame(request, int.from_bytes(raw[:2]), own_words(request)))
        await reader.read(12)
        writer.close()

    server = await asyncio.start_server(one_answer, "127.0.0.1", 0)
    link = link_to(server.sockets[0].getsockname()[1], hand_clock)
    assert [await link.read(1, "input", address, 1, 5.0) for address in (4, 5, 6)] == [(4,), (5,), (6,)]
    assert len(connections) == 3
    await link.close()
    server.close()
    await until(lambda: all(writer.is_closing() for writer in connections))


async def test_dead_peer_is_noticed_by_the_system(hand_clock: HandClock) -> None:
    async with serving({1: {"input": {0: [5]}}}) as server:
        link = link_to(server.port, hand_clock)
        await link.connect(TIMEOUT)
        assert link._client is not None
        sock = link._client.ctx.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        await link.close()


async def test_last_device_to_leave_closes_the_connection(hand_clock: HandClock) -> None:
    async with serving({1: {"input": {0: [5]}}}) as server:
        link = link_to(server.port, hand_clock)
        link.join()
        link.join()
        await link.connect(TIMEOUT)
        await link.leave()
        assert link.connected
        await link.leave()
        assert not link.connected


async def test_closing_tells_whoever_waits_at_once(hand_clock: HandClock) -> None:
    async with misbehaving(lambda _request, _transaction: []) as server:
        link = link_to(server.port, hand_clock)
        waiting = asyncio.create_task(link.read(1, "input", 0, 1, 30.0))
        await until(lambda: server.requests)
        await link.close()
        with pytest.raises(NoConnection, match="was closed"):
            await asyncio.wait_for(waiting, 30)


async def test_connection_rests_only_between_two_questions(hand_clock: HandClock) -> None:
    async def slowly(_: Request) -> None:
        await asyncio.sleep(0.05)

    async with serving({1: {"input": {0: [5]}}}) as server:
        server.fault = slowly
        link = link_to(server.port, hand_clock)
        waiting = asyncio.create_task(link.read(1, "input", 0, 1, TIMEOUT))
        await until(lambda: server.requests)
        await link.rest()
        assert not link.connected
        assert await waiting == (5,)
        assert server.connections == 1


async def test_library_logs_nothing_of_its_own(hand_clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with misbehaving(lambda _request, _transaction: [(0, b"nonsense that is no frame")]) as server:
        link = link_to(server.port, hand_clock)
        with pytest.raises(GarbledAnswer):
            await link.read(1, "input", 0, 1, 1.0)
        await link.close()
    with pytest.raises(NoConnection):
        await link_to(free_port(), hand_clock).connect(TIMEOUT)
    assert [record for record in caplog.records if record.name.startswith("pymodbus")] == []
