"""16-bit Modbus words <-> numbers and texts, by encoding name. Pure: knows no device, no scale, no time.

An encoding is written as in profiles: `u16 s32 f64 string(8) bcd16`. Values of several words come with the
high word first unless `word_order` is little; inside a word the high byte comes first unless `byte_order`
is little. A whole block of points is decoded by one precompiled `struct` (see `BlockDecoder`): converting
value by value costs three times as much.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

Number = int | float
Decoded = int | float | str | None

_FORMATS = {"u16": "H", "s16": "h", "u32": "I", "s32": "i", "u64": "Q", "s64": "q", "f32": "f", "f64": "d"}
_BITS = {"bool": 1, "u8": 8, "s8": 8, "bcd16": 16, "bcd32": 32} | {name: int(name[1:]) for name in _FORMATS}


@dataclass(frozen=True, slots=True)
class Field:
    """One value inside a block: where its words are (most significant first as listed) and how they are encoded."""

    offsets: tuple[int, ...]
    encoding: str
    word_order: str = "big"
    byte_order: str = "big"
    mask: int | None = None  # the bits that hold the value; shifted down


def words_of(encoding: str) -> int:
    """How many registers an encoding takes; 8-bit values and single bits take one."""
    if match := re.fullmatch(r"string\((\d+)\)", encoding):
        return int(match[1])
    return max(1, _BITS[encoding] // 16)


def decode(words: Sequence[int], encoding: str, word_order: str = "big", byte_order: str = "big", mask: int | None = None) -> Decoded:
    """The value of some words; None for an empty text. Digits that are none make a BCD value a text such as `0x1A2F`."""
    if byte_order == "little":
        words = [swapped(word) for word in words]
    if encoding.startswith("string"):
        return _text(words)
    if word_order == "little":
        words = words[::-1]
    if encoding in _FORMATS and mask is None:
        value: Number = struct.unpack(">" + _FORMATS[encoding], struct.pack(f">{len(words)}H", *words))[0]
        return value
    bits = 0
    for word in words:
        bits = bits << 16 | word
    if encoding.startswith("f"):
        raise ValueError(f"{encoding} takes no mask")
    if encoding.startswith("bcd"):
        return _digits(_masked(bits, mask), words_of(encoding) * 4)
    width = _BITS[encoding]
    if mask is not None:
        width = min(width, mask.bit_count())
    bits = _masked(bits, mask) & ((1 << width) - 1)
    return bits - (1 << width) if encoding.startswith("s") and bits >> (width - 1) else bits


def encode(value: Number | str, encoding: str, word_order: str = "big", byte_order: str = "big") -> list[int]:
    """The words that hold a value: what `decode` undoes. Raises ValueError when it does not fit."""
    words = _encoded(value, encoding)
    if word_order == "little" and not encoding.startswith("string"):
        words.reverse()
    return [swapped(word) for word in words] if byte_order == "little" else words


def swapped(word: int) -> int:
    """A word with its two bytes exchanged."""
    return (word & 0xFF) << 8 | word >> 8


def _encoded(value: Number | str, encoding: str) -> list[int]:
    count = words_of(encoding)
    if encoding.startswith("string"):
        data = str(value).encode()
        if len(data) > 2 * count:
            raise ValueError(f"{value!r} is longer than {2 * count} bytes")
        return list(struct.unpack(f">{count}H", data.ljust(2 * count, b"\0")))
    if isinstance(value, str):
        raise ValueError(f"{value!r} is no number")
    if encoding.startswith("bcd"):
        text = f"{int(value):0{4 * count}d}"
        if value < 0 or len(text) > 4 * count:
            raise ValueError(f"{value} does not fit into {encoding}")
        return [int(text[start : start + 4], 16) for start in range(0, len(text), 4)]
    try:
        if encoding in _FORMATS:
            packed = struct.pack(">" + _FORMATS[encoding], value)
        else:
            packed = struct.pack(">H", int.from_bytes(struct.pack(">b" if encoding == "s8" else ">B", value)))
    except (struct.error, OverflowError):
        raise ValueError(f"{value} does not fit into {encoding}") from None
    return list(struct.unpack(f">{count}H", packed))


def _masked(bits: int, mask: int | None) -> int:
    """The bits under a mask, shifted down to the right end."""
    return bits if mask is None else (bits & mask) >> ((mask & -mask).bit_length() - 1)


def _text(words: Sequence[int]) -> str | None:
    data = struct.pack(f">{len(words)}H", *words).split(b"\0", 1)[0]
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # a serial number should be ASCII; this at least shows what came
    return text.strip() or None


def _digits(bits: int, count: int) -> int | str:
    """Decimal digits, four bits each."""
    text = f"{bits:0{count}x}"
    return int(text) if text.isdigit() else f"0x{text.upper()}"


class BlockDecoder:
    """Decodes all fields of one block at once; made once, used at every poll."""

    def __init__(self, fields: Sequence[Field]) -> None:
        order: list[int] = []
        form = ">"
        self._slow: list[tuple[int, Field]] = []
        self._fast: list[int] = []
        for index, field in enumerate(fields):
            if field.encoding not in _FORMATS or field.byte_order != "big" or field.mask is not None:
                self._slow.append((index, field))
                continue
            self._fast.append(index)
            form += _FORMATS[field.encoding]
            order += reversed(field.offsets) if field.word_order == "little" else field.offsets
        self._straight = self._fast == list(range(len(fields)))
        self._count = len(fields)
        self._unpack = struct.Struct(form).unpack
        self._pack = struct.Struct(f">{len(order)}H").pack
        self._pick = picker(order)

    def decode(self, words: tuple[int, ...]) -> Sequence[Decoded]:
        """The values of all fields, in the fields' order, from the words of the block."""
        fast: tuple[Decoded, ...] = self._unpack(self._pack(*self._pick(words)))
        if self._straight:
            return fast
        values: list[Decoded] = [None] * self._count
        for index, value in zip(self._fast, fast, strict=True):
            values[index] = value
        for index, field in self._slow:
            picked = [words[offset] for offset in field.offsets]
            values[index] = decode(picked, field.encoding, field.word_order, field.byte_order, field.mask)
        return values


def picker(offsets: Sequence[int]) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """Picks the words at some offsets of a block, in that order."""
    first, count = offsets[0] if offsets else 0, len(offsets)
    neighbours = list(offsets) == list(range(first, first + count))
    pick: Any = itemgetter(slice(first, first + count)) if neighbours else itemgetter(*offsets)
    typed: Callable[[tuple[int, ...]], tuple[int, ...]] = pick
    return typed
