"""The simulated house: what flows between sun, battery, grid and consumers, second by second.

Energy adds up exactly: powers are whole milliwatts that hold for one second, energies their sums in
milliwatt-seconds, and the grid takes or gives what is left. Nothing here knows of devices, registers or
clocks: `devices` and `mqtt_devices` show this house the way real devices would.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_agent.demo.appliances import Car, HeatPump, base_load_mw, washing_machine_mw
from edge_agent.demo.hybrid import Hybrid
from edge_agent.demo.weather import irradiance_w_m2, local_day

_PEAK_MW_PER_W_M2 = 7_400  # 8.2 kWp of modules with their losses
_MWS_PER_WH = 3_600_000


class Flows(NamedTuple):
    """Each flow of the house: in mW for one second, or summed up in mW·s."""

    grid_import: int = 0
    grid_export: int = 0
    pv: int = 0
    battery_charge: int = 0
    battery_discharge: int = 0
    inverter_output: int = 0
    inverter_input: int = 0
    inverter_loss: int = 0
    battery_loss: int = 0
    heat_pump: int = 0
    car: int = 0
    washing_machine: int = 0
    base: int = 0

    @property
    def consumption(self) -> int:
        """What the house's consumers draw; the inverter's own need at night is one of them."""
        return self.heat_pump + self.car + self.washing_machine + self.base

    @property
    def ac_imbalance(self) -> int:
        """What flows onto the house's AC side minus what leaves it: always 0."""
        return self.grid_import + self.inverter_output - self.grid_export - self.inverter_input - self.consumption

    def plus(self, other: Flows) -> Flows:
        """The sums, flow by flow."""
        return Flows(*map(int.__add__, self, other))

    def since(self, earlier: Flows) -> Flows:
        """The differences, flow by flow."""
        return Flows(*map(int.__sub__, self, earlier))


def watt_hours(milliwatt_seconds: int) -> float:
    """A summed flow in Wh."""
    return milliwatt_seconds / _MWS_PER_WH


class House:
    """A family's house in Graz. Its day depends on the seed and the time alone, not on how it is advanced."""

    def __init__(self, seed: int, start_at: float, *, car_home_after_s: float = 1560.0, washing_after_s: float = 420.0, soc: float = 0.95) -> None:
        """The house begins at `start_at` (epoch seconds) with its car on the way home and its laundry ready."""
        self.at = int(start_at)
        self._seed = seed
        self._washing_at = self.at + washing_after_s
        self.hybrid = Hybrid(soc)
        self.heat_pump = HeatPump(seed)
        self.car = Car(seed, self.at + car_home_after_s)
        self.flows = Flows()  # of the last second, mW
        self.totals = Flows()  # since the beginning, mW·s
        self._day = local_day(self.at)
        self._at_midnight = Flows()

    @property
    def today(self) -> Flows:
        """What has flowed since midnight (on the first day since the beginning), mW·s."""
        return self.totals.since(self._at_midnight)

    def advance(self, to_at: float) -> None:
        """Lives on until `to_at` (epoch seconds), in whole seconds."""
        while self.at + 1 <= to_at:
            self.flows = self._second()
            self.totals = self.totals.plus(self.flows)
            self.at += 1
            if local_day(self.at) != self._day:
                self._day, self._at_midnight = local_day(self.at), self.totals

    def _second(self) -> Flows:
        heat_pump, car = self.heat_pump.step(self.at), self.car.step(self.at)
        washing, base = washing_machine_mw(self._seed, self.at, self._washing_at), base_load_mw(self._seed, self.at)
        drawn = heat_pump + car + washing + base
        sun = int(irradiance_w_m2(self._seed, self.at) * _PEAK_MW_PER_W_M2)
        hybrid = self.hybrid.step(sun, drawn)
        grid = drawn + hybrid.input - hybrid.output
        return Flows(
            grid_import=max(0, grid),
            grid_export=max(0, -grid),
            pv=hybrid.pv,
            battery_charge=hybrid.charge,
            battery_discharge=hybrid.discharge,
            inverter_output=hybrid.output,
            inverter_input=hybrid.input,
            inverter_loss=hybrid.converter_loss,
            battery_loss=hybrid.battery_loss,
            heat_pump=heat_pump,
            car=car,
            washing_machine=washing,
            base=base,
        )
