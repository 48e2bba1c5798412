"""The demo's broker, held to MQTT 3.1.1 by real clients and by hand-made packets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import shutil
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.demo.broker import Broker
from edge_agent.demo.mqtt_wire import MAX_PACKET, filter_is_valid, topic_matches

WAIT_S = 5.0


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker() as running:
        yield running


class Client:
    """A paho client whose calls wait, without blocking the broker's loop, until the broker has answered."""

    def __init__(self, port: int, name: str, configure: Callable[[mqtt.Client], object] = lambda client: None) -> None:
        self.heard: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._granted: queue.Queue[list[int]] = queue.Queue()
        self._connected = threading.Event()
        self.closed = threading.Event()
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self.paho.on_connect = lambda *_: self._connected.set()
        self.paho.on_disconnect = lambda *_: self.closed.set()
        self.paho.on_message = lambda _client, _data, message: self.heard.put(message)
        self.paho.on_subscribe = lambda _client, _data, _id, codes, _props: self._granted.put([code.value for code in codes])
        configure(self.paho)
        self._port = port

    async def connect(self, keep_alive: int = 30) -> Client:
        await asyncio.to_thread(self.paho.connect, "127.0.0.1", self._port, keep_alive)
        self.paho.loop_start()
        assert await asyncio.to_thread(self._connected.wait, WAIT_S)
        return self

    async def subscribe(self, wanted: str | list[tuple[str, int]], qos: int = 0) -> list[int]:
        self.paho.subscribe(wanted, qos)
        return await asyncio.to_thread(self._granted.get, True, WAIT_S)

    async def publish(self, topic: str, payload: str, qos: int = 1, retain: bool = False) -> None:
        await asyncio.to_thread(self.paho.publish(topic, payload, qos, retain).wait_for_publish, WAIT_S)

    async def next(self) -> tuple[str, str, int, bool]:
        message = await asyncio.to_thread(self.heard.get, True, WAIT_S)
        return message.topic, message.payload.decode(), message.qos, message.retain

    async def nothing_more(self, broker: Broker) -> None:
        """A marker published now is the next thing it hears."""
        await self.subscribe("marker", 1)
        other = await Client(broker.port, "marking").connect()
        await other.publish("marker", "x")
        assert (await self.next())[0] == "marker"
        other.stop()

    def stop(self) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(name: str, configure: Callable[[mqtt.Client], object] = lambda client: None) -> Client:
        made.append(Client(broker.port, name, configure))
        return made[-1]

    yield make
    for client in made:
        client.stop()


async def test_messages_reach_matching_subscribers_with_the_lower_qos(broker: Broker, connect: Callable[..., Client]) -> None:
    listener, speaker = await connect("listener").connect(), await connect("speaker").connect()
    assert await listener.subscribe([("house/+/power", 1), ("plug/#", 0)]) == [1, 0]
    await speaker.publish("house/pump/power", "812", qos=1)
    await speaker.publish("house/pump/energy", "1", qos=1)
    await speaker.publish("plug/washer/SENSOR", "{}", qos=1)
    await speaker.publish("house/car/power", "0", qos=0)
    assert await listener.next() == ("house/pump/power", "812", 1, False)
    assert await listener.next() == ("plug/washer/SENSOR", "{}", 0, False)
    assert await listener.next() == ("house/car/power", "0", 0, False)


async def test_qos_2_is_granted_as_1_and_taken_exactly_once(broker: Broker, connect: Callable[..., Client]) -> None:
    listener, speaker = await connect("listener").connect(), await connect("speaker").connect()
    assert await listener.subscribe("a", 2) == [1]
    await speaker.publish("a", "once", qos=2)
    assert await listener.next() == ("a", "once", 1, False)
    await listener.nothing_more(broker)


async def test_overlapping_subscriptions_deliver_once(broker: Broker, connect: Callable[..., Client]) -> None:
    listener = await connect("listener").connect()
    await listener.subscribe([("a/#", 0), ("a/b", 1), ("+/b", 0)])
    await listener.publish("a/b", "1")
    assert await listener.next() == ("a/b", "1", 1, False)
    await listener.nothing_more(broker)


