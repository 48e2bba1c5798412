"""What a profile says against itself, or what no device can be like: registers, payloads, topics, families. Pure.

Such a table would be read without an error and give wrong numbers, so it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edge_agent.codec.payloads import Path, compile_path
from edge_agent.model.errors import Problem
from edge_agent.profiles.document import Document, Location
from edge_agent.profiles.profile import PointSpec, ProfileSpec

_MOST_REGISTERS = 125
_SEVERAL_WORDS = re.compile(r"[usf](32|64)|bcd32")


def addresses_of(point: PointSpec) -> list[int]:
    """The addresses of a point's words, empty for a point that is no register."""
    listed = point.holding or point.input or []
    return [listed[0] + offset for offset in range(point.registers)] if len(listed) == 1 else list(listed)


def register_mistakes(document: Document, spec: ProfileSpec) -> Iterator[Problem]:
    """Registers that overlap, that no answer can hold together, and bits that a value does not have."""
    yield from _apart(document, spec)
    yield from _overlaps(document, spec)
    for name, point in spec.points.items():
        at: Location = ("points", name)
        for bit in (point.coil, point.discrete):
            if bit is not None and not 0 <= bit <= 65535:
                yield document.problem(at, f"points.{name}: address {bit} is outside 0 to 65535")
        if point.mask is not None and not 0 < point.mask < 1 << 16 * point.registers:
            yield document.problem((*at, "mask"), f"points.{name}: mask {point.mask:#x} does not fit {point.as_ or 'the value'}")
        if point.valid and point.valid[0] > point.valid[1]:
            yield document.problem((*at, "valid"), f"points.{name}: valid: from {point.valid[0]:g} to {point.valid[1]:g} nothing is", "lowest first")


def _apart(document: Document, spec: ProfileSpec) -> Iterator[Problem]:
    """What must come in one answer has to fit into one: a value's words, and the register it is scaled by."""
    for name, point in spec.points.items():
        addresses = addresses_of(point)
        if point.scale_by and point.scale_by in spec.points and addresses:
            scale = spec.points[point.scale_by]
            if (scale.holding is None) != (point.holding is None) or not addresses_of(scale) or scale.unit_id != point.unit_id:
                yield document.problem(("points", name, "scale_by"), f"points.{name}: {point.scale_by!r} is no register of the same table and unit")
            addresses += addresses_of(scale)
        if addresses and max(addresses) - min(addresses) >= _MOST_REGISTERS:
            text = f"points.{name}: its registers are more than {_MOST_REGISTERS} apart and cannot come in one answer"
            yield document.problem(("points", name), text)


def _overlaps(document: Document, spec: ProfileSpec) -> Iterator[Problem]:
    """Two values share a word without being the same words: one of the two is at the wrong place.

    Fields of bits (`mask`) may, and so may the alternatives of a `first:`, of which a device has only one.
    """
    owners: dict[tuple[object, ...], str] = {}
    for name, point in spec.points.items():
        if point.mask is not None:
            continue
        words = addresses_of(point)
        for address in words:
            place = (point.holding is None, point.unit_id, point.shift, address)
            other = owners.setdefault(place, name)
            if set(addresses_of(spec.points[other])) != set(words) and not _are_alternatives(spec, name, other):
                text = f"points.{name}: shares register {address} with {other!r} ({_span(spec.points[other])}), but is {_span(point)}"
                yield document.problem(("points", name), text, "correct the address or the encoding of one of them")
                break


def _are_alternatives(spec: ProfileSpec, one: str, other: str) -> bool:
    return any({one, other} <= set(point.first or ()) for point in spec.points.values())


def _span(point: PointSpec) -> str:
    words = addresses_of(point)
    return f"{point.as_} at {min(words)}" + (f"-{max(words)}" if len(words) > 1 else "")


def topic_mistakes(document: Document, spec: ProfileSpec) -> Iterator[Problem]:
    """Wildcards that stand for nobody knows what, and paths that go on where another point has its value."""
    for name, point in spec.points.items():
        topics = [*(point.topic or []), *([point.index_by.topic] if point.index_by else [])]
        yield from _wildcards(document, ("points", name), f"points.{name}", topics)
    for number, one in enumerate(spec.mqtt.availability):
        yield from _wildcards(document, ("mqtt", "availability", number), "mqtt.availability", [one.topic])
    for number, request in enumerate(spec.mqtt.requests):
        yield from _wildcards(document, ("mqtt", "requests", number), "mqtt.requests", [request.topic])
    yield from _paths_into_values(document, spec)


def _wildcards(document: Document, at: Location, what: str, topics: Iterable[str]) -> Iterator[Problem]:
    for topic in topics:
        if "#" in topic.split("/"):
            yield document.problem(at, f"{what}: {topic!r}: with # any topic of the device would be this value", "name the topic")
        elif "+" in topic.split("/"):
            hint = 'write {instance} and below parameters: instance: {default: "+"}, so that the site file can name one'
            yield document.problem(at, f"{what}: {topic!r}: nobody can tell which device the + stands for", hint)


def _paths_into_values(document: Document, spec: ProfileSpec) -> Iterator[Problem]:
    """`$.power` is a number for one point, so `$.power.total` cannot be there for another."""
    values: dict[tuple[str, Path], str] = {}
    for name, point in spec.points.items():
        for topic in point.topic or [] if _has_one_shape(point) and not point.array else []:
            values.setdefault((topic, compile_path(point.path[0])), name)
    for name, point in spec.points.items():
        if not _has_one_shape(point):
            continue
        path = compile_path(point.path[0])
        found = {values.get((topic, path[:length]), "") for topic in point.topic or [] for length in range(len(path))} - {"", name}
        for other in sorted(found):
            text = f"points.{name}: its path {point.path[0]} goes on inside {spec.points[other].path[0]}, where {other!r} has a single value"
            yield document.problem(("points", name, "path"), text, "correct one of the two paths")


def _has_one_shape(point: PointSpec) -> bool:
    """Whether all messages look alike to this point: no alternative paths, no choice among messages."""
    return len(point.path) == 1 and not point.where and not point.split


def family_mistakes(child: Document, family: str, below: Mapping[str, Any]) -> Iterator[Problem]:
    """A word order that contradicts the family: values of several words that were right there would silently turn."""
    wanted = _section(child.data, "modbus").get("word_order")
    given = _section(below, "modbus").get("word_order") or "big"
    if wanted in (None, given):
        return
    own = _section(child.data, "points")
    turned = [name for name, row in _section(below, "points").items() if _turns(row, own.get(name, {}))]
    if turned:
        text = f"modbus.word_order: {wanted} contradicts the family {family!r} ({given}) and would turn {', '.join(turned[:3])}"
        more = f" and {len(turned) - 3} more" if len(turned) > 3 else ""
        yield child.problem(("modbus", "word_order"), text + more, "write word_order: at the rows that differ, or make it a variant of the family")


def _turns(row: Any, own: Any) -> bool:
    """Whether an inherited row has several words and nobody says at the row itself how they are ordered."""
    if not isinstance(row, dict) or not isinstance(own, dict):
        return False
    if "word_order" in row or own.keys() & {"word_order", "holding", "input"}:
        return False
    return bool(_SEVERAL_WORDS.fullmatch(str(own.get("as", row.get("as", "")))))


def _section(data: Any, name: str) -> Mapping[str, Any]:
    found = data.get(name) if isinstance(data, Mapping) else None
    return found if isinstance(found, dict) else {}
