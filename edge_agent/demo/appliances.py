"""What draws power in the simulated house: people, a washing machine, a heat pump, a car at its charger.

Powers are whole milliwatts, so that a second's flows can be added up without any rounding (see `house`).
Each is a function of the time, or a small state that is stepped once a second.
"""

from __future__ import annotations

from enum import Enum

from edge_agent.demo.weather import DAY_S, LONGITUDE, draw, local_day, local_hour, noise, outside_c

# The washing machine's program: seconds, watts.
_PROGRAM = ((150, 38), (1020, 2060), (2100, 165), (1200, 110), (300, 420), (600, 95), (420, 510), (240, 12))
_PROGRAM_S = sum(seconds for seconds, _ in _PROGRAM)


def _local_midnight(day: int) -> float:
    return day * DAY_S - LONGITUDE / 15 * 3600


def base_load_mw(seed: int, at: float) -> int:
    """Everything without a meter of its own: standby, fridge, light and television, cooking, kettles."""
    hour, day = local_hour(at), local_day(at)
    watts = 130 + 40 * noise(seed, "standby", at, 900) + 12 * noise(seed, "flicker", at, 7)
    if (at + 2700 * draw(seed, "fridge", 0)) % 2700 < 950:
        watts += 85
    if 6 <= hour < 8 or 17 <= hour < 22.8:
        watts += 60 + 190 * noise(seed, "light", at, 1800)
    for number, meal in enumerate((12.2, 18.6)):
        begin = meal + 0.8 * (draw(seed, "meal", 2 * day + number) - 0.5)
        if begin <= hour < begin + 0.6 and at % 45 < 24:  # the hob's thermostat
            watts += 1750
    for number in range(4):
        begin = 6.5 + 15 * draw(seed, "kettle", 4 * day + number)
        if begin <= hour < begin + 0.05:
            watts += 1980
    return int(watts * 1000)


def washing_machine_mw(seed: int, at: float, first_start: float) -> int:
    """A program a day at some hour, besides the one that begins at `first_start`; else a glowing lamp."""
    day = local_day(at)
    starts = [first_start, *(_local_midnight(one) + 3600 * (9 + 10 * draw(seed, "washing", one)) for one in (day - 1, day))]
    running = [at - start for start in starts if start >= first_start and 0 <= at - start < _PROGRAM_S]
    if not running:
        return 1_200
    elapsed = min(running)
    for seconds, watts in _PROGRAM:
        if elapsed < seconds:
            return int(watts * (930 + 140 * noise(seed, "drum", at, 20)))
        elapsed -= seconds
    return 1_200


class CarState(Enum):
    """What the charger knows of the car."""

    AWAY = 1
    CHARGING = 2
    WAITING = 3
    COMPLETE = 4


class Car:
    """A car that is out by day and comes home empty: it charges at 11 kW until it is full."""

    _FULL_MW = 10_980_000
    _WAIT_S = 25  # from plugging in to the first current
    _RAMP_S = 20

    def __init__(self, seed: int, home_at: float) -> None:
        """The car is out; `home_at` is when it comes home for the first time (epoch seconds)."""
        self._seed = seed
        self._turn_at = home_at
        self.state = CarState.AWAY
        self.plugged_at = 0.0
        self.missing_mws = 0  # what it will still take
        self.session_mws = 0  # what it has taken since it was plugged in

    @property
    def is_plugged(self) -> bool:
        """The cable is in the car."""
        return self.state is not CarState.AWAY

    def step(self, at: float) -> int:
        """What it draws in the second from `at`, in mW."""
        if at >= self._turn_at:
            self._leave(at) if self.is_plugged else self._come_home(at)
        if not self.is_plugged:
            return 0
        power = self._power_mw(at)
        self.missing_mws -= power
        self.session_mws += power
        return power

    def _come_home(self, at: float) -> None:
        number = local_day(at)
        self.state, self.plugged_at = CarState.WAITING, at
        self.missing_mws = int(3_600_000_000 * (9 + 12 * draw(self._seed, "trip", number)))
        self.session_mws = 0
        morning = _local_midnight(number + 1) + 3600 * (6.8 + 0.8 * draw(self._seed, "leaving", number))
        self._turn_at = morning

    def _leave(self, at: float) -> None:
        number = local_day(at)
        self.state = CarState.AWAY
        self._turn_at = _local_midnight(number) + 3600 * (15.5 + 3 * draw(self._seed, "coming home", number))

    def _power_mw(self, at: float) -> int:
        since = at - self.plugged_at
        if since < self._WAIT_S:
            return 0
        if self.missing_mws <= 0:
            self.state = CarState.COMPLETE
            return 0
        self.state = CarState.CHARGING
        ramp = min(1.0, (since - self._WAIT_S + 1) / self._RAMP_S)
        taper = min(1.0, 0.25 + self.missing_mws / (0.8 * 3.6e9))  # a full battery takes less
        wobble = 0.99 + 0.01 * noise(self._seed, "mains", at, 12)
        return min(self.missing_mws, int(self._FULL_MW * ramp * taper * wobble))


