"""Finds profiles, merges families and variants, and checks what a schema alone cannot see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import edge_agent
from edge_agent.codec.human import nearest
from edge_agent.model.errors import ConfigError, Problem
from edge_agent.model.measurements import ChargingMode, DeviceStatus, Quantity, Role
from edge_agent.profiles.contradictions import family_mistakes, register_mistakes, topic_mistakes
from edge_agent.profiles.document import Document, Location, read_document, validate
from edge_agent.profiles.profile import UNITS, Direction, DirectionFrom, PointSpec, ProfileSpec, VariantSpec, WhenSpec

_PACKAGE = Path(edge_agent.__file__).parent
_LIBRARY_HINT = "`edge-agent profiles` lists all"
_CANONICAL = {"_w": "W", "_wh": "Wh", "_percent": "%", "_c": "°C"}
_SOURCES = ("holding", "input", "coil", "discrete", "sunspec", "topic", "sum", "first")
_WORDS = {
    Quantity.STATUS: {word.value for word in DeviceStatus},
    Quantity.CHARGING_MODE: {word.value for word in ChargingMode},
    Quantity.SWITCH_ON: {"on", "off"},
}


@dataclass(frozen=True)
class DeviceProfile:
    """A checked profile. `in_variant` gives the same device in another of its variants."""

    name: str
    file: str
    spec: ProfileSpec
    variant: str = ""  # the variant that is merged in; empty: a driver may still recognise one
    specs: Mapping[str, ProfileSpec] = field(default_factory=dict, repr=False)  # with the changes of each variant

    def in_variant(self, name: str) -> DeviceProfile:
        """The profile with a variant's changes."""
        return replace(self, spec=self.specs[name], variant=name)

    @property
    def roles(self) -> frozenset[Role]:
        """The roles that the points name; empty when the device has one measuring point."""
        return frozenset(Role(point.role) for point in self.spec.points.values() if point.role)


def library_folder() -> Path:
    """Where the shipped profiles are: beside the package in a checkout, inside it when installed."""
    inside = _PACKAGE / "device_profiles"
    return inside if inside.is_dir() else _PACKAGE.parent / "device_profiles"


def profile_names() -> list[str]:
    """The names of all shipped profiles."""
    return sorted(path.stem for path in library_folder().glob("*.yaml"))


def load_profile(name: str, beside: Path | None = None) -> DeviceProfile:
    """A shipped profile by name, or a file (`./my-meter.yaml`, relative to `beside`).

    Raises ConfigError with every mistake in the file, each with its line.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = (beside or Path()) / name
    else:
        path = library_folder() / f"{name}.yaml"
        if not path.is_file():
            raise ConfigError([Problem(name, 0, f"unknown profile {name!r}", nearest(name, profile_names()) or _LIBRARY_HINT)])
    document = _extended(read_document(path), path, ())
    spec = _checked(document)
    return DeviceProfile(path.stem, document.file, spec, specs={name: _varied(document, variant) for name, variant in spec.variants.items()})


def _varied(document: Document, variant: VariantSpec) -> ProfileSpec:
    changes = {"modbus": variant.modbus, "mqtt": variant.mqtt, "points": variant.points}
    data = _merge(document.data, {key: value for key, value in changes.items() if value})
    return _checked(Document(document.file, data, document.lines))


def _extended(document: Document, path: Path, seen: tuple[Path, ...]) -> Document:
    """The document with the family that it `extends` merged in below it."""
    family = document.data.get("extends") if isinstance(document.data, dict) else None
    if not family:
        return document
    if path in seen:
        raise ConfigError([document.problem(("extends",), f"{family!r} extends itself")])
    at = path.with_name(f"{family}.yaml")
    if not at.is_file():
        at = library_folder() / f"{family}.yaml"
    if not at.is_file():
        raise ConfigError([document.problem(("extends",), f"unknown profile {family!r}", nearest(str(family), profile_names()) or _LIBRARY_HINT)])
    parent = _extended(read_document(at), at, (*seen, path))
    if problems := list(family_mistakes(document, str(family), parent.data)):
        raise ConfigError(problems)
    return Document(document.file, _merge(parent.data, document.data), document.lines)


def _merge(below: Any, above: Any) -> Any:
    """`above` laid over `below`, section by section; a key set to ~ is taken out."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    merged = {key: value for key, value in below.items() if not (key in above and above[key] is None)}
    for key, value in above.items():
        if value is not None or key not in below:
            merged[key] = _merge(below[key], value) if key in merged and key not in ("map", "bits") else value
    return merged