async def test_retained_messages_greet_new_subscribers_until_they_are_emptied(broker: Broker, connect: Callable[..., Client]) -> None:
    speaker = await connect("speaker").connect()
    await speaker.publish("car/eto", "1", retain=True)
    await speaker.publish("car/eto", "2", retain=True)
    await speaker.publish("car/nrg", "[]", retain=True)
    await speaker.publish("car/nrg", "", retain=True)
    listener = await connect("listener").connect()
    await listener.subscribe("car/+", 1)
    assert await listener.next() == ("car/eto", "2", 1, True)
    await speaker.publish("car/eto", "3", retain=True)
    assert await listener.next() == ("car/eto", "3", 1, False), "to a subscriber who is there it is live"
    await listener.nothing_more(broker)


async def test_unsubscribed_topic_is_silent(broker: Broker, connect: Callable[..., Client]) -> None:
    listener = await connect("listener").connect()
    await listener.subscribe([("a", 1), ("b", 1)])
    listener.paho.unsubscribe("a")
    await listener.publish("a", "1")
    await listener.publish("b", "2")
    assert (await listener.next())[:2] == ("b", "2")


async def test_last_will_speaks_for_the_lost_but_not_for_those_who_say_goodbye(broker: Broker, connect: Callable[..., Client]) -> None:
    listener = await connect("listener").connect()
    await listener.subscribe("+/LWT", 1)
    lost = await connect("lost", lambda client: client.will_set("lost/LWT", "Offline", 1, True)).connect()
    polite = await connect("polite", lambda client: client.will_set("polite/LWT", "Offline", 1, True)).connect()
    polite.stop()
    connection = lost.paho.socket()
    assert isinstance(connection, socket.socket)
    connection.shutdown(socket.SHUT_RDWR)
    assert await listener.next() == ("lost/LWT", "Offline", 1, False)
    lost.stop()
    await listener.nothing_more(broker)


async def test_second_client_of_a_name_replaces_the_first(broker: Broker, connect: Callable[..., Client]) -> None:
    first = await connect("twin").connect()
    first.paho.reconnect_delay_set(60)
    second = await connect("twin").connect()
    assert await asyncio.to_thread(first.closed.wait, WAIT_S)
    await second.subscribe("a", 1)
    await second.publish("a", "1")
    assert (await second.next())[:2] == ("a", "1")


async def test_user_and_password_are_let_in(broker: Broker, connect: Callable[..., Client]) -> None:
    client = await connect("user", lambda client: client.username_pw_set("someone", "anything")).connect()
    assert await client.subscribe("a") == [0]


CONNECT = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04hand"


