"""One measuring point: its energies, its gauges at the interval's end, its changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo
from math import floor
from typing import Any, NamedTuple

from edge_agent.metering.balance import Source, energy_sources, gauges, power_beside
from edge_agent.metering.changes import Changes
from edge_agent.metering.counters import AHEAD_S
from edge_agent.metering.cutter import grid_end
from edge_agent.metering.energy import CounterEnergy, Energy, PowerEnergy
from edge_agent.metering.sleep import Sleep
from edge_agent.metering.stored import boundary, instant, number
from edge_agent.model.measurements import Counter, EnergyInterval, MeterPoint, Outcome, Quality, Quantity, Reading, Role, Snapshot

FUTURE_S = 60.0  # a reading dated further ahead has a wrong clock behind it

Powers = dict[Quantity, float | None]


class _Metered(NamedTuple):
    """An energy, the quantity that feeds it, and the counter that it stands in for until that has a value."""

    key: str
    read: Quantity
    energy: Energy
    unless: CounterEnergy | None = None


class PointMeter:
    """Meters one point. `closed` says that gauges were settled, for the house's powers."""

    __slots__ = (
        "_beside",
        "_changes",
        "_closed",
        "_end",
        "_energies",
        "_gap_s",
        "_gauges",
        "_held",
        "_held_here",
        "_interval_s",
        "_point",
        "_sleep",
        "id",
        "was_read",
    )

    def __init__(self, point: MeterPoint, hybrid: bool, interval_s: int, poll_s: float, time_zone: tzinfo = UTC) -> None:
        self.id = point.id
        self._point = point
        self._interval_s = interval_s
        self._gap_s = max(3 * poll_s, point.stale_after_s, 60.0)
        self._energies = _energies(point, energy_sources(point, hybrid), interval_s, self._gap_s, time_zone)
        self._beside = tuple(
            (metered.energy, power[0])
            for metered in self._energies
            if isinstance(metered.energy, CounterEnergy) and (power := power_beside(metered.energy.quantity, point.quantities))
        )
        self._gauges = gauges(point, hybrid)
        self._changes = Changes(point)
        at_night = point.role is Role.PV and not hybrid and point.quantities & {Quantity.GENERATION_W, Quantity.AC_OUTPUT_W}
        self._sleep = Sleep(point.stale_after_s) if at_night else None
        self._held: dict[Quantity, tuple[float, float]] = {}  # the last value of each gauge and when it was true
        self._held_here: set[Quantity] = set()  # those that were read since `restore`
        self._end: int | None = None  # the boundary at which the gauges are settled next
        self._closed: list[tuple[int, Powers]] = []
        self.was_read = False

    @property
    def rhythm_s(self) -> float:
        """How far its values may lie apart while all is well."""
        return self._gap_s

    @property
    def closed(self) -> bool:
        """Whether gauges were settled since `take_closed`."""
        return bool(self._closed)

    def take_closed(self) -> list[tuple[int, Powers]]:
        """The powers at the ends that were settled; None: not known there."""
        closed, self._closed = self._closed, []
        return closed

    def update(self, readings: Mapping[Quantity, Reading], now: float) -> list[Outcome]:
        """One poll at `now`. Returns what it completes."""
        outcomes = self._slept(self._sleep, now) if self._sleep is not None and _answered(readings) else []
        found, good = self._read(readings, now)
        good = good or any(reading.quality is Quality.OK for reading in readings.values())
        self.was_read = self.was_read or good
        if self._sleep is not None:
            self._hear(self._sleep, readings, now + FUTURE_S)
        return outcomes + found + list(self._changes.update(readings, good, now))

    def _read(self, readings: Mapping[Quantity, Reading], now: float) -> tuple[list[Outcome], bool]:
        """Takes gauges and energies. Returns what that completes, and whether any of them had a value."""
        latest = now + FUTURE_S
        outcomes: list[Outcome] = []
        if self._end is None:
            self._end = grid_end(now, self._interval_s)
        settling = now >= self._end
        fresh: dict[Quantity, tuple[float, float]] = {}
        for quantity in self._gauges:
            reading = readings.get(quantity)
            if reading is not None and (number := reading.number) is not None and self._is_newer(quantity, reading.at, latest):
                fresh[quantity] = (number, reading.at)
        if settling:
            outcomes += self._settle(fresh, now)
        self._held.update(fresh)
        self._held_here.update(fresh)
        good = bool(fresh)
        for counted, power in self._beside:
            reading = readings.get(power)
            if reading is not None and (number := reading.number) is not None and reading.at <= latest:
                counted.note_power(reading.at, number)
        for _, quantity, energy, unless in self._energies:
            if unless is not None and unless.was_read:
                continue
            reading = readings.get(quantity)
            if reading is not None and (number := reading.number) is not None and reading.at <= latest:
                good = True
                if found := energy.feed(reading.at, number):
                    outcomes += _passed_on(found, unless)
        return outcomes, good

    def _hear(self, sleep: Sleep, readings: Mapping[Quantity, Reading], latest: float) -> None:
        """What tells of an inverter's nights: its power, and the counter of what it gives."""
        power = next((readings[quantity] for quantity in (Quantity.GENERATION_W, Quantity.AC_OUTPUT_W) if quantity in readings), None)
        if power is None or (watts := power.number) is None or power.at > latest:
            return
        counters = (readings[metered.read].number for metered in self._energies if metered.read.is_counter and metered.read in readings)
        sleep.hear(power.at, watts, next(counters, None))

    def _slept(self, sleep: Sleep, now: float) -> list[Outcome]:
        """What is known of the nights before a reading at `now`."""
        for at in sleep.dark_times(now, self._gap_s):
            for counted, _ in self._beside:
                counted.note_power(at, 0.0)
        until = sleep.asleep_until(now)
        return self._sleep_on(now) if until is not None and until < now else []

    def _sleep_on(self, now: float) -> list[Outcome]:
        """An inverter that is asleep generates nothing: its power is 0, its counters stand still."""
        until = self._sleep.asleep_until(now) if self._sleep is not None else None
        if until is None:
            return []
        at = min(until, now)
        levels = {
            metered.read: metered.energy.level if isinstance(metered.energy, CounterEnergy) else 0.0
            for metered in self._energies
            if not isinstance(metered.energy, CounterEnergy) or metered.energy.was_read
        }
        levels |= {quantity: 0.0 for quantity in self._gauges if quantity.is_power}
        return self._read({quantity: Reading(level, "", Quality.OK, at) for quantity, level in levels.items()}, now)[0]

    def asleep(self, now: float) -> bool:
        """Whether it is an inverter that is taken to sleep at night."""
        until = self._sleep.asleep_until(now) if self._sleep is not None else None
        return until is not None and now < until

    def _is_newer(self, quantity: Quantity, at: float, latest: float) -> bool:
        held = self._held.get(quantity)
        return at <= latest and (held is None or at >= held[1])

    def tick(self, now: float) -> list[Outcome]:
        """Gives up the gauges of a silent device, absent energies and the device itself when their time has come."""
        outcomes = self._sleep_on(now) if self.asleep(now) else []
        if self._end is None:
            self._end = grid_end(now, self._interval_s)
        if now >= self._end + self._point.offline_after_s:
            outcomes += self._settle({}, now)
        for _, _, energy, unless in self._energies:
            if unless is None or not unless.was_read:
                outcomes += _passed_on(energy.overdue(now), unless)
        outcomes += self._changes.tick(now)
        return outcomes

    def _settle(self, fresh: Mapping[Quantity, tuple[float, float]], now: float) -> list[Outcome]:
        """Takes the gauges at every boundary up to `now`: the last value before it that is not stale there."""
        assert self._end is not None
        found: list[Outcome] = []
        last = floor(now / self._interval_s) * self._interval_s
        stale_s = self._point.stale_after_s
        first = max(self._end, grid_end(last - stale_s - self._interval_s, self._interval_s))
        for end in range(first, last + 1, self._interval_s):
            powers: Powers = {}
            for quantity, reported in self._gauges.items():
                value, at = fresh.get(quantity, (0.0, now + 1))
                if at > end:
                    value, at = self._held.get(quantity, (0.0, -stale_s))
                current = at <= end and end - at <= stale_s
                if current:
                    found.append(Snapshot(self.id, reported, end, value))
                if quantity.is_power:
                    powers[reported] = value if current else None
            self._closed.append((end, powers))
        self._end = last + self._interval_s
        return found

    def silent_since(self, now: float) -> float | None:
        """Since when the device counts as unreachable, in UTC epoch seconds; None while it answers."""
        return self._changes.silent_since(now)

    def shift(self, offset_s: float) -> None:
        """Re-dates what was read since `restore`: the wall clock was set by that many seconds. Ends that were settled stay settled."""
        for quantity in self._held_here:
            value, at = self._held[quantity]
            self._held[quantity] = value, at + offset_s
        for metered in self._energies:
            metered.energy.shift(offset_s)
        self._changes.shift(offset_s)
        if self._sleep is not None:
            self._sleep.shift(offset_s)

    def forget_future(self, now: float) -> None:
        """Begins anew with what is dated too far ahead of `now`: a wrong clock dated it."""
        if self._end is not None and self._end > now + AHEAD_S:
            self._end = grid_end(now, self._interval_s)
        self._held = {quantity: held for quantity, held in self._held.items() if held[1] <= now + AHEAD_S}
        self._held_here &= self._held.keys()
        for metered in self._energies:
            metered.energy.forget_future(now)
        self._changes.forget_future(now)
        if self._sleep is not None:
            self._sleep.forget_future(now)

    def state(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        return {
            "source": self._point.source,
            "end": self._end,
            "interval_s": self._interval_s,
            "held": {quantity.value: held for quantity, held in self._held.items()},
            "energies": {key: energy.state() for key, _, energy, unless in self._energies if unless is None or not unless.was_read},
            "changes": self._changes.state(),
            "sleep": None if self._sleep is None else self._sleep.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Goes on where `state` was taken, as far as the point still has the same quantities.

        False: something else feeds it now (another profile, sign or scale), so energies begin anew.
        """
        same = bool(state["source"] == self._point.source)
        self._end = None if state["end"] is None else boundary(state["end"])
        if self._end is not None and state["interval_s"] != self._interval_s:
            self._end = grid_end(self._end - 1, self._interval_s)
        self._held = {Quantity(quantity): (number(value), instant(at)) for quantity, (value, at) in state["held"].items() if same}
        self._held_here.clear()
        self._changes.restore(state["changes"])
        if self._sleep is not None and same and state.get("sleep"):
            self._sleep.restore(state["sleep"])
        for metered in self._energies:
            if metered.key in state["energies"]:
                metered.energy.restore(state["energies"][metered.key])
                if not same:
                    metered.energy.begin_anew()
        return same


def _answered(readings: Mapping[Quantity, Reading]) -> bool:
    return any(reading.value is not None for reading in readings.values())


def _passed_on(intervals: list[EnergyInterval], unless: CounterEnergy | None) -> list[EnergyInterval]:
    """The intervals; a counter that begins later must not repeat them."""
    if unless is not None and intervals:
        unless.begin_after(intervals[-1].end)
    return intervals


def _counter(point: MeterPoint, source: Source, interval_s: int, gap_s: float, time_zone: tzinfo) -> CounterEnergy:
    power = power_beside(source.energy, point.quantities)
    counter = point.counters.get(source.read, Counter())
    return CounterEnergy(point.id, source.energy, counter, interval_s, gap_s, time_zone, power_sign=power[1] if power else 0)


def _energies(point: MeterPoint, sources: tuple[Source, ...], interval_s: int, gap_s: float, time_zone: tzinfo) -> tuple[_Metered, ...]:
    """What meters each energy. Counters come first; both directions of one power are integrated together."""
    counters = {source.energy: _counter(point, source, interval_s, gap_s, time_zone) for source in sources if not source.sign}
    found = [_Metered(source.energy.value, source.read, counters[source.energy]) for source in sources if not source.sign]
    one_way = point.role not in (Role.GRID, Role.PV, Role.BATTERY)
    signed: dict[Quantity, dict[int, Quantity]] = {}
    for source in sources:
        if source.stands_in:
            parts = {source.sign: source.energy}
            energy = PowerEnergy(point.id, parts.get(1), parts.get(-1), interval_s, gap_s, one_way=one_way)
            found.append(_Metered(f"{source.read} for {source.energy}", source.read, energy, counters[source.energy]))
        elif source.sign:
            signed.setdefault(source.read, {})[source.sign] = source.energy
    for power, parts in signed.items():
        integral = PowerEnergy(point.id, parts.get(1), parts.get(-1), interval_s, gap_s, one_way=one_way)
        found.append(_Metered(power.value, power, integral))
    return tuple(found)
