"""Which devices speak on a broker, from the topics and payloads that were heard. Pure.

A profile's topics are read backwards: what stands where the profile says `{topic}` is a device's topic, what
stands where it says `{loadpoint}` is that parameter. A profile with a usual topic is looked for there, and a
parameter with a usual text is that text; only numbers, and what a site file would have to say, are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edge_agent.codec.payloads import Payload
from edge_agent.codec.values import key_of
from edge_agent.model.measurements import Reading, Role
from edge_agent.profiles.derive import add_derived
from edge_agent.profiles.library import DeviceProfile
from edge_agent.profiles.messages import PayloadRow, payload_rows, position_of, read_payload
from edge_agent.profiles.profile import ProfileSpec
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.scan.fingerprint import Library, chosen, confidence, fits, maker, sources_of
from edge_agent.scan.found import CHOOSE, Found

Heard = Mapping[str, Sequence[Payload]]  # topic -> its last messages, oldest first
_DEPTH = 3  # levels that a device's topic may have
_BARE_DEPTH = 2  # where nothing else stands in a topic: more would be nearly all that the broker has
_MOST_CANDIDATES = 500  # of one profile


@dataclass(frozen=True, slots=True)
class Shape:
    """A profile's topic with what is to be found left open."""

    filters: tuple[str, ...]
    pattern: re.Pattern[str]


def shape_of(template: str, spec: ProfileSpec) -> Shape | None:
    """The shape of a topic; None for one that only an answer to a question of ours has."""
    text = _with_defaults(template, spec)
    if "{reply}" in text:
        return None
    bare = not re.sub(r"\{\w+\}|[/+]", "", text)
    depth = _BARE_DEPTH if bare else _DEPTH
    levels = ["+" if re.search(r"\{(?!topic\})|\{topic\}.|.\{topic\}", level) else level for level in text.split("/")]
    depths = range(1, depth + 1) if "{topic}" in levels else (1,)
    filters = tuple("/".join(levels).replace("{topic}", "/".join("+" * levels_of_it)) for levels_of_it in depths)
    return Shape(filters, re.compile(_expression(text, spec, depth)))


def _with_defaults(text: str, spec: ProfileSpec) -> str:
    """The template with the usual texts put in; a number and a wildcard are left to be found."""
    for _ in range(3):  # a default may hold {topic}
        for name, parameter in spec.parameters.items():
            if parameter.default is not None and not _is_found(parameter.default):
                text = text.replace(f"{{{name}}}", parameter.default)
    return text.replace("{topic}", spec.mqtt.topic) if spec.mqtt.topic else text


def _is_found(default: str | None) -> bool:
    return default is None or default == "+" or default.isdigit()


def _expression(text: str, spec: ProfileSpec, depth: int) -> str:
    seen: set[str] = set()
    parts = []
    for number, part in enumerate(re.split(r"\{(\w+)\}", text)):
        if number % 2 == 0:
            parts.append(re.escape(part).replace(r"\+", "[^/]*"))
        elif part in seen:
            parts.append(f"(?P={part})")
        else:
            seen.add(part)
            default = spec.parameters[part].default if part in spec.parameters else None
            kind = r"\d+" if default and default.isdigit() else rf"/?[^/]+(?:/[^/]+){{0,{depth - 1}}}" if part == "topic" else "[^/]+"
            parts.append(f"(?P<{part}>{kind})")
    return "".join(parts)


def filters_of(library: Library) -> list[str]:
    """What to subscribe to in order to hear every profile's fingerprint."""
    shapes = (shape for profile in library.values() for one in _marks(profile.spec) for shape in one)
    return list(dict.fromkeys(text for shape in shapes for text in shape.filters))


def _marks(spec: ProfileSpec) -> Iterator[list[Shape]]:
    """Each mark of an MQTT profile's fingerprint as the shapes of the topics that may hold it."""
    for mark in spec.fingerprint if spec.transport == "mqtt" else ():
        templates = (topic for name in sources_of(spec, [mark.point]) for topic in spec.points[name].topic or [])
        yield [shape for shape in (shape_of(template, spec) for template in templates) if shape is not None]


