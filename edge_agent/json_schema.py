"""JSON Schemas of the three kinds of YAML files, so that editors complete and check them while one writes.

They are made by pydantic from the dataclasses that hold the files and lie in `schemas/` as text, because an editor
wants a file and a gateway need not make one. What pydantic says of a value is what it becomes; what a file
may hold is more: a bare number or boolean where text belongs (`zip: 8010`), and a profile that extends
another may leave out what the other says, or take it out with ~. The comment beside a key is its description.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import tokenize
from pathlib import Path
from typing import Any

import edge_agent
from edge_agent.profiles.document import Section, adapter

Schema = dict[str, Any]
KINDS = ("agent", "profile", "recording")
_PACKAGE = Path(edge_agent.__file__).parent
_TITLES = {"agent": "edge-agent site file", "profile": "edge-agent device profile", "recording": "edge-agent recording of a device"}


def schema_file(kind: str) -> Path:
    """Where a shipped schema is: beside the package in a checkout, inside it when installed."""
    inside = _PACKAGE / "schemas"
    return (inside if inside.is_dir() else _PACKAGE.parent / "schemas") / f"{kind}.json"


def make_schema(kind: str) -> Schema:
    """The JSON Schema (draft 2020-12) of `agent`, `profile` or `recording`, from its model and its source's comments."""
    model = _model(kind)
    schema = adapter(model).json_schema(by_alias=True)
    _describe(model, schema)
    for one in _described_models(model):
        _describe(one, schema["$defs"].get(one.__name__, {}))
    _as_written(schema)
    if kind == "profile":
        _allow_extending(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": _TITLES[kind]}


def _model(kind: str) -> type[Section]:
    from edge_agent.config.schema import SiteSection
    from edge_agent.profiles.profile import ProfileSpec
    from edge_agent.recording.file import RecordingSection

    models: dict[str, type[Section]] = {"agent": SiteSection, "profile": ProfileSpec, "recording": RecordingSection}
    return models[kind]


def _described_models(model: type[Section]) -> list[type[Section]]:
    """The sections that stand in the same module as the whole."""
    members = vars(inspect.getmodule(model)).values()
    return [one for one in members if isinstance(one, type) and issubclass(one, Section) and one is not Section]


def _describe(model: type[Section], schema: Schema) -> None:
    """Gives each property its default, if that is a list or a section, and the comment that stands beside its field."""
    comments, properties = _comments(model), schema.get("properties", {})
    for field in dataclasses.fields(model):
        described = properties.get(field.metadata.get("alias", field.name), {})
        if field.default_factory is not dataclasses.MISSING:
            described["default"] = field.default_factory()
        if field.name in comments:
            described["description"] = comments[field.name]


def _comments(model: type[Section]) -> dict[str, str]:
    """The comments at the ends of a class's lines, by the first word of the line."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(model)).readline):
        before = token.line[: token.start[1]]
        if token.type == tokenize.COMMENT and before.strip():
            found[before.split(":")[0].strip()] = token.string.lstrip("# ")
    return found


def _as_written(part: Any) -> None:
    """Turns types into what a YAML file may hold for them."""
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _as_written(value)
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):  # a field's name once more; a section named `title` would be a dict
            del part["title"]
        if part.get("type") == "string" and "enum" not in part and "const" not in part:
            part["type"] = ["string", "number", "boolean"]


def _allow_extending(schema: Schema) -> None:
    """With `extends:` nothing is required, and ~ takes out what the family has."""
    for section in (schema, *schema["$defs"].values()):
        fields = section.get("properties", {})
        for name, field in fields.items():
            if isinstance(field.get("additionalProperties"), dict):
                field["additionalProperties"] = _or_nothing(field["additionalProperties"])
            fields[name] = _or_nothing(field)
    schema["if"] = {"required": ["extends"]}
    schema["else"] = {"required": schema.pop("required")}


def _or_nothing(part: Schema) -> Schema:
    description = {"description": part.pop("description")} if "description" in part else {}
    return {"anyOf": [part, {"type": "null"}], **description}


def schema_text(kind: str) -> str:
    """A schema as its file holds it."""
    return json.dumps(make_schema(kind), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """`make schema`: writes the files anew."""
    folder = _PACKAGE.parent / "schemas"
    folder.mkdir(exist_ok=True)
    for kind in KINDS:
        (folder / f"{kind}.json").write_text(schema_text(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
