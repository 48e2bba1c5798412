"""The simulated Modbus devices, read by the shipped profiles, show the house as it truly is."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge_agent.demo import devices
from edge_agent.demo.devices import GRID_METER, HEAT_PUMP, HYBRID, ModbusDevice, Model
from edge_agent.demo.house import House, watt_hours
from edge_agent.drivers.modbus import ModbusDriver
from edge_agent.drivers.modbus_link import ModbusLinks
from edge_agent.model.clock import SystemClock
from edge_agent.model.measurements import Quality, Quantity, Reading, Role, Sample
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.meaning import meanings, measurements
from edge_agent.profiles.setup import DeviceSetup, parse_connection

SPRING_MORNING = 1_776_501_900
Q = Quantity


def house_after(seconds: float) -> House:
    house = House(1, SPRING_MORNING)
    house.advance(SPRING_MORNING + seconds)
    return house


EXPORTING, CHARGING, NIGHT = 600.0, 2700.0, 14 * 3600.0


@asynccontextmanager
async def sampled(model: Model, profile: str, scheme: str, house: House, role: Role | None = None) -> AsyncIterator[tuple[DeviceSetup, Sample]]:
    """One sample of a device, read over the wire by the agent's own driver with the shipped profile."""
    async with ModbusDevice(model, lambda: house) as device:
        loaded = load_profile(profile)
        connection = parse_connection(f"{scheme}://127.0.0.1:{device.port}", loaded)
        setup = DeviceSetup("device", "Device", loaded, connection, loaded.spec.modbus.unit, role=role)
        links = ModbusLinks(SystemClock())
        driver = ModbusDriver(setup, links.get(connection, loaded.spec.modbus), SystemClock())
        try:
            yield setup, await driver.read()
        finally:
            await driver.close()
            await links.close()


def absent(sample: Sample) -> dict[str, Quality]:
    return {name: reading.quality for name, reading in sample.readings.items() if reading.quality is not Quality.OK}


def numbers(readings: Mapping[Quantity, Reading]) -> dict[Quantity, float]:
    return {quantity: reading.number for quantity, reading in readings.items() if reading.number is not None}


@pytest.mark.parametrize("seconds", [EXPORTING, CHARGING, NIGHT])
async def test_grid_meter_shows_import_and_export(seconds: float) -> None:
    house = house_after(seconds)
    async with sampled(GRID_METER, "eastron-sdm630", "rtu+tcp", house, Role.GRID) as (setup, sample):
        assert sample.error == ""
        assert absent(sample) == {}
        seen = numbers(measurements(meanings(setup), sample)["device"])
    assert seen[Q.POWER_W] == pytest.approx((house.flows.grid_import - house.flows.grid_export) / 1000, rel=1e-6)
    assert seen[Q.IMPORT_WH] == pytest.approx(math.floor(devices.METER_IMPORT + watt_hours(house.totals.grid_import)), abs=0.3)
    assert seen[Q.EXPORT_WH] == pytest.approx(math.floor(devices.METER_EXPORT + watt_hours(house.totals.grid_export)), abs=0.3)
    phases = sum(reading.number or 0 for name, reading in sample.readings.items() if name.startswith("power_l"))
    assert phases == pytest.approx(seen[Q.POWER_W], abs=0.01)


@pytest.mark.parametrize("seconds", [EXPORTING, CHARGING, NIGHT])
async def test_hybrid_shows_sun_and_battery(seconds: float) -> None:
    house = house_after(seconds)
    flows = house.flows
    async with sampled(HYBRID, "sungrow-sh", "tcp", house) as (setup, sample):
        assert sample.error == ""
        assert Quality.ERROR not in absent(sample).values(), sample.readings
        seen = {point.removeprefix("device."): numbers(readings) for point, readings in measurements(meanings(setup), sample).items()}
    assert seen["pv"][Q.GENERATION_W] == pytest.approx(flows.pv / 1000, abs=1)
    assert seen["pv"][Q.AC_OUTPUT_W] == pytest.approx((flows.inverter_output - flows.inverter_input) / 1000, abs=1)
    assert seen["battery"][Q.POWER_W] == pytest.approx((flows.battery_charge - flows.battery_discharge) / 1000, abs=1)
    assert seen["battery"][Q.SOC_PERCENT] == pytest.approx(100 * house.hybrid.soc, abs=0.11)
    assert seen["grid"][Q.POWER_W] == pytest.approx((flows.grid_import - flows.grid_export) / 1000, abs=1)
    counted = {
        ("pv", Q.GENERATION_WH): devices.PV_TOTAL + watt_hours(house.totals.pv),
        ("battery", Q.IMPORT_WH): devices.CHARGED + watt_hours(house.totals.battery_charge),
        ("battery", Q.EXPORT_WH): devices.DISCHARGED + watt_hours(house.totals.battery_discharge),
        ("grid", Q.IMPORT_WH): devices.HYBRID_IMPORT + watt_hours(house.totals.grid_import),
        ("grid", Q.EXPORT_WH): devices.HYBRID_EXPORT + watt_hours(house.totals.grid_export),
    }
    for (role, quantity), true_wh in counted.items():
        assert 0 <= true_wh - seen[role][quantity] < 100.001, (role, quantity)


