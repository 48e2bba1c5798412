"""The site file as text that people edit: made with comments, and changed later without losing a line of theirs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.profiles.document import parse_document

if TYPE_CHECKING:
    from ruamel.yaml import YAML

_NEW = """\
# Made by `edge-agent setup`. Edit it freely: run again, setup keeps what you wrote and adds what is new.
# `edge-agent check` finds mistakes. The cloud knows a device by its id for ever: choose it once.
moost:
devices: []
"""

# a section's keys (None takes one out), or the value of a key that is no section
Sections = dict[str, Mapping[str, Any] | str | None]


@dataclass(frozen=True, slots=True)
class Drafted:
    """A device for the file: its keys, and a remark to stand above it. One that is not certain is written as a comment."""

    entry: Mapping[str, Any]
    remark: str = ""
    certain: bool = True


def with_answers(text: str | None, sections: Sections, devices: Sequence[Drafted]) -> str:
    """The file (None: a new one) with these sections' keys set and the devices added behind those that are there.

    What the sections do not name stays as it is, and so do comments, order and quotes.
    """
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.util import load_yaml_guess_indent

    if text is None or parse_document(text, "").data is None:
        text = (text or "") + _NEW  # also behind the comments of a file that has nothing else yet
    _, indent, offset = load_yaml_guess_indent(text)
    yaml = _yaml(indent, offset)
    data = yaml.load(text)
    for name, keys in sections.items():
        _set_section(data, name, keys)
    listed = data.setdefault("devices", CommentedSeq())
    if not listed:  # an empty list in brackets would put all devices on one line
        listed = data["devices"] = CommentedSeq()
    for device in devices:
        if device.certain:
            listed.append(CommentedMap(device.entry))
            if device.remark:
                listed.yaml_set_comment_before_after_key(len(listed) - 1, before=device.remark, indent=offset or 2)
    return _dumped(yaml, data) + "".join(_commented(device) for device in devices if not device.certain)


def _set_section(data: Any, name: str, keys: Mapping[str, Any] | str | None) -> None:
    if isinstance(keys, str):
        if data.get(name) != keys:
            _insert(data, name, keys)
    elif keys:
        section = data.get(name)
        if section is None:
            section = _insert(data, name, type(data)())
        for key, value in keys.items():
            if value is None:
                section.pop(key, None)
            elif str(section.get(key)) != str(value):
                section[key] = value


def _insert(data: Any, name: str, value: Any) -> Any:
    """A new section goes before the devices, which are long."""
    if name in data:
        data[name] = value
    else:
        place = list(data).index("devices") if "devices" in data else len(data)
        data.insert(place, name, value)
    return data[name]


def _yaml(indent: int | None = None, offset: int | None = None) -> YAML:
    """Reads and writes text as it stands, with lists indented as the file has them."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=(indent or 2) if offset is not None else 4, offset=2 if offset is None else offset)
    return yaml


def _dumped(yaml: YAML, data: Any) -> str:
    out = io.StringIO()
    yaml.dump(data, out)
    return out.getvalue()


def _commented(device: Drafted) -> str:
    """A device that somebody has to decide on, behind the file's end."""
    body = _dumped(_yaml(), [dict(device.entry)])
    return "".join(f"# {line}\n" for line in (device.remark, *body.splitlines()))
