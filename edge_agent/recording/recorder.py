"""Makes a recording of a device: notes what it answers or publishes, on the line that its driver uses.

A device may take one client only, a serial bus one master: so a recording opens no line of its own. A driver
that knows nothing of the device yet meets it anew, so that what is read only once is in the recording too;
after that a running agent's own polls are heard, and nothing more is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge_agent import __version__
from edge_agent.codec.frames import Question, Refusal, Words
from edge_agent.codec.read_plan import Block
from edge_agent.devices import Devices
from edge_agent.model.clock import Clock, utc_text
from edge_agent.model.errors import DeviceError
from edge_agent.model.measurements import Reading, Role, Sample
from edge_agent.profiles.document import checked
from edge_agent.profiles.library import DeviceProfile, fill_parameters, library_folder
from edge_agent.profiles.meaning import meanings, measurements
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.recording.file import ChangeSection, MessageSection, RecordingSection, Tables, runs_of, setup_of, value_text

if TYPE_CHECKING:
    from edge_agent.drivers.mqtt_hub import Arrival

MOST_CHANGES = 20_000  # words; with as many messages as below about a megabyte of text
MOST_MESSAGES = 5_000
_SAME_ROUND_S = 1.0  # changes within this time of the first stand together
_STEP_S = 0.1

Place = tuple[int, str]  # unit and table
WordsByPlace = dict[Place, dict[int, int]]


@dataclass(frozen=True)
class Recorded:
    """A finished recording, and what its file says in comments."""

    section: RecordingSection
    head: list[str]
    refused: list[str]

    def to_json(self) -> dict[str, Any]:
        """For the agent's socket."""
        return {"recording": asdict(self.section), "head": self.head, "refused": self.refused}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recorded:
        """From the agent's socket."""
        return cls(checked(data["recording"], RecordingSection), data["head"], data["refused"])


class Recorder(Protocol):
    """Notes what one device says, from `begin` to `close`."""

    remarks: list[str]  # what the recording leaves out
    refused: dict[str, None]  # what the device does not give

    @property
    def serial(self) -> str:
        """The device's serial number, empty when it is not known."""

    async def begin(self) -> None:
        """Meets the device. Raises DeviceError when it cannot be read."""

    async def poll(self) -> None:
        """Asks the device, where it wants to be asked."""

    async def sample(self) -> Sample:
        """What the recording reads as."""

    def add_to(self, section: RecordingSection) -> RecordingSection:
        """The recording with what was heard."""

    def mask(self, section: RecordingSection) -> RecordingSection:
        """The recording without the serial number."""

    async def close(self) -> None:
        """Lets go of the device; the line stays the others'."""


class RegisterRecorder:
    """A Modbus device: the registers at the beginning, and what changed after it."""

    def __init__(self, devices: Devices, setup: DeviceSetup, clock: Clock) -> None:
        self.remarks: list[str] = []
        self.refused: dict[str, None] = {}
        self._setup = setup
        self._clock = clock
        self._units = _units(setup)
        self._link = devices.link(setup)
        self._driver = devices.modbus_driver(setup)
        self._first: Sample | None = None
        self._began = 0.0
        self._words: WordsByPlace = {}
        self._latest: WordsByPlace = {}
        self._changes: list[tuple[float, WordsByPlace]] = []
        self._changed = 0
        self._link.listeners.append(self.hear)

    @property
    def serial(self) -> str:
        return self._driver.serial

    async def begin(self) -> None:
        self._first = _readable(await self._driver.read())
        self._began = self._clock.monotonic()

    async def poll(self) -> None:
        await self._driver.read()

    async def sample(self) -> Sample:
        assert self._first is not None, "begin comes first"
        return self._first

    def hear(self, question: Question, answer: Words | Refusal) -> None:
        """One answer on the line, of whichever device."""
        if question.unit not in self._units:
            return
        if isinstance(answer, Refusal):
            last = f"-{question.address + question.count - 1}" if question.count > 1 else ""
            self.refused[f"unit {question.unit} {question.table} {question.address}{last}: exception {answer.code}"] = None
            return
        place = (question.unit, question.table)
        before = self._latest.setdefault(place, {})
        words = {address: int(word) for address, word in enumerate(answer, question.address)}
        new = {address: word for address, word in words.items() if self._first is None or address not in before}
        self._words.setdefault(place, {}).update(new)
        self._note_changes(place, {address: word for address, word in words.items() if address not in new and before[address] != word})
        before.update(words)

    def _note_changes(self, place: Place, words: dict[int, int]) -> None:
        self._changed += len(words)
        if not words or self._changed > MOST_CHANGES:
            self.remarks = ["It changed more than a recording holds; what came later is left out."] if words else self.remarks
            return
        after = self._clock.monotonic() - self._began
        if not self._changes or after - self._changes[-1][0] > _SAME_ROUND_S:
            self._changes.append((after, {}))
        self._changes[-1][1].setdefault(place, {}).update(words)

    def add_to(self, section: RecordingSection) -> RecordingSection:
        changes = [ChangeSection(after=round(after, 1), registers=_by_unit(words)) for after, words in self._changes]
        return replace(section, registers=_by_unit(self._words), changes=changes)

    def mask(self, section: RecordingSection) -> RecordingSection:
        from edge_agent.drivers.modbus_plan import Poll

        point = self._setup.profile.spec.identity or ""
        register = self._driver.register(point)
        assert register is not None, "the serial number was read"
        for words in (self._words, *(words for _, words in self._changes)):
            noted = words.get((register.unit, register.table), {})
            noted.update(dict.fromkeys(noted.keys() & set(register.addresses), 0))
        span, zeros = register.span, (0,) * register.span.count
        masked: dict[str, Reading] = {}
        Poll(Block(span.unit, span.table, span.address, span.count, (span,)), [register]).readings(zeros, self._began, masked)
        expected = {**section.expected, point: value_text(masked[point])}
        return replace(self.add_to(section), expected=expected)

    async def close(self) -> None:
        self._link.listeners.remove(self.hear)
        await self._driver.close()


