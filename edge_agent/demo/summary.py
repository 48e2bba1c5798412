"""What the cloud received, held against what the simulated devices counted. Pure: events and totals in, rows out.

The two may differ by what no reading can know: how a counter moved between the readings on both sides of an
interval's boundary. How much that is, is worked out from the house, not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.demo.devices import HEAT_PUMP_ELECTRICAL, METER_EXPORT, METER_IMPORT
from edge_agent.demo.house import Flows, watt_hours
from edge_agent.demo.ledger import NOTE_EVERY_S
from edge_agent.demo.mqtt_devices import CHARGER_TOTAL, PLUG_TOTAL, TELE_PERIOD_S

Totals = Callable[[int], Flows]


@dataclass(frozen=True, slots=True)
class Account:
    """A series of energy events and the counter that it should add up to."""

    device_id: str
    event_type: str
    direction: str  # for people
    flow: Callable[[Flows], int]
    before_wh: float = 0.0  # what the counter showed when the house began
    step_wh: float = 0.0  # its resolution; 0: there is no counter, the flow itself is compared
    every_s: float = 0.0  # how often the device speaks, where that is less often than it is read
    intervals: int = 1  # how many reporting intervals an event covers
    integrated: Callable[[Flows], int] | None = None  # a part that the agent integrates from power: good to 1 %

    def counter_wh(self, totals: Flows) -> float:
        """What the device's counter shows once so much has flowed."""
        wh = self.before_wh + watt_hours(self.flow(totals))
        return math.floor(wh / self.step_wh) * self.step_wh if self.step_wh else wh


def _refined(device_id: str, event_type: str, direction: str, flow: Callable[[Flows], int]) -> Account:
    """Of a counter of 100 Wh steps, between which the agent goes on by the power beside it: compared with what flowed."""
    return Account(device_id, event_type, direction, flow, integrated=flow)


_IMPORT = (lambda flows: flows.grid_import, METER_IMPORT, 1)
_EXPORT = (lambda flows: flows.grid_export, METER_EXPORT, 1)
ACCOUNTS = (
    Account("grid-meter", "ENERGY_CONSUMPTION", "imported", *_IMPORT),
    _refined("hybrid.pv", "ENERGY_GENERATION", "generated", lambda flows: flows.pv),
    _refined("hybrid.battery", "ENERGY_IMPORT", "charged", lambda flows: flows.battery_charge),
    _refined("hybrid.battery", "ENERGY_EXPORT", "discharged", lambda flows: flows.battery_discharge),
    Account("heat-pump", "ENERGY_CONSUMPTION", "consumed", lambda flows: flows.heat_pump, HEAT_PUMP_ELECTRICAL, 1),
    Account("wallbox", "ENERGY_CONSUMPTION", "charged", lambda flows: flows.car, CHARGER_TOTAL, 1),
    Account("washer", "ENERGY_CONSUMPTION", "consumed", lambda flows: flows.washing_machine, PLUG_TOTAL, 1, every_s=TELE_PERIOD_S),
    _refined("household", "ENERGY_GENERATION", "generated", lambda flows: flows.pv),
    Account("household", "GRID_ENERGY_CONSUMPTION", "imported", *_IMPORT),
    Account("household", "ENERGY_EXCESS", "exported", *_EXPORT, intervals=2),
    Account("household", "ENERGY_CONSUMPTION", "consumed", lambda flows: flows.consumption, integrated=lambda flows: flows.inverter_output),
)
_ROUNDING_WH = 1.0  # a float's last bits, and events in thousandths


@dataclass(frozen=True, slots=True)
class Comparison:
    """One account between the first and the last boundary that were reported, in Wh."""

    account: Account
    begin: int
    end: int
    events: int
    counted_wh: float
    received_wh: float
    allowed_wh: float

    @property
    def difference_wh(self) -> float:
        """What the cloud has too much; negative: what it lacks."""
        return self.received_wh - self.counted_wh

    @property
    def agrees(self) -> bool:
        """Within what counters and readings can resolve."""
        return abs(self.difference_wh) <= self.allowed_wh


@dataclass(frozen=True, slots=True)
class Timing:
    """How the house was read, in its own seconds: the reporting interval, and what lies between two readings."""

    interval_s: int
    poll_s: float
    delay_s: float  # from the moment of a value to the moment it is dated


def compare(events: Iterable[Mapping[str, Any]], totals: Totals, timing: Timing) -> tuple[list[Comparison], list[Account]]:
    """The accounts of which events were received, and those of which none were though there was time for them."""
    received: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for event in events:
        received.setdefault((event["deviceId"], event["type"]), []).append((event["timestamp"], event["value"]))
    found, empty = [], []
    for account in ACCOUNTS:
        if series := received.get((account.device_id, account.event_type)):
            found.append(_compared(account, series, totals, timing))
        else:
            empty.append(account)
    longest = max((one.end - one.begin for one in found), default=0)
    return found, [account for account in empty if longest >= 2 * account.intervals * timing.interval_s]


def _compared(account: Account, series: list[tuple[int, float]], totals: Totals, timing: Timing) -> Comparison:
    begin = min(at for at, _ in series) - account.intervals * timing.interval_s
    end = max(at for at, _ in series)
    first, last = totals(begin), totals(end)
    allowed = _ROUNDING_WH + sum(_doubt_wh(account, at, totals, timing) for at in (begin, end))
    if account.integrated is not None:
        allowed += 0.01 * watt_hours(account.integrated(last.since(first)))
    counted = account.counter_wh(last) - account.counter_wh(first)
    return Comparison(account, begin, end, len(series), counted, math.fsum(value for _, value in series), allowed)


def _doubt_wh(account: Account, at: int, totals: Totals, timing: Timing) -> float:
    """How far a counter interpolated between two readings may be from the true one at `at`.

    Where it moves steadily only the delay of the readings counts; where it does not, half the time between
    them at the most.
    """
    apart = max(timing.poll_s, account.every_s) + timing.delay_s
    reach = math.ceil(apart / NOTE_EVERY_S) * NOTE_EVERY_S
    notes = [account.counter_wh(totals(moment)) for moment in range(at - reach, at + reach + 1, NOTE_EVERY_S)]
    slots = [later - earlier for earlier, later in zip(notes, notes[1:], strict=False)]
    moved = (max(slots) * timing.delay_s + (max(slots) - min(slots)) * apart / 2) / NOTE_EVERY_S
    return min(moved, sum(slots))
