"""From an MQTT payload to the raw values in it: JSON or plain text, and paths that point into it.

A payload is parsed once and serves all points that read from it. Nothing here raises for what a device
sends: a payload that cannot be read carries its `problem`, and a value of the wrong shape its own. This
module knows no topic, no clock and no unit; `codec/values.py` makes a reading of what is picked here.

Paths are a small part of JSONPath: `$` is the whole payload, `$.a.b` a key, `$["em:0"]` a key with odd
characters, `$[3]` a position (`$[-1]` the last), `$.packs[?sn=='A1'].soc` the element that has a key of
that value, `$[*]` a position that another topic tells.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from edge_agent.codec.values import Raw, key_of

MAX_PAYLOAD_BYTES: Final = 256 * 1024  # a plug's message has 500 bytes; a bridge's device list can have megabytes
_SHOWN = 500  # characters of a payload that are kept for people

# Texts that mean "no value" whatever the device; a profile's `map` may still give one of them a meaning.
NO_VALUE_WORDS: Final = frozenset(
    ["", "-", "--", "?", "nan", "NaN", "NAN", "null", "none", "None", "unavailable", "unknown", "undefined", "n/a", "N/A"]
)

Combine = Literal["", "sum", "mean"]


@dataclass(frozen=True, slots=True)
class Payload:
    """A parsed payload: JSON data, or the text when it is no JSON. With a `problem` nothing can be read from it."""

    data: object
    text: str  # as it came, cut to what a person reads
    is_json: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """The step `[?key=='value']`: the element of a list whose key has that value."""

    key: str
    value: str


class Elsewhere:
    """The step `[*]`: a position that is given from outside."""


Step = str | int | Where | Elsewhere
Path = tuple[Step, ...]


class Missing:
    """What a path finds when its place is not in the payload; not the same as null."""


MISSING: Final = Missing()
_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]]+)
      | \[(?P<index>-?\d{1,9})\]
      | \["(?P<double>[^"]*)"\]
      | \['(?P<single>[^']*)'\]
      | \[\?\s*(?P<key>[^=\]]+?)\s*==\s*(?P<quote>['"])(?P<wanted>.*?)(?P=quote)\s*\]
      | (?P<star>\[\*\])""",
    re.VERBOSE,
)


def compile_path(text: str) -> Path:
    """`$.a["em:0"][3]` as steps. Raises ValueError with what to write for text that is no path."""
    if not text.startswith("$"):
        raise ValueError(f'{text!r} is no path: it starts with $, such as $ or $.a.b or $["em:0"] or $[3]')
    steps: list[Step] = []
    at = 1
    while at < len(text):
        match = _STEP.match(text, at)
        if not match:
            raise ValueError(f"{text!r} is no path from {text[at:]!r} on: write .key, [\"odd key\"], [3] or [?key=='value']")
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["index"] is not None:
        return int(match["index"])
    if match["key"] is not None:
        return Where(match["key"], match["wanted"])
    if match["star"] is not None:
        return Elsewhere()
    return next(name for name in (match["name"], match["double"], match["single"]) if name is not None)


def parse_payload(body: bytes, length: int | None = None) -> Payload:
    """A payload of at most `MAX_PAYLOAD_BYTES`, parsed. `length` is the whole length where `body` was cut."""
    length = length or len(body)
    if length > MAX_PAYLOAD_BYTES:
        return Payload(None, "", problem=f"a payload of {length} bytes is longer than the {MAX_PAYLOAD_BYTES} that are read")
    try:
        text = body.decode("utf-8").strip().strip("\0").strip()
    except UnicodeDecodeError:
        return Payload(None, body[:40].hex(" "), problem="the payload is no UTF-8 text")
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    if not text:
        return Payload(None, "", is_json=True)
    try:
        return Payload(json.loads(text), shown, is_json=True)
    except (ValueError, RecursionError):  # a word such as ON, or something broken: whoever looks into it will say
        return Payload(text, shown)


