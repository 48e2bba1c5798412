"""Durations, sizes and addresses as people write and read them (`15m`, `256MB`, `0x5B14`, `3.5 h`), and near misses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field

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


# What may stand in a file, for editors: pydantic would tell them the number that comes out.
_DurationText = Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*(ms|s|min|m|h|d)\s*$")]
_SizeText = Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*(B|[kK]B|MB|GB|KiB|MiB|GiB)\s*$")]
_HexText = Annotated[str, Field(pattern=r"^\s*[-+]?(0[xX][0-9a-fA-F]+|\d+)\s*$")]
Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=_DurationText)]
Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=_SizeText)]
Integer = Annotated[int, BeforeValidator(parse_integer, json_schema_input_type=int | _HexText)]


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

    names = {name.lower(): name for name in sorted(known)}
    if near := get_close_matches(word.lower(), names, n=1, cutoff=0.6):
        return f"did you mean {names[near[0]]!r}?"
    return "known: " + ", ".join(names.values()) if 0 < len(names) <= 40 else ""
