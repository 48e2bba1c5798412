"""Registers to numbers and back: every encoding, every order, alone and in a block."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codec.registers import BlockDecoder, Field, decode, encode, words_of

INTEGERS = {
    "u8": (0, 2**8 - 1), "s8": (-(2**7), 2**7 - 1), "u16": (0, 2**16 - 1), "s16": (-(2**15), 2**15 - 1),
    "u32": (0, 2**32 - 1), "s32": (-(2**31), 2**31 - 1), "u64": (0, 2**64 - 1), "s64": (-(2**63), 2**63 - 1),
    "bcd16": (0, 9999), "bcd32": (0, 99_999_999),
}  # fmt: skip
orders = st.sampled_from(["big", "little"])


@st.composite
def encoded_values(draw: st.DrawFn) -> tuple[str, int | float | str]:
    """An encoding and a value that it can hold."""
    encoding = draw(st.sampled_from([*INTEGERS, "f32", "f64", "string(1)", "string(4)", "string(16)"]))
    if encoding in INTEGERS:
        return encoding, draw(st.integers(*INTEGERS[encoding]))
    if encoding.startswith("f"):
        return encoding, draw(st.floats(width=32 if encoding == "f32" else 64, allow_nan=False))
    printable = st.characters(min_codepoint=33, max_codepoint=126)
    return encoding, draw(st.text(printable, min_size=1, max_size=2 * words_of(encoding)))


@given(encoded_values(), orders, orders)
def test_decoding_undoes_encoding(pair: tuple[str, int | float | str], word_order: str, byte_order: str) -> None:
    encoding, value = pair
    words = encode(value, encoding, word_order, byte_order)
    assert len(words) == words_of(encoding)
    assert all(0 <= word <= 0xFFFF for word in words)
    assert decode(words, encoding, word_order, byte_order) == value


@given(st.lists(st.tuples(encoded_values(), orders, orders, st.integers(0, 3)), min_size=1, max_size=12))
def test_block_decodes_each_value_as_if_it_stood_alone(rows: list[Any]) -> None:
    words: list[int] = []
    fields, values = [], []
    for (encoding, value), word_order, byte_order, gap in rows:
        words += [0xDEAD] * gap
        start = len(words)
        words += encode(value, encoding, word_order, byte_order)
        fields.append(Field(tuple(range(start, len(words))), encoding, word_order, byte_order))
        values.append(value)
    assert list(BlockDecoder(fields).decode(tuple(words))) == values


def test_high_word_comes_first_unless_the_order_is_little() -> None:
    assert decode([0x0001, 0x86A0], "u32") == 100_000
    assert decode([0x86A0, 0x0001], "u32", word_order="little") == 100_000
    assert decode([0x0100, 0xA086], "u32", byte_order="little") == 100_000


def test_words_at_addresses_of_their_own_are_put_together() -> None:
    block = BlockDecoder([Field((5, 0), "u32")])
    assert list(block.decode((0x86A0, 9, 9, 9, 9, 0x0001))) == [100_000]


@pytest.mark.parametrize(
    ("mask", "encoding", "value"), [(0xFF00, "u8", 0xFE), (0x00FF, "u8", 0x7F), (0xFF00, "s8", -2), (0x00FF, "s8", 0x7F), (0x0F00, "u16", 0xE)]
)
def test_mask_takes_its_bits_and_shifts_them_down(mask: int, encoding: str, value: int) -> None:
    assert decode([0xFE7F], encoding, mask=mask) == value
    assert list(BlockDecoder([Field((0,), encoding, mask=mask)]).decode((0xFE7F,))) == [value]


def test_text_ends_at_its_first_zero_and_an_empty_one_is_none() -> None:
    assert decode(struct.unpack(">4H", b"AB12\0xyz"), "string(4)") == "AB12"
    assert decode(struct.unpack(">4H", b"  AB12  "), "string(4)") == "AB12"
    assert decode([0, 0, 0, 0], "string(4)") is None
    assert decode([0xE9FF], "string(1)") == "éÿ"


def test_digits_that_are_none_stay_visible() -> None:
    assert decode([0x1234], "bcd16") == 1234
    assert decode([0x12F4], "bcd16") == "0x12F4"


def test_not_a_number_passes_for_the_rule_to_refuse() -> None:
    value = decode([0x7FC0, 0], "f32")
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("value", "encoding"),
    [(-1, "u16"), (70_000, "u16"), (128, "s8"), (10_000, "bcd16"), (-5, "bcd16"), ("abc", "string(1)"), ("abc", "u16"), (1e39, "f32")],
)
def test_value_that_does_not_fit_is_refused(value: float | str, encoding: str) -> None:
    with pytest.raises(ValueError, match="fit|longer|number"):
        encode(value, encoding)