class MessageRecorder:
    """An MQTT device: all messages on its topics."""

    def __init__(self, devices: Devices, setup: DeviceSetup, clock: Clock) -> None:
        self.remarks: list[str] = []
        self.refused: dict[str, None] = {}
        self._clock = clock
        self._began = clock.monotonic()
        self._hub = devices.hub
        self._driver = devices.mqtt_driver(setup)
        self._messages: list[MessageSection] = []
        self._retained: set[tuple[str, bytes]] = set()
        for topics in self._driver.filters:
            self._hub.subscribe(topics, setup.profile.spec.mqtt.qos, self.hear)

    @property
    def serial(self) -> str:
        return self._driver.serial

    async def begin(self) -> None:
        """An MQTT device speaks when it likes."""

    async def poll(self) -> None:
        """An MQTT device is not asked, except for what its driver publishes anyway."""

    async def sample(self) -> Sample:
        sample = _readable(await self._driver.read())
        if not self._messages:
            listening = ", ".join(topics.text for topics in self._driver.filters[:3])
            raise DeviceError(f"{sample.device_id}: nothing was heard on {listening} ...; check topic:, or record for longer")
        return sample

    def hear(self, arrival: Arrival) -> None:
        """One message. The broker gives a retained one to each who subscribes: it is noted once."""
        if arrival.retained and (arrival.topic, arrival.payload) in self._retained:
            return
        if arrival.retained:
            self._retained.add((arrival.topic, arrival.payload))
        if len(self._messages) >= MOST_MESSAGES:
            self.remarks = ["It said more than a recording holds; what came later is left out."]
            return
        text = arrival.payload.decode(errors="replace") if len(arrival.payload) == arrival.length else "\ufffd"
        if "\ufffd" in text:
            self.remarks = [f"Messages that are no text, or too long, are left out (on {arrival.topic})."]
            return
        after = 0.0 if arrival.retained else max(0.0, round(arrival.monotonic - self._began, 1))
        topic, payload = (part.replace(self._driver.reply, "{reply}") for part in (arrival.topic, text))
        self._messages.append(MessageSection(topic=topic, payload=payload, retained=arrival.retained, after=after))

    def add_to(self, section: RecordingSection) -> RecordingSection:
        return replace(section, messages=self._messages)

    def mask(self, section: RecordingSection) -> RecordingSection:
        """The stand-in has as many digits, so that it is a number where the serial number was one."""
        serial, stand_in = self.serial, "1" * len(self.serial)

        def masked(text: str) -> str:
            return text.replace(serial, stand_in)

        messages = [replace(one, topic=masked(one.topic), payload=masked(one.payload)) for one in section.messages]
        expected = {name: masked(value) if value else value for name, value in section.expected.items()}
        parameters = {name: masked(value) for name, value in section.parameters.items()}
        return replace(section, messages=messages, expected=expected, parameters=parameters, topic=masked(section.topic))

    async def close(self) -> None:
        self._hub.unsubscribe(self.hear)
        await self._driver.close()


def recorder_of(devices: Devices, setup: DeviceSetup, clock: Clock) -> Recorder:
    """The recorder of a device; it listens from now on."""
    return RegisterRecorder(devices, setup, clock) if setup.connection else MessageRecorder(devices, setup, clock)


