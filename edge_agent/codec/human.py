"""Durations, sizes and addresses as people write and read them (`15m`, `256MB`, `0x5B14`, `3.5 h`), and near misses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

_DURATIONS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SIZES = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_duration(text: object) -> object:
    """`15m` -> 900.0 seconds. Raises ValueError for text that is no duration; passes numbers on."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)\s*", text)
    if not match:
        raise ValueError(f"{text!r} is no duration: write a number with ms, s, m, h or d, such as 15m")
    return float(match[1]) * _DURATIONS[match[2]]


def parse_size(text: object) -> object:
    """`256MB` -> 256000000 bytes. Raises ValueError for text that is no size; passes numbers on."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(B|[kK]B|MB|GB|KiB|MiB|GiB)\s*", text)
    if not match:
        raise ValueError(f"{text!r} is no size: write a number with kB, MB or GB, such as 256MB")
    return int(float(match[1]) * _SIZES[match[2]])


def parse_integer(text: object) -> object:
    """`0x5B14` or `23316` -> 23316; anything else is passed on for pydantic to refuse."""
    if isinstance(text, str) and re.fullmatch(r"\s*[-+]?0[xX][0-9a-fA-F]+\s*", text):
        return int(text, 16)
    return text


# pydantic finds these beside a type and asks them for its rules. They name nothing of pydantic, which a running agent does not load.


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """What stands in a file goes through `parse` before it is taken as its type; `written` tells editors what may stand there."""

    parse: Callable[[object], object]
    written: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.parse, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return dict(self.written)


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A text that `check` accepts, or raises ValueError for with what to write instead."""

    check: Callable[[str], str]
    written: dict[str, Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) if self.written is None else dict(self.written)


def _text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


_DURATION_TEXT = _text(r"^\s*\d+(\.\d+)?\s*(ms|s|min|m|h|d)\s*$")
_SIZE_TEXT = _text(r"^\s*\d+(\.\d+)?\s*(B|[kK]B|MB|GB|KiB|MiB|GiB)\s*$")
_HEX_TEXT = _text(r"^\s*[-+]?(0[xX][0-9a-fA-F]+|\d+)\s*$")
Duration = Annotated[float, Parsed(parse_duration, _DURATION_TEXT)]
Size = Annotated[int, Parsed(parse_size, _SIZE_TEXT)]
Integer = Annotated[int, Parsed(parse_integer, {"anyOf": [{"type": "integer"}, _HEX_TEXT]})]


def counted(number: int, noun: str) -> str:
    """`1 event`, `3 events`."""
    return f"{number} {noun}" + "s" * (number != 1)


def age_text(seconds: float) -> str:
    """`42 s`, `5 min`, `3.5 h`, `12 d`: an age or a duration in one number."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            number = seconds / size
            return f"{number:.1f} {unit}".replace(".0 ", " ") if number < 10 and unit != "min" else f"{number:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word: `did you mean 'grid'?`, or the list when nothing is near; nothing for none, or for more than a screen."""
    from difflib import get_close_matches  # for mistakes only

    names = {name.lower(): name for name in sorted(known) if name}
    if near := get_close_matches(word.lower(), names, n=1, cutoff=0.6):
        return f"did you mean {names[near[0]]!r}?"
    return "known: " + ", ".join(names.values()) if 0 < len(names) <= 40 else ""
