"""What the agent measures: quantities with unit and sign, readings with quality, energies of intervals.

Signs are defined here once. A quantity ending in `power_w` counts what flows INTO the measuring
point from the house's wiring (a consumer's draw, a battery's charging, at the grid meter what comes
from the grid); `generation` and `ac_output` count what flows OUT of it. Energies carry the direction
in their name and never fall except by a reset. All conversion to these units happens in `codec/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Value = float | str | bool

# Decision: no household connection delivers more (3 x 125 A is 86 kW): a power beyond it is a fault in reading it,
# unless the device's profile says what is possible; a counter that rises faster is another counter.
MOST_W = 100_000.0


class Role(StrEnum):
    """Where in the house a measuring point sits: this decides what it adds to the house's totals."""

    GRID = "grid"  # at the connection to the grid: import and export of the whole house
    HOUSE = "house"  # the whole consumption of the house, measured directly
    PV = "pv"  # generation: an inverter (also a hybrid's), or a meter before one
    BATTERY = "battery"
    CHARGER = "charger"
    HEAT_PUMP = "heat_pump"
    WATER_HEATER = "water_heater"
    PLUG = "plug"
    SWITCH = "switch"
    THERMOSTAT = "thermostat"
    CAR = "car"
    CONSUMER = "consumer"  # any other sub-meter; like the roles above a part of the consumption


class Quantity(StrEnum):
    """What a value is. The unit is in the name; states and counts have their own vocabulary."""

    POWER_W = "power_w"  # into the point: import, charging, consumption are positive
    IMPORT_WH = "import_wh"  # counter: from the grid, charged, consumed
    EXPORT_WH = "export_wh"  # counter: to the grid, discharged
    GENERATION_W = "generation_w"  # PV power as the inverter itself counts it, positive = producing
    GENERATION_WH = "generation_wh"  # counter: PV energy as the inverter itself counts it
    AC_OUTPUT_W = "ac_output_w"  # an inverter's net AC power, positive = feeding the house
    AC_OUTPUT_WH = "ac_output_wh"  # counter: fed to the house's AC side
    AC_INPUT_WH = "ac_input_wh"  # counter: taken from the house's AC side (a hybrid charging from the grid)
    SOC_PERCENT = "soc_percent"
    TEMPERATURE_C = "temperature_c"
    WATER_TEMPERATURE_C = "water_temperature_c"
    STATUS = "status"  # a DeviceStatus word
    CHARGING_MODE = "charging_mode"  # a ChargingMode word
    SWITCH_ON = "switch_on"  # closed, on, plugged

    @property
    def is_counter(self) -> bool:
        """True for energies that only grow (or start again at 0)."""
        return self.value.endswith("_wh")

    @property
    def is_power(self) -> bool:
        """True for watts."""
        return self.value.endswith("_w")

    @property
    def is_state(self) -> bool:
        """True for words and flags, which are reported when they change."""
        return self in (Quantity.STATUS, Quantity.CHARGING_MODE, Quantity.SWITCH_ON)


class DeviceStatus(StrEnum):
    """The six states every device's own codes are mapped to."""

    OFFLINE = "offline"  # the agent cannot reach the device
    OFF = "off"
    READY = "ready"  # standby, waiting
    RUNNING = "running"  # producing, charging, heating
    WARNING = "warning"  # warning or derated
    FAULT = "fault"


class ChargingMode(StrEnum):
    """The modes a profile may map a device's own codes to; `cloud/vocabulary.py` numbers them."""

    ALWAYS = "always"
    SOLAR_ONLY = "solar_only"
    SOLAR_AND_TARIFF = "solar_and_tariff"
    NEVER = "never"
    CONSTANT_CURRENT = "constant_current"
    MINIMAL_AND_SOLAR = "minimal_and_solar"
    MINIMUM_QUANTITY = "minimum_quantity"
    TARGET = "target"
    PASSIVE = "passive"
    ACTIVE = "active"
    CHARGE = "charge"
    DISCHARGE = "discharge"
    NO_CONTROL = "no_control"


class CounterKind(StrEnum):
    """How a counter may fall: this decides what a lower value means."""

    LIFETIME = "lifetime"  # never falls; a fall is a replaced meter or a reset: a new baseline
    DAILY = "daily"  # falls to 0 each night
    SESSION = "session"  # falls to 0 when a session starts, or when someone resets it


