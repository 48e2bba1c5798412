"""A household's life in steps of a minute, generated: its flows are known exactly, its devices count and fail as real ones do.

Energies are whole milliwatt-hours a minute, so truth adds up without rounding. What a device shows follows from the
truth alone: its counters have their own resolution, and each is read at its own second of the minute.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import floor, fsum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from edge_agent.cloud.mapping import to_events
from edge_agent.cloud.vocabulary import Decisions, HouseholdDevice
from edge_agent.demo.weather import irradiance_w_m2, noise, outside_c
from edge_agent.metering.metering import Metering
from edge_agent.model.events import Event
from edge_agent.model.measurements import Counter, MeterPoint, Outcome, Quality, Quantity, Reading, Role, Value

ZONE = ZoneInfo("Europe/Vienna")
INTERVAL_S, POLL_S = 900, 60
_NOON = 720  # minutes
Q = Quantity


class Flows(NamedTuple):
    """What flows in a minute, in mWh; or the sums of many."""

    consumption: int = 0
    grid_import: int = 0
    grid_export: int = 0
    roof: int = 0  # the plain inverter
    solar: int = 0  # the hybrid's modules
    ac_output: int = 0
    ac_input: int = 0
    charged: int = 0
    discharged: int = 0
    heat_pump: int = 0
    car: int = 0
    fridge: int = 0


class House:
    """The household from `start` on (UTC epoch seconds): sun and seasons, heat pump, car, battery behind a hybrid inverter."""

    _BATTERY_MWH = 10_000_000
    _CONVERTER = 96  # percent of its energy that a conversion leaves
    _STANDBY_MWH = 200  # of the hybrid in a minute: 12 W

    def __init__(self, start: int, seed: int = 7) -> None:
        self.at = start
        self._seed = seed
        self._stored = 4_000_000
        self._warmth = 500_000  # of the heat pump's buffer, mWh of heat
        self._heating = False
        self._car_needs = 0

    @property
    def soc_percent(self) -> float:
        return 100 * self._stored / self._BATTERY_MWH

    def minute(self) -> Flows:
        """The flows of the next minute."""
        at, seed = self.at, self._seed
        self.at += 60
        local = datetime.fromtimestamp(at, ZONE)
        sun = irradiance_w_m2(seed, at)
        roof, solar = (int(sun * peak * 1000 / 60) if sun > 5 else 0 for peak in (4.6, 5.4))
        base = int((180 + 500 * noise(seed, "people", at, 1500) ** 2 + 1800 * (noise(seed, "kitchen", at, 600) > 0.93)) * 1000 / 60)
        heat_pump, car, fridge = self._heat_pump(at), self._car(local), int((85 if noise(seed, "fridge", at, 2400) > 0.5 else 1.2) * 1000 / 60)
        consumption = base + heat_pump + car + fridge
        output, taken, charged, discharged = self._hybrid(solar, consumption - roof, local)
        net = consumption - roof - output + taken
        return Flows(consumption, max(net, 0), max(-net, 0), roof, solar, output, taken, charged, discharged, heat_pump, car, fridge)

    def _heat_pump(self, at: int) -> int:
        cold = max(0.0, 18.0 - outside_c(self._seed, at))
        self._warmth -= int(190 * cold * 1000 / 60) + 2_000
        self._heating = self._warmth < (1_500_000 if self._heating else 200_000)
        if not self._heating:
            return 150
        self._warmth += 7_200_000 // 60
        return int((1700 + 25 * cold) * 1000 / 60)

    def _car(self, local: datetime) -> int:
        if local.hour == 18 and local.minute == 10 and local.weekday() < 5:
            self._car_needs = 5_000_000 + 7_000_000 * (local.day % 3) // 2
        drawn = min(self._car_needs, 10_800_000 // 60)
        self._car_needs -= drawn
        return drawn

    def _hybrid(self, solar: int, wanted: int, local: datetime) -> tuple[int, int, int, int]:
        """Net output or input on the AC side, and what the battery took or gave on the DC side."""
        wanted += self._STANDBY_MWH
        surplus = solar - max(wanted, 0) * 100 // self._CONVERTER
        from_grid = 3_000_000 // 60 if local.month in (1, 2, 12) and local.hour in (2, 3) else 0
        charged = min(max(surplus + from_grid, 0), 5_000_000 // 60, self._BATTERY_MWH - self._stored)
        discharged = 0 if charged else min(max(-surplus, 0), 5_000_000 // 60, self._stored)
        self._stored += charged * 95 // 100 - discharged
        dc = solar - charged + discharged
        if dc >= 0:
            return max(dc * self._CONVERTER // 100 - self._STANDBY_MWH, 0), 0, charged, discharged
        return 0, -dc * 100 // self._CONVERTER + self._STANDBY_MWH, charged, discharged


def _point(point_id: str, role: Role, steps: Mapping[Quantity, float], *others: Quantity) -> MeterPoint:
    counters = {quantity: Counter(step_wh=step) for quantity, step in steps.items()}
    return MeterPoint(
        point_id, point_id.title(), point_id.partition(".")[0], role, "", frozenset({*steps, *others}), counters, 3 * POLL_S, 3 * POLL_S
    )


POINTS = (
    _point("grid", Role.GRID, {Q.IMPORT_WH: 1, Q.EXPORT_WH: 1}, Q.POWER_W),
    _point("roof", Role.PV, {Q.GENERATION_WH: 10}, Q.GENERATION_W),
    _point("hybrid.pv", Role.PV, {Q.GENERATION_WH: 100, Q.AC_OUTPUT_WH: 10, Q.AC_INPUT_WH: 10}, Q.GENERATION_W, Q.AC_OUTPUT_W),
    _point("hybrid.battery", Role.BATTERY, {Q.IMPORT_WH: 100, Q.EXPORT_WH: 100}, Q.POWER_W, Q.SOC_PERCENT),
    _point("heat-pump", Role.HEAT_PUMP, {Q.IMPORT_WH: 1000}, Q.POWER_W),
    _point("car", Role.CHARGER, {Q.IMPORT_WH: 1}, Q.POWER_W),
    _point("fridge", Role.PLUG, {}, Q.POWER_W),
)
_COUNTED: dict[tuple[str, Quantity], Callable[[Flows], int]] = {
    ("grid", Q.IMPORT_WH): lambda flows: flows.grid_import,
    ("grid", Q.EXPORT_WH): lambda flows: flows.grid_export,
    ("grid", Q.POWER_W): lambda flows: flows.grid_import - flows.grid_export,
    ("roof", Q.GENERATION_WH): lambda flows: flows.roof,
    ("roof", Q.GENERATION_W): lambda flows: flows.roof,
    ("hybrid.pv", Q.GENERATION_WH): lambda flows: flows.solar,
    ("hybrid.pv", Q.GENERATION_W): lambda flows: flows.solar,
    ("hybrid.pv", Q.AC_OUTPUT_WH): lambda flows: flows.ac_output,
    ("hybrid.pv", Q.AC_INPUT_WH): lambda flows: flows.ac_input,
    ("hybrid.pv", Q.AC_OUTPUT_W): lambda flows: flows.ac_output - flows.ac_input,
    ("hybrid.battery", Q.IMPORT_WH): lambda flows: flows.charged,
    ("hybrid.battery", Q.EXPORT_WH): lambda flows: flows.discharged,
    ("hybrid.battery", Q.POWER_W): lambda flows: flows.charged - flows.discharged,
    ("heat-pump", Q.IMPORT_WH): lambda flows: flows.heat_pump,
    ("heat-pump", Q.POWER_W): lambda flows: flows.heat_pump,
    ("car", Q.IMPORT_WH): lambda flows: flows.car,
    ("car", Q.POWER_W): lambda flows: flows.car,
    ("fridge", Q.POWER_W): lambda flows: flows.fridge,
}
_SECOND = {"grid": 0, "roof": 3, "hybrid": 5, "heat-pump": 8, "car": 11, "fridge": 14}  # of the minute, at which a device is read
# What the events of a point or of the household (empty) must add up to.
ACCOUNTS: dict[tuple[str, str], Callable[[Flows], int]] = {
    ("household", "ENERGY_CONSUMPTION"): lambda flows: flows.consumption,
    ("household", "ENERGY_GENERATION"): lambda flows: flows.roof + flows.solar,
    ("household", "GRID_ENERGY_CONSUMPTION"): lambda flows: flows.grid_import,
    ("household", "ENERGY_EXCESS"): lambda flows: flows.grid_export,
    ("grid", "ENERGY_CONSUMPTION"): lambda flows: flows.grid_import,
    ("roof", "ENERGY_GENERATION"): lambda flows: flows.roof,
    ("hybrid.pv", "ENERGY_GENERATION"): lambda flows: flows.solar,
    ("hybrid.battery", "ENERGY_IMPORT"): lambda flows: flows.charged,
    ("hybrid.battery", "ENERGY_EXPORT"): lambda flows: flows.discharged,
    ("heat-pump", "ENERGY_CONSUMPTION"): lambda flows: flows.heat_pump,
    ("car", "ENERGY_CONSUMPTION"): lambda flows: flows.car,
}


_LONG_AGO = Flows(*[-2_000_000_000] * len(Flows._fields))  # what has been counted before the start


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong: spans of minutes since the start, and minutes at which a device's counters begin anew."""

    devices: tuple[tuple[str, int, int], ...] = ()  # the device, from and until
    gateway: tuple[tuple[int, int], ...] = ()
    resets: tuple[tuple[str, int], ...] = ()

    def silent(self, device: str, minute: int) -> bool:
        return any(device == name and begin <= minute < end for name, begin, end in self.devices)

    def away(self, minute: int) -> bool:
        return any(begin <= minute < end for begin, end in self.gateway)