async def spoken(broker: Broker, *parts: bytes) -> bytes:
    """What the broker answers to bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = bytearray()
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(WAIT_S):
            while chunk := await reader.read(4096):
                answer += chunk
    writer.close()
    return bytes(answer)


async def test_answers_bit_by_bit(broker: Broker) -> None:
    subscribe = b"\x82\x0b\x00\x07\x00\x01a\x00\x00\x02#b\x01"
    goodbye = b"\xe0\x00"
    assert await spoken(broker, CONNECT, b"\xc0\x00", subscribe, goodbye) == b"\x20\x02\x00\x00" + b"\xd0\x00" + b"\x90\x04\x00\x07\x00\x80"
    packets = [bytes([byte]) for byte in CONNECT + b"\x33\x06\x00\x01t\x00\x09x" + goodbye]
    assert await spoken(broker, *packets) == b"\x20\x02\x00\x00" + b"\x40\x02\x00\x09"


async def test_repeated_qos_2_packet_is_delivered_once(broker: Broker, connect: Callable[..., Client]) -> None:
    listener = await connect("listener").connect()
    await listener.subscribe("t", 1)
    publish, again, release = b"\x34\x06\x00\x01t\x00\x09x", b"\x3c\x06\x00\x01t\x00\x09x", b"\x62\x02\x00\x09"
    answer = await spoken(broker, CONNECT, publish, again, release, b"\xe0\x00")
    assert answer == b"\x20\x02\x00\x00" + b"\x50\x02\x00\x09" * 2 + b"\x70\x02\x00\x09"
    assert (await listener.next())[:2] == ("t", "x")
    await listener.nothing_more(broker)


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x30\x04\x00\x01+x",  # publishing to a wildcard
        b"\x36\x06\x00\x01t\x00\x09x",  # QoS 3
        b"\x30\x03\x00\x05t",  # a topic longer than its packet
        b"\x30\x03\x00\x01\xff",  # a topic that is no UTF-8
        b"\xf0\x00",  # a packet of another version
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x30" + bytes([0x80 | MAX_PACKET & 0x7F, 0x80 | MAX_PACKET >> 7 & 0x7F, 0x80 | MAX_PACKET >> 14 & 0x7F, 0x01]),  # too large
        CONNECT,  # twice
    ],
)
async def test_violations_end_the_connection_and_only_it(broker: Broker, connect: Callable[..., Client], wrong: bytes) -> None:
    other = await connect("other").connect()
    assert await spoken(broker, CONNECT, wrong) == b"\x20\x02\x00\x00"
    assert await other.subscribe("still/here") == [0]


async def test_other_versions_and_strangers_are_refused(broker: Broker) -> None:
    assert await spoken(broker, CONNECT.replace(b"MQTT\x04", b"MQTT\x05")) == b"\x20\x02\x00\x01"
    assert await spoken(broker, b"GET / HTTP/1.1\r\n\r\n" + bytes(100)) == b""


async def test_silent_client_is_dropped_after_its_keep_alive(broker: Broker, connect: Callable[..., Client]) -> None:
    listener = await connect("listener").connect()
    await listener.subscribe("w", 1)
    with_will = b"\x10\x16\x00\x04MQTT\x04\x06\x00\x01\x00\x04hand\x00\x01w\x00\x01x"  # keep-alive 1 s
    assert await spoken(broker, with_will) == b"\x20\x02\x00\x00"
    assert (await listener.next())[:2] == ("w", "x")


async def test_subscriber_that_never_reads_is_dropped_and_others_are_served(broker: Broker, connect: Callable[..., Client]) -> None:
    listener, speaker = await connect("listener").connect(), await connect("speaker").connect()
    _, writer = await asyncio.open_connection("127.0.0.1", broker.port, limit=1024)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # the transport of a connection can read
    writer.write(CONNECT + b"\x82\x06\x00\x01\x00\x01a\x00")
    await listener.subscribe("a", 1)
    for number in range(100):
        await speaker.publish("a", str(number) + "." * 100_000)
        assert (await listener.next())[1].startswith(f"{number}.")
    assert "hand" not in broker.client_ids
    writer.transport.abort()


@pytest.mark.skipif(
    shutil.which("mosquitto_sub") is None and os.environ.get("CI") != "true",  # in CI a missing tool is a failure
    reason="mosquitto-clients is not installed (apt-get install mosquitto-clients)",
)
async def test_mosquitto_tools_agree(broker: Broker) -> None:
    where = ["-h", "127.0.0.1", "-p", str(broker.port), "-q", "1"]
    speaker = await asyncio.create_subprocess_exec("mosquitto_pub", *where, "-t", "car/nrg", "-m", "[231,230]", "-r")
    assert await speaker.wait() == 0
    listener = await asyncio.create_subprocess_exec(
        "mosquitto_sub", *where, "-t", "+/nrg", "-C", "1", "-W", "5", "-F", "%t %q %r %p", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await listener.communicate()
    assert output == b"car/nrg 1 1 [231,230]\n"


LEVELS = st.sampled_from(["a", "b", "", "$SYS"])


@given(st.lists(LEVELS, min_size=1, max_size=4), st.lists(st.sampled_from(["a", "b", "", "+", "#", "$SYS"]), min_size=1, max_size=4))
def test_filters_agree_with_paho(topic: list[str], wanted: list[str]) -> None:
    topic_text, filter_text = "/".join(topic), "/".join(wanted)
    if topic_text and filter_is_valid(filter_text):
        assert topic_matches(filter_text, topic_text) == mqtt.topic_matches_sub(filter_text, topic_text)


@pytest.mark.parametrize(
    ("wanted", "valid"), [("a/#", True), ("#", True), ("+/+", True), ("a#", False), ("#/a", False), ("a+/b", False), ("", False)]
)
def test_wildcards_stand_alone(wanted: str, valid: bool) -> None:
    assert filter_is_valid(wanted) is valid


def test_hash_covers_the_level_above() -> None:
    assert topic_matches("a/#", "a")
    assert not topic_matches("a/+", "a")


def test_packet_lengths_are_what_the_standard_says() -> None:
    from edge_agent.demo.mqtt_wire import Kind, packet

    for size, head in [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16_384, b"\x80\x80\x01")]:
        assert packet(Kind.PUBLISH, bytes(size))[1 : -size or None] == head
    assert struct.unpack(">BB", packet(Kind.PINGRESP)) == (0xD0, 0)
