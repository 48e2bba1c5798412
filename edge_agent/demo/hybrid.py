"""The simulated hybrid inverter: PV and battery on one DC bus, one converter to the house's AC side.

All powers are whole milliwatts and every loss is booked, so that for each second exactly
    pv + discharge = charge + converted        converted = output - input + converter loss
    charge - discharge = growth of what is stored + battery loss
"""

from __future__ import annotations

from typing import NamedTuple

_HOUR_W = 3_600_000  # milliwatt-seconds of a watt-hour


class HybridFlows(NamedTuple):
    """One second of the inverter, in mW."""

    pv: int  # taken from the roof: less than the sun offers when nobody can take it
    charge: int  # at the battery's terminals
    discharge: int
    output: int  # to the AC side
    input: int  # from the AC side: the inverter's own need at night
    converter_loss: int
    battery_loss: int


class Hybrid:
    """An 8 kW inverter with a 9.6 kWh battery that keeps the grid meter near 0."""

    AC_LIMIT = 8_000_000
    BATTERY_LIMIT = 4_800_000
    CAPACITY = 9_600 * _HOUR_W
    RESERVE = CAPACITY // 10
    _OWN_NEED, _ASLEEP = 35_000, 9_000
    _CONVERTER_PERMILLE, _CELL_PERMILLE = 24, 26

    def __init__(self, soc: float) -> None:
        """`soc` is the state of charge at the beginning, 0 to 1."""
        self.stored = int(self.CAPACITY * soc)  # mW·s
        self._seen_load = 0

    @property
    def soc(self) -> float:
        """State of charge, 0 to 1."""
        return self.stored / self.CAPACITY

    def step(self, sun: int, load: int) -> HybridFlows:
        """One second: `sun` is what the roof offers (mW), `load` what the house draws (mW).

        Its own meter sees the load with a delay of some seconds, which is why every step of a load
        shows at the grid for a moment.
        """
        self._seen_load += (load - self._seen_load) * 35 // 100
        target = min(self._seen_load, self.AC_LIMIT)
        needed = self._dc_for(target)
        if sun >= needed:
            charge = min(sun - needed, self._can_charge())
            converted = min(sun - charge, self._dc_for(self.AC_LIMIT))
            return self._book(converted + charge, charge, 0, converted)
        discharge = min(needed - sun, self._can_discharge())
        if sun + discharge < 2 * self._OWN_NEED:
            return self._book(0, 0, 0, 0)
        return self._book(sun, 0, discharge, sun + discharge)

    def _dc_for(self, ac: int) -> int:
        return (ac + self._OWN_NEED) * 1000 // (1000 - self._CONVERTER_PERMILLE)

    def _can_charge(self) -> int:
        """The cells take less and less above 95 %."""
        room = (self.CAPACITY - self.stored) * 1000 // (1000 - self._CELL_PERMILLE)
        taper = self.BATTERY_LIMIT * (self.CAPACITY - self.stored) // (self.CAPACITY // 20)
        return max(0, min(room, taper, self.BATTERY_LIMIT))

    def _can_discharge(self) -> int:
        return max(0, min(self.BATTERY_LIMIT, (self.stored - self.RESERVE) * (1000 - self._CELL_PERMILLE) // 1000))

    def _book(self, pv: int, charge: int, discharge: int, converted: int) -> HybridFlows:
        converter_loss = self._OWN_NEED + converted * self._CONVERTER_PERMILLE // 1000 if converted else self._ASLEEP
        ac = converted - converter_loss
        charging_loss = charge * self._CELL_PERMILLE // 1000
        discharging_loss = discharge * 1000 // (1000 - self._CELL_PERMILLE) - discharge
        self.stored += charge - charging_loss - discharge - discharging_loss
        return HybridFlows(pv, charge, discharge, max(0, ac), max(0, -ac), converter_loss, charging_loss + discharging_loss)
