"""How argparse reads numbers that have bounds: what lies outside is wrong usage, and the line says what to write."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

NumberT = TypeVar("NumberT", int, float)


def number(kind: type[NumberT], lowest: NumberT, highest: NumberT, remark: str = "") -> Callable[[str], NumberT]:
    """One number within bounds; `remark` follows the bounds where they need a reason. NaN lies within none."""

    def parsed(text: str) -> NumberT:
        try:
            found = kind(text)
        except ValueError:
            found = None
        if found is None or not lowest <= found <= highest:
            raise argparse.ArgumentTypeError(f"write a number from {lowest:g} to {highest:g}, not {text!r}{remark and f'; {remark}'}")
        return found

    return parsed


def numbers(lowest: int, highest: int) -> Callable[[str], tuple[int, ...]]:
    """Numbers with commas between them, each within bounds."""

    def parsed(text: str) -> tuple[int, ...]:
        try:
            found = tuple(dict.fromkeys(int(part) for part in text.split(",")))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: write numbers with commas between them, such as 502,1502") from None
        if not all(lowest <= number <= highest for number in found):
            raise argparse.ArgumentTypeError(f"{text!r}: numbers from {lowest} to {highest}")
        return found

    return parsed