def identify(heard: Heard, library: Library) -> list[Found]:
    """The devices that were heard, by topic. Several profiles that fit one and measure the same are to be chosen from."""
    fitting: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = {}
    for name, profile in library.items():
        for parameters in _candidates(profile.spec, heard):
            readings = _readings(profile, parameters, heard)
            if fits(profile.spec, readings):
                topic = parameters.get("topic") or profile.spec.mqtt.topic or ""
                usual = {key: one.default for key, one in profile.spec.parameters.items()}
                more = tuple(sorted((key, value) for key, value in parameters.items() if key != "topic" and usual.get(key) != value))
                fitting.setdefault((topic, more), {})[name] = _serial(profile.spec, readings)
    return [found for (topic, more), names in sorted(fitting.items()) for found in _found(topic, dict(more), names, library)]


def _candidates(spec: ProfileSpec, heard: Heard) -> list[dict[str, str]]:
    """What the braces may stand for, so that each mark has a topic that was heard."""
    candidates: list[dict[str, str]] = [{}]
    marks = list(_marks(spec))
    if not marks:
        return []
    for shapes in marks:
        matches = [match.groupdict() for shape in shapes for topic in heard if (match := shape.pattern.fullmatch(topic))]
        joined = (one | other for one in candidates for other in matches if all(one.get(key, value) == value for key, value in other.items()))
        candidates = [dict(items) for items in dict.fromkeys(tuple(sorted(one.items())) for one in joined)][:_MOST_CANDIDATES]
    return candidates


def _readings(profile: DeviceProfile, found: Mapping[str, str], heard: Heard) -> dict[str, Reading]:
    """The fingerprint's points and the serial number, from all that was heard."""
    spec = profile.spec
    wanted = sources_of(spec, [*(mark.point for mark in spec.fingerprint), *([spec.identity] if spec.identity else [])])
    topic = found.get("topic") or spec.mqtt.topic or ""
    defaults = {name: (one.default or "").replace("{topic}", topic) for name, one in spec.parameters.items()}
    parameters = {"reply": "edge-agent-scan", **defaults, **found, "topic": topic}
    few = replace(profile, spec=replace(spec, points={name: spec.points[name] for name in wanted}))
    readings: dict[str, Reading] = {}
    for row in payload_rows(DeviceSetup("scan", "scan", few, topic=topic, parameters=parameters), parameters):
        for payload in _messages(row, heard):
            said = read_payload(row, payload, 0.0, _position(row, heard))
            if said is not None and (said.reading.value is not None or row.name not in readings):
                readings[row.name] = said.reading
    add_derived(few.spec, readings, 0.0)
    return readings


def _messages(row: PayloadRow, heard: Heard) -> Iterator[Payload]:
    for one in row.filters:
        topics: Iterable[str] = [topic for topic in heard if one.captures(topic) is not None] if one.names else [one.text]
        for topic in topics:
            yield from heard.get(topic, ())


def _position(row: PayloadRow, heard: Heard) -> int | None:
    if row.index_topic is None:
        return None
    lists = heard.get(row.index_topic.text, ())
    return position_of(row, lists[-1]) if lists else None


def _serial(spec: ProfileSpec, readings: Mapping[str, Reading]) -> str:
    reading = readings.get(spec.identity or "")
    return key_of(reading.value).strip() if reading is not None and reading.value is not None else ""


def _found(topic: str, parameters: dict[str, str], serials: Mapping[str, str], library: Library) -> Iterator[Found]:
    for names in _rivals(chosen(serials, library), library):
        spec = library[names[0]].spec
        single = len(names) == 1
        yield Found(
            address=f"topic {topic}",
            unit=None,
            what=maker(spec) if single else "",
            serial=serials[names[0]] if single else "",
            profiles=names,
            confidence=confidence(spec) if single else CHOOSE,
            parameters=parameters,
            topic=topic,
        )


def _rivals(names: Iterable[str], library: Library) -> list[tuple[str, ...]]:
    """Profiles that measure the same part of the house, together; a site and its charging points are no rivals."""
    groups: list[list[str]] = []
    for name in names:
        rivals = next((group for group in groups if any(_roles(library[name]) & _roles(library[other]) for other in group)), None)
        if rivals is None:
            groups.append([name])
        else:
            rivals.append(name)
    return [tuple(group) for group in groups]


def _roles(profile: DeviceProfile) -> frozenset[Role]:
    if profile.spec.role == "any":
        return frozenset(Role)
    return profile.roles or (frozenset({profile.spec.role}) if profile.spec.role else frozenset())
