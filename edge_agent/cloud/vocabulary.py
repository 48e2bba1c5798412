"""The cloud's words and every decision about them, as tables.

Device types, event types and patterns are those of the platform's API; what its documents leave open is decided
in `Decisions` and in the comments marked "Decision", each in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from edge_agent.model.measurements import ChargingMode, DeviceStatus, HouseQuantity, Quantity, Role


class DeviceType(StrEnum):
    """The sources of events that a site can have."""

    GATEWAY = "GATEWAY"  # the household as a whole
    SMART_METER = "SMART_METER"
    INVERTER = "INVERTER"
    BATTERY = "BATTERY"
    CAR = "CAR"
    CAR_CHARGER = "CAR_CHARGER"
    HEAT_PUMP = "HEAT_PUMP"
    SMART_PLUG = "SMART_PLUG"
    SOLAR_PANEL = "SOLAR_PANEL"
    WATER_HEATER = "WATER_HEATER"
    THERMOSTAT = "THERMOSTAT"
    SWITCH = "SWITCH"
    ENERGY_MEASUREMENT = "ENERGY_MEASUREMENT"
    APPLIANCE = "APPLIANCE"
    WALL_TABLET = "WALL_TABLET"
    THERMAL_ZONE = "THERMAL_ZONE"
    THERMAL_STORAGE = "THERMAL_STORAGE"
    INPUT_DEVICE = "INPUT_DEVICE"  # in the schema only
    DISHWASHER = "DISHWASHER"
    DRYER = "DRYER"
    WASHING_MACHINE = "WASHING_MACHINE"
    OVEN = "OVEN"
    REFRIGERATION = "REFRIGERATION"
    LIGHTING = "LIGHTING"
    ENTERTAINMENT = "ENTERTAINMENT"


class EventType(StrEnum):
    """The event types that a customer provides. What the platform itself provides is not among them, so is never sent."""

    ENERGY_CONSUMPTION = "ENERGY_CONSUMPTION"
    ENERGY_CONSUMPTION_YESTERDAY = "ENERGY_CONSUMPTION_YESTERDAY"
    ENERGY_GENERATION = "ENERGY_GENERATION"
    ENERGY_GENERATION_YESTERDAY = "ENERGY_GENERATION_YESTERDAY"
    GRID_ENERGY_CONSUMPTION = "GRID_ENERGY_CONSUMPTION"
    GRID_ENERGY_CONSUMPTION_YESTERDAY = "GRID_ENERGY_CONSUMPTION_YESTERDAY"
    POWER_CONSUMPTION = "POWER_CONSUMPTION"
    POWER_GENERATION = "POWER_GENERATION"
    POWER_EXCESS = "POWER_EXCESS"
    GRID_POWER_CONSUMPTION = "GRID_POWER_CONSUMPTION"
    ENERGY_IMPORT = "ENERGY_IMPORT"
    ENERGY_IMPORT_YESTERDAY = "ENERGY_IMPORT_YESTERDAY"
    ENERGY_EXPORT = "ENERGY_EXPORT"
    ENERGY_EXPORT_YESTERDAY = "ENERGY_EXPORT_YESTERDAY"
    ENERGY_EXCESS = "ENERGY_EXCESS"
    ENERGY_EXCESS_YESTERDAY = "ENERGY_EXCESS_YESTERDAY"
    SELF_CONSUMPTION_RATE = "SELF_CONSUMPTION_RATE"
    SELF_CONSUMPTION_RATE_YESTERDAY = "SELF_CONSUMPTION_RATE_YESTERDAY"
    SELF_SUFFICIENCY_RATE = "SELF_SUFFICIENCY_RATE"
    SELF_SUFFICIENCY_RATE_YESTERDAY = "SELF_SUFFICIENCY_RATE_YESTERDAY"
    STATE_OF_CHARGE_RATE = "STATE_OF_CHARGE_RATE"
    CHARGING_MODE = "CHARGING_MODE"
    DEVICE_STATUS = "DEVICE_STATUS"
    SWITCH_STATE = "SWITCH_STATE"
    TEMPERATURE = "TEMPERATURE"
    WATER_TEMPERATURE = "WATER_TEMPERATURE"


Rhythm = Literal["interval", "half hour", "day", "change"]
ALL = frozenset(DeviceType)
_HOUSE = frozenset({DeviceType.GATEWAY})
_BATTERY = frozenset({DeviceType.BATTERY})
_MODES = frozenset({DeviceType.CAR_CHARGER, DeviceType.HEAT_PUMP, DeviceType.BATTERY, DeviceType.SMART_PLUG})
_SWITCHES = frozenset({DeviceType.SMART_PLUG, DeviceType.CAR_CHARGER, DeviceType.SWITCH})
_METERS = frozenset({DeviceType.SMART_METER, DeviceType.ENERGY_MEASUREMENT})
_GENERATORS = _METERS | {DeviceType.INVERTER, DeviceType.SOLAR_PANEL}
_APPLIANCES = frozenset({
    DeviceType.APPLIANCE, DeviceType.DISHWASHER, DeviceType.DRYER, DeviceType.WASHING_MACHINE, DeviceType.OVEN, DeviceType.REFRIGERATION,
    DeviceType.LIGHTING, DeviceType.ENTERTAINMENT, DeviceType.WALL_TABLET, DeviceType.INPUT_DEVICE,
})  # fmt: skip
_HEATERS = frozenset({DeviceType.HEAT_PUMP, DeviceType.WATER_HEATER, DeviceType.THERMAL_STORAGE})
# what may be behind a plug, a switch or a meter of its own
_CONSUMERS = _APPLIANCES | _METERS | {
    DeviceType.SMART_PLUG, DeviceType.SWITCH, DeviceType.CAR, DeviceType.CAR_CHARGER, DeviceType.HEAT_PUMP, DeviceType.WATER_HEATER,
    DeviceType.THERMOSTAT,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EventRule:
    """An event type's row in the platform's guide (unit, how often it comes, which device types it names), and what we make of it.

    Decision: `beyond` are device types that the guide's row does not name, the schema allows and the field clearly wants;
    `reporting.outside_the_table` switches them off. `unsent` is why the agent sends no event of the type; empty where it does.
    """

    unit: str
    rhythm: Rhythm
    devices: frozenset[DeviceType]
    beyond: frozenset[DeviceType] = frozenset()
    unsent: str = ""

    def admits(self, device: DeviceType) -> bool:
        """Whether events of the type are sent for this device type."""
        return not self.unsent and (device in self.devices or device in self.beyond)


# Decision: all of them are sent.
EVENT_RULES: Mapping[EventType, EventRule] = MappingProxyType({
    EventType.ENERGY_CONSUMPTION: EventRule("Wh", "interval", ALL),
    EventType.ENERGY_CONSUMPTION_YESTERDAY: EventRule("Wh", "day", ALL),
    EventType.ENERGY_GENERATION: EventRule("Wh", "interval", _HOUSE, _GENERATORS),
    EventType.ENERGY_GENERATION_YESTERDAY: EventRule("Wh", "day", _HOUSE, _GENERATORS),
    EventType.GRID_ENERGY_CONSUMPTION: EventRule("Wh", "interval", _HOUSE),
    EventType.GRID_ENERGY_CONSUMPTION_YESTERDAY: EventRule("Wh", "day", _HOUSE),
    EventType.POWER_CONSUMPTION: EventRule("W", "interval", ALL),
    EventType.POWER_GENERATION: EventRule("W", "interval", _HOUSE, _GENERATORS),
    EventType.POWER_EXCESS: EventRule("W", "interval", _HOUSE),
    EventType.GRID_POWER_CONSUMPTION: EventRule("W", "interval", _HOUSE),
    EventType.ENERGY_IMPORT: EventRule("Wh", "interval", _BATTERY),
    EventType.ENERGY_IMPORT_YESTERDAY: EventRule("Wh", "day", _BATTERY),
    EventType.ENERGY_EXPORT: EventRule("Wh", "interval", _BATTERY),
    EventType.ENERGY_EXPORT_YESTERDAY: EventRule("Wh", "day", _BATTERY),
    EventType.ENERGY_EXCESS: EventRule("Wh", "half hour", _HOUSE),
    EventType.ENERGY_EXCESS_YESTERDAY: EventRule("Wh", "day", _HOUSE),
    EventType.SELF_CONSUMPTION_RATE: EventRule("%", "interval", _HOUSE),
    EventType.SELF_CONSUMPTION_RATE_YESTERDAY: EventRule("%", "day", _HOUSE),
    EventType.SELF_SUFFICIENCY_RATE: EventRule("%", "interval", _HOUSE),
    EventType.SELF_SUFFICIENCY_RATE_YESTERDAY: EventRule("%", "day", _HOUSE),
    EventType.STATE_OF_CHARGE_RATE: EventRule("%", "change", frozenset({DeviceType.CAR}), _BATTERY),
    EventType.CHARGING_MODE: EventRule("ID", "change", _MODES),
    EventType.DEVICE_STATUS: EventRule("ID", "change", ALL),
    EventType.SWITCH_STATE: EventRule("ID", "change", _SWITCHES, _CONSUMERS),
    EventType.TEMPERATURE: EventRule("°C", "interval", frozenset({DeviceType.THERMOSTAT}), frozenset({DeviceType.THERMAL_ZONE})),
    EventType.WATER_TEMPERATURE: EventRule(
        "°C", "interval", frozenset({DeviceType.HEAT_PUMP, DeviceType.WATER_HEATER}), frozenset({DeviceType.THERMAL_STORAGE})
    ),
})  # fmt: skip

DEFAULT_TYPES: Mapping[Role, DeviceType] = MappingProxyType({
    Role.GRID: DeviceType.SMART_METER,
    Role.HOUSE: DeviceType.SMART_METER,
    Role.PV: DeviceType.INVERTER,
    Role.BATTERY: DeviceType.BATTERY,
    Role.CHARGER: DeviceType.CAR_CHARGER,
    Role.HEAT_PUMP: DeviceType.HEAT_PUMP,
    Role.WATER_HEATER: DeviceType.WATER_HEATER,
    Role.PLUG: DeviceType.SMART_PLUG,
    Role.SWITCH: DeviceType.SWITCH,
    Role.THERMOSTAT: DeviceType.THERMOSTAT,
    Role.CAR: DeviceType.CAR,
    Role.CONSUMER: DeviceType.ENERGY_MEASUREMENT,
})  # fmt: skip


# Decision: which device types the site file may give a point of a role (`type: DISHWASHER` on a plug). A battery on a plug is no plug
# but `role: battery`: else its charging would be sent as consumption.
TYPES_OF_ROLES: Mapping[Role, frozenset[DeviceType]] = MappingProxyType({
    Role.GRID: _METERS,
    Role.HOUSE: _METERS,
    Role.PV: _GENERATORS,
    Role.BATTERY: _BATTERY,
    Role.CHARGER: _METERS | {DeviceType.CAR_CHARGER, DeviceType.SMART_PLUG},
    Role.HEAT_PUMP: _METERS | _HEATERS | {DeviceType.SMART_PLUG, DeviceType.APPLIANCE},
    Role.WATER_HEATER: _METERS | _HEATERS | {DeviceType.SMART_PLUG, DeviceType.APPLIANCE},
    Role.PLUG: _CONSUMERS,
    Role.SWITCH: _CONSUMERS,
    Role.THERMOSTAT: frozenset({DeviceType.THERMOSTAT, DeviceType.THERMAL_ZONE, DeviceType.THERMAL_STORAGE}),
    Role.CAR: frozenset({DeviceType.CAR}),
    Role.CONSUMER: _CONSUMERS | {DeviceType.THERMAL_ZONE, DeviceType.THERMAL_STORAGE},
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Feed:
    """A row of THE table: at points of these roles the quantity feeds the event, if the event's rule admits their device type."""

    quantity: Quantity
    event: EventType
    roles: frozenset[Role]


