"""The profile library as people look at it: `edge-agent profiles`, and the README's table of devices."""

from __future__ import annotations

import itertools
import json
import sys
import textwrap
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from edge_agent.model.errors import ConfigError, Problem
from edge_agent.model.measurements import Quantity
from edge_agent.profiles.document import Document, read_document
from edge_agent.profiles.library import DeviceProfile, load_profile, profile_names
from edge_agent.profiles.profile import Direction, DirectionFrom, Kind, PointSpec, ProfileSpec
from edge_agent.terminal import columns, table

Answer = dict[str, Any]
_KINDS = get_args(Kind)  # the order in which people look for a device
_LOOK_FURTHER = "edge-agent profiles | grep -i MODEL finds a device, edge-agent profiles show NAME says how to set it up"
_BEGIN, _END = "<!-- devices: made by `make readme` -->", "<!-- end of devices -->"
_WIDE = 140  # characters of a line with room for all columns of the library
_MODELS = 75  # characters for the vendor and as many models as fit, where it is less
_COUNTERS = {Quantity.POWER_W: ("import_wh", "export_wh"), Quantity.GENERATION_W: ("generation_wh",)}


def run(options: Namespace) -> int:
    """`edge-agent profiles [list | show NAME | check FILE]`: prints, and returns the exit code."""
    if options.action == "list":
        profiles = [describe(load_profile(name)) for name in profile_names()]
        print(json.dumps(profiles, indent=2, ensure_ascii=False) if options.json else listing(profiles, columns()))
        return 0
    if not options.name:
        raise ConfigError([Problem("edge-agent profiles", 0, f"{options.action} what?", "write a profile's name or a file")])
    if options.action == "check":
        return _check_as_json(options.name) if options.json else _check(options.name)
    profile = load_profile(options.name)
    print(json.dumps(details(profile), indent=2, ensure_ascii=False) if options.json else details_text(details(profile)))
    return 0


def _check(name: str) -> int:
    profile = load_profile(name)
    for warning in profile_warnings(profile):
        print(f"{warning.file}:{warning.line}: warning: {warning.text}")
    print(f"{name}: ok: {len(profile.spec.points)} points, {', '.join(roles(profile)) or 'role as the site file says'}")
    return 0


def _check_as_json(name: str) -> int:
    answer: Answer = {"file": name, "problems": [], "warnings": [], "points": 0}
    try:
        profile = load_profile(name)
        answer |= {"warnings": [asdict(warning) for warning in profile_warnings(profile)], "points": len(profile.spec.points)}
    except ConfigError as error:
        answer["problems"] = [asdict(problem) for problem in error.problems]
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return 1 if answer["problems"] else 0


def roles(profile: DeviceProfile) -> list[str]:
    """The roles of a device; `any` when the site file says it."""
    return sorted(profile.roles) or ([str(profile.spec.role)] if profile.spec.role else [])


def describe(profile: DeviceProfile) -> Answer:
    """A profile in one row."""
    spec = profile.spec
    return {
        "name": profile.name,
        "kind": spec.kind,
        "vendor": spec.vendor,
        "models": spec.models,
        "transport": spec.transport,
        "roles": roles(profile),
        "confidence": spec.confidence,
    }


def details(profile: DeviceProfile) -> Answer:
    """A profile with all that an installer wants to know of it."""
    spec = profile.spec
    return {
        **describe(profile),
        "extends": spec.extends,
        "setup": spec.setup.strip(),
        "notes": spec.notes,
        "sources": spec.sources,
        "parameters": {name: {"default": one.default, "help": one.help} for name, one in spec.parameters.items()},
        "variants": {name: one.help for name, one in spec.variants.items()},
        "identity": spec.identity,
        "points": [
            {
                "point": name,
                "where": where(point),
                "unit": point.unit,
                "positive": _direction(point),
                "means": point.is_,
                "one_source": point.one_source,
                "note": point.note,
            }
            for name, point in spec.points.items()
        ],
    }


def _direction(point: PointSpec) -> str:
    if isinstance(point.positive, DirectionFrom):
        return f"by {point.positive.by}"
    return point.positive.value if isinstance(point.positive, Direction) else ""


def where(point: PointSpec) -> str:
    """Where a point is read, in short: `input 52 f32`, `{topic}/nrg $[11]`, `sum of a, b`."""
    for name in ("holding", "input"):
        if (addresses := getattr(point, name)) is not None:
            return f"{name} {','.join(map(str, addresses))} {point.as_}"
    for name in ("coil", "discrete"):
        if (address := getattr(point, name)) is not None:
            return f"{name} {address}"
    if point.sunspec is not None:
        return f"SunSpec {','.join(map(str, point.sunspec.models))} {point.sunspec.point}"
    if point.topic is not None:
        path = point.path[0] if point.path != ["$"] else ""
        return f"{point.topic[0]} {path}".rstrip()
    return f"sum of {', '.join(point.sum)}" if point.sum else f"first of {', '.join(point.first or [])}"


