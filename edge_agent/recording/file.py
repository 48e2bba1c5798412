"""A device in one small text file: the registers or messages it gave, and what they must read as.

Recordings are what `tests/recordings/` holds every profile against, and what `edge-agent record` makes of a
device in someone's cellar. One made from a vendor's documents instead of a device says so in `origin`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from edge_agent.codec.human import Duration, Integer
from edge_agent.model.errors import ConfigError, Problem
from edge_agent.model.measurements import Reading, Role
from edge_agent.profiles.document import Document, Section, read_document, validate
from edge_agent.profiles.library import DeviceProfile, load_profile
from edge_agent.profiles.setup import Connection, DeviceSetup

Tables = dict[Literal["holding", "input", "coil", "discrete"], dict[Integer, str]]
_WORDS_PER_LINE = 16
_PLAIN = re.compile(r"[a-z][a-z0-9_+-]*|-?\d+(\.\d+)?(e[+-]?\d+)? [A-Za-z°%/]+")  # a name, or a number with its unit
_NO_PLAIN_WORDS = ("null", "true", "false", "on", "off", "yes", "no", "y", "n")  # to some or all readers of YAML
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSection(Section):
    """One MQTT message, `after` that much time since the recording began."""

    topic: str  # {reply}: the name that the agent gave itself for an answer
    payload: str = ""
    retained: bool = False
    after: Duration = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSection(Section):
    """Registers that read something else, `after` that much time since the recording began."""

    after: Duration
    registers: dict[Integer, Tables]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingSection(Section):
    """The file. `registers` are by unit, table and first address, as words (`0x4365 0x8000`)."""

    profile: str
    origin: Literal["device", "documents"]
    note: str = ""
    role: Role | None = None
    unit: Integer | None = None
    transport: Literal["tcp", "rtu+tcp", "serial"] = "tcp"
    topic: str = ""
    variant: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    registers: dict[Integer, Tables] = field(default_factory=dict)  # at the beginning
    changes: list[ChangeSection] = field(default_factory=list)
    messages: list[MessageSection] = field(default_factory=list)
    expected: dict[str, str | None] = field(default_factory=dict)  # point -> `7200 W`, `ready`, `on`; ~ for a point without a value
    means: dict[str, str | None] = field(default_factory=dict)  # `power_w` or `battery.power_w` -> the quantity's value, sign and all
    ends: Duration | None = None  # how long a device was recorded; the last line, so that a file cut in the middle is noticed

    def words(self, unit: int, table: str) -> dict[int, list[int]]:
        """A unit's registers of one table: first address -> words. Raises ValueError for a word that is no number of 16 bits."""
        runs = self.registers.get(unit, {}).get(table, {})  # type: ignore[call-overload]  # a table's name
        return {address: words_of(text) for address, text in runs.items()}


def words_of(text: str) -> list[int]:
    """`0x4365 0x8000` as numbers. Raises ValueError for a word that is no number of 16 bits."""
    return [_word(word) for word in text.split()]


def _word(text: str) -> int:
    number = int(text, 0)
    if not 0 <= number <= 0xFFFF:
        raise ValueError(f"{text} is no register of 16 bits")
    return number


def read_recording(path: Path) -> RecordingSection:
    """Reads a recording. Raises ConfigError with every mistake and its line."""
    document = read_document(path)
    recording = validate(document, RecordingSection)
    if problems := list(_mistakes(document, recording)):
        raise ConfigError(problems)
    return recording


def _mistakes(document: Document, recording: RecordingSection) -> Iterator[Problem]:
    places: list[tuple[tuple[str | int, ...], dict[int, Tables]]] = [(("registers",), recording.registers)]
    places += [(("changes", number, "registers"), change.registers) for number, change in enumerate(recording.changes)]
    for place, units in places:
        for unit, tables in units.items():
            for table, runs in tables.items():
                for address, text in runs.items():
                    try:
                        end = address + len(words_of(text))
                        if not 0 <= address < end <= 65536:
                            raise ValueError(f"{end - address} words at {address} are outside 0 to 65535")
                    except ValueError as error:
                        at = (*place, str(unit), table, str(address))
                        yield document.problem(at, f"{place[0]}.{unit}.{table}.{address}: {error}", "write words as 0x0123")
    if recording.origin == "device" and recording.ends is None:
        last = max(document.lines.values(), default=0)
        yield Problem(document.file, last, "the recording is cut in the middle: its last line, ends:, is missing", "copy the whole file again")


