"""Modbus devices of the simulated house: each shows it in its own registers, as its fact sheet says.

Every answer is made from the house at the moment of the request. Counters have the resolution of the real
device and are cut off, not rounded. Addresses that a device does not have answer with an illegal-address
exception, writes with an illegal function: nothing here can be switched.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.demo.appliances import HeatPumpMode
from edge_agent.demo.house import Flows, House, watt_hours
from edge_agent.demo.hybrid import Hybrid
from edge_agent.demo.weather import noise

Words = tuple[int, ...]
Registers = Mapping[int, Words]
HOLDING, INPUT = 3, 4  # the function codes that read them
_ABSENT_U16, _ABSENT_S16 = (0xFFFF,), (0x7FFF,)

# What the devices had counted before the demo began, in Wh.
METER_IMPORT, METER_EXPORT = 2_871_432, 3_350_871
PV_TOTAL, CHARGED, DISCHARGED = 18_204_300, 2_961_700, 2_788_400
HYBRID_IMPORT, HYBRID_EXPORT = 2_869_900, 3_349_200
HEAT_PUMP_ELECTRICAL, HEAT_PUMP_THERMAL = 5_113_870, 20_655_030


@dataclass(frozen=True, slots=True)
class Model:
    """What a device answers: its registers by function code, and which addresses it has."""

    unit: int
    framer: FramerType
    tables: Mapping[int, Callable[[House], Registers]]
    ranges: Mapping[int, tuple[tuple[int, int], ...]]  # first address, and the one after the last
    filler: int = 0  # what an address without meaning reads


class ModbusDevice:
    """`async with ModbusDevice(GRID_METER, ledger.now) as device:` serves on the loopback interface, on a free port unless one is given."""

    def __init__(self, model: Model, house: Callable[[], House], port: int = 0) -> None:
        self._model = model
        self._port = port
        self._house = house
        self._server: ModbusTcpServer | None = None
        self._asked_at: int | None = None
        self.longest_pause_s = 0  # between two requests, in the house's time

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None, "the device is not running"
        return int(self._server.transport.sockets[0].getsockname()[1])  # type: ignore[attr-defined]  # a server's transport has sockets

    async def __aenter__(self) -> ModbusDevice:
        no_bits = [SimData(0, count=16, values=False, datatype=DataType.BITS)]
        blocks = (no_bits, list(no_bits), self._block(HOLDING), self._block(INPUT))
        device = SimDevice(self._model.unit, simdata=blocks, action=self._answer)
        self._server = ModbusTcpServer(device, framer=self._model.framer, address=("127.0.0.1", self._port))
        await self._server.serve_forever(background=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped

    def _block(self, code: int) -> list[SimData]:
        ranges = self._model.ranges.get(code, ())
        blocks = [SimData(first, count=end - first, values=self._model.filler, datatype=DataType.REGISTERS) for first, end in ranges]
        return blocks or [SimData(0, datatype=DataType.INVALID)]

    async def _answer(
        self, code: int, start: int, address: int, count: int, registers: list[int], written: list[int] | list[bool] | None
    ) -> ExcCodes | None:
        """Called by the server for each request; `registers` is the whole block, which begins at `start`."""
        table = self._model.tables.get(code)
        if table is None or written is not None:
            return ExcCodes.ILLEGAL_FUNCTION
        house = self._house()
        self.longest_pause_s = max(self.longest_pause_s, house.at - (self._asked_at or house.at))
        self._asked_at = house.at
        for first, words in table(house).items():
            if first < address + count and address < first + len(words):
                registers[first - start : first - start + len(words)] = words
        return None


def _f32(value: float) -> Words:
    return struct.unpack(">HH", struct.pack(">f", value))


def _u16(value: float) -> Words:
    return (int(value) & 0xFFFF,)


def _s16(value: float) -> Words:
    return (round(value) & 0xFFFF,)


def _u32(value: float) -> Words:
    return int(value) >> 16 & 0xFFFF, int(value) & 0xFFFF


def _low_first(value: float) -> Words:
    """32 bits with the low word first; signed or not makes no difference on the wire."""
    return int(value) & 0xFFFF, int(value) >> 16 & 0xFFFF


def _text(text: str, registers: int) -> Words:
    return struct.unpack(f">{registers}H", text.encode().ljust(2 * registers, b"\0"))


def _watts(milliwatts: int) -> float:
    return milliwatts / 1000


# The mains: three phases that sway a little.


def voltages(at: float) -> tuple[float, float, float]:
    """The mains' voltages, in V."""
    first, second, third = (228.5 + 4 * noise(phase, "mains", at, 300) + 0.6 * noise(phase, "mains ripple", at, 5) for phase in (1, 2, 3))
    return first, second, third


