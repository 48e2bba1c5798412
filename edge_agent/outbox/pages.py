"""The rows that stand on the pages of an SQLite file, whatever has become of the tree above them. Pure.

SQLite gives up a table at its first damaged page; most of a damaged queue is sound all the same. The format is SQLite's
(https://sqlite.org/fileformat2.html, sections 1.6 and 2): pages of cells, records of values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

PAGE = 4096
_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR = 0x0D, 0x0A, 0x02
_MOST = 16 << 20  # bytes of one record: more is no length but damage
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes by serial type

Value = int | float | str | bytes | None
Read = Callable[[int], bytes]  # a page by its number, from 1; short or empty where there is none


class Found(NamedTuple):
    """A row: of a table with its rowid, of an index or a table without rowids with None."""

    rowid: int | None
    values: tuple[Value, ...]


def rows_on(number: int, read: Read) -> Iterator[Found]:
    """The rows of one page that can be read; none for a page of another kind."""
    page = read(number)
    head = 100 if number == 1 else 0
    kind = page[head] if len(page) == PAGE else 0
    if kind not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INTERIOR):
        return
    first = head + (12 if kind == _INDEX_INTERIOR else 8)
    (count,) = struct.unpack_from(">H", page, head + 3)
    for place in range(min(count, (PAGE - first) // 2)):
        (at,) = struct.unpack_from(">H", page, first + 2 * place)
        try:
            yield _cell(page, at, kind, read)
        except (IndexError, ValueError, struct.error):  # a damaged cell; the others may be sound
            continue


def _cell(page: bytes, at: int, kind: int, read: Read) -> Found:
    if kind == _INDEX_INTERIOR:
        at += 4
    size, at = _varint(page, at)
    rowid = None
    if kind == _TABLE_LEAF:
        rowid, at = _varint(page, at)
    most = PAGE - 35 if kind == _TABLE_LEAF else (PAGE - 12) * 64 // 255 - 23
    return Found(rowid, _record(_payload(page, at, size, most, read)))


def _payload(page: bytes, at: int, size: int, most: int, read: Read) -> bytes:
    """A record's bytes: those on the page, and those on the chain of pages behind it when they are more than `most`."""
    if size > _MOST:
        raise ValueError("no record is that long")
    if size <= most:
        return page[at : at + size]
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (size - least) % (PAGE - 4)
    local = local if local <= most else least
    parts = [page[at : at + local]]
    (following,) = struct.unpack_from(">I", page, at + local)
    left = size - local
    while left > 0:
        further = read(following)
        (following,) = struct.unpack_from(">I", further)
        parts.append(further[4 : 4 + left])
        left -= PAGE - 4
    return b"".join(parts)


def _record(payload: bytes) -> tuple[Value, ...]:
    head, at = _varint(payload, 0)
    kinds = []
    while at < head:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise ValueError("the record has another length than its cell")
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in (0, 8, 9):
        return (None, 0, 1)[(0, 8, 9).index(kind)], at
    if kind in _INTEGERS:
        end = at + _INTEGERS[kind]
        return int.from_bytes(payload[at:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind < 12:
        raise ValueError("a kind that SQLite keeps for itself")
    end = at + (kind - 12) // 2
    return (payload[at:end] if kind % 2 == 0 else payload[at:end].decode("utf-8")), end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place in range(at, at + 8):
        number = number << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return number, place + 1
    return number << 8 | data[at + 8], at + 9
