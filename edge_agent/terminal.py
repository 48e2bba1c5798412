"""Text for people: columns, and what is too long for the terminal's line goes on below. Where the output goes to a program, lines stay whole."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence

_UNBOUNDED = 100_000
_NARROWEST = 24  # a last column with less room goes on a line of its own


def columns() -> int:
    """How many characters a line has: the terminal's, and any number where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNBOUNDED


def table(head: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> str:
    """Left-aligned columns, two spaces apart, indented by two. A last cell that is too long for `width` (the terminal's) goes on in its column."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    room = (width or columns()) - 2
    return "\n".join(f"  {text}" for line in lines for text in _row(line, widths, room))


def wrapped(text: str, indent: int, width: int | None = None) -> str:
    """A line that goes on below, indented, where it is too long."""
    return "\n".join(_pieces(text, width or columns(), " " * indent))


def _row(cells: Sequence[str], widths: Sequence[int], room: int) -> Iterator[str]:
    line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    if len(line) <= room:
        yield line
        return
    first = "  ".join(cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=False))
    before = len(first) + 2
    if room - before >= _NARROWEST:
        begin, *more = _pieces(cells[-1], room - before)
        yield f"{first}  {begin}"
        yield from (" " * before + text for text in more)
    else:
        yield first.rstrip()
        yield from (f"    {text}" for text in _pieces(cells[-1], room - 4) if text)


def _pieces(text: str, room: int, indent: str = "") -> list[str]:
    import textwrap  # the agent never needs it

    return textwrap.wrap(text, max(room, _NARROWEST), subsequent_indent=indent, break_on_hyphens=False, break_long_words=False) or [""]
