"""YAML with line numbers, checked by pydantic against a schema; all mistakes at once, each with its line.

YAML's own guessing is switched off: every scalar arrives as the text that stands in the file, and the
schema decides what it is. So a zip of `01067` keeps its zero and a country code of `NO` is no boolean.

Schemas are plain dataclasses, so that a running agent uses what was read without pydantic and YAML: both
are loaded here alone, and only when a file is read.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from edge_agent.codec.human import nearest
from edge_agent.model.errors import CLOSED_HINT, ConfigError, Problem
from edge_agent.profiles.wording import syntax_mistake, value_mistake

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

Location = tuple[str | int, ...]
_MOST_BYTES = 4_000_000  # a recording of an hour has about one
_MOST_PLACES = 200_000
_NO_SECTION = ("dataclass_type", "dict_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The base of all schemas: a key that it does not know is a mistake.

    pydantic finds a field's limits and its name in the file (`alias`) in the field's metadata.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = {"extra": "forbid", "populate_by_name": True, "allow_inf_nan": False}


class _OrOne:
    """One item may stand without a list's brackets."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(_listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed = handler(schema)
        return {"anyOf": [listed, listed["items"]]}


def _listed(value: object) -> object:
    return value if isinstance(value, list) or value is None else [value]


ItemT = TypeVar("ItemT")
OneOrMore = Annotated[list[ItemT], _OrOne()]
SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as nested dicts, lists and text, with the line (from 1) of every place in it."""

    file: str
    data: Any
    lines: dict[Location, int]

    def line(self, location: Location) -> int:
        """The line of a place; of the nearest place above it when it is not in the file; 0 for none."""
        for length in range(len(location), -1, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return 0

    def problem(self, location: Location, text: str, hint: str = "") -> Problem:
        """A mistake at a place of this file."""
        return Problem(self.file, self.line(location), text, hint)


def read_document(path: Path, missing_hint: str = "") -> Document:
    """Reads a YAML file. Raises ConfigError when it cannot be read or is no YAML; `missing_hint` says what to do where there is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        text = raw.decode()
    except FileNotFoundError:
        raise ConfigError([Problem(str(path), 0, "there is no such file", missing_hint)]) from None
    except PermissionError:
        raise ConfigError([Problem(str(path), 0, "you may not read it", CLOSED_HINT)]) from None
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, f"cannot be read: {error.strerror or error}")]) from None
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(str(path), line, "cannot be read: it is no text in UTF-8", "save it as UTF-8")]) from None
    if len(raw) > _MOST_BYTES:
        raise ConfigError([Problem(str(path), 0, f"is larger than {_MOST_BYTES // 1_000_000} MB", "look whether it is the right file")])
    return parse_document(text, str(path))


def parse_document(text: str, file: str) -> Document:
    """Parses YAML text. Raises ConfigError with the line of a syntax error or of a key written twice."""
    from ruamel.yaml import YAML  # 15 ms that a command without a file need not pay
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        root = YAML(typ="safe", pure=True).compose(text)
        lines: dict[Location, int] = {}
        problems: list[Problem] = []
        data = _plain(root, (), lines, problems, file)
    except MarkedYAMLError as error:
        raise ConfigError([Problem(file, *syntax_mistake(error))]) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([Problem(file, line, f"is not valid YAML: the character {chr(error.character)!r} is no text", "take it out")]) from None
    except RecursionError:
        raise ConfigError([Problem(file, 0, "is nested too deeply", "look whether it is the right file")]) from None
    if problems:
        raise ConfigError(problems)
    return Document(file, data, lines)


def _plain(node: Any, at: Location, lines: dict[Location, int], problems: list[Problem], file: str) -> Any:
    """A YAML node as dict, list, text or None; notes each place's line on the way."""
    if node is None:
        return None
    lines.setdefault(at, node.start_mark.line + 1)
    if len(lines) > _MOST_PLACES:
        raise ConfigError([Problem(file, lines[at], f"more than {_MOST_PLACES} entries", "look whether it is the right file")])
    if isinstance(node.value, str):
        return None if node.style is None and node.value in ("", "~", "null") else node.value
    if node.id == "sequence":
        return [_plain(item, (*at, number), lines, problems, file) for number, item in enumerate(node.value)]
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in mapping:
            problems.append(Problem(file, line, f"{key!r} is written twice", "keep one of the two"))
            continue
        lines[(*at, key)] = line
        mapping[key] = _plain(value_node, (*at, key), lines, problems, file)
    return mapping


