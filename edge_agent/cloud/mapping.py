"""From what was metered to events in the cloud's words. All choices stand in `vocabulary`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

from edge_agent.cloud.vocabulary import (
    DAY_EVENTS,
    HOUSE_DAY_EVENTS,
    HOUSE_EVENTS,
    Decisions,
    DeviceType,
    HouseholdDevice,
    device_type_of,
    event_type_of,
    is_outside_the_table,
)
from edge_agent.model.events import Event
from edge_agent.model.measurements import (
    Change,
    ChargingMode,
    DayEnergy,
    DeviceStatus,
    EnergyInterval,
    HouseholdDay,
    HouseholdInterval,
    HouseQuantity,
    MeterPoint,
    Outcome,
    Quantity,
    Role,
    Snapshot,
    Value,
)

_event_type = cache(event_type_of)
_DECIMALS = {"_wh": 3, "_w": 1, "_percent": 2, "_c": 2}


def to_events(outcome: Outcome, points: Mapping[str, MeterPoint], household: HouseholdDevice, decisions: Decisions) -> list[Event]:
    """The events of an outcome: none for what is absent, or for what the cloud has no word for."""
    if isinstance(outcome, HouseholdInterval):
        return _house_events(outcome, household, decisions)
    if isinstance(outcome, HouseholdDay):
        return _house_day(outcome, household)
    point = points[outcome.point_id]
    device = device_type_of(point.role, point.device_type)
    event = _event_type(point.role, device, outcome.quantity)
    if isinstance(outcome, DayEnergy):
        event = None if event is None else DAY_EVENTS[event]
    value = _value(outcome, point.role, device, decisions)
    if event is None or value is None or (is_outside_the_table(device, event) and not decisions.outside_the_table):
        return []
    return [Event(point.id, point.name, device.value, event.value, value, _at(outcome, decisions))]


def _at(outcome: EnergyInterval | DayEnergy | Snapshot | Change, decisions: Decisions) -> int:
    """The event's time in UTC epoch seconds. Gauges and days belong to their end whatever dates the energies."""
    if isinstance(outcome, Change):
        return int(outcome.at)
    if isinstance(outcome, EnergyInterval) and decisions.interval_timestamp == "start":
        return outcome.end - outcome.interval_s
    return outcome.end


def _value(outcome: EnergyInterval | DayEnergy | Snapshot | Change, role: Role, device: DeviceType, decisions: Decisions) -> float | None:
    if isinstance(outcome, EnergyInterval | DayEnergy):
        return _rounded(outcome.quantity, outcome.energy_wh)
    if isinstance(outcome, Snapshot):
        return _gauge(role, outcome.quantity, outcome.value)
    return _state_value(outcome.quantity, outcome.value, device, decisions)


def _gauge(role: Role, quantity: Quantity, value: float) -> float | None:
    """A gauge, where it fits the event: consumption and generation are directions.

    Decision: at the grid both directions are usual, and what is exported is no consumption. Elsewhere watts that flow
    the other way (a meter wired the other way round, an offset, an inverter's own draw) are not known to be 0.
    """
    number = _rounded(quantity, value)
    if number is None or number >= 0 or not quantity.is_power:
        return number
    return 0.0 if role is Role.GRID else None


def _state_value(quantity: Quantity, value: Value, device: DeviceType, decisions: Decisions) -> float | None:
    """The number of a state; None when the cloud has none for it."""
    if quantity is Quantity.STATUS:
        return _known(decisions.status_ids.get(DeviceStatus(str(value))))
    if quantity is Quantity.CHARGING_MODE:
        return _known(decisions.charging_mode_ids.get(device, {}).get(ChargingMode(str(value))))
    if isinstance(value, str):
        return None
    return float(value) if quantity is Quantity.SWITCH_ON else _rounded(quantity, float(value))


def _known(number: int | None) -> float | None:
    return None if number is None else float(number)


def _rounded(quantity: Quantity | HouseQuantity, value: float | None) -> float | None:
    """A finite number with the decimals that its unit deserves (JSON knows no NaN)."""
    if value is None or not math.isfinite(value):
        return None
    return round(value, _DECIMALS[quantity.value[quantity.value.rindex("_") :]]) + 0.0


def _house_events(outcome: HouseholdInterval, household: HouseholdDevice, decisions: Decisions) -> list[Event]:
    found = []
    for quantity, event in HOUSE_EVENTS.items():
        value = _rounded(quantity, outcome.values.get(quantity))
        if value is not None:
            found.append(Event(household.id, household.name, DeviceType.GATEWAY.value, event.value, value, _house_at(outcome, quantity, decisions)))
    return found


def _house_day(outcome: HouseholdDay, household: HouseholdDevice) -> list[Event]:
    value, of_interval = _rounded(outcome.quantity, outcome.value), HOUSE_DAY_EVENTS.get(outcome.quantity)
    if value is None or of_interval is None:
        return []
    event = DAY_EVENTS[of_interval]
    return [Event(household.id, household.name, DeviceType.GATEWAY.value, event.value, value, outcome.end)]


def _house_at(outcome: HouseholdInterval, quantity: HouseQuantity, decisions: Decisions) -> int:
    """Energies and their rates belong to an interval, powers to its end."""
    if decisions.interval_timestamp == "end" or quantity.value.endswith("_w"):
        return outcome.end
    return outcome.end - (outcome.excess_s if quantity is HouseQuantity.EXCESS_WH else outcome.interval_s)