def _checked(document: Document) -> ProfileSpec:
    spec = validate(document, ProfileSpec)
    if problems := list(_mistakes(document, spec)):
        raise ConfigError(problems)
    return spec


def _mistakes(document: Document, spec: ProfileSpec) -> Iterator[Problem]:
    meanings: dict[str, str] = {}
    prefixed = {point.role for point in spec.points.values() if point.role}
    for name, point in spec.points.items():
        at: Location = ("points", name)
        yield from _source_mistakes(document, spec, name, point)
        if point.unit not in UNITS:
            yield document.problem((*at, "unit"), f"points.{name}: unknown unit {point.unit!r}", nearest(point.unit, UNITS))
        if point.is_:
            yield from _meaning_mistakes(document, spec, name, point, bool(prefixed))
            if point.is_ in meanings:
                text = f"points {meanings[point.is_]!r} and {name!r} are both {point.is_!r}"
                yield document.problem((*at, "is"), text, "combine them with first: or sum:")
            meanings[point.is_] = name
    if prefixed and spec.role is not None:
        yield document.problem(("role",), f"role {str(spec.role)!r} and points with roles of their own", "keep one of the two")
    if not prefixed and spec.role is None:
        yield document.problem((), "the profile has no role", "write role: any, or give each point one (is: battery.power_w)")
    if spec.identity and spec.identity not in spec.points:
        yield document.problem(("identity",), f"identity: there is no point {spec.identity!r}", nearest(spec.identity, spec.points))
    for number, mark in enumerate(spec.fingerprint):
        if mark.point not in spec.points:
            yield document.problem(("fingerprint", number), f"fingerprint: there is no point {mark.point!r}", nearest(mark.point, spec.points))
    yield from _mqtt_mistakes(document, spec)
    yield from register_mistakes(document, spec)
    yield from topic_mistakes(document, spec)
    for name, variant in spec.variants.items():
        if isinstance(variant.when, WhenSpec) and variant.when.point and variant.when.point not in spec.points:
            yield document.problem(("variants", name, "when"), f"there is no point {variant.when.point!r}", nearest(variant.when.point, spec.points))


