"""Does this answer fit that question? The check that keeps a value out of the wrong point.

pymodbus accepts an answer with another function, too few registers or, with RTU framing, to an earlier
question. So every frame is held against the question here, byte by byte as it arrives, before a single
register is believed. On an RTU bus noise may come first (a line that is driven anew), and some adapters echo
what is sent: both are stepped over. Pure: bytes in, words out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edge_agent.codec.read_plan import BIT_TABLES

FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}  # all that the agent ever sends
_MOST_NOISE = 512  # twice the longest RTU frame: a line that no one can read


@dataclass(frozen=True, slots=True)
class Question:
    """One read request. `transaction` is the number that TCP framing carries; RTU framing has none."""

    unit: int
    table: str
    address: int
    count: int
    transaction: int = 0

    @property
    def function(self) -> int:
        """The Modbus function code."""
        return FUNCTIONS[self.table]

    @property
    def payload_bytes(self) -> int:
        """How many bytes of values the answer must have."""
        return (self.count + 7) // 8 if self.table in BIT_TABLES else 2 * self.count


@dataclass(frozen=True, slots=True)
class Misfit:
    """The bytes cannot be, nor become, the answer. `foreign`: another unit's or function's, so ours may still come."""

    reason: str
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The device answered with a Modbus exception."""

    code: int


Words = tuple[int, ...]
Answer = Words | Refusal | Misfit


def read_answer(question: Question, received: bytes, rtu: bool) -> Answer | None:
    """The answer in the bytes received so far; None while it can still become one."""
    return _rtu_answer(question, received) if rtu else _tcp_answer(question, received)


def _tcp_answer(question: Question, received: bytes) -> Answer | None:
    """Header: transaction, protocol 0, length of what follows, unit."""
    if len(received) < 8:
        return None
    transaction, protocol, length, unit, function = struct.unpack_from(">HHHBB", received)
    if protocol != 0:
        return Misfit("the answer is no Modbus TCP")
    if transaction != question.transaction:
        return Misfit("the answer belongs to another question")
    if misfit := _head_misfit(question, unit, function):
        return misfit
    refused = function & 0x80
    wanted = 3 if refused else 3 + question.payload_bytes
    if length != wanted and not (refused and length == 2):  # some devices count an exception's length wrong
        return Misfit(f"the answer has {length - 3} bytes of values instead of {question.payload_bytes}")
    if len(received) < 9:
        return None
    if refused:
        return Refusal(received[8])
    return _values(question, received, 8, 0)


def without_echo(question: Question, received: bytes) -> bytes:
    """What came on an RTU line besides the question itself, whole or begun."""
    request = struct.pack(">BBHH", question.unit, question.function, question.address, question.count)
    request += crc16(request)
    before, echo, after = received.partition(request)
    if echo:
        return after
    return b"" if len(received) > 2 and request.startswith(received) else before


def _rtu_answer(question: Question, received: bytes) -> Answer | None:
    """The frame for us; noise and an echo before it are stepped over."""
    # The echo goes first: with one stray zero behind it, it can be a frame with a right checksum.
    received = without_echo(question, received)
    found = _rtu_frame(question, received)
    if not isinstance(found, Misfit) or not found.foreign or _is_frame(received):
        return found
    for start in range(1, len(received)):
        later = _rtu_frame(question, received[start:])
        if later is not None and not isinstance(later, Misfit):
            return later
    return None if len(received) < _MOST_NOISE else found


def _is_frame(received: bytes) -> bool:
    return len(received) >= 5 and crc16(received[:-2]) == received[-2:]


def _rtu_frame(question: Question, received: bytes) -> Answer | None:
    """Unit, function, values, checksum."""
    if len(received) < 2:
        return None
    if misfit := _head_misfit(question, received[0], received[1]):
        return misfit
    if received[1] & 0x80:
        if len(received) < 5:
            return None
        return Refusal(received[2]) if len(received) == 5 and crc16(received[:3]) == received[3:] else Misfit("the answer's checksum is wrong")
    answer = _values(question, received, 2, 2)
    if isinstance(answer, tuple) and crc16(received[:-2]) != received[-2:]:
        return Misfit("the answer's checksum is wrong")
    return answer


def _head_misfit(question: Question, unit: int, function: int) -> Misfit | None:
    if unit != question.unit:
        return Misfit(f"unit {unit} answered instead of unit {question.unit}", foreign=True)
    if function & 0x7F != question.function:
        return Misfit(f"the answer has function {function} instead of {question.function}", foreign=True)
    return None


def _values(question: Question, received: bytes, start: int, trailer: int) -> Answer | None:
    """The words (or bits) after the byte that counts them."""
    if len(received) <= start:
        return None
    if received[start] != question.payload_bytes:
        return Misfit(f"the answer has {received[start]} bytes of values instead of {question.payload_bytes}")
    missing = start + 1 + question.payload_bytes + trailer - len(received)
    if missing > 0:
        return None
    if missing < 0:
        return Misfit(f"the answer has {-missing} bytes too many")
    payload = received[start + 1 : len(received) - trailer]
    if question.table in BIT_TABLES:
        return tuple(payload[bit >> 3] >> (bit & 7) & 1 for bit in range(question.count))
    return struct.unpack(f">{question.count}H", payload)


def crc16(data: bytes) -> bytes:
    """The checksum of RTU framing, as it stands on the wire."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return struct.pack("<H", crc)


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = tuple(_crc_entry(byte) for byte in range(256))
