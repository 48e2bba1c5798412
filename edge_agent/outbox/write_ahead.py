"""What a write-ahead log of SQLite holds, also where it is damaged. Pure.

SQLite takes a log to end at the first frame whose checksum is wrong, without a word: one flipped bit would cost all that was committed
behind it. The format is SQLite's (https://sqlite.org/fileformat2.html, section 4): a header, then frames of a page each.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

from edge_agent.outbox.pages import PAGE

_HEADER, _FRAME = 32, 24 + PAGE
_WORDS = "<II" if sys.byteorder == "little" else ">II"  # as checksums read them, in a log that this machine wrote
_DAMAGED = 1 << 40  # added to a damaged frame's place, it is a number that no page has


def newer_pages(log: bytes) -> dict[int, int]:
    """Where in a log the newest committed content of each page begins, for a log of pages of PAGE bytes.

    A log whose middle is damaged still holds what came after. What stands in a damaged frame has a number of its own, since the frame's
    own may be another page's.
    """
    newest: dict[int, int] = {}
    since_commit: dict[int, int] = {}
    for at in _frames(log):
        number, size_after_commit = struct.unpack_from(">II", log, at)
        since_commit[number if _is_whole(log, at) else _DAMAGED + at] = at + 24
        if size_after_commit:
            newest |= since_commit
            since_commit = {}
    return newest


def hides_commits(log: bytes) -> bool:
    """True when SQLite would not find all that was committed.

    A power cut may tear the last transaction, and what an earlier cut has torn may still lie behind it. But each one is on the disk before
    the next begins: two that follow each other unbroken, behind a place that is wrong, say that the place is damaged.
    """
    if len(log) < _HEADER + _FRAME:
        return False
    broken, commits = _checksum(log, 0, 24, (0, 0)) != _stored(log, 24), 0
    expected = _HEADER
    for at in _frames(log):
        unbroken = at == expected and _is_whole(log, at)
        expected = at + _FRAME
        if not unbroken:
            broken, commits = True, 0
        elif log[at + 4 : at + 8] != bytes(4):
            commits += 1
            if broken and commits > 1:
                return True
    return False


def _frames(log: bytes) -> Iterator[int]:
    """Where the frames of the log's present run begin; those that an earlier run left behind bear other salts."""
    salts = _salts(log)
    return (at for at in range(_HEADER, len(log) - _FRAME + 1, _FRAME) if log[at + 8 : at + 16] == salts)


def _salts(log: bytes) -> bytes:
    """The header's, or those that follow each other in the frames where the header is damaged."""
    if len(log) < _HEADER or _checksum(log, 0, 24, (0, 0)) == _stored(log, 24):
        return log[16:24]
    found = [log[at + 8 : at + 16] for at in range(_HEADER, len(log) - _FRAME + 1, _FRAME)]
    return next((one for one, following in zip(found, found[1:], strict=False) if one == following), log[16:24])


def _is_whole(log: bytes, at: int) -> bool:
    """True when the frame is what was written, going by the checksum of what lies before it."""
    before = _stored(log, 24 if at == _HEADER else at - _FRAME + 16)
    return _checksum(log, at + 24, PAGE, _checksum(log, at, 8, before)) == _stored(log, at + 16)


def _stored(log: bytes, at: int) -> tuple[int, int]:
    first, second = struct.unpack_from(">II", log, at)
    return first, second


def _checksum(log: bytes, at: int, size: int, before: tuple[int, int]) -> tuple[int, int]:
    first, second = before
    for one, other in struct.iter_unpack(_WORDS, log[at : at + size]):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
