"""A device in one small text file: the registers or messages it gave, and what they must read as.

Recordings are what `tests/recordings/` holds every profile against. A recording made from a vendor's documents
instead of a device says so in `origin`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from edge_agent.codec.human import Duration, Integer
from edge_agent.model.errors import ConfigError
from edge_agent.model.measurements import Role
from edge_agent.profiles.document import Section, read_document, validate
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.setup import Connection, DeviceSetup

Tables = dict[Literal["holding", "input", "coil", "discrete"], dict[Integer, str]]


class MessageSection(Section):
    """One MQTT message, `after` that much time since the recording began."""

    topic: str
    payload: str = ""
    retained: bool = False
    after: Duration = 0.0


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
    parameters: dict[str, str] = {}
    registers: dict[Integer, Tables] = {}
    messages: list[MessageSection] = []
    expected: dict[str, str | None] = Field(default={})  # point -> `7200 W`, `ready`, `on`; ~ for a point without a value
    means: dict[str, str | None] = {}  # `power_w` or `battery.power_w` -> the quantity's value, sign and all

    def words(self, unit: int, table: str) -> dict[int, list[int]]:
        """A unit's registers of one table: first address -> words. Raises ValueError for a word that is no number of 16 bits."""
        runs = self.registers.get(unit, {}).get(table, {})  # type: ignore[call-overload]  # a table's name
        return {address: [_word(word) for word in text.split()] for address, text in runs.items()}


def _word(text: str) -> int:
    number = int(text, 0)
    if not 0 <= number <= 0xFFFF:
        raise ValueError(f"{text} is no register of 16 bits")
    return number


def read_recording(path: Path) -> RecordingSection:
    """Reads a recording. Raises ConfigError with every mistake and its line."""
    document = read_document(path)
    recording = validate(document, RecordingSection)
    problems = []
    for unit, tables in recording.registers.items():
        for table in tables:
            try:
                recording.words(unit, table)
            except ValueError as error:
                problems.append(document.problem(("registers", str(unit), table), f"registers.{unit}.{table}: {error}", "write words as 0x0123"))
    if problems:
        raise ConfigError(problems)
    return recording


def recorded_setup(recording: RecordingSection, connection: Connection | None = None) -> DeviceSetup:
    """The device of a recording as a site file would describe it. Raises ConfigError for an unknown profile."""
    profile = load_profile(recording.profile)
    if recording.variant is not None:
        profile = profile.in_variant(recording.variant)
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