def validate(document: Document, schema: type[SectionT]) -> SectionT:
    """The document as `schema`. Raises ConfigError with every mistake, each with its line and a hint."""
    section, mistakes = examine(document, schema)
    if section is None:
        raise ConfigError(sorted(mistakes.values(), key=lambda problem: problem.line))
    return section


def examine(document: Document, schema: type[SectionT]) -> tuple[SectionT | None, dict[Location, Problem]]:
    """The document as `schema`, or None and what is wrong at which places."""
    from pydantic import ValidationError

    try:
        return checked(document.data if document.data is not None else {}, schema), {}
    except ValidationError as error:
        by_place: dict[Location, list[Any]] = {}
        for one in error.errors(include_url=False):
            by_place.setdefault(_place(document.data, one), []).append(one)
        return None, {place: _explain(document, schema, place, errors) for place, errors in by_place.items()}


def checked(data: object, schema: type[SectionT]) -> SectionT:
    """Plain data as `schema`. Raises pydantic's ValidationError."""
    return adapter(schema).validate_python(data)


def adapter(schema: type[SectionT]) -> TypeAdapter[SectionT]:
    """What checks data against a schema; made once, for that takes longer than a check."""
    from pydantic import TypeAdapter

    if schema not in _ADAPTERS:
        _ADAPTERS[schema] = TypeAdapter(schema)
    return _ADAPTERS[schema]


_ADAPTERS: dict[type[Section], TypeAdapter[Any]] = {}


def _place(data: Any, error: Any) -> Location:
    """Where in the file a mistake is; pydantic names among the keys also which of several types it tried."""
    place: Location = ()
    for part in error["loc"]:
        if isinstance(data, dict) and part in data or isinstance(data, list) and part in range(len(data)):
            data = data[part]
            place = (*place, part)
    return (*place, error["loc"][-1]) if error["type"] == "missing" else place


def _explain(document: Document, schema: type[Section], location: Location, errors: list[Any]) -> Problem:
    """What is wrong at a place; several errors come from the several types that may stand there."""
    errors = [one for one in errors if one["type"] not in _NO_SECTION] or errors
    error, name = errors[0], _dotted(location)
    if error["type"] == "unexpected_keyword_argument":
        known = _keys_at(schema, location[:-1])
        return document.problem(location, f"unknown key {name!r}", nearest(str(location[-1]), known))
    if error["type"] == "missing":
        return document.problem(location[:-1], f"{name!r} is missing")
    if error["type"] in _NO_SECTION:
        return document.problem(location, f"{name or 'the file'}: should be a section of keys and values")
    text, hint = value_mistake(errors)
    return document.problem(location, f"{name}: {text}" if name else text, hint)


def _dotted(location: Location) -> str:
    """`('devices', 0, 'unit')` -> `devices[0].unit`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _keys_at(schema: type[Section], location: Location) -> set[str]:
    """The keys that the schema knows at a place."""
    current: Any = schema
    for part in location:
        section = _section(current)
        if section is not None:
            current = _fields(section).get(str(part))
        else:  # an entry of a list or of a dict
            current = next((one for one in typing.get_args(current) if _reaches_section(one)), None)
        current = _required(current)
    section = _section(current)
    return set(_fields(section)) if section else set()


def _fields(section: type[Section]) -> dict[str, Any]:
    """The types of a section's fields, by their names in the file."""
    hints = typing.get_type_hints(section, include_extras=True)
    return {field.metadata.get("alias", field.name): hints[field.name] for field in dataclasses.fields(section)}


def _section(annotation: Any) -> type[Section] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _required(annotation: Any) -> Any:
    """`X | None` or an annotated X as X; of several, the one with a schema inside."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union, typing.Annotated):
        return next((_required(one) for one in typing.get_args(annotation) if _reaches_section(one)), annotation)
    return annotation


def _reaches_section(annotation: Any) -> bool:
    return _section(annotation) is not None or any(_reaches_section(one) for one in typing.get_args(annotation))