class HeatPumpMode(Enum):
    """What the heat pump is doing."""

    STANDBY = 0
    HEATING = 1
    HOT_WATER = 2


class HeatPump:
    """An air-water heat pump with a buffer for the floors and a hot water tank, each with its hysteresis."""

    _HOUSE_W_PER_K = 190.0
    _INSIDE_C = 20.0
    _BUFFER_J_PER_K = 500 * 4186.0
    _TANK_J_PER_K = 300 * 4186.0
    _SHOWER_W = 17_000.0
    _THERMAL_W = 7_200.0
    _RAMP_S = 90
    _STANDBY_MW, _PUMPS_MW = 14_000, 48_000

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.mode = HeatPumpMode.STANDBY
        self.buffer_c, self.tank_c = 33.8, 48.2
        self.outside_c = 0.0
        self.thermal_w = 0.0
        self.thermal_mws = 0
        self._running_s = 0

    @property
    def flow_c(self) -> float:
        """The temperature of the water that leaves it, in °C."""
        if self.mode is HeatPumpMode.STANDBY:
            return self.buffer_c - 0.4
        return (self.tank_c if self.mode is HeatPumpMode.HOT_WATER else self.buffer_c) + 4.5 * self.rating

    @property
    def rating(self) -> float:
        """How far the compressor is driven, 0 to 1."""
        return 0.0 if self.mode is HeatPumpMode.STANDBY else min(1.0, self._running_s / self._RAMP_S)

    @property
    def cop(self) -> float:
        """Heat per electricity that the compressor reaches between outside air and flow."""
        lift = max(15.0, self.flow_c - self.outside_c + 6)
        return min(6.5, 0.47 * (self.flow_c + 273.15) / lift)

    def step(self, at: float) -> int:
        """What it draws in the second from `at`, in mW; moves its temperatures on."""
        self.outside_c = outside_c(self._seed, at)
        self._choose_mode()
        self.thermal_w = self._THERMAL_W * self.rating
        into_tank = self.thermal_w if self.mode is HeatPumpMode.HOT_WATER else 0.0
        demand = self._HOUSE_W_PER_K * max(0.0, self._INSIDE_C - 1 - self.outside_c)
        self.tank_c += (into_tank - 55 - self._hot_water_w(at)) / self._TANK_J_PER_K
        self.buffer_c += (self.thermal_w - into_tank - demand) / self._BUFFER_J_PER_K
        self.thermal_mws += int(self.thermal_w * 1000)
        if self.mode is HeatPumpMode.STANDBY:
            return self._STANDBY_MW
        return self._PUMPS_MW + int(1000 * self.thermal_w / self.cop)

    def _choose_mode(self) -> None:
        wants_water = self.tank_c < (51.0 if self.mode is HeatPumpMode.HOT_WATER else 46.0)
        wants_heat = self.outside_c < 16 and self.buffer_c < (37.5 if self.mode is HeatPumpMode.HEATING else 33.0)
        mode = HeatPumpMode.HOT_WATER if wants_water else HeatPumpMode.HEATING if wants_heat else HeatPumpMode.STANDBY
        both_run = HeatPumpMode.STANDBY not in (mode, self.mode)
        self._running_s = self._running_s + 1 if both_run else 0
        self.mode = mode

    def _hot_water_w(self, at: float) -> float:
        hour, day = local_hour(at), local_day(at)
        for number, usual in enumerate((6.4, 7.0, 12.8, 20.5)):
            begin = usual + 0.7 * (draw(self._seed, "shower", 4 * day + number) - 0.5)
            if begin <= hour < begin + 0.1:
                return self._SHOWER_W
        return 0.0