_EVERY_ROLE = frozenset(Role)
_DRAWING = _EVERY_ROLE - {Role.PV, Role.BATTERY}
_SENSORS = frozenset({Role.THERMOSTAT, Role.CONSUMER})

FEEDS: tuple[Feed, ...] = (
    # Decision: what a meter at the grid's connection consumes is what it imports; the export is the household's excess.
    Feed(Quantity.IMPORT_WH, EventType.ENERGY_CONSUMPTION, _DRAWING),
    Feed(Quantity.POWER_W, EventType.POWER_CONSUMPTION, _DRAWING),
    # Decision: a battery sends no power. Charging is no consumption, and no event type says charging or discharging power.
    Feed(Quantity.IMPORT_WH, EventType.ENERGY_IMPORT, frozenset({Role.BATTERY})),
    Feed(Quantity.EXPORT_WH, EventType.ENERGY_EXPORT, frozenset({Role.BATTERY})),
    Feed(Quantity.GENERATION_WH, EventType.ENERGY_GENERATION, frozenset({Role.PV})),
    Feed(Quantity.GENERATION_W, EventType.POWER_GENERATION, frozenset({Role.PV})),
    # Decision: the charge that a charger knows is the car's, which is a device of its own (profiles `evcc-vehicle`, `openwb-2-vehicle`).
    Feed(Quantity.SOC_PERCENT, EventType.STATE_OF_CHARGE_RATE, frozenset({Role.BATTERY, Role.CAR})),
    Feed(Quantity.STATUS, EventType.DEVICE_STATUS, _EVERY_ROLE),
    Feed(Quantity.SWITCH_ON, EventType.SWITCH_STATE, frozenset({Role.PLUG, Role.CHARGER, Role.SWITCH})),
    Feed(Quantity.CHARGING_MODE, EventType.CHARGING_MODE, frozenset({Role.CHARGER, Role.HEAT_PUMP, Role.BATTERY, Role.PLUG, Role.WATER_HEATER})),
    Feed(Quantity.TEMPERATURE_C, EventType.TEMPERATURE, _SENSORS),
    # Decision: the temperature of a storage (a sensor with `type: THERMAL_STORAGE`) is its water's.
    Feed(Quantity.TEMPERATURE_C, EventType.WATER_TEMPERATURE, _SENSORS),
    Feed(Quantity.WATER_TEMPERATURE_C, EventType.WATER_TEMPERATURE, _SENSORS | {Role.HEAT_PUMP, Role.WATER_HEATER}),
)

