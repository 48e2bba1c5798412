"""What a device profile may say: the schema of `device_profiles/*.yaml`.

A profile is data: one flat table with a row per point, each saying where the value is read (a register,
a topic, or other points), how it is encoded and in which unit, which direction its plus sign means, and
what it `is` for the house (`battery.power_w`). Everything a device's manual calls a quirk has a field
here; nothing here is logic. `profiles/library.py` finds, extends and checks the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from edge_agent.codec.human import Checked, Duration, Integer
from edge_agent.codec.payloads import compile_path
from edge_agent.codec.topics import topic_mistake
from edge_agent.model.measurements import CounterKind, Quantity, Role
from edge_agent.profiles.document import OneOrMore, Section

Order = Literal["big", "little"]
Kind = Literal[
    "meter", "inverter", "hybrid", "battery", "charger", "heat_pump", "water_heater", "plug", "switch", "thermostat", "car", "gateway", "protocol"
]

_ENCODINGS = r"|[us](8|16|32|64)|f(32|64)|string\(\d+\)|bcd(16|32)|text"

_MEANING = r"^(|[a-z_]+(\.[a-z_]+)?)$"

# Unit as written in a profile -> the agent's unit and the factor to it.
UNITS: dict[str, tuple[str, float]] = {
    "": ("", 1), "mW": ("W", 0.001), "W": ("W", 1), "kW": ("W", 1e3), "MW": ("W", 1e6),
    "mWh": ("Wh", 0.001), "Wh": ("Wh", 1), "kWh": ("Wh", 1e3), "MWh": ("Wh", 1e6), "J": ("Wh", 1 / 3600), "Ws": ("Wh", 1 / 3600),
    "VA": ("VA", 1), "kVA": ("VA", 1e3), "var": ("var", 1), "kvar": ("var", 1e3), "VAh": ("VAh", 1), "varh": ("varh", 1),
    "mV": ("V", 0.001), "V": ("V", 1), "mA": ("A", 0.001), "A": ("A", 1), "Ah": ("Ah", 1), "Hz": ("Hz", 1), "mHz": ("Hz", 0.001),
    "%": ("%", 1), "°C": ("°C", 1), "C": ("°C", 1), "K": ("K", 1), "s": ("s", 1), "min": ("s", 60), "h": ("s", 3600),
    "l/h": ("l/h", 1), "l/min": ("l/h", 60), "bar": ("bar", 1), "rpm": ("rpm", 1),
}  # fmt: skip


class Direction(StrEnum):
    """What a positive raw value means; the agent turns it to the sign of the quantity."""

    IMPORT = "import"
    CHARGING = "charging"
    CONSUMPTION = "consumption"
    EXPORT = "export"
    DISCHARGING = "discharging"
    GENERATION = "generation"

    @property
    def into_the_point(self) -> bool:
        """True for import, charging, consumption: the directions in which `power_w` is positive."""
        return self in (Direction.IMPORT, Direction.CHARGING, Direction.CONSUMPTION)


def _payload_path(text: str) -> str:
    compile_path(text)
    return text


def _topic(text: str) -> str:
    """A topic as profiles write it: with `{parameters}`, which stand for whole or partial levels."""
    if mistake := topic_mistake(text):
        raise ValueError(mistake)
    return text


def _encoding(text: str) -> str:
    if not re.fullmatch(_ENCODINGS, text):
        raise ValueError(f"unknown encoding {text!r}: write u16, s16, u32, s32, f32, u64, string(8) for 8 registers, or bcd16")
    return text


PayloadPath = Annotated[str, Checked(_payload_path)]
Topic = Annotated[str, Checked(_topic)]
Encoding = Annotated[str, Checked(_encoding, {"type": "string", "pattern": f"^({_ENCODINGS})$"})]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionFrom(Section):
    """A magnitude whose direction stands in another point: in its bits, or as its raw value."""

    by: str
    bits: dict[Integer, Direction] = field(default_factory=dict)
    values: dict[Integer, Direction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SunSpecField(Section):
    """A point of a SunSpec model. Of several models the first that the device has is taken."""

    models: list[Integer]
    point: str
    module: Integer | None = None  # of a repeating block (model 160, 714), counted from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfDated(Section):
    """The payload says itself when a value was true: `format` is epoch_s, epoch_ms or iso (with its offset)."""

    path: PayloadPath
    format: Literal["epoch_s", "epoch_ms", "iso"] = "iso"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBy(Section):
    """Where `[*]` in a path points: the position at which the list on another topic has a value."""

    topic: Topic
    equals: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSpec(Section):
    """One row of the table: one value that the device offers."""

    # where it is read: one of these
    holding: OneOrMore[Integer] | None = None  # a list: the words' own addresses, most significant first
    input: OneOrMore[Integer] | None = None
    coil: Integer | None = None
    discrete: Integer | None = None
    sunspec: SunSpecField | None = None
    topic: OneOrMore[Topic] | None = None  # several: whichever speaks
    sum: list[str] | None = None  # other points; `-name` subtracts, `name?` may be not available
    first: list[str] | None = None  # the first of these points that has a value

    # registers
    as_: Encoding = field(default="", metadata={"alias": "as"})
    word_order: Order | None = None
    byte_order: Order | None = None
    unit_id: str | None = None  # another unit of the same connection; may be `{parameter}`
    shift: str | None = None  # the parameter whose stride moves the address (second connector, third heat pump)
    mask: Integer | None = None  # the bits that hold the value, shifted down
    scale_by: str | None = None  # the point that holds the exponent of ten, read in the same request
    once: bool = False  # read when connecting, not at every poll: serial numbers, ratings

    # payloads
    path: OneOrMore[PayloadPath] = field(default_factory=lambda: ["$"])  # several: the first that is there
    where: dict[PayloadPath, str] = field(default_factory=dict)  # only messages in which these paths read so
    array: Literal["", "sum", "mean"] = ""  # what to make of an array: a device with several phases gives one number for each
    split: str = ""  # the payload is text whose parts this separates: `$[0]` is the first
    index_by: IndexBy | None = None  # what `[*]` in the path stands for
    on_change: bool | None = None  # published when it changes: holds as long as the device is known to live
    stale_after: Duration | None = None
    dated: SelfDated | None = None

    # the value
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0  # added after scaling
    sentinel: OneOrMore[str] = field(default_factory=list)  # raw values that mean "not available" (NaN always does)
    valid: tuple[float, float] | None = None  # what is possible, in `unit`
    positive: Direction | DirectionFrom | None = None
    map: dict[str, str | None] = field(default_factory=dict)  # raw value -> word; ~ for "says nothing"
    bits: dict[Integer, str | None] = field(default_factory=dict)  # bit -> word; the first set bit in this order counts
    otherwise: str | None = None  # the word for what `map` or `bits` do not list

    # what it means
    is_: str = field(default="", metadata={"alias": "is", "pattern": _MEANING})  # `power_w`, or `battery.power_w` where there are several roles
    counts: CounterKind = CounterKind.LIFETIME
    one_source: bool = False  # only one source supports this row
    note: str = ""

    @property
    def role(self) -> str:
        """The role in `is`, empty when the device has only one."""
        return self.is_.partition(".")[0] if "." in self.is_ else ""

    @property
    def quantity(self) -> Quantity | None:
        """The quantity in `is`, None for a point that is only shown."""
        return Quantity(self.is_.rpartition(".")[2]) if self.is_ else None

    @property
    def registers(self) -> int:
        """How many registers the encoding takes (8-bit values stand in one register)."""
        if match := re.fullmatch(r"string\((\d+)\)", self.as_):
            return int(match[1])
        digits = re.sub(r"\D", "", self.as_)
        return max(1, int(digits) // 16) if digits else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSpec(Section):
    """Something that the site file may set: `{name}` in topics, paths and unit ids, or a step of addresses."""

    default: str | None = None  # None: the site file must give it
    stride: Integer | None = None  # registers from one instance to the next; the default is the one the table shows
    help: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialDefaults(Section):
    """What the device's serial port is set to when it leaves the factory."""

    baudrate: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: int = field(default=1, metadata={"ge": 1, "le": 2})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSpec(Section):
    """How the device wants to be asked."""

    port: int = 502
    unit: int = 1
    serial: SerialDefaults = SerialDefaults()
    word_order: Order = "big"
    byte_order: Order = "big"
    max_registers: int = field(default=100, metadata={"ge": 1, "le": 125})
    max_gap: int = field(default=0, metadata={"ge": 0})  # registers between two points that may be read along
    barriers: list[Integer] = field(default_factory=list)  # no request crosses from below such an address to it
    single_reads: bool = False  # each value in a request of its own
    pause: Duration = 0.0  # between two requests
    connect_pause: Duration = 0.0  # after connecting, before the first request
    timeout: Duration = 3.0
    close_after_poll: bool = False  # leaves the device's only connection to others
    bases: list[Integer] = field(default_factory=lambda: [40000, 50000, 0])  # where a SunSpec map may begin


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilitySpec(Section):
    """A topic that says whether the device lives: by words, or by ticking (`within`)."""

    topic: Topic
    path: OneOrMore[PayloadPath] = field(default_factory=lambda: ["$"])
    online: OneOrMore[str] = field(default_factory=list)
    offline: OneOrMore[str] = field(default_factory=list)
    within: Duration | None = None  # a heartbeat: any message not older than this


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishSpec(Section):
    """A request that the device needs in order to talk. Never a command."""

    topic: Topic
    payload: str = ""
    first_payload: str | None = None  # for the first one after connecting, where it differs
    every: Duration | None = None  # None: once after connecting


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSpec(Section):
    """How the device talks.

    `{topic}` in topics is the site file's `topic:`; `{reply}` is a name of our own, for devices that answer a
    request on a topic that the asker chooses.
    """

    topic: str | None = None  # the default for the site file's `topic:`
    qos: int = field(default=0, metadata={"ge": 0, "le": 2})
    stale_after: Duration = 60.0
    on_change: bool = False  # topics are published on change only (retained or not)
    availability: OneOrMore[AvailabilitySpec] = field(default_factory=list)  # all must say online
    requests: list[PublishSpec] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhenSpec(Section):
    """What tells that a variant applies: the connection, or what a register reads when connecting."""

    transport: OneOrMore[Literal["tcp", "rtu+tcp", "serial"]] | None = None
    point: str | None = None
    values: list[str] = field(default_factory=list)
    below: float | None = None
    from_: float | None = field(default=None, metadata={"alias": "from"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintSpec(Section):
    """A point by whose value a device is known: one of `values`, inside `between`, or (neither) any value at all."""

    point: str
    values: OneOrMore[str] = field(default_factory=list)  # as the point reads, words and text included
    between: tuple[float, float] | None = None  # in the point's unit


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSpec(Section):
    """Another firmware or model of the same map: what it changes, and how it is recognised."""

    help: str = ""
    when: WhenSpec | None = None  # None: only by the site file's `variant:`
    modbus: dict[str, Any] = field(default_factory=dict)
    mqtt: dict[str, Any] = field(default_factory=dict)
    points: dict[str, dict[str, Any] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSpec(Section):
    """A device profile as it stands in its file (after `extends` and the variant are merged in)."""

    vendor: str
    models: OneOrMore[str] = field(default_factory=list)
    kind: Kind
    transport: Literal["modbus", "mqtt"]
    role: Role | Literal["any"] | None = None  # `any`: the site file says it; None: the points name several
    extends: str | None = None
    setup: str = ""  # what the installer must do on the device
    notes: OneOrMore[str] = field(default_factory=list)
    sources: OneOrMore[str] = field(default_factory=list)
    confidence: Literal["two-sources", "mixed", "one-source"] = "one-source"
    identity: str | None = None  # the point with the serial number
    fingerprint: list[FingerprintSpec] = field(default_factory=list)  # all of these must hold for `scan` to name this profile
    offline_after: Duration | None = None
    parameters: dict[str, ParameterSpec] = field(default_factory=dict)
    modbus: ModbusSpec = ModbusSpec()
    mqtt: MqttSpec = MqttSpec()
    variants: dict[str, VariantSpec] = field(default_factory=dict)
    points: dict[str, PointSpec]