def frequency(at: float) -> float:
    """The mains' frequency, in Hz."""
    return 49.97 + 0.06 * noise(0, "frequency", at, 40)


def phase_powers(flows: Flows) -> tuple[float, float, float]:
    """What comes from the grid on each phase, in W: the inverter feeds the first, car and heat pump take all three."""
    even = (flows.car + flows.heat_pump) // 3
    first = even + flows.base // 2 + flows.inverter_input - flows.inverter_output
    second = even + flows.base // 4 + flows.washing_machine
    third = flows.grid_import - flows.grid_export - first - second
    return _watts(first), _watts(second), _watts(third)


# Eastron SDM630: floats in input registers, energies in kWh to the watt-hour. It adds the phases up
# (its balancing mode), so its counters per phase are an even share.


def sdm630_input(house: House) -> Registers:
    """The meter's measurements; from the grid is positive."""
    volts, powers = voltages(house.at), phase_powers(house.flows)
    total = _watts(house.flows.grid_import - house.flows.grid_export)
    imported = math.floor(METER_IMPORT + watt_hours(house.totals.grid_import)) / 1000
    exported = math.floor(METER_EXPORT + watt_hours(house.totals.grid_export)) / 1000
    reactive = 140 + 0.05 * abs(total)
    registers = {52: total, 56: math.hypot(total, reactive), 60: reactive, 70: frequency(house.at), 72: imported, 74: exported}
    registers[342] = imported + exported
    for phase in range(3):
        apparent = math.hypot(powers[phase], reactive / 3)
        registers |= {
            2 * phase: volts[phase],
            6 + 2 * phase: apparent / volts[phase],
            12 + 2 * phase: powers[phase],
            18 + 2 * phase: apparent,
            24 + 2 * phase: reactive / 3,
            30 + 2 * phase: powers[phase] / apparent,
            346 + 2 * phase: math.floor(imported * 1000 / 3) / 1000,
            352 + 2 * phase: math.floor(exported * 1000 / 3) / 1000,
        }
    return {address: _f32(value) for address, value in registers.items()}


def sdm630_holding(house: House) -> Registers:
    """The meter's identity: serial number, and the code of an SDM630 of the second version."""
    return {64512: _u32(20_631_144), 64514: _u16(121)}


GRID_METER = Model(1, FramerType.RTU, {INPUT: sdm630_input, HOLDING: sdm630_holding}, {INPUT: ((0, 88), (342, 382)), HOLDING: ((64512, 64515),)})


# Sungrow SH8.0RS, a single-phase hybrid on a three-phase house: protocol addresses, 32 bits low word first,
# newer firmware (signed battery power at 5213). Phases that it does not have read "not available".


def sungrow_input(house: House) -> Registers:
    """The hybrid's measurements: export, discharging and feeding the AC side are positive."""
    flows, volts, battery = house.flows, voltages(house.at), house.hybrid
    power = _watts(flows.battery_discharge - flows.battery_charge)
    ac, grid = _watts(flows.inverter_output - flows.inverter_input), _watts(flows.grid_export - flows.grid_import)
    phases = phase_powers(flows)
    strings = _watts(flows.pv) * 0.55, _watts(flows.pv) * 0.45
    cell_volts = 192 + 24 * battery.soc
    day = house.today
    return {
        4989: _text("A2240815471", 10),
        4999: _u16(0x0D1A),
        5000: _u16(Hybrid.AC_LIMIT / 1000 / 100),
        5007: _s16(10 * (31 + 9 * flows.inverter_output / Hybrid.AC_LIMIT)),
        5010: _u16(3850 if flows.pv else 0),
        5011: _u16(10 * strings[0] / 385),
        5012: _u16(3400 if flows.pv else 0),
        5013: _u16(10 * strings[1] / 340),
        5016: _low_first(_watts(flows.pv)),
        5018: _u16(10 * volts[0]),
        5019: _ABSENT_U16,
        5020: _ABSENT_U16,
        5035: _u16(10 * frequency(house.at)),
        5213: _low_first(round(power)),
        5241: _u16(100 * frequency(house.at)),
        5600: _low_first(round(-grid)),
        5602: _low_first(round(phases[0])),
        5604: _low_first(round(phases[1])),
        5606: _low_first(round(phases[2])),
        5630: _s16(10 * power / cell_volts),
        5638: _u16(100 * Hybrid.CAPACITY / 3.6e9),
        12999: _u16(64 if flows.inverter_output else 8),
        13000: _u16(_power_flow_bits(flows)),
        13001: _u16(watt_hours(day.pv) / 100),
        13002: _hectowatt_hours(PV_TOTAL, house.totals.pv),
        13007: _low_first(round(ac - grid)),
        13009: _low_first(round(grid)),
        13019: _u16(10 * cell_volts),
        13020: _s16(10 * abs(power) / cell_volts),
        13021: _s16(abs(power)),
        13022: _u16(1000 * battery.soc),
        13023: _u16(987),
        13024: _s16(10 * (24 + abs(power) / 1000)),
        13025: _u16(watt_hours(day.battery_discharge) / 100),
        13026: _hectowatt_hours(DISCHARGED, house.totals.battery_discharge),
        13030: _s16(10 * ac / volts[0]),
        13031: _ABSENT_S16,
        13032: _ABSENT_S16,
        13033: _low_first(round(ac)),
        13035: _u16(watt_hours(day.grid_import) / 100),
        13036: _hectowatt_hours(HYBRID_IMPORT, house.totals.grid_import),
        13039: _u16(watt_hours(day.battery_charge) / 100),
        13040: _hectowatt_hours(CHARGED, house.totals.battery_charge),
        13044: _u16(watt_hours(day.grid_export) / 100),
        13045: _hectowatt_hours(HYBRID_EXPORT, house.totals.grid_export),
    }