def listing(profiles: list[Answer], room: int) -> str:
    """The library as a table of lines of `room` characters: where that is little, without what `show` tells, too."""
    rows = [_cells(one) for one in sorted(profiles, key=_by_kind)]
    head: tuple[str, ...] = ("profile", "kind", "transport", "roles", "confidence", "vendor and models")
    if room < _WIDE:
        head, rows = (*head[:2], head[-1]), [(*row[:2], textwrap.shorten(row[-1], _MODELS, placeholder=" …")) for row in rows]
    return table(head, rows, room) + f"\n{len(rows)} profiles; {_LOOK_FURTHER}"


def _cells(one: Answer) -> tuple[str, ...]:
    return one["name"], one["kind"], one["transport"], ", ".join(one["roles"]), one["confidence"], f"{one['vendor']}: {', '.join(one['models'])}"


def _by_kind(one: Answer) -> tuple[int, str, str]:
    return _KINDS.index(one["kind"]), one["vendor"].lower(), one["name"]


def markdown(profiles: list[Answer]) -> str:
    """The README's table of devices: a row per vendor."""
    by_vendor: dict[str, list[Answer]] = {}
    for one in sorted(profiles, key=_by_kind):
        by_vendor.setdefault(one["vendor"], []).append(one)
    lines = ["| vendor | profiles |", "| --- | --- |"]
    lines += [f"| {vendor} | {_links(by_vendor[vendor])} |" for vendor in sorted(by_vendor, key=str.lower)]
    return "\n".join(lines)


def _links(profiles: list[Answer]) -> str:
    """The profiles of one vendor by kind: `meter [a](...), [b](...); charger [c](...)`."""
    kinds = itertools.groupby(profiles, key=lambda one: str(one["kind"]).replace("_", " "))
    return "; ".join(f"{kind} " + ", ".join(f"[`{one['name']}`](device_profiles/{one['name']}.yaml)" for one in group) for kind, group in kinds)


def with_table(readme: str, rows: str) -> str:
    """The README's text with its table of devices made anew. Raises ValueError when the markers are not there."""
    head, begin, rest = readme.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"the markers {_BEGIN} and {_END} are missing")
    return f"{head}{begin}\n{rows}\n{end}{tail}"


def details_text(one: Answer) -> str:
    """A profile for the terminal."""
    parts = [f"{one['name']}: {one['vendor']}, {one['kind']} over {one['transport']}, {', '.join(one['roles'])} ({one['confidence']})"]
    parts += [_paragraph("models", ", ".join(one["models"]))] if one["models"] else []
    parts += [_paragraph("set-up", one["setup"])] if one["setup"] else []
    parts += [_paragraph("note", note) for note in one["notes"]]
    parts += [_paragraph("parameter", f"{name} ({value['default'] or 'needed'}): {value['help']}") for name, value in one["parameters"].items()]
    parts += [_paragraph("variant", f"{name}: {text}") for name, text in one["variants"].items()]
    parts.append(table(("point", "unit", "where, and what it means"), [(point["point"], point["unit"], _place(point)) for point in one["points"]]))
    parts += [_paragraph("source", source) for source in one["sources"]]
    return "\n".join(parts)


def _place(point: Answer) -> str:
    """`input 13009 s32: grid.power_w (positive: export)`."""
    said = [point["means"], f"(positive: {point['positive']})" if point["positive"] else "", "(one source)" if point["one_source"] else ""]
    means = " ".join(filter(None, said))
    return f"{point['where']}: {means}" if means else str(point["where"])


def _paragraph(name: str, text: str) -> str:
    width = min(columns(), 110)
    return textwrap.fill(" ".join(text.split()), width, initial_indent=f"  {name + ':':11}", subsequent_indent=" " * 13, break_long_words=False)


def profile_warnings(profile: DeviceProfile) -> Iterator[Problem]:
    """What is allowed but weakens a profile, each with its line."""
    spec, document = profile.spec, read_document(Path(profile.file))
    if spec.identity is None:
        yield document.problem((), "no identity: another device that answers at its address would not be noticed")
    if not spec.fingerprint:
        yield document.problem((), "no fingerprint: edge-agent scan cannot recognise the device")
    if not spec.setup:
        yield document.problem((), "no setup: say what the installer must do on the device")
    if not spec.sources:
        yield document.problem((), "no sources: say where the facts are from")
    if not any(point.quantity for point in spec.points.values()):
        yield document.problem(("points",), "no point has is: so nothing of this device is metered or sent")
    yield from _counterless(document, spec)


def _counterless(document: Document, spec: ProfileSpec) -> Iterator[Problem]:
    meanings = {point.is_ for point in spec.points.values() if point.is_}
    for name, point in spec.points.items():
        counters = _COUNTERS.get(point.quantity) if point.quantity else None
        if counters and not any(".".join(filter(None, (point.role, counter))) in meanings for counter in counters):
            text = f"points.{name}: a power without an energy counter; its energy is integrated, so what passes while nobody reads is lost"
            yield document.problem(("points", name), text)


def main() -> None:
    """`make readme`: writes the table of devices anew."""
    readme = Path(sys.argv[1])
    table_of_devices = markdown([describe(load_profile(name)) for name in profile_names()])
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), table_of_devices), encoding="utf-8")


if __name__ == "__main__":
    main()
