"""One device over MQTT: keeps what it said last, and says honestly how long that is true.

A message tells a value at one moment. Until when it holds depends on the device:

- a value that is published at intervals grows old and is stale after a time that the profile gives;
- a value that is published when it changes holds for as long as the device is known to live: by its
  availability topic, by a heartbeat, or by anything it says. Such a reading is dated at the latest proof
  of life;
- a copy that the broker retained has an unknown age and is no present value, unless it is of the second
  kind and the device lives;
- a message that carries its own date is dated by it, retained or not.

A message without a point's key leaves that point as it was; a message that cannot be read makes the point
absent, with the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_agent.codec.payloads import MISSING, Path, Payload, compile_path, find, parse_payload
from edge_agent.codec.topics import TopicFilter, topic_filter
from edge_agent.codec.values import Raw, key_of
from edge_agent.drivers import BadAddress
from edge_agent.drivers.mqtt_hub import Arrival, MqttHub
from edge_agent.model.clock import Clock
from edge_agent.model.measurements import Quality, Reading, Role, Sample
from edge_agent.profiles.derive import add_derived, directed
from edge_agent.profiles.library import fill_parameters
from edge_agent.profiles.messages import PayloadRow, payload_rows, position_of, read_payload
from edge_agent.profiles.profile import AvailabilitySpec, DirectionFrom, PublishSpec
from edge_agent.profiles.setup import DeviceSetup

logger = logging.getLogger(__name__)

_CLOCK_STEP_S = 2.0  # the system's clock was set when it moved this much more than the monotonic one
_MAX_TOPICS = 1000  # topics of one device whose readers are remembered


@dataclass(frozen=True, slots=True)
class _Held:
    """What was said last about a point."""

    reading: Reading  # `at` is when it arrived, or the date in the payload
    raw: Raw
    heard: float  # monotonic
    retained: bool
    self_dated: bool


class _Availability:
    """One topic that says whether the device lives, and what it said last."""

    def __init__(self, spec: AvailabilitySpec, parameters: dict[str, str]) -> None:
        self.filter = topic_filter(spec.topic, parameters)
        self.within = spec.within
        self.word: str | None = None  # None: not heard since connecting
        self.tick: float | None = None  # monotonic; the last live message
        self._paths: tuple[Path, ...] = tuple(compile_path(fill_parameters(path, parameters)) for path in spec.path)
        self._online = frozenset(spec.online)
        self._offline = frozenset(spec.offline)

    def hear(self, payload: Payload, arrival: Arrival) -> None:
        if not arrival.retained:
            self.tick = arrival.monotonic
        for path in self._paths:
            found = find(path, payload.data)
            if found is not MISSING and isinstance(found, bool | int | float | str):
                self.word = key_of(found)
                return

    @property
    def speaks(self) -> bool:
        """True when it tells by words, not only by ticking."""
        return bool(self._online or self._offline)

    @property
    def says_offline(self) -> bool:
        if self.word is None:
            return False
        return self.word in self._offline or (not self._offline and bool(self._online) and self.word not in self._online)

    @property
    def says_online(self) -> bool:
        if self.word is None:
            return False
        return self.word in self._online or (not self._online and self.word not in self._offline)


class MqttDriver:
    """Implements `Driver` for one device on the hub's broker; subscribes when it is made, in a running loop.

    `known_serial` is the serial number that this device had before: another one is refused.
    """

    def __init__(self, setup: DeviceSetup, hub: MqttHub, clock: Clock, known_serial: str = "") -> None:
        self._setup = setup
        self._spec = setup.profile.spec
        self._hub = hub
        self._clock = clock
        self.bad_addresses: Sequence[BadAddress] = ()  # over MQTT nothing is addressed
        self._wanted_serial = setup.serial or known_serial
        self._parameters = _parameters(setup, hub.client_id)
        self._rows = payload_rows(setup, self._parameters)
        self._availability = [_Availability(spec, self._parameters) for spec in self._spec.mqtt.availability]
        self._held: dict[str, _Held] = {}
        self._positions: dict[str, int | None] = {}  # of `[*]` rows
        self._lists: dict[str, Arrival] = {}  # the last message of such a row, until its position is known
        self._readers: dict[str, tuple[PayloadRow, ...]] = {}
        self._captured: dict[str, str] = {}
        self._others: dict[str, set[str]] = {}  # what else a wildcard stood for
        self._since = clock.monotonic()  # of listening: the start, then the latest connection
        self._heard: float | None = None  # monotonic; the last live message of the device itself
        self._heard_retained = False
        self._gone = False
        self._requests: list[asyncio.Task[None]] = []
        self._subscribe()

    @property
    def serial(self) -> str:
        """The serial number that the device reports, empty while unknown."""
        held = self._held.get(self._spec.identity or "")
        return held.reading.value if held and isinstance(held.reading.value, str) else ""

    @property
    def roles(self) -> frozenset[Role] | None:
        """None: over MQTT the profile alone tells."""
        return None

    @property
    def filters(self) -> list[TopicFilter]:
        """All that the device is listened to on, each once."""
        filters = [topics for row in self._rows for topics in (*row.filters, *([row.index_topic] if row.index_topic else []))]
        return list({topics.text: topics for topics in [*filters, *(one.filter for one in self._availability)]}.values())

    @property
    def reply(self) -> str:
        """The name under which the device answers to us."""
        return self._parameters["reply"]

    async def read(self) -> Sample:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        wrong = self._identity_error()
        error = wrong or self._error(monotonic)
        self._report(error)
        if wrong:
            return Sample(self._setup.id, now, {}, wrong, 0.0, monotonic, self._clock.boot_id)
        proof = self._proof_of_life(monotonic)
        readings = {row.name: self._current(row, now, monotonic, proof, error) for row in self._rows}
        self._add_directions(readings)
        add_derived(self._spec, readings, now)
        return Sample(self._setup.id, now, readings, error, 0.0, monotonic, self._clock.boot_id)

    async def close(self) -> None:
        self._hub.unsubscribe(self._on_message)
        self._hub.unwatch(self._on_connection)
        for task in self._requests:
            task.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)

    # hearing

    def _subscribe(self) -> None:
        for topics in self.filters:
            self._hub.subscribe(topics, self._spec.mqtt.qos, self._on_message)
        self._hub.watch(self._on_connection)

    def _on_connection(self, connected: bool) -> None:
        for task in self._requests:
            task.cancel()
        self._requests = []
        if connected:
            self._since = self._clock.monotonic()
            self._requests = [asyncio.ensure_future(self._ask(request)) for request in self._spec.mqtt.requests]
            return
        for availability in self._availability:
            availability.word = None  # a last will may pass unheard; what is retained comes again

    async def _ask(self, request: PublishSpec) -> None:
        topic = fill_parameters(request.topic, self._parameters)
        first = request.payload if request.first_payload is None else request.first_payload
        self._hub.publish(topic, fill_parameters(first, self._parameters))
        while request.every:
            await self._clock.sleep(request.every)
            self._hub.publish(topic, fill_parameters(request.payload, self._parameters))

    def _on_message(self, arrival: Arrival) -> None:
        self._note_captures(arrival.topic)
        payload = parse_payload(arrival.payload, arrival.length)
        rows = self._rows_for(arrival.topic)
        own = bool(rows)
        for availability in self._availability:
            if availability.filter.captures(arrival.topic) is not None:
                availability.hear(payload, arrival)
                own = own or availability.within is not None  # a word may be the broker's or a bridge's, a tick is the device's
        if own and arrival.retained:
            self._heard_retained = True
        elif own:
            self._heard = arrival.monotonic
        for row in rows:
            if row.index_topic and row.index_topic.captures(arrival.topic) is not None:
                self._hear_positions(row, payload)
            else:
                self._hear(row, payload, arrival)

    def _rows_for(self, topic: str) -> tuple[PayloadRow, ...]:
        rows = self._readers.get(topic)
        if rows is None:
            if len(self._readers) >= _MAX_TOPICS:
                self._readers.clear()
            rows = tuple(row for row in self._rows if any(one.captures(topic) is not None for one in (*row.filters, row.index_topic) if one))
            self._readers[topic] = rows
        return rows

    def _note_captures(self, topic: str) -> None:
        """A `+` stands for one device's name; a second one means that several devices speak there."""
        if topic in self._readers:
            return
        for topics in self.filters:
            for name, value in (topics.captures(topic) or {}).items():
                if self._captured.setdefault(name, value) != value:
                    self._others.setdefault(name, set()).add(value)

    def _hear_positions(self, row: PayloadRow, payload: Payload) -> None:
        self._positions[row.name] = position_of(row, payload)
        if waiting := self._lists.pop(row.name, None):
            self._hear(row, parse_payload(waiting.payload, waiting.length), waiting)

    def _hear(self, row: PayloadRow, payload: Payload, arrival: Arrival) -> None:
        position = self._positions.get(row.name)
        if row.index_topic and position is None:
            self._lists[row.name] = arrival
            return
        reported = read_payload(row, payload, arrival.at, position)
        if reported is None:
            return
        held = self._held.get(row.name)
        if held and arrival.retained and not held.retained and held.reading.raw == reported.reading.raw:
            return  # the broker repeats what was heard live: that is better dated
        if held and reported.self_dated and held.self_dated and reported.reading.at < held.reading.at:
            return  # an older record that was buffered somewhere
        self._held[row.name] = _Held(reported.reading, reported.raw, arrival.monotonic, arrival.retained, reported.self_dated)

    # telling

    def _current(self, row: PayloadRow, now: float, monotonic: float, proof: float | None, error: str) -> Reading:
        """The row's reading as it is true now, or absent with the reason."""
        held = self._held.get(row.name)
        if held is None:
            return self._never_heard(row, now, monotonic)
        heard_ago = monotonic - held.heard
        at = held.reading.at
        if not held.self_dated and abs(now - at - heard_ago) > _CLOCK_STEP_S:
            at = now - heard_ago  # the clock was set since: date by what has passed
        if row.lasting:
            return replace(held.reading, at=at)
        if row.on_change and proof is not None:
            return replace(held.reading, at=max(at, now - (monotonic - proof)))
        if held.retained and not held.self_dated:
            return _stale(held.reading, at, "retained by the broker, age unknown")
        if row.on_change and error:
            return _stale(held.reading, at, error)
        age = now - at if held.self_dated else heard_ago
        if age > row.stale_after_s:
            return _stale(held.reading, at, f"{age:.0f} s old, more than {row.stale_after_s:g} s")
        return replace(held.reading, at=at)

    def _never_heard(self, row: PayloadRow, now: float, monotonic: float) -> Reading:
        """Waits for a while before it says that the device does not have this value: another may be taken then."""
        waiting = monotonic - self._since < self._offline_after
        quality = Quality.ERROR if waiting else Quality.NOT_AVAILABLE
        topics = " or ".join(topics.text for topics in row.filters)
        return Reading(None, row.rule.unit, quality, now, f"nothing heard {'yet ' if waiting else ''}on {topics}")

    def _add_directions(self, readings: dict[str, Reading]) -> None:
        for name, point in self._spec.points.items():
            if isinstance(point.positive, DirectionFrom) and name in readings:
                readings[name] = directed(point, readings[name], self._flag(point.positive.by, readings))

    def _flag(self, name: str, readings: dict[str, Reading]) -> Reading | None:
        """Another point's raw number as a reading; without a value where that point is stale or no number."""
        held, reading = self._held.get(name), readings.get(name)
        if held is None or reading is None:
            return reading
        usable = reading.quality not in (Quality.STALE, Quality.ERROR) and isinstance(held.raw, bool | int | float)
        return replace(reading, value=float(held.raw) if usable and held.raw is not None else None)

    @property
    def _offline_after(self) -> float:
        """Seconds of silence after which the device counts as not reached."""
        return self._spec.offline_after or max(60.0, 2 * self._spec.mqtt.stale_after)

    def _proof_of_life(self, monotonic: float) -> float | None:
        """The latest moment (monotonic) at which the device is known to have lived; None when it is not known."""
        proofs = [self._proof(one, monotonic) for one in self._availability] or [self._recently_heard(monotonic)]
        known = [proof for proof in proofs if proof is not None]
        return min(known) if len(known) == len(proofs) else None

    def _proof(self, one: _Availability, monotonic: float) -> float | None:
        ticked = one.tick is not None and (one.within is None or monotonic - one.tick <= one.within)
        if one.within is not None and not ticked:
            return None
        if not one.speaks:
            return one.tick
        if one.word is None:  # some devices do not retain it: then anything they say shows that they live
            return self._recently_heard(monotonic)
        if one.says_online and self._hub.connected:
            return one.tick if one.within is not None else monotonic
        return None

    def _recently_heard(self, monotonic: float) -> float | None:
        return self._heard if self._heard is not None and monotonic - self._heard <= self._spec.mqtt.stale_after else None

    # errors

    def _report(self, error: str) -> None:
        """One line when the device goes and one when it is back; a lost broker is the hub's line."""
        if error and not self._gone and self._hub.connected:
            self._gone = True
            logger.warning("%s", error)
        elif not error and self._gone:
            self._gone = False
            logger.info("%s: speaks again", self._setup.id)

    def _identity_error(self) -> str:
        found = self.serial
        if self._wanted_serial and found and found != self._wanted_serial:
            where = self._setup.topic or self._listening
            return f"{self._setup.id}: another device answers on {where}: serial {found}, not {self._wanted_serial}; check topic: or correct serial:"
        for name, others in self._others.items():
            names = ", ".join(sorted({self._captured[name], *others})[:5])
            return f"{self._setup.id}: several devices speak on {self._listening} ({names}); name one in the site file"
        return ""

    def _error(self, monotonic: float) -> str:
        """Why the device counts as not reached now; empty when it is."""
        if not self._hub.connected and self._hub.last_error:
            return f"{self._setup.id}: {self._hub.last_error}"
        for one in self._availability:
            if one.says_offline:
                return f"{self._setup.id}: {one.filter.text} says {one.word!r}"
        silent = monotonic - max(self._since, self._heard or 0.0)
        if self._heard is None and silent > self._offline_after:
            return self._never_spoken(silent)
        for one in self._availability:
            ago = monotonic - max(self._since, one.tick or 0.0)
            if one.within is not None and ago > one.within and self._heard is not None:
                return f"{self._setup.id}: {one.filter.text} is silent for {ago:.0f} s (it should speak within {one.within:g} s)"
        if not self._availability and silent > self._offline_after:
            return f"{self._setup.id}: silent for {silent:.0f} s on {self._listening}"
        return ""

    def _never_spoken(self, silent: float) -> str:
        if any(one.says_online for one in self._availability):
            return ""
        if self._heard_retained:
            return f"{self._setup.id}: nothing but retained copies on {self._listening} since start ({silent:.0f} s); is the device on?"
        hint = "check topic: and that MQTT is enabled on the device"
        return f"{self._setup.id}: nothing heard on {self._listening} since start ({silent:.0f} s); {hint}"

    @property
    def _listening(self) -> str:
        """The device's topics in short: `go-eCharger/222819/#`, or the first of them."""
        texts = [topics.text for topics in self.filters]
        first, last = min(texts).split("/"), max(texts).split("/")
        common = 0
        while common < min(len(first), len(last)) and first[common] == last[common]:
            common += 1
        if common > (1 if first[0] == "" else 0) and len(texts) > 1:
            return "/".join([*first[:common], "#"])
        return texts[0] + (", ..." if len(texts) > 1 else "")


def _parameters(setup: DeviceSetup, client_id: str) -> dict[str, str]:
    """What `{...}` stands for: the site file's topic and parameters (which may hold `{topic}`), and our reply topic."""
    own = {name: value.replace("{topic}", setup.topic) for name, value in setup.parameters.items() if name != "topic"}
    return {"topic": setup.topic, "reply": f"{client_id}-{setup.id}", **own}


def _stale(reading: Reading, at: float, reason: str) -> Reading:
    if reading.value is None:
        return replace(reading, at=at)
    return replace(reading, value=None, quality=Quality.STALE, at=at, reason=reason)
