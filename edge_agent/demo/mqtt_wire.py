"""MQTT 3.1.1 on the wire: packets and topics, for the demo's broker. Knows no connection and no session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import IntEnum

MAX_PACKET = 256 * 1024


class Kind(IntEnum):
    """The control packets of MQTT 3.1.1, chapter 2.2.1."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Violation(Exception):
    """A client does not keep the protocol: its connection is closed."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published; `retain` says that new subscribers get it too."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class Fields:
    """Reads a packet's body from front to back."""

    def __init__(self, body: bytes) -> None:
        self._rest = memoryview(body)

    def take(self, size: int) -> bytes:
        if size > len(self._rest):
            raise Violation("a packet is shorter than it says")
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    def number(self, size: int = 2) -> int:
        return int.from_bytes(self.take(size))

    def data(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            return self.data().decode()
        except UnicodeDecodeError:
            raise Violation("a text is no UTF-8") from None

    def rest(self) -> bytes:
        return self.take(len(self._rest))

    def __bool__(self) -> bool:
        return bool(self._rest)


def topic_matches(wanted: str, topic: str) -> bool:
    """True when a filter with `+` and `#` covers a topic; `$SYS` and its like need their first level named."""
    if topic.startswith("$") and wanted[:1] in ("+", "#"):
        return False
    filters, levels = wanted.split("/"), topic.split("/")
    for number, part in enumerate(filters):
        if part == "#":
            return True
        if number >= len(levels) or part not in ("+", levels[number]):
            return False
    return len(filters) == len(levels)


def filter_is_valid(wanted: str) -> bool:
    """A wildcard fills its level; `#` is the last one."""
    levels = wanted.split("/")
    return bool(wanted) and all(level in ("+", "#") or not set(level) & set("+#") for level in levels) and "#" not in levels[:-1]


def packet(kind: Kind, body: bytes = b"", flags: int = 0) -> bytes:
    """A control packet: type, flags, length in groups of seven bits, body."""
    head, size = bytearray([kind << 4 | flags]), len(body)
    while True:
        size, group = size >> 7, size & 0x7F
        head.append(group | 0x80 if size else group)
        if not size:
            return bytes(head) + body


def publish_packet(message: Message, qos: int, packet_id: int, retained: bool) -> bytes:
    """A message on its way to a subscriber; `retained` marks one that was kept from before."""
    topic = message.topic.encode()
    number = packet_id.to_bytes(2) if qos else b""
    return packet(Kind.PUBLISH, len(topic).to_bytes(2) + topic + number + message.payload, qos << 1 | retained)


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """The next packet's type, flags and body. Raises Violation, IncompleteReadError at the connection's end."""
    head = (await reader.readexactly(1))[0]
    size = 0
    for place in range(4):
        group = (await reader.readexactly(1))[0]
        size |= (group & 0x7F) << 7 * place
        if not group & 0x80:
            break
    else:
        raise Violation("a length of more than four bytes")
    if size > MAX_PACKET:
        raise Violation(f"a packet of {size} bytes")
    return head >> 4, head & 0x0F, await reader.readexactly(size)