HOUSE_EVENTS: Mapping[HouseQuantity, EventType] = MappingProxyType({
    HouseQuantity.CONSUMPTION_WH: EventType.ENERGY_CONSUMPTION,
    HouseQuantity.GENERATION_WH: EventType.ENERGY_GENERATION,
    HouseQuantity.IMPORT_WH: EventType.GRID_ENERGY_CONSUMPTION,
    HouseQuantity.EXCESS_WH: EventType.ENERGY_EXCESS,
    HouseQuantity.SELF_CONSUMPTION_PERCENT: EventType.SELF_CONSUMPTION_RATE,
    HouseQuantity.SELF_SUFFICIENCY_PERCENT: EventType.SELF_SUFFICIENCY_RATE,
    HouseQuantity.CONSUMPTION_W: EventType.POWER_CONSUMPTION,
    HouseQuantity.GENERATION_W: EventType.POWER_GENERATION,
    HouseQuantity.IMPORT_W: EventType.GRID_POWER_CONSUMPTION,
    HouseQuantity.EXPORT_W: EventType.POWER_EXCESS,
})  # fmt: skip

# What is sent once a day, at the house's midnight, for the day that ended.
DAY_EVENTS: Mapping[EventType, EventType] = MappingProxyType(
    {event: EventType(f"{event}_YESTERDAY") for event in EventType if f"{event}_YESTERDAY" in EventType.__members__}
)
HOUSE_DAY_EVENTS: Mapping[HouseQuantity, EventType] = MappingProxyType({
    HouseQuantity.CONSUMPTION_WH: EventType.ENERGY_CONSUMPTION,
    HouseQuantity.GENERATION_WH: EventType.ENERGY_GENERATION,
    HouseQuantity.IMPORT_WH: EventType.GRID_ENERGY_CONSUMPTION,
    HouseQuantity.EXPORT_WH: EventType.ENERGY_EXCESS,
    HouseQuantity.SELF_CONSUMPTION_PERCENT: EventType.SELF_CONSUMPTION_RATE,
    HouseQuantity.SELF_SUFFICIENCY_PERCENT: EventType.SELF_SUFFICIENCY_RATE,
})  # fmt: skip

