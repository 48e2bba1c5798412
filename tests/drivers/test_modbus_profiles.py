"""Every shipped Modbus profile against a server that holds documented values: readings, units and signs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pytest

from edge_agent.codec.registers import encode
from edge_agent.drivers.modbus import ModbusDriver
from edge_agent.model.measurements import Quality, Quantity, Role, Sample
from edge_agent.profiles.library import load_profile, profile_names
from edge_agent.profiles.meaning import meanings, measurements, meter_points
from tests.drivers.conftest import MakeDriver
from tests.simulators import serving

Q = Quantity
Values = Mapping[str, float | str]  # point -> the RAW value it has on the wire
MODBUS_PROFILES = [name for name in profile_names() if load_profile(name).spec.transport == "modbus"]


def registers(profile: str, raw: Values, variant: str = "", word_order: str = "") -> dict[str, dict[int, list[int]]]:
    """All registers that a profile reads, 0 where no raw value is given."""
    found = load_profile(profile)
    spec = (found.in_variant(variant) if variant else found).spec
    tables: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for name, point in spec.points.items():
        table = "holding" if point.holding is not None else "input"
        addresses = point.holding or point.input
        if addresses:
            text = point.as_.startswith("string")
            words = encode(raw.get(name, "" if text else 0), point.as_, word_order or point.word_order or spec.modbus.word_order)
            tables[table][addresses[0]] = words
    unknown = set(raw) - set(spec.points)
    assert not unknown, unknown
    if spec.modbus.max_gap:  # where reading across a gap is allowed, there is something in it
        tables = defaultdict(dict, {table: _without_gaps(runs, spec.modbus.max_gap) for table, runs in tables.items()})
    return dict(tables)


def _without_gaps(runs: dict[int, list[int]], max_gap: int) -> dict[int, list[int]]:
    flat = {address + offset: word for address, words in runs.items() for offset, word in enumerate(words)}
    for address in sorted(flat):
        nearest = next((other for other in range(address + 1, address + max_gap + 2) if other in flat), None)
        flat.update(dict.fromkeys(range(address + 1, nearest or 0), 0))
    return {address: [word] for address, word in flat.items()}


def meant(sample: Sample, driver: ModbusDriver) -> dict[str, dict[Quantity, object]]:
    """What the house gets: value by quantity, by measuring point."""
    assert sample.error == ""
    found = measurements(meanings(driver.setup), sample)
    return {point: {quantity: reading.value for quantity, reading in readings.items()} for point, readings in found.items()}


async def test_eastron_sdm630_at_the_grid(make_driver: MakeDriver) -> None:
    raw = {
        "power_total": -1500.5,
        "energy_import": 1234.5,
        "energy_export": 99.25,
        "voltage_l1": 231.5,
        "frequency": 500.0,
        "serial_number": 19_041_234,
    }
    async with serving({1: registers("eastron-sdm630", raw)}, rtu=True) as server:
        driver = make_driver("eastron-sdm630", server.port, scheme="rtu+tcp", role=Role.GRID)
        sample = await driver.read()
        assert meant(sample, driver) == {"meter": {Q.POWER_W: -1500.5, Q.IMPORT_WH: 1_234_500.0, Q.EXPORT_WH: 99_250.0}}
        assert driver.serial == "19041234"
        assert sample.readings["voltage_l1"].value == 231.5
        assert sample.readings["frequency"].quality is Quality.OUT_OF_RANGE, "some units give it ten times too high"
        assert len(driver.plan) == 2


async def test_eastron_sdm630_before_an_inverter_wired_the_other_way(make_driver: MakeDriver) -> None:
    raw = {"power_total": 3000.0, "energy_import": 10.0, "energy_export": 0.5}
    async with serving({1: registers("eastron-sdm630", raw)}) as server:
        driver = make_driver("eastron-sdm630", server.port, role=Role.PV, invert=True)
        assert meant(await driver.read(), driver) == {"meter": {Q.GENERATION_W: 3000.0, Q.GENERATION_WH: 10_000.0, Q.AC_INPUT_WH: 500.0}}


SUNGROW: Values = {
    "serial": "A2340512345", "pv_power": 6120, "pv_energy": 123_456, "ac_power": 5000, "running_state": 64,
    "battery_soc": 875, "battery_energy_charged": 40_001, "battery_energy_discharged": 36_002,
    "grid_power": 2100, "grid_energy_import": 50_003, "grid_energy_export": 90_004, "battery_power_signed": -1000,
}  # fmt: skip


async def test_sungrow_sh_with_its_signed_battery_power(make_driver: MakeDriver) -> None:
    async with serving({1: registers("sungrow-sh", SUNGROW, word_order="little")}) as server:
        driver = make_driver("sungrow-sh", server.port, id_="hyb")
        assert meant(await driver.read(), driver) == {
            "hyb.pv": {Q.GENERATION_W: 6120.0, Q.GENERATION_WH: pytest.approx(12_345_600), Q.AC_OUTPUT_W: 5000.0, Q.STATUS: "running"},
            "hyb.battery": {
                Q.POWER_W: 1000.0,  # the register is positive when discharging
                Q.IMPORT_WH: pytest.approx(4_000_100),
                Q.EXPORT_WH: pytest.approx(3_600_200),
                Q.SOC_PERCENT: 87.5,
            },
            "hyb.grid": {Q.POWER_W: -2100.0, Q.IMPORT_WH: pytest.approx(5_000_300), Q.EXPORT_WH: pytest.approx(9_000_400)},
        }
        assert driver.serial == "A2340512345"


@pytest.mark.parametrize(
    ("flow", "raw", "power"), [(0b010, 800, 800.0), (0b100, 800, -800.0), (0b100, -800, -800.0), (0b010, -800, 800.0), (0, 0, 0.0), (0, 9, None)]
)
async def test_sungrow_sh_with_older_firmware(flow: int, raw: int, power: float | None, make_driver: MakeDriver) -> None:
    held = registers("sungrow-sh", {**SUNGROW, "battery_power_signed": 0, "power_flow": flow, "battery_power_magnitude": raw})
    del held["input"][5213]  # newer firmware only
    async with serving({1: held}) as server:
        driver = make_driver("sungrow-sh", server.port, id_="hyb")
        assert meant(await driver.read(), driver)["hyb.battery"][Q.POWER_W] == power


async def test_sungrow_sh_without_its_meter(make_driver: MakeDriver) -> None:
    nothing = 0x7FFFFFFF
    held = registers("sungrow-sh", {**SUNGROW, "grid_power": nothing, "grid_power_l1": nothing, "load_power": nothing})
    async with serving({1: held}) as server:
        driver = make_driver("sungrow-sh", server.port, id_="hyb")
        sample = await driver.read()
        assert meant(sample, driver)["hyb.grid"][Q.POWER_W] is None
        assert {sample.readings[name].quality for name in ("grid_power", "grid_power_l1", "load_power")} == {Quality.NOT_AVAILABLE}


KOSTAL: Values = {
    "pv_power": 4000.0, "pv_energy": 12_000_000.0, "ac_power": 3900.0, "inverter_state": 6, "battery_power": -500, "battery_soc": 64,
    "battery_energy_charged": 700_000.0, "battery_energy_discharged": 650_000.0, "grid_power": -1200.0, "inverter_power": 32767,
}  # fmt: skip


@pytest.mark.parametrize(("variant", "byte_order", "word_order"), [("", 0, "little"), ("high-word-first", 1, "big")])
async def test_kostal_plenticore_in_either_word_order(variant: str, byte_order: int, word_order: str, make_driver: MakeDriver) -> None:
    async with serving({71: registers("kostal-plenticore", {**KOSTAL, "byte_order": byte_order}, word_order=word_order)}) as server:
        driver = make_driver("kostal-plenticore", server.port, 71, id_="hyb")
        sample = await driver.read()
        assert driver.variant == variant
        assert meant(sample, driver) == {
            "hyb.pv": {Q.GENERATION_W: 4000.0, Q.GENERATION_WH: 12_000_000.0, Q.AC_OUTPUT_W: 3900.0, Q.STATUS: "running"},
            "hyb.battery": {Q.POWER_W: 500.0, Q.SOC_PERCENT: 64.0, Q.IMPORT_WH: 700_000.0, Q.EXPORT_WH: 650_000.0},
            "hyb.grid": {Q.POWER_W: -1200.0},
        }
        assert sample.readings["inverter_power"].quality is Quality.NOT_AVAILABLE


async def test_keba_p30_charging(make_driver: MakeDriver) -> None:
    raw = {"power": 10_948_000, "energy_total": 37_069_105, "charging_state": 3, "cable_state": 7, "serial_number": 18_123_456, "current_l1": 15_800}
    async with serving({255: registers("keba-p30", raw)}) as server:
        driver = make_driver("keba-p30", server.port, 255, id_="box", role=Role.CHARGER)
        sample = await driver.read()
        expected = {Q.POWER_W: 10_948.0, Q.IMPORT_WH: pytest.approx(3_706_910.5), Q.STATUS: "running", Q.SWITCH_ON: True}
        assert meant(sample, driver) == {"box": expected}
        assert driver.serial == "18123456"
        assert sample.readings["current_l1"].value == pytest.approx(15.8)
        assert all(block.count == 2 for block in driver.plan), "one value per request"


@pytest.mark.parametrize(("cable", "plugged"), [(0, False), (1, False), (3, False), (5, True), (7, True)])
async def test_keba_p30_knows_whether_a_car_is_plugged_in(cable: int, plugged: bool, make_driver: MakeDriver) -> None:
    async with serving({255: registers("keba-p30", {"cable_state": cable, "charging_state": 2})}) as server:
        driver = make_driver("keba-p30", server.port, 255, id_="box", role=Role.CHARGER)
        found = meant(await driver.read(), driver)["box"]
        assert (found[Q.SWITCH_ON], found[Q.STATUS]) == (plugged, "ready")


LAMBDA: Values = {
    "electrical_power": 1850,
    "electrical_energy": 7_654_321,
    "operating_state": 2,
    "hot_water_temperature": 487,
    "flow_temperature": 3512,
}


@pytest.mark.parametrize(("variant", "word_order"), [("", "little"), ("before-1.1.3", "big")])
async def test_lambda_in_either_word_order(variant: str, word_order: str, make_driver: MakeDriver) -> None:
    profile = load_profile("lambda-eureka-luft")
    async with serving({1: registers("lambda-eureka-luft", LAMBDA, word_order=word_order)}) as server:
        driver = make_driver(profile.in_variant(variant) if variant else profile, server.port, id_="hp", role=Role.HEAT_PUMP)
        sample = await driver.read()
        expected = {Q.POWER_W: 1850.0, Q.IMPORT_WH: 7_654_321.0, Q.STATUS: "running", Q.WATER_TEMPERATURE_C: pytest.approx(48.7)}
        assert meant(sample, driver) == {"hp": expected}
        assert sample.readings["flow_temperature"].value == pytest.approx(35.12)


async def test_lambda_second_heat_pump_of_the_controller(make_driver: MakeDriver) -> None:
    first = registers("lambda-eureka-luft", LAMBDA)["holding"]
    second = {
        address + 100: words
        for address, words in registers("lambda-eureka-luft", {**LAMBDA, "electrical_power": 900})["holding"].items()
        if 1000 <= address < 2000
    }
    async with serving({1: {"holding": {**first, **second}}}) as server:
        driver = make_driver("lambda-eureka-luft", server.port, id_="hp2", role=Role.HEAT_PUMP, parameters={"heat_pump": "2", "tank": "1"})
        found = meant(await driver.read(), driver)["hp2"]
        assert (found[Q.POWER_W], found[Q.WATER_TEMPERATURE_C]) == (900.0, pytest.approx(48.7))


async def test_lambda_without_hot_water_tank(make_driver: MakeDriver) -> None:
    held = registers("lambda-eureka-luft", LAMBDA)
    held["holding"] = {address: words for address, words in held["holding"].items() if not 2000 <= address < 3000}
    async with serving({1: held}) as server:
        driver = make_driver("lambda-eureka-luft", server.port, id_="hp", role=Role.HEAT_PUMP)
        sample = await driver.read()
        assert meant(sample, driver)["hp"][Q.POWER_W] == 1850.0
        assert sample.readings["hot_water_temperature"].quality is Quality.NOT_AVAILABLE


STIEBEL: Values = {
    "el_heating_kwh": 321, "el_heating_mwh": 12, "el_hot_water_kwh": 45, "el_hot_water_mwh": 3,
    "operating_status": 0b0101_0000, "hot_water_temperature": 512, "circuit2_temperature": -32768, "outside_temperature": -53,
}  # fmt: skip


@pytest.mark.parametrize("variant", ["", "wpm3"])
async def test_stiebel_eltron_counters_are_added_from_their_parts(variant: str, make_driver: MakeDriver) -> None:
    profile = load_profile("stiebel-eltron-isg-wpm")
    async with serving({1: registers("stiebel-eltron-isg-wpm", STIEBEL, variant)}) as server:
        driver = make_driver(profile.in_variant(variant) if variant else profile, server.port, id_="hp", role=Role.HEAT_PUMP)
        sample = await driver.read()
        expected = {Q.IMPORT_WH: 15_366_000.0, Q.STATUS: "running", Q.WATER_TEMPERATURE_C: pytest.approx(51.2)}
        assert meant(sample, driver) == {"hp": expected}
        assert sample.readings["circuit2_temperature"].quality is Quality.NOT_AVAILABLE
        assert sample.readings["outside_temperature"].value == pytest.approx(-5.3)


@pytest.mark.parametrize(("fault", "bits", "status"), [(1, 0b100_0000, "fault"), (0, 0b100_0000, "running"), (0, 1, "ready")])
async def test_stiebel_eltron_states(fault: int, bits: int, status: str, make_driver: MakeDriver) -> None:
    async with serving({1: registers("stiebel-eltron-isg-wpm", {**STIEBEL, "fault": fault, "operating_status": bits})}) as server:
        driver = make_driver("stiebel-eltron-isg-wpm", server.port, id_="hp", role=Role.HEAT_PUMP)
        assert meant(await driver.read(), driver)["hp"][Q.STATUS] == status


@pytest.mark.parametrize("name", MODBUS_PROFILES)
def test_profile_has_a_measuring_point_for_each_of_its_roles(name: str, make_driver: MakeDriver) -> None:
    profile = load_profile(name)
    role = None if profile.roles else Role.GRID if profile.spec.role == "any" else Role(profile.spec.role or "")
    points = meter_points(make_driver(profile, 1, role=role).setup)
    assert {point.role for point in points} == (profile.roles or {role})
    assert all(point.quantities for point in points)


@pytest.mark.parametrize("name", [name for name in MODBUS_PROFILES if not any(one.sunspec for one in load_profile(name).spec.points.values())])
async def test_every_register_of_a_profile_is_read_from_a_device_that_has_it(name: str, make_driver: MakeDriver) -> None:
    profile = load_profile(name)
    unit = profile.spec.modbus.unit
    others = [int(point.unit_id) for point in profile.spec.points.values() if point.unit_id and point.unit_id.isdigit()]
    async with serving(dict.fromkeys([unit, *others], registers(name, {}))) as server:
        driver = make_driver(profile, server.port, unit)
        sample = await driver.read()
        assert sample.error == ""
        recognised = profile.in_variant(driver.variant) if driver.variant else profile
        assert set(sample.readings) == set(recognised.spec.points)
        assert not [point for point, reading in sample.readings.items() if reading.quality is Quality.ERROR]
        assert server.functions <= {3, 4}