async def test_hybrid_has_no_second_and_third_phase() -> None:
    async with sampled(HYBRID, "sungrow-sh", "tcp", house_after(EXPORTING)) as (_, sample):
        assert sample.readings["voltage_l1"].number == pytest.approx(230, abs=10)
        for name in ("voltage_l2", "voltage_l3"):
            assert sample.readings[name].value is None


@pytest.mark.parametrize("seconds", [EXPORTING, CHARGING, NIGHT])
async def test_heat_pump_shows_its_energy_and_temperatures(seconds: float) -> None:
    house = house_after(seconds)
    async with sampled(HEAT_PUMP, "lambda-eureka-luft", "tcp", house) as (setup, sample):
        assert sample.error == ""
        assert absent(sample) == {}
        (readings,) = measurements(meanings(setup), sample).values()
    seen = numbers(readings)
    assert seen[Q.POWER_W] == pytest.approx(house.flows.heat_pump / 1000, abs=0.51)
    assert seen[Q.IMPORT_WH] == math.floor(devices.HEAT_PUMP_ELECTRICAL + watt_hours(house.totals.heat_pump))
    assert seen[Q.WATER_TEMPERATURE_C] == pytest.approx(house.heat_pump.tank_c, abs=0.06)
    running = house.heat_pump.mode.value > 0
    assert readings[Q.STATUS].value == ("running" if running else "ready")


@asynccontextmanager
async def asked(model: Model, house: House) -> AsyncIterator[AsyncModbusTcpClient]:
    async with ModbusDevice(model, lambda: house) as device:
        client = AsyncModbusTcpClient("127.0.0.1", port=device.port, framer=model.framer, retries=0)
        assert await client.connect()
        yield client
        client.close()


async def test_registers_are_those_of_the_fact_sheets() -> None:
    house = house_after(CHARGING)
    async with asked(HYBRID, house) as client:
        low, high = (await client.read_input_registers(13002, count=2)).registers
        assert (high << 16 | low) == int((devices.PV_TOTAL + watt_hours(house.totals.pv)) / 100)
        assert (await client.read_input_registers(13030, count=3)).registers[1:] == [0x7FFF, 0x7FFF]
        low, high = (await client.read_input_registers(13009, count=2)).registers
        assert (high << 16 | low) - (1 << 32) == round((house.flows.grid_export - house.flows.grid_import) / 1000), "import is negative"
    async with asked(HEAT_PUMP, house) as client:
        low, high = (await client.read_holding_registers(1020, count=2)).registers
        assert (high << 16 | low) == int(devices.HEAT_PUMP_ELECTRICAL + watt_hours(house.totals.heat_pump))


@pytest.mark.parametrize(("model", "address"), [(GRID_METER, 90), (HYBRID, 6000), (HEAT_PUMP, 999)])
async def test_address_that_a_device_does_not_have_is_illegal(model: Model, address: int) -> None:
    async with asked(model, house_after(0)) as client:
        read = client.read_holding_registers if model is HEAT_PUMP else client.read_input_registers
        assert (await read(address, count=2)).exception_code == 2


@pytest.mark.parametrize("model", [GRID_METER, HYBRID, HEAT_PUMP])
async def test_nothing_can_be_written_or_switched(model: Model) -> None:
    async with asked(model, house_after(0)) as client:
        first = model.ranges[devices.HOLDING][0][0]
        assert (await client.write_register(first, 1)).exception_code == 1
        assert (await client.write_registers(first, [1, 2])).exception_code == 1
        assert (await client.read_coils(0, count=1)).exception_code == 1


async def test_answers_follow_the_house() -> None:
    house = house_after(EXPORTING)
    async with asked(HEAT_PUMP, house) as client:
        before = (await client.read_holding_registers(1020, count=1)).registers
        house.advance(house.at + 3600)
        after = (await client.read_holding_registers(1020, count=1)).registers
        assert list(after) > list(before)


def test_what_was_counted_never_falls() -> None:
    house = house_after(0)
    counters = [(GRID_METER, 4, (72, 74)), (HYBRID, 4, (13002, 13026, 13036, 13040, 13045)), (HEAT_PUMP, 3, (1020, 1022))]
    before: dict[int, float] = {}
    for _ in range(180):
        house.advance(house.at + 60)
        for model, code, addresses in counters:
            registers = model.tables[code](house)
            for address in addresses:
                first, second = registers[address]
                value = first << 16 | second if model is GRID_METER else second << 16 | first
                assert value >= before.get(address, 0)
                before[address] = value
