"""Only the whole, fitting answer is believed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codec.frames import Answer, Misfit, Question, Refusal, crc16, read_answer

QUESTION = Question(unit=1, table="input", address=10, count=3, transaction=7)
WORDS = (1, 0xFFFF, 300)


def tcp_frame(words: tuple[int, ...] = WORDS, unit: int = 1, function: int = 4, transaction: int = 7, protocol: int = 0) -> bytes:
    payload = struct.pack(f">B{len(words)}H", 2 * len(words), *words)
    return struct.pack(">HHHBB", transaction, protocol, 2 + len(payload), unit, function) + payload


def rtu_frame(words: tuple[int, ...] = WORDS, unit: int = 1, function: int = 4) -> bytes:
    body = struct.pack(f">BBB{len(words)}H", unit, function, 2 * len(words), *words)
    return body + crc16(body)


def answer_of(frame: bytes, rtu: bool) -> Answer | None:
    return read_answer(QUESTION, frame, rtu)


@pytest.mark.parametrize(("frame", "rtu"), [(tcp_frame(), False), (rtu_frame(), True)])
def test_fitting_answer_gives_its_words_once_it_is_whole(frame: bytes, rtu: bool) -> None:
    assert answer_of(frame, rtu) == WORDS
    for length in range(len(frame)):
        assert answer_of(frame[:length], rtu) is None


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (tcp_frame(unit=2), "unit 2 answered instead of unit 1"),
        (tcp_frame(function=3), "function 3 instead of 4"),
        (tcp_frame(words=(1,)), "2 bytes of values instead of 6"),
        (tcp_frame(transaction=6), "another question"),
        (tcp_frame(protocol=9), "no Modbus TCP"),
        (tcp_frame() + b"\0", "1 bytes too many"),
        (b"HTTP/1.1 400 Bad Request\r\n", "no Modbus TCP"),
    ],
)
def test_misfit_over_tcp_is_named(frame: bytes, reason: str) -> None:
    found = answer_of(frame, False)
    assert isinstance(found, Misfit)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (rtu_frame(unit=2), "unit 2"),
        (rtu_frame(function=3), "function 3"),
        (rtu_frame(words=(1, 2, 3, 4)), "8 bytes"),
        (rtu_frame()[:-1] + b"\0", "checksum"),
        (b"\1\x84\2\0\0", "checksum"),
        (rtu_frame() + b"\1", "too many"),
    ],
)
def test_misfit_over_rtu_is_named(frame: bytes, reason: str) -> None:
    found = answer_of(frame, True)
    assert isinstance(found, Misfit)
    assert reason in found.reason


def test_exception_is_a_refusal_with_its_code() -> None:
    assert answer_of(struct.pack(">HHHBBB", 7, 0, 3, 1, 0x84, 2), False) == Refusal(2)
    assert answer_of(b"\1\x84\2" + crc16(b"\1\x84\2"), True) == Refusal(2)


def test_checksum_stands_as_on_the_wire() -> None:
    assert crc16(bytes.fromhex("010300000001")) == bytes.fromhex("840a")


@pytest.mark.parametrize("rtu", [True, False])
def test_bits_come_lowest_first(rtu: bool) -> None:
    question = Question(1, "coil", 0, 10, 7)
    body = bytes([1, 1, 2, 0b0000_0101, 0b10])
    frame = body + crc16(body) if rtu else struct.pack(">HHH", 7, 0, 5) + body
    assert read_answer(question, frame, rtu) == (1, 0, 1, 0, 0, 0, 0, 0, 0, 1)


@given(st.binary(max_size=40), st.booleans())
def test_noise_is_never_taken_for_values(noise: bytes, rtu: bool) -> None:
    found = answer_of(noise, rtu)
    assert found is None or isinstance(found, Misfit | Refusal) or noise in (tcp_frame(found), rtu_frame(found))


@given(st.integers(0, len(rtu_frame()) * 8 - 1))
def test_one_wrong_bit_over_rtu_is_noticed(bit: int) -> None:
    frame = bytearray(rtu_frame())
    frame[bit >> 3] ^= 1 << (bit & 7)
    assert not isinstance(answer_of(bytes(frame), True), tuple)


REQUEST = bytes.fromhex("0104000a0003")


@pytest.mark.parametrize(
    "before",
    [b"\0", b"\xff\0\xff", b"\1", REQUEST + crc16(REQUEST), b"\0" + REQUEST + crc16(REQUEST), REQUEST + crc16(REQUEST) + b"\0", bytes(60)],
)
def test_noise_and_echo_before_the_answer_are_stepped_over(before: bytes) -> None:
    whole = before + rtu_frame()
    assert answer_of(whole, True) == WORDS
    for length in range(len(whole)):
        assert answer_of(whole[:length], True) is None


def test_echo_with_a_stray_byte_is_no_answer_though_its_checksum_is_right() -> None:
    question = Question(1, "input", 0x0410, 2)
    echo = bytes.fromhex("010404100002") + crc16(bytes.fromhex("010404100002")) + b"\0"
    assert crc16(echo[:-2]) == echo[-2:]
    assert read_answer(question, echo, True) is None


@given(st.binary(max_size=40))
def test_after_any_noise_no_other_value_is_read(noise: bytes) -> None:
    found = answer_of(noise + rtu_frame(), True)
    assert found is None or found == WORDS or isinstance(found, Misfit)


def test_endless_noise_is_no_answer() -> None:
    assert isinstance(answer_of(bytes(600), True), Misfit)