STATUS_IDS: Mapping[DeviceStatus, int] = MappingProxyType({
    DeviceStatus.OFFLINE: -1,
    DeviceStatus.OFF: 0,
    DeviceStatus.READY: 1,
    DeviceStatus.RUNNING: 2,
    DeviceStatus.WARNING: 3,
    DeviceStatus.FAULT: 4,
})  # fmt: skip

# The ids differ by device type; of SMART_PLUG and WATER_HEATER none are published, so none are sent.
CHARGING_MODE_IDS: Mapping[DeviceType, Mapping[ChargingMode, int]] = MappingProxyType({
    DeviceType.CAR_CHARGER: {
        ChargingMode.ALWAYS: 0,
        ChargingMode.SOLAR_ONLY: 1,
        ChargingMode.SOLAR_AND_TARIFF: 2,
        ChargingMode.NEVER: 3,
        ChargingMode.CONSTANT_CURRENT: 4,
        ChargingMode.MINIMAL_AND_SOLAR: 5,
        ChargingMode.MINIMUM_QUANTITY: 6,
        ChargingMode.TARGET: 7,
    },
    DeviceType.BATTERY: {ChargingMode.PASSIVE: 0, ChargingMode.ACTIVE: 1, ChargingMode.CHARGE: 2, ChargingMode.DISCHARGE: 3},
    DeviceType.HEAT_PUMP: {ChargingMode.NO_CONTROL: 5},
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the platform's documents leave open, as this project decided it. The site file can decide otherwise.

    Decided in `metering/` and not open to choice: an interval not covered from its beginning is not sent; a counter's
    energy over a gap is spread by the power that was read meanwhile, else evenly; a changed state is dated when it changed,
    and sent once it has stood for 5 s; a state of charge moves by 1 % steps, and turns by one when that has stood for 5 minutes;
    states are told again after a restart and once a day.
    """

    interval_timestamp: Literal["end", "start"] = "end"  # which end of an interval dates its energy
    outside_the_table: bool = True  # also pairs of device and event that the guide's table does not name but the schema allows
    status_ids: Mapping[DeviceStatus, int] = field(default_factory=lambda: dict(STATUS_IDS))
    charging_mode_ids: Mapping[DeviceType, Mapping[ChargingMode, int]] = field(default_factory=lambda: dict(CHARGING_MODE_IDS))
    excess_intervals: int = 2  # ENERGY_EXCESS comes every 30 minutes: handed to `Metering`
    # Which days are sent, also handed to `Metering`. What is absent is missing from the day's sum: two quarter-hours may be,
    # which a restart costs a device without a counter; of more, a good part of the sun could be lacking.
    day_coverage: float = 0.97  # of the day's time must be known
    # A counter's energy over a midnight that nobody read is somewhere in both days: a night's may be, half a day's may not.
    day_spread: float = 0.25  # of the day's energy at most


@dataclass(frozen=True, slots=True)
class HouseholdDevice:
    """Under which id and name the house totals are sent."""

    id: str = "household"
    name: str = "Household"


def is_outside_the_table(device: DeviceType, event: EventType) -> bool:
    """Whether the guide's table does not name this device type for the event type."""
    return device not in EVENT_RULES[event].devices


def event_type_of(role: Role, device: DeviceType, quantity: Quantity) -> EventType | None:
    """Which event a quantity feeds at a point of this role and device type; None where the cloud has no word for it."""
    fed = (feed.event for feed in FEEDS if feed.quantity is quantity and role in feed.roles)
    return next((event for event in fed if EVENT_RULES[event].admits(device)), None)


def device_type_of(role: Role, named: str = "") -> DeviceType:
    """The device type of a point: what the site file names, else by role. Raises ValueError for an unknown name."""
    return DeviceType(named) if named else DEFAULT_TYPES[role]


def device_type_problem(role: Role, text: str) -> str | None:
    """What is wrong with a device type that the site file gives a point of this role, None when nothing is. GATEWAY is the household's own."""
    fitting = TYPES_OF_ROLES[role]
    if text in fitting:
        return None
    others = [other.value for other, types in TYPES_OF_ROLES.items() if text in types]
    hint = f"write role: {others[0]} with it" if others else f"write one of {', '.join(sorted(fitting))}"
    return f"{text} does not fit role {role.value}; {hint}"