class Quality(StrEnum):
    """Why a reading has a value, or has none."""

    OK = "ok"
    NOT_AVAILABLE = "not available"  # the device says so: a sentinel, NaN, null
    OUT_OF_RANGE = "out of range"  # beyond what the profile calls possible
    UNKNOWN = "unknown value"  # a code that the profile does not list
    STALE = "stale"  # too old to be called current
    ERROR = "communication error"  # no answer, a refused or garbled one


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one point at one time. `value` is None unless `quality` is OK; `reason` says why."""

    value: Value | None
    unit: str
    quality: Quality
    at: float  # UTC epoch seconds: when it was true, as far as known
    reason: str = ""
    raw: str | tuple[int, ...] = ""  # the registers or the payload it came from, for people

    @property
    def number(self) -> float | None:
        """The value as a number; None when absent or when it is a word."""
        return float(self.value) if isinstance(self.value, int | float) else None

    @property
    def raw_text(self) -> str:
        """Registers as `0x1234 0x5678`, a payload as it came."""
        return self.raw if isinstance(self.raw, str) else " ".join(f"0x{word:04X}" for word in self.raw)


@dataclass(frozen=True, slots=True)
class Sample:
    """All points of one device from one poll, by point name. `error` is set when the device was not reached.

    `monotonic` is the same moment as `at`, in seconds since the machine's boot `boot_id`: it stays true when the clock
    turns out to be wrong, and so does the age of each reading.
    """

    device_id: str
    at: float
    readings: Mapping[str, Reading]
    error: str = ""
    round_trip_s: float = 0.0
    monotonic: float = 0.0
    boot_id: str = ""


@dataclass(frozen=True, slots=True)
class Counter:
    """How a counter counts: `wrap_wh` is where its width ends (None: never reached), `step_wh` its resolution, `most_w` how fast it can."""

    kind: CounterKind = CounterKind.LIFETIME
    wrap_wh: float | None = None
    step_wh: float = 1.0
    most_w: float = MOST_W


@dataclass(frozen=True, slots=True)
class MeterPoint:
    """One role of one device: the unit in which energy is metered and events are sent."""

    id: str  # the event's device id: the device's own, or `<device>.<role>`
    name: str
    device_id: str  # the site file's device
    role: Role
    device_type: str  # the cloud's word when the site file names one; else empty: `cloud/` goes by the role
    quantities: frozenset[Quantity]
    counters: Mapping[Quantity, Counter] = field(default_factory=dict)
    stale_after_s: float = 30.0  # how old a gauge may be at an interval's end
    offline_after_s: float = 60.0  # silence after which the device counts as unreachable
    source: str = ""  # what feeds it: of a point that is fed by something else, nothing is counted across the change


@dataclass(frozen=True, slots=True)
class EnergyInterval:
    """Energy of one quantity of one measuring point in [end - interval, end); None: could not be known."""

    point_id: str
    quantity: Quantity
    end: int  # UTC epoch seconds, on the interval's grid
    energy_wh: float | None
    estimated: bool = False  # spread over a gap, not read at the boundary
    reason: str = ""
    interval_s: int = 900
    bridged: bool = False  # an estimate in which no reading lies: it is the middle of a gap


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A gauge as it was at an interval's end (power, temperature)."""

    point_id: str
    quantity: Quantity
    end: int
    value: float


@dataclass(frozen=True, slots=True)
class Change:
    """A state that changed, at the moment it did."""

    point_id: str
    quantity: Quantity
    at: float
    value: Value


class HouseQuantity(StrEnum):
    """What is known of the household as a whole. `excess` is the export over two intervals."""

    CONSUMPTION_WH = "consumption_wh"
    GENERATION_WH = "generation_wh"
    IMPORT_WH = "import_wh"
    EXPORT_WH = "export_wh"
    EXCESS_WH = "excess_wh"
    LOSS_WH = "loss_wh"  # what hybrid inverters lose between their DC side and the house: part of no other total
    SELF_CONSUMPTION_PERCENT = "self_consumption_percent"
    SELF_SUFFICIENCY_PERCENT = "self_sufficiency_percent"
    CONSUMPTION_W = "consumption_w"
    GENERATION_W = "generation_w"
    IMPORT_W = "import_w"
    EXPORT_W = "export_w"


@dataclass(frozen=True, slots=True)
class DayEnergy:
    """Energy of one quantity of one measuring point on a calendar day of the house; None: not known well enough."""

    point_id: str
    quantity: Quantity
    end: int  # UTC epoch seconds: the midnight that ended the day
    energy_wh: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HouseholdDay:
    """A total of the household on a calendar day, or a rate of one; None: not known well enough."""

    quantity: HouseQuantity
    end: int  # UTC epoch seconds: the midnight that ended the day
    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HouseholdInterval:
    """House totals of one interval, as soon as each can be known; the others follow in further ones of the same end.

    No quantity comes twice for the same end. `reasons` says why a total of this interval will never come.
    """

    end: int  # UTC epoch seconds, on the interval's grid
    values: Mapping[HouseQuantity, float] = field(default_factory=dict)
    reasons: Mapping[HouseQuantity, str] = field(default_factory=dict)
    estimated: bool = False  # one of the inputs was spread over a gap
    interval_s: int = 900
    excess_s: int = 1800  # what EXCESS_WH covers


Outcome = EnergyInterval | Snapshot | Change | HouseholdInterval | DayEnergy | HouseholdDay