def split_payload(payload: Payload, separator: str) -> Payload:
    """The payload as a list of its parts, for text such as `21.5;ok;-`."""
    if payload.problem or not isinstance(payload.data, str):
        return payload if payload.problem else replace(payload, data=[payload.data], is_json=True)
    return replace(payload, data=[part.strip() for part in payload.data.split(separator)], is_json=True)


def find(path: Path, data: object, position: int | None = None) -> object:
    """What stands at a path; MISSING when there is no such place, None below a null. `position` is for `[*]`."""
    for step in path:
        if data is None:
            return None
        if isinstance(step, Elsewhere):
            if position is None:
                return MISSING
            step = position
        data = _child(step, data)
        if data is MISSING:
            return MISSING
    return data


def _child(step: str | int | Where, data: object) -> object:
    if isinstance(step, str):
        return data.get(step, MISSING) if isinstance(data, dict) else MISSING
    if not isinstance(data, list):
        return MISSING
    if isinstance(step, int):
        return data[step] if -len(data) <= step < len(data) else MISSING
    return next((item for item in data if isinstance(item, dict) and _is(item.get(step.key), step.value)), MISSING)


def _is(value: object, wanted: str) -> bool:
    return isinstance(value, bool | int | float | str) and key_of(value) == wanted


@dataclass(frozen=True, slots=True)
class Picked:
    """A raw value out of a payload; with a `problem` there is none."""

    raw: Raw = None
    problem: str = ""


def pick(paths: tuple[Path, ...], payload: Payload, combine: Combine = "", position: int | None = None) -> Picked | None:
    """The value at the first path that is there. None when the payload says nothing about it: unchanged.

    `combine` makes one number of an array (one number per phase); without it an array is a problem.
    """
    if payload.problem:
        return Picked(problem=payload.problem)
    looks_inside = all(paths)  # no path is `$`
    if looks_inside and not isinstance(payload.data, dict | list) and payload.data is not None:
        what = "is not the JSON object expected" if payload.is_json else "is no JSON"
        return Picked(problem=f"the payload {what}: {payload.text[:40]!r}")
    problem = None
    for path in paths:
        found = find(path, payload.data, position)
        if found is MISSING or (not path and len(paths) > 1 and isinstance(found, dict | list)):
            continue  # `$` beside other paths is the plain form of the value, not a message without it
        picked = _picked(found, combine)
        if not picked.problem:
            return picked
        problem = problem or picked
    return problem or _into_a_number(paths, payload.data)


def _into_a_number(paths: tuple[Path, ...], data: object) -> Picked | None:
    """A path that goes on where a number stands: the device means something else by it than the profile."""
    for path in paths:
        for length in range(1, len(path)):
            found = find(path[:length], data)
            if isinstance(found, int | float) and not isinstance(found, bool):
                kind = "an object" if isinstance(path[length], str) else "an array"
                return Picked(problem=f"{str(found)[:40]} where {kind} belongs")
    return None


def _picked(found: object, combine: Combine) -> Picked:
    if isinstance(found, list) and combine:
        return _combined(found, combine)
    if isinstance(found, list | dict):
        what = f"an array of {len(found)}" if isinstance(found, list) else "an object"
        return Picked(problem=f"{what} where one value belongs")
    if isinstance(found, int) and found.bit_length() > 128:
        return Picked(problem="a number too large to be a value")
    if found is None or isinstance(found, bool | int | float | str):
        return Picked(found)
    return Picked(problem="a value of no known kind")


def _combined(values: list[object], combine: Combine) -> Picked:
    """Sum or mean of an array. One missing phase makes the whole unknown: a smaller sum would look right."""
    numbers: list[float] = []
    for value in values:
        if value is None:
            return Picked(None)
        if isinstance(value, bool) or not isinstance(value, int | float) or (isinstance(value, int) and value.bit_length() > 128):
            return Picked(problem=f"an array that holds more than numbers: {str(value)[:40]!r}")
        numbers.append(float(value))
    if not numbers:
        return Picked(None)
    return Picked(sum(numbers) / (len(numbers) if combine == "mean" else 1))