def recorded_setup(recording: RecordingSection, connection: Connection | None = None, beside: Path | None = None) -> DeviceSetup:
    """The device of a recording as a site file would describe it; a profile's file is found `beside` it.

    Raises ConfigError for an unknown profile.
    """
    profile = load_profile(recording.profile, beside)
    return setup_of(recording, profile if recording.variant is None else profile.in_variant(recording.variant), connection)


def setup_of(recording: RecordingSection, profile: DeviceProfile, connection: Connection | None = None) -> DeviceSetup:
    """The device of a recording whose profile, in its variant, is at hand."""
    spec = profile.spec
    parameters = {name: one.default for name, one in spec.parameters.items() if one.default is not None} | recording.parameters
    topic = recording.topic or spec.mqtt.topic or ""
    if spec.transport == "mqtt":
        parameters["topic"] = topic
    return DeviceSetup(
        id="recorded",
        name="Recorded device",
        profile=profile,
        connection=connection,
        unit=spec.modbus.unit if recording.unit is None else recording.unit,
        topic=topic,
        parameters=parameters,
        role=recording.role or (spec.role if isinstance(spec.role, Role) else None),
    )


def value_text(reading: Reading) -> str | None:
    """A reading as recordings write it: `7200 W`, `ready`, `on`; None for one without a value."""
    if reading.value is None:
        return None
    if isinstance(reading.value, bool):
        return "on" if reading.value else "off"
    return f"{reading.value:.9g} {reading.unit}".strip() if reading.number is not None else str(reading.value)


def runs_of(words: Mapping[int, int]) -> dict[int, str]:
    """Words by address as a recording's lines: neighbours together, a line's worth at a time."""
    runs: dict[int, list[int]] = {}
    start = last = -2
    for address in sorted(words):
        if address != last + 1 or len(runs[start]) == _WORDS_PER_LINE:
            start = address
        runs.setdefault(start, []).append(words[address])
        last = address
    return {address: " ".join(f"0x{word:04X}" for word in run) for address, run in runs.items()}


def recording_text(recording: RecordingSection, head: Sequence[str] = (), refused: Sequence[str] = ()) -> str:
    """The file: comments first, its last line last. `refused` says what the device did not give."""
    return "".join(f"{line}\n" for line in _lines(recording, head, refused))


def _lines(recording: RecordingSection, head: Iterable[str], refused: Sequence[str]) -> Iterator[str]:
    yield from (f"# {line}" for line in head)
    defaults = {field.name: field.default for field in fields(recording)} | {"parameters": {}}
    for name in ("profile", "origin", "note", "role", "unit", "transport", "topic", "variant", "parameters"):
        if (given := getattr(recording, name)) != defaults[name]:
            yield f"{name}: {_flow(given)}"
    if recording.registers:
        yield "registers:"
        yield from _register_lines(recording.registers, "  ")
    yield from ["# The device refuses:", *(f"#   {line}" for line in refused)] if refused else ()
    if recording.changes:
        yield "changes:"
    for change in recording.changes:
        yield f"  - after: {change.after:g}s"
        yield "    registers:"
        yield from _register_lines(change.registers, "      ")
    if recording.messages:
        yield "messages:"
    for message in recording.messages:
        retained = ", retained: true" if message.retained else ""
        yield f"  - {{after: {message.after:g}s, topic: {_quoted(message.topic)}, payload: {_quoted(message.payload)}{retained}}}"
    for name in ("expected", "means"):
        rows: dict[str, str | None] = getattr(recording, name)
        yield from [f"{name}:", *(f"  {key}: {_flow(value)}" for key, value in rows.items())] if rows else ()
    if recording.ends is not None:
        yield f"ends: {recording.ends:g}s"


def _register_lines(units: Mapping[int, Tables], indent: str) -> Iterator[str]:
    for unit, tables in units.items():
        yield f"{indent}{unit}:"
        for table, runs in tables.items():
            yield f"{indent}  {table}:"
            yield from (f"{indent}    {address}: {words}" for address, words in runs.items())


def _flow(value: Any) -> str:
    if value is None:
        return "~"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    plain = not isinstance(value, str) or (_PLAIN.fullmatch(value) and value not in _NO_PLAIN_WORDS)
    return str(value) if plain else _quoted(value)


def _quoted(text: str) -> str:
    """Text that YAML reads as it is, whatever is in it."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
