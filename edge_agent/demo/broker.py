"""A small MQTT 3.1.1 broker inside the demo, so that it needs no server and no Debian package.

A library was not taken: a broker with its dependencies would be installed into every cellar for the sake
of a demo. This one does what devices and the agent need: publish and subscribe with wildcards, QoS 0 and 1
(2 is accepted from publishers and granted as 1 to subscribers), retained messages, last will, keep-alive.
It keeps no sessions, asks for no password and should listen on the loopback interface only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from edge_agent.demo.mqtt_wire import Fields, Kind, Message, Violation, filter_is_valid, packet, publish_packet, read_packet, topic_matches

MAX_UNSENT = 1024 * 1024  # a subscriber that lets more pile up is dropped
CONNECT_WITHIN_S = 10.0


@dataclass(eq=False)
class _Client:
    """One connection, from CONNECT to its end."""

    id: str
    writer: asyncio.StreamWriter
    will: Message | None
    silence_s: float | None  # how long it may be silent: one and a half times its keep-alive
    filters: dict[str, int] = field(default_factory=dict)
    received: set[int] = field(default_factory=set)  # QoS 2 packets between PUBLISH and PUBREL
    last_packet_id: int = 0

    def send(self, message: Message, granted: int, retained: bool = False) -> None:
        qos = min(message.qos, granted, 1)
        if qos:
            self.last_packet_id = self.last_packet_id % 0xFFFF + 1
        transport = self.writer.transport
        if transport.get_write_buffer_size() > MAX_UNSENT:
            transport.abort()
        elif not transport.is_closing():
            transport.write(publish_packet(message, qos, self.last_packet_id, retained))


class Broker:
    """`async with Broker() as broker:` listens on a free port of the loopback interface."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._address = host, port
        self._server: asyncio.Server | None = None
        self._clients: dict[str, _Client] = {}
        self._retained: dict[str, Message] = {}
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._unnamed = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "the broker is not running"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def client_ids(self) -> list[str]:
        """Who is connected."""
        return list(self._clients)

    @property
    def filters(self) -> set[str]:
        """What anyone subscribes to."""
        return {wanted for client in self._clients.values() for wanted in client.filters}

    async def __aenter__(self) -> Broker:
        self._server = await asyncio.start_server(self._connected, *self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._connections.values():
            writer.transport.abort()  # a polite end would wait for those who never read
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        client: _Client | None = None
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                client = await self._welcome(reader, writer)
            await self._serve(client, reader)
        except (Violation, TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass  # however a connection ends, what follows is the same: the last will, unless it said goodbye
        finally:
            if client is not None:
                self._gone(client)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            del self._connections[task]

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Client:
        kind, _, body = await read_packet(reader)
        fields = Fields(body)
        if kind != Kind.CONNECT or fields.text() != "MQTT":
            raise Violation("the first packet is no CONNECT")
        if fields.number(1) != 4:
            writer.write(packet(Kind.CONNACK, b"\x00\x01"))  # refused: unacceptable protocol version
            await writer.drain()
            raise Violation("another version than MQTT 3.1.1")
        flags, keep_alive, name = fields.number(1), fields.number(), fields.text()
        will = Message(fields.text(), fields.data(), flags >> 3 & 3, bool(flags & 0x20)) if flags & 4 else None
        if not name:
            self._unnamed += 1
            name = f"unnamed-{self._unnamed}"
        client = _Client(name, writer, will, 1.5 * keep_alive or None)
        if (before := self._clients.pop(name, None)) is not None:
            before.writer.transport.abort()  # two clients of one name: the newer one stays
        self._clients[name] = client
        writer.write(packet(Kind.CONNACK, b"\x00\x00"))
        return client

    def _gone(self, client: _Client) -> None:
        if self._clients.get(client.id) is client:
            del self._clients[client.id]
        if client.will is not None:
            self.publish(client.will)

    async def _serve(self, client: _Client, reader: asyncio.StreamReader) -> None:
        while True:
            async with asyncio.timeout(client.silence_s):
                kind, flags, body = await read_packet(reader)
            if kind == Kind.DISCONNECT:
                client.will = None
                return
            client.writer.write(self._answer(client, kind, flags, Fields(body)))
            if kind == Kind.SUBSCRIBE:
                self._send_retained(client, Fields(body))
            await client.writer.drain()

    def _answer(self, client: _Client, kind: int, flags: int, fields: Fields) -> bytes:
        match kind:
            case Kind.PUBLISH:
                return self._take_publish(client, flags, fields)
            case Kind.PUBREL:
                number = fields.take(2)
                client.received.discard(int.from_bytes(number))
                return packet(Kind.PUBCOMP, number)
            case Kind.SUBSCRIBE:
                number = fields.take(2)
                return packet(Kind.SUBACK, number + bytes(self._grant(client, wanted, qos) for wanted, qos in _subscriptions(fields)))
            case Kind.UNSUBSCRIBE:
                number = fields.take(2)
                while fields:
                    client.filters.pop(fields.text(), None)
                return packet(Kind.UNSUBACK, number)
            case Kind.PINGREQ:
                return packet(Kind.PINGRESP)
            case Kind.PUBACK:
                return b""  # nothing is sent twice within a connection, so nothing waits for it
        raise Violation(f"packet type {kind} is not for a broker")

    def _take_publish(self, client: _Client, flags: int, fields: Fields) -> bytes:
        topic, qos = fields.text(), flags >> 1 & 3
        if qos == 3 or not topic or set(topic) & set("+#\0"):
            raise Violation(f"nobody may publish to {topic!r} with QoS {qos}")
        number = fields.take(2) if qos else b""
        packet_id = int.from_bytes(number)
        if packet_id not in client.received:  # a QoS 2 packet that is sent again was delivered already
            self.publish(Message(topic, fields.rest(), qos, bool(flags & 1)))
        if qos == 2:
            client.received.add(packet_id)
        return b"" if qos == 0 else packet(Kind.PUBACK if qos == 1 else Kind.PUBREC, number)

    def _grant(self, client: _Client, wanted: str, qos: int) -> int:
        if not filter_is_valid(wanted):
            return 0x80
        client.filters[wanted] = min(qos, 1)
        return client.filters[wanted]

    def _send_retained(self, client: _Client, fields: Fields) -> None:
        fields.take(2)
        for wanted, qos in _subscriptions(fields):
            if filter_is_valid(wanted):
                for topic, message in self._retained.items():
                    if topic_matches(wanted, topic):
                        client.send(message, min(qos, 1), retained=True)

    def publish(self, message: Message) -> None:
        """Hands a message to all who want it, once each, and keeps it when it is retained (an empty one ends that)."""
        if message.retain:
            self._retained.pop(message.topic, None)
            if message.payload:
                self._retained[message.topic] = message
        for client in list(self._clients.values()):
            granted = [qos for wanted, qos in client.filters.items() if topic_matches(wanted, message.topic)]
            if granted:
                client.send(message, max(granted))


def _subscriptions(fields: Fields) -> Iterator[tuple[str, int]]:
    while fields:
        yield fields.text(), fields.number(1) & 3
