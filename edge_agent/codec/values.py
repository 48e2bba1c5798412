"""From a raw value (a decoded number, a JSON scalar, a word) to a reading: the one place that scales and refuses.

A value that the device calls not available, that is impossible or unknown becomes an absent reading with
its reason. Nothing here clamps, guesses or puts a 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite as _isfinite

from edge_agent.model.measurements import Quality, Reading

Raw = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class ValueRule:
    """How one point's raw value becomes a value: `value = raw * factor + offset`, in `unit`."""

    unit: str = ""
    factor: float = 1.0
    offset: float = 0.0
    sentinels: frozenset[str] = frozenset()  # raw values that mean "not available", as text
    valid: tuple[float, float] | None = None  # in `unit`
    words: Mapping[str, str | None] = field(default_factory=dict)  # raw -> word; None: says nothing
    bits: tuple[tuple[int, str | None], ...] = ()  # the first set bit counts
    otherwise: str | None = None
    is_flag: bool = False  # the words on and off become True and False
    is_text: bool = False  # a serial number, a version


def to_reading(rule: ValueRule, raw: Raw, at: float, source: str | tuple[int, ...] = "", exponent: int = 0) -> Reading:
    """The reading of a raw value at a time.

    `source` is what it came from: the registers, or the payload. `exponent` is the power of ten that the
    device itself gives beside the value (SunSpec's scale factors).
    """
    if raw is None or (rule.sentinels and key_of(raw) in rule.sentinels):
        return _absent(rule, Quality.NOT_AVAILABLE, f"the device says not available ({key_of(raw) or 'null'})", at, source)
    if rule.is_text:
        return Reading(key_of(raw).strip(), "", Quality.OK, at, "", source)
    if rule.words or rule.bits or rule.is_flag:
        return _word_reading(rule, raw, at, source)
    number = _number(raw)
    if number is None:
        return _absent(rule, Quality.UNKNOWN, f"{key_of(raw)[:40]!r} is no number", at, source)
    if exponent:
        number = number * 10.0**exponent if exponent > 0 else number / 10.0**-exponent
    value = number * rule.factor + rule.offset
    if not _isfinite(value):
        return _absent(rule, Quality.NOT_AVAILABLE, f"the device says not available ({key_of(raw)})", at, source)
    if rule.valid and not rule.valid[0] <= value <= rule.valid[1]:
        text = f"{value:g} {rule.unit} is outside {rule.valid[0]:g} to {rule.valid[1]:g}".replace("  ", " ")
        return _absent(rule, Quality.OUT_OF_RANGE, text, at, source)
    return Reading(value, rule.unit, Quality.OK, at, "", source)


def _absent(rule: ValueRule, quality: Quality, reason: str, at: float, source: str | tuple[int, ...]) -> Reading:
    return Reading(None, rule.unit, quality, at, reason, source)


def key_of(raw: Raw) -> str:
    """A raw value as profiles write it: 3 for 3.0, true for True, text as it is."""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, float) and raw.is_integer():
        return str(int(raw))
    return "" if raw is None else str(raw)


def _word_reading(rule: ValueRule, raw: Raw, at: float, source: str | tuple[int, ...]) -> Reading:
    word, known = _word(rule, raw)
    if not known:
        return Reading(None, "", Quality.UNKNOWN, at, f"{key_of(raw)[:40]!r} is not in the profile's list", source)
    if word is None:
        return Reading(None, "", Quality.NOT_AVAILABLE, at, f"{key_of(raw)[:40]!r} says nothing here", source)
    return Reading(word == "on" if rule.is_flag else word, "", Quality.OK, at, "", source)


def _word(rule: ValueRule, raw: Raw) -> tuple[str | None, bool]:
    """The word for a raw value, and whether the profile knows it."""
    if rule.words or rule.bits:
        if (key := key_of(raw)) in rule.words:
            return rule.words[key], True
        if rule.bits and isinstance(raw, int):
            for bit, word in rule.bits:
                if raw >> bit & 1:
                    return word, True
        return rule.otherwise, rule.otherwise is not None
    flags = {"true": "on", "1": "on", "on": "on", "false": "off", "0": "off", "off": "off"}
    word = flags.get(key_of(raw).lower(), rule.otherwise)
    return word, word is not None


def _number(raw: Raw) -> float | None:
    """A number from a number or from its text; None for anything else (a boolean is no number)."""
    if type(raw) is float or type(raw) is int:
        return raw
    if isinstance(raw, bool) or raw is None:
        return None
    if isinstance(raw, str):
        try:
            return float(raw.strip())
        except ValueError:
            return None
    return float(raw)