async def listen(recorder: Recorder, clock: Clock, seconds: float, ask_every_s: float | None, stop: asyncio.Event) -> None:
    """Lets the recorder hear for so many seconds, or until `stop`; asks the device itself where no agent does."""
    now = clock.monotonic()
    until, due = now + seconds, now + (ask_every_s or 0.0)
    while not stop.is_set() and now < until:
        if ask_every_s is not None and now >= due:
            await recorder.poll()
            due += ask_every_s
        await clock.sleep(min(_STEP_S, until - now))
        now = clock.monotonic()


async def finished(recorder: Recorder, setup: DeviceSetup, clock: Clock, seconds: float, anonymous: bool) -> Recorded:
    """The recording of so many seconds. Raises DeviceError when the device said nothing."""
    section = replace(recorder.add_to(_described(setup, await recorder.sample())), ends=round(seconds, 1))
    head = [f"Recorded by edge-agent {__version__} at {utc_text(clock.now())}.", *recorder.remarks]
    point, known = setup.profile.spec.identity, recorder.serial
    if known and anonymous:
        section = recorder.mask(section)
        head.append(f"The device's serial number ({point}) was taken out.")
    elif known:
        head.append(f"The device's serial number stands in it ({point}); edge-agent record --anonymous takes it out.")
    elif anonymous:
        head.append("No serial number was taken out: the device named none that its profile knows of. Look whether one stands in it.")
    return Recorded(section, head, list(recorder.refused))


async def record_alone(devices: Devices, setup: DeviceSetup, clock: Clock, seconds: float, anonymous: bool, stop: asyncio.Event) -> Recorded:
    """A whole recording when no agent runs."""
    recorder = recorder_of(devices, setup, clock)
    began = clock.monotonic()
    try:
        await recorder.begin()
        await listen(recorder, clock, seconds, setup.poll_interval_s, stop)
        return await finished(recorder, setup, clock, clock.monotonic() - began, anonymous)
    finally:
        await recorder.close()


def _readable(sample: Sample) -> Sample:
    if sample.error:
        raise DeviceError(sample.error)
    return sample


def _units(setup: DeviceSetup) -> frozenset[int]:
    """The units that a device's points are read from."""
    named = {point.unit_id for point in setup.profile.spec.points.values() if point.unit_id}
    return frozenset({setup.unit, *(int(fill_parameters(text, setup.parameters)) for text in named)})


def _by_unit(words: WordsByPlace) -> dict[int, Tables]:
    units: dict[int, Any] = {}
    for unit, table in sorted(words):
        units.setdefault(unit, {})[table] = runs_of(words[unit, table])
    return units


def _described(setup: DeviceSetup, sample: Sample) -> RecordingSection:
    """Who the device is, and what it reads as without the turns of this house's site file."""
    spec, file = setup.profile.spec, Path(setup.profile.file).resolve()
    defaults = {name: one.default for name, one in spec.parameters.items()}
    section = RecordingSection(
        profile=setup.profile.name if file.parent == library_folder().resolve() else str(file),
        origin="device",
        role=setup.role if not isinstance(spec.role, Role) else None,
        unit=setup.unit if setup.connection and setup.unit != spec.modbus.unit else None,
        transport=setup.connection.scheme if setup.connection else "tcp",  # type: ignore[arg-type]  # one of the three: it was parsed
        topic=setup.topic,
        variant=setup.profile.variant or None,
        parameters={name: value for name, value in setup.parameters.items() if name in defaults and value != defaults[name]},
    )
    return _reading_as(section, setup.profile, sample)


def _reading_as(section: RecordingSection, profile: DeviceProfile, sample: Sample) -> RecordingSection:
    plain = setup_of(section, profile)
    rows = meanings(plain)
    values = measurements(rows, sample)
    means = {plain.profile.spec.points[row.point].is_: value_text(values[row.meter_point_id][row.quantity]) for row in rows}
    return replace(section, expected={name: value_text(reading) for name, reading in sample.readings.items()}, means=means)


def summary(recorded: Recorded, name: str) -> Iterable[str]:
    """What a recording holds, for the terminal."""
    section = recorded.section
    words = sum(len(text.split()) for tables in section.registers.values() for runs in tables.values() for text in runs.values())
    changes = sum(
        len(text.split()) for one in section.changes for tables in one.registers.values() for runs in tables.values() for text in runs.values()
    )
    heard = f"{words} registers, {changes} changes" if words else f"{len(section.messages)} messages"
    yield f"{name}: {heard} in {section.ends:g} s, {sum(value is not None for value in section.expected.values())} points with a value"
    yield from recorded.head[1:]