def _source_mistakes(document: Document, spec: ProfileSpec, name: str, point: PointSpec) -> Iterator[Problem]:
    at: Location = ("points", name)
    given = [source for source in _SOURCES if getattr(point, source) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "no source"
        yield document.problem(at, f"points.{name}: has {found}", f"write one of {', '.join(_SOURCES)}")
        return
    if given[0] == "topic" and spec.transport != "mqtt":
        yield document.problem(at, f"points.{name}: a topic in a Modbus profile", "write transport: mqtt")
    if given[0] in ("holding", "input", "coil", "discrete", "sunspec") and spec.transport != "modbus":
        yield document.problem(at, f"points.{name}: a register in an MQTT profile", "write transport: modbus")
    if point.sunspec is not None:
        from edge_agent.codec.sunspec import known_point  # a table that most houses do not need

        if not any(known_point(id_, point.sunspec.point, bool(point.sunspec.module)) for id_ in point.sunspec.models):
            yield document.problem(at, f"points.{name}: no SunSpec model {point.sunspec.models} with a point {point.sunspec.point!r} is known here")
    if given[0] in ("holding", "input"):
        addresses: list[int] = getattr(point, given[0])
        if point.as_ in ("", "text"):
            yield document.problem(at, f"points.{name}: has no encoding", "write as: u16 (s16, u32, s32, f32, ...)")
        elif len(addresses) not in (1, point.registers):
            yield document.problem(at, f"points.{name}: {len(addresses)} addresses for {point.registers} registers", "name the first, or each")
        for address in addresses:
            if not 0 <= address <= 65536 - (point.registers if len(addresses) == 1 else 1):
                yield document.problem(at, f"points.{name}: address {address} is outside 0 to 65535")
    references = [*(point.sum or []), *(point.first or [])] + ([point.scale_by] if point.scale_by and not point.sunspec else [])
    if isinstance(point.positive, DirectionFrom):
        references.append(point.positive.by)
    for reference in references:
        if (other := reference.lstrip("-").rstrip("?")) not in spec.points or other == name:
            yield document.problem(at, f"points.{name}: there is no other point {other!r}", nearest(other, set(spec.points) - {name}))
    if point.shift and point.shift not in spec.parameters:
        yield document.problem(at, f"points.{name}: there is no parameter {point.shift!r}", nearest(point.shift, spec.parameters))
    if point.topic and any("[*]" in path for path in point.path) != bool(point.index_by):
        hint = "write index_by: {topic: ..., equals: ...} together with a path such as $[*]"
        yield document.problem(at, f"points.{name}: [*] in a path and index_by: belong together", hint)
    dated = [point.dated.path] if point.dated else []
    index = [point.index_by.topic, point.index_by.equals] if point.index_by else []
    where = [text for pair in point.where.items() for text in pair]
    texts = [*(point.topic or []), *point.path, *where, *dated, *index, point.unit_id or ""]
    yield from _placeholder_mistakes(document, spec, at, f"points.{name}", texts)


def _mqtt_mistakes(document: Document, spec: ProfileSpec) -> Iterator[Problem]:
    for number, one in enumerate(spec.mqtt.availability):
        yield from _placeholder_mistakes(document, spec, ("mqtt", "availability", number), "mqtt.availability", [one.topic, *one.path])
        if not (one.online or one.offline or one.within):
            hint = "write online: and offline: with the words, or within: for a heartbeat"
            yield document.problem(("mqtt", "availability", number), "mqtt.availability: says nothing about when the device lives", hint)
    for number, request in enumerate(spec.mqtt.requests):
        texts = [request.topic, request.payload, request.first_payload or ""]
        yield from _placeholder_mistakes(document, spec, ("mqtt", "requests", number), "mqtt.requests", texts)


def _placeholder_mistakes(document: Document, spec: ProfileSpec, at: Location, what: str, texts: list[str]) -> Iterator[Problem]:
    known = {"topic", "reply", *spec.parameters}
    for parameter in dict.fromkeys(found for text in texts for found in re.findall(r"\{(\w+)\}", text)):
        if parameter not in known:
            yield document.problem(at, f"{what}: there is no parameter {parameter!r}", nearest(parameter, known))


def _meaning_mistakes(document: Document, spec: ProfileSpec, name: str, point: PointSpec, several: bool) -> Iterator[Problem]:
    at: Location = ("points", name, "is")
    role, _, quantity = point.is_.rpartition(".")
    if quantity not in [one.value for one in Quantity]:
        yield document.problem(at, f"points.{name}: unknown quantity {quantity!r}", nearest(quantity, [one.value for one in Quantity]))
        return
    if role and role not in [one.value for one in Role]:
        yield document.problem(at, f"points.{name}: unknown role {role!r}", nearest(role, [one.value for one in Role]))
        return
    if several and not role:
        yield document.problem(at, f"points.{name}: {point.is_!r} names no role, others do", f"write battery.{quantity}, pv.{quantity} ...")
    words = _WORDS.get(Quantity(quantity))
    if words is not None:
        for word in [*point.map.values(), *point.bits.values(), point.otherwise]:
            if word is not None and word not in words:
                yield document.problem(("points", name), f"points.{name}: {word!r} is no {quantity}", nearest(word, words))
        return
    suffix = "_" + quantity.rpartition("_")[2]
    derived = point.sum or point.first
    if not derived and point.unit in UNITS and UNITS[point.unit][0] != _CANONICAL[suffix]:
        yield document.problem(at, f"points.{name}: {quantity} needs a unit of {_CANONICAL[suffix]}, not {point.unit!r}")
    parts = [spec.points.get(part.lstrip("-").rstrip("?")) for part in derived or []]
    known = bool(parts) and all(part is None or part.positive is not None for part in parts)
    if suffix == "_w" and point.positive is None and not known:
        directions = ", ".join(direction.value for direction in Direction)
        yield document.problem(at, f"points.{name}: a power needs its direction", f"write positive: with one of {directions}")


def fill_parameters(text: str, parameters: Mapping[str, str]) -> str:
    """`{topic}/status/{channel}` with the parameters put in."""
    return re.sub(r"\{(\w+)\}", lambda match: parameters[match[1]], text)
