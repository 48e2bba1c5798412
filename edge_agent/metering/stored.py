"""Stored state is text that something else may have written: what it holds is checked before it is taken over.

Everything here raises one of `DAMAGED`, as do unpacking and look-ups; whoever restores a piece catches them there
and begins that piece anew. Pure.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

DAMAGED = (LookupError, TypeError, ValueError, AttributeError, OverflowError)
LATEST = 1e11  # epoch seconds, beyond any date that can be shown


def number(value: Any) -> float:
    """A finite number. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def number_or_none(value: Any) -> float | None:
    """A finite number, or None for what is not known. Raises ValueError."""
    return None if value is None else number(value)


def instant(value: Any) -> float:
    """A time in UTC epoch seconds. Raises ValueError."""
    if not -LATEST < number(value) < LATEST:
        raise ValueError(f"{value!r} is no time")
    return float(value)


def boundary(value: Any) -> int:
    """An interval's end in UTC epoch seconds. Raises ValueError."""
    if instant(value) != int(value):
        raise ValueError(f"{value!r} is no interval's end")
    return int(value)


def text(value: Any) -> str:
    """A text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def damage(error: Exception) -> str:
    """Why a piece of the state was dropped, for people."""
    return f"what was stored cannot be used ({type(error).__name__}: {error}); it begins anew"