def faults_of(days: int, devices: int, gateway: int, seed: int = 3) -> Faults:
    """So many outages, from minutes to most of a day, spread over so many days; three meters begin anew, each at three in the morning."""
    chance, names, longest = random.Random(seed), sorted(_SECOND), min(1200, days * 160)

    def span() -> tuple[int, int]:
        begin = chance.randrange(1440, days * 1440 - longest)
        return begin, begin + round(10 * (longest / 10) ** chance.random())

    outages = tuple((names[number % len(names)], *span()) for number in range(devices))
    resets = tuple((name, _NOON + (days * place // 4) * 1440 + 180) for place, name in enumerate(("grid", "heat-pump", "roof"), 1))
    return Faults(outages, tuple(span() for _ in range(gateway)), resets)


@dataclass(slots=True)
class Result:
    """What came out, and the truth beside it."""

    events: list[Event] = field(default_factory=list)
    truth: dict[int, Flows] = field(default_factory=dict)  # at each local midnight: the sums since the start
    unread: set[int] = field(default_factory=set)  # the midnights between two readings of a device that an outage lies between

    def days(self) -> Iterator[tuple[int, int]]:
        """Beginning and end of each whole day."""
        midnights = sorted(self.truth)
        return zip(midnights, midnights[1:], strict=False)

    def spans(self) -> Iterator[tuple[int, int]]:
        """The days; those that share a midnight at which something was away are one span."""
        read = [midnight for midnight in sorted(self.truth) if midnight not in self.unread]
        return zip(read, read[1:], strict=False)


class Devices:
    """What the devices show, from the truth."""

    def __init__(self, faults: Faults) -> None:
        self._resets = frozenset(faults.resets)
        self._since: dict[str, Flows] = {}  # when each device's counters began

    def readings(self, point: MeterPoint, before: Flows, now: Flows, minute: int, at: float, soc: float) -> dict[Quantity, Reading]:
        """The readings of a point at `at`, in the minute that goes from the sums `before` to `now`."""
        share = _SECOND[point.device_id] / 60
        found: dict[Quantity, Reading] = {}
        for quantity in point.quantities:
            value: Value = soc
            if quantity is not Q.SOC_PERCENT:
                counted = _COUNTED[point.id, quantity]
                begin, end = counted(before), counted(now)
                if quantity.is_power:
                    value = (end - begin) * 60 / 1000
                else:
                    step = point.counters[quantity].step_wh
                    value = floor((begin + (end - begin) * share - counted(self._began(point.device_id, before, minute))) / 1000 / step) * step
            found[quantity] = Reading(value, "", Quality.OK, at)
        return found

    def _began(self, device: str, before: Flows, minute: int) -> Flows:
        if (device, minute) in self._resets:
            self._since[device] = before
        return self._since.get(device, _LONG_AGO)


def second_of(point: MeterPoint) -> int:
    """The second of the minute at which a point is read."""
    return _SECOND[point.device_id]


def asleep(point: MeterPoint, before: Flows, now: Flows) -> bool:
    """The plain inverter answers by daylight only."""
    return point.id == "roof" and now.roof == before.roof


Hear = Callable[[MeterPoint, Mapping[Quantity, Reading], float], None]


def live(day: str, days: int, faults: Faults, meter: bool = True, hear: Hear | None = None) -> Result:
    """Lives through so many days from a date on, and half a day before and after. `hear` is told each reading.

    Without `meter` the house and its devices alone, to tell what they take.
    """
    start = midnight_of(day) - 60 * _NOON
    after = (datetime.fromisoformat(day) + timedelta(days=days)).date().isoformat()
    minutes = (midnight_of(after) - start) // 60 + _NOON
    house, devices, result = House(start), Devices(faults), Result()
    before = now = Flows()
    missed: set[str] = set()  # the devices that were away since they were heard last
    points = {point.id: point for point in POINTS}
    metering = _metering(None, start)
    for minute in range(minutes):
        at = start + 60 * minute
        before, now = now, Flows(*map(int.__add__, now, house.minute()))
        local = datetime.fromtimestamp(at, ZONE)
        midnight = local.hour == local.minute == 0
        if midnight:
            result.truth[at] = before
        if faults.away(minute):
            missed = set(_SECOND)
            result.unread |= {at} if midnight else set()
            if not faults.away(minute + 1):
                metering = _metering(metering, at + 60)
            continue
        outcomes: list[Outcome] = []
        for point in POINTS:
            if faults.silent(point.device_id, minute):
                missed.add(point.device_id)
            elif not asleep(point, before, now):
                missed.discard(point.device_id)
                second = at + _SECOND[point.device_id]
                readings = devices.readings(point, before, now, minute, second, house.soc_percent)
                outcomes += metering.update(point.id, readings, second) if meter else ()
                if hear is not None:
                    hear(point, readings, second)
        result.unread |= {at} if midnight and missed else set()
        if meter:
            outcomes += metering.tick(at + 30)
            result.events += [event for outcome in outcomes for event in to_events(outcome, points, HouseholdDevice(), Decisions())]
    return result


def _metering(before: Metering | None, now: float) -> Metering:
    """The metering of a gateway that was just started, from what the one before has stored."""
    state: Any = None if before is None else json.loads(json.dumps(before.state()))
    return Metering(POINTS, INTERVAL_S, POLL_S, state, now=now, time_zone=str(ZONE))


def midnight_of(day: str) -> int:
    """The local beginning of a date, in UTC epoch seconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=ZONE).timestamp())


class Compared(NamedTuple):
    """An account over a span, in Wh."""

    device: str
    type: str
    begin: int
    end: int
    sent_wh: float
    true_wh: float

    @property
    def error_wh(self) -> float:
        return self.sent_wh - self.true_wh


def compare(result: Result, spans: Iterable[tuple[int, int]]) -> Iterator[Compared]:
    """The sums of the intervals' events against the truth, for each account and span."""
    series: dict[tuple[str, str], dict[int, float]] = {}
    for event in result.events:
        series.setdefault((event.device_id, event.type), {})[event.at] = event.value
    chosen = list(spans)
    for (device, kind), true in ACCOUNTS.items():
        ends = series.get((device, kind), {})
        for begin, end in chosen:
            sent = fsum(ends.get(at, 0.0) for at in range(begin + INTERVAL_S, end + 1, INTERVAL_S))
            yield Compared(device, kind, begin, end, sent, (true(result.truth[end]) - true(result.truth[begin])) / 1000)