def _hectowatt_hours(before: int, milliwatt_seconds: int) -> Words:
    return _low_first((before + watt_hours(milliwatt_seconds)) / 100)


def _power_flow_bits(flows: Flows) -> int:
    shown = (flows.pv, flows.battery_charge, flows.battery_discharge, flows.consumption, flows.grid_export, flows.grid_import)
    return sum(1 << bit for bit, flow in enumerate(shown) if flow > 0)


def sungrow_holding(house: House) -> Registers:
    """The hybrid's settings: self-consumption between 10 and 100 %."""
    return {13049: _u16(0), 13050: _u16(0xCC), 13051: _u16(0), 13057: _u16(1000), 13058: _u16(100)}


HYBRID = Model(
    1,
    FramerType.SOCKET,
    {INPUT: sungrow_input, HOLDING: sungrow_holding},
    {INPUT: ((4949, 5048), (5213, 5250), (5600, 5640), (12999, 13051)), HOLDING: ((12999, 13101),)},
    filler=0xFFFF,
)


# Lambda EU10L: holding registers, firmware from 1.1.3 on (counters low word first). Its own module counts in 0.01 °C,
# all others in 0.1 °C.

_LAMBDA_STATE = {HeatPumpMode.STANDBY: (3, 0, 0), HeatPumpMode.HEATING: (7, 1, 2), HeatPumpMode.HOT_WATER: (7, 2, 4)}


def lambda_holding(house: House) -> Registers:
    """The heat pump, its hot water tank, its buffer and its heating circuit."""
    pump, flows = house.heat_pump, house.flows
    state, operating, request = _LAMBDA_STATE[pump.mode]
    running = pump.rating > 0
    spread = pump.thermal_w / 1700
    return {
        0: _s16(0),
        1: _u16(1),
        2: _s16(10 * pump.outside_c),
        3: _s16(10 * pump.outside_c),
        100: _s16(0),
        101: _u16(1),
        102: _s16(0),
        103: _s16(_watts(flows.heat_pump)),
        104: _s16(0),
        1000: _u16(0),
        1001: _s16(0),
        1002: _u16(state),
        1003: _u16(operating),
        1004: _s16(100 * pump.flow_c),
        1005: _s16(100 * (pump.flow_c - spread)),
        1007: _s16(100 * pump.outside_c),
        1008: _s16(100 * (pump.outside_c - 4 * pump.rating)),
        1010: _u16(10_000 * pump.rating),
        1011: _s16(pump.thermal_w / 100),
        1012: _s16(_watts(flows.heat_pump)),
        1013: _s16(100 * pump.cop if running else 0),
        1015: _s16(request),
        1020: _low_first(HEAT_PUMP_ELECTRICAL + watt_hours(house.totals.heat_pump)),
        1022: _low_first(HEAT_PUMP_THERMAL + watt_hours(pump.thermal_mws)),
        2000: _s16(0),
        2001: _u16(1 if pump.mode is HeatPumpMode.HOT_WATER else 0),
        2002: _s16(10 * pump.tank_c),
        2003: _s16(10 * (pump.tank_c - 3)),
        2050: _s16(510),
        3000: _s16(0),
        3001: _u16(0),
        3002: _s16(10 * pump.buffer_c),
        3003: _s16(10 * (pump.buffer_c - 1.5)),
        5000: _s16(0),
        5001: _u16(0),
        5002: _s16(10 * (pump.buffer_c - 0.5)),
        5004: _s16(214),
    }


HEAT_PUMP = Model(
    1,
    FramerType.SOCKET,
    {HOLDING: lambda_holding},
    {HOLDING: ((0, 5), (100, 105), (1000, 1025), (2000, 2004), (2050, 2051), (3000, 3005), (5000, 5007))},
)
