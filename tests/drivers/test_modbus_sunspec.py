"""SunSpec devices as they are met: other bases, odd ends, several models, scale factors that move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pymodbus.constants import ExcCodes

from edge_agent.codec.registers import encode
from edge_agent.codec.sunspec import MARK
from edge_agent.drivers.modbus import ModbusDriver
from edge_agent.model.measurements import Quality, Quantity, Role, Sample
from edge_agent.profiles.meaning import meanings, measurements
from tests.conftest import HandClock
from tests.drivers.conftest import MakeDriver
from tests.simulators import Request, frame, misbehaving, serving

Points = Mapping[int, Sequence[int]]  # offset from the model's id register -> words

END = (0xFFFF, 0)


def model(id_: int, length: int, points: Points, fill: int = 0xFFFF) -> list[int]:
    """A model's registers, with its header; what is not given is not implemented."""
    words = [id_, length] + [fill] * length
    for offset, given in points.items():
        words[offset : offset + len(given)] = given
    return words


def common(serial: str = "S-1001", length: int = 65) -> list[int]:
    texts = {2: encode("ACME", "string(16)"), 18: encode("Sun 10", "string(16)"), 42: encode("1.2.3", "string(8)"), 50: encode(serial, "string(16)")}
    return model(1, length, texts, fill=0)


def inverter(watts: int = 4321, exponent: int = 0, state: int = 4, energy: int = 1_234_567) -> list[int]:
    points = {
        14: encode(watts, "s16"),
        15: encode(exponent, "s16"),
        24: encode(energy, "u32"),
        26: [0],
        38: [state],
        16: [5001],
        17: encode(-2, "s16"),
    }
    return model(103, 50, points)


def meter(watts: int = -250, imported: int = 5000, exported: int = 7000) -> list[int]:
    points = {18: encode(watts, "s16"), 22: [0], 38: encode(exported, "u32"), 46: encode(imported, "u32"), 54: [0]}
    return model(203, 105, points)


def battery(watts: int = 300, soc: int = 555) -> list[int]:
    points = {11: [soc], 56: encode(-1, "s16"), 47: encode(watts, "s16"), 63: [0], 22: [3]}
    return model(802, 62, points)


def chain(*models: list[int], end: Sequence[int] = END) -> list[int]:
    return [*MARK, *(word for one in models for word in one), *end]


def quantities(sample: Sample, driver: ModbusDriver) -> dict[str, dict[Quantity, object]]:
    found = measurements(meanings(driver.setup), sample)
    return {point: {quantity: reading.value for quantity, reading in readings.items()} for point, readings in found.items()}


@pytest.mark.parametrize("base", [40000, 50000, 0])
@pytest.mark.parametrize("length", [65, 66])
async def test_map_is_found_at_each_base_and_with_either_common_block(base: int, length: int, make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {base: chain(common(length=length), inverter())}}}) as server:
        driver = make_driver("sunspec", server.port, id_="inv")
        sample = await driver.read()
        assert sample.error == ""
        assert driver.serial == "S-1001"
        assert sample.readings["ac_power"].value == 4321.0
        assert sample.readings["frequency"].value == 50.01


async def test_inverter_meter_and_battery_behind_one_profile(make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {40000: chain(common(), inverter(), meter(), battery())}}}) as server:
        driver = make_driver("sunspec", server.port, id_="hyb")
        found = quantities(await driver.read(), driver)
        assert set(driver.roles or ()) == {Role.PV, Role.GRID, Role.BATTERY}
        assert driver.variant == "with-battery"
        assert found["hyb.grid"] == {Quantity.POWER_W: -250.0, Quantity.IMPORT_WH: 5000.0, Quantity.EXPORT_WH: 7000.0}
        assert found["hyb.battery"] == {Quantity.POWER_W: -300.0, Quantity.SOC_PERCENT: 55.5, Quantity.STATUS: "running"}
        assert found["hyb.pv"][Quantity.AC_OUTPUT_W] == 4321.0
        assert found["hyb.pv"][Quantity.AC_OUTPUT_WH] == 1_234_567.0
        assert found["hyb.pv"][Quantity.GENERATION_W] == 4021.0, "what the battery discharges is no generation"
        assert found["hyb.pv"][Quantity.GENERATION_WH] is None


async def test_device_without_battery_and_meter_says_so(make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {40000: chain(common(), inverter())}}}) as server:
        driver = make_driver("sunspec", server.port, id_="inv")
        assert driver.roles is None
        sample = await driver.read()
        assert set(driver.roles or ()) == {Role.PV}
        found = quantities(sample, driver)
        assert found["inv.pv"][Quantity.GENERATION_W] == 4321.0
        assert found["inv.pv"][Quantity.GENERATION_WH] == 1_234_567.0
        assert found["inv.pv"][Quantity.STATUS] == "running"
        reading = sample.readings["battery_power"]
        assert (reading.value, reading.quality, reading.reason) == (None, Quality.NOT_AVAILABLE, "the device has no SunSpec model 802")


async def test_meter_alone(make_driver: MakeDriver) -> None:
    async with serving({240: {"holding": {40000: chain(common(), meter(watts=1500))}}}) as server:
        driver = make_driver("sunspec", server.port, 240, id_="m")
        found = quantities(await driver.read(), driver)
        assert set(driver.roles or ()) == {Role.GRID}
        assert found["m.grid"][Quantity.POWER_W] == 1500.0


async def test_float_models_and_not_a_number(make_driver: MakeDriver) -> None:
    points = {22: encode(812.5, "f32"), 32: encode(99_000.0, "f32"), 24: [0x7FC0, 0], 48: [5]}
    async with serving({1: {"holding": {40000: chain(common(), model(113, 60, points, fill=0))}}}) as server:
        sample = await make_driver("sunspec", server.port).read()
        assert sample.readings["generation"].value == 812.5
        assert sample.readings["generation_energy"].value == 99_000.0
        assert sample.readings["state"].value == "warning"
        assert sample.readings["frequency"].quality is Quality.NOT_AVAILABLE


async def test_model_701_counts_its_states_from_0(make_driver: MakeDriver) -> None:
    points = {4: [3], 10: [120], 116: [1], 19: encode(5_000_000_000, "u64"), 120: [0]}
    async with serving({1: {"holding": {40000: chain(common(), model(701, 153, points))}}}) as server:
        sample = await make_driver("sunspec", server.port).read()
        assert (sample.readings["generation"].value, sample.readings["state"].value) == (1200.0, "running")
        assert sample.readings["generation_energy"].value == 5_000_000_000.0


@pytest.mark.parametrize(
    "end",
    [
        pytest.param((0xFFFF, 0), id="as the standard says"),
        pytest.param((0xFFFF,), id="without its length"),
        pytest.param((0, 0), id="zero, as Kostal"),
        pytest.param((), id="none"),
        pytest.param((0x8000, 0xFFFF, 0), id="one register late"),
        pytest.param((0, 0xFFFF, 0), id="one register late after a pad"),
    ],
)
async def test_chain_ends_as_oddly_as_devices_do(end: Sequence[int], make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {40000: chain(common(), inverter(), end=end)}}}) as server:
        driver = make_driver("sunspec", server.port)
        sample = await driver.read()
        assert sample.error == ""
        assert sample.readings["ac_power"].value == 4321.0
        assert set(driver.roles or ()) == {Role.PV}


async def test_last_model_that_says_one_register_too_many(make_driver: MakeDriver) -> None:
    words = inverter()
    words[1] += 1  # the chain now points behind the id of the end marker
    async with serving({1: {"holding": {40000: chain(common(), words)}}}) as server:
        sample = await make_driver("sunspec", server.port).read()
        assert sample.error == ""
        assert sample.readings["ac_power"].value == 4321.0


async def test_unknown_models_are_stepped_over(make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {40000: chain(common(), model(64_110, 7, {}), inverter(), model(122, 44, {}))}}}) as server:
        assert (await make_driver("sunspec", server.port).read()).readings["ac_power"].value == 4321.0


async def test_scale_factor_may_change_while_running(make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {40000: chain(common(), inverter(watts=999, exponent=0))}}}) as server:
        driver = make_driver("sunspec", server.port)
        watts, exponent = 40000 + 2 + 67 + 14, 40000 + 2 + 67 + 15
        assert (await driver.read()).readings["ac_power"].value == 999.0
        await server.put(1, "holding", watts, 1002)
        await server.put(1, "holding", exponent, 1)
        assert (await driver.read()).readings["ac_power"].value == 10_020.0
        await server.put(1, "holding", exponent, -2, "s16")
        assert (await driver.read()).readings["ac_power"].value == 10.02
        await server.put(1, "holding", exponent, 0x8000)
        reading = (await driver.read()).readings["ac_power"]
        assert (reading.value, reading.quality) == (None, Quality.NOT_AVAILABLE)


async def test_value_and_its_scale_factor_come_in_one_request(make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {40000: chain(common(), inverter(), meter())}}}) as server:
        driver = make_driver("sunspec", server.port)
        await driver.read()
        server.requests.clear()
        await driver.read()
        starts = [(request.address, request.count) for request in server.requests]
        assert len(starts) == 2, "a request per model"
        assert server.count("holding", 40083) == server.count("holding", 40084) == 1


async def test_not_implemented_values_are_absent(make_driver: MakeDriver) -> None:
    words = inverter(energy=0)  # an accumulator of 0 has not counted yet
    words[14] = words[31] = 0x8000
    words[38] = 0xFFFF
    async with serving({1: {"holding": {40000: chain(common(), words)}}}) as server:
        sample = await make_driver("sunspec", server.port).read()
        for name in ("ac_power", "generation", "generation_energy", "state", "ac_voltage_l1", "dc_power"):
            assert (sample.readings[name].value, sample.readings[name].quality) == (None, Quality.NOT_AVAILABLE), name


async def test_device_that_refuses_to_cross_models_is_never_asked_to(make_driver: MakeDriver) -> None:
    async def fault(request: Request) -> ExcCodes | None:
        crosses = any(request.address < start < request.address + request.count for start in (40069, 40121))
        return ExcCodes.ILLEGAL_ADDRESS if crosses else None

    async with serving({1: {"holding": {40000: chain(common(), inverter(), meter())}}}) as server:
        server.fault = fault
        driver = make_driver("sunspec", server.port)
        for _ in range(2):
            assert (await driver.read()).readings["meter_power"].value == -250.0
        assert len(driver.plan) == 2


async def test_device_without_a_map_is_said_in_words(make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {0: [1, 2, 3], 40000: [9, 9]}}}) as server:
        sample = await make_driver("sunspec", server.port, id_="inv").read()
        assert sample.error == (
            f"inv: 127.0.0.1:{server.port} unit 1 has no SunSpec map at 40000, 50000, 0; check `unit:` and that SunSpec is switched on in the device"
        )


async def test_device_that_is_silent_at_foreign_bases_is_found_at_its_own(make_driver: MakeDriver, hand_clock: HandClock, tmp_path: Path) -> None:
    (tmp_path / "quick.yaml").write_text("extends: sunspec\nmodbus: {timeout: 50ms}\n", encoding="utf-8")
    words = dict(enumerate(chain(common(), inverter())))

    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        held = [words.get(address, -1) for address in range(request.address, request.address + request.count)]
        return [] if -1 in held else [(0, frame(request, transaction, held))]

    async with misbehaving(reply) as server:
        driver = make_driver(str(tmp_path / "quick.yaml"), server.port)
        errors = []
        for _ in range(3):
            sample = await driver.read()
            errors.append(sample.error)
            hand_clock.forward(60)
        assert ["no answer" in error for error in errors] == [True, True, False]
        assert sample.readings["ac_power"].value == 4321.0


async def test_replaced_device_is_met_anew(make_driver: MakeDriver, hand_clock: HandClock) -> None:
    async with serving({1: {"holding": {40000: chain(common(), inverter())}}}) as server:
        driver = make_driver("sunspec", server.port)
        await driver.read()
        await server.stop()
        assert (await driver.read()).error
        await server.start({1: {"holding": {40000: chain(common(length=66), inverter(watts=77))}}})
        hand_clock.forward(60)
        assert (await driver.read()).readings["ac_power"].value == 77.0
        await server.stop()


@pytest.mark.parametrize(("number", "watts"), [("1", -250.0), ("2", 900.0), ("3", 77.0)])
async def test_each_meter_behind_a_gateway_with_several_common_blocks_is_read(number: str, watts: float, make_driver: MakeDriver) -> None:
    single_phase = meter(watts=900)
    single_phase[0] = 201
    models = (common("gateway"), inverter(), common("m1"), meter(), common("m2"), single_phase, common("m3"), meter(watts=77))
    async with serving({1: {"holding": {40000: chain(*models)}}}) as server:
        driver = make_driver("sunspec", server.port, id_="m", parameters={"meter": number})
        sample = await driver.read()
        assert sample.readings["meter_power"].value == watts
        assert sample.readings["ac_power"].value == 4321.0
        assert driver.serial == "gateway"


@pytest.mark.parametrize("number", ["2", "0", "second"])
async def test_meter_that_is_not_there_is_said_in_words(number: str, make_driver: MakeDriver) -> None:
    async with serving({1: {"holding": {40000: chain(common(), inverter(), meter())}}}) as server:
        driver = make_driver("sunspec", server.port, parameters={"meter": number})
        reading = (await driver.read()).readings["meter_power"]
        assert reading.value is None
        assert "the device has 1 of the SunSpec models 203, 202, 201" in reading.reason
        assert Role.GRID not in (driver.roles or ())


async def test_models_of_the_700_series_without_points_of_ours_are_stepped_over(make_driver: MakeDriver) -> None:
    controls = [model(id_, length, {}) for id_, length in ((702, 50), (703, 17), (704, 65), (705, 60), (706, 50), (707, 105), (710, 105), (712, 44))]
    points = {10: [120], 116: [1]}
    async with serving({1: {"holding": {40000: chain(common(), *controls, model(701, 153, points), model(711, 32, {}))}}}) as server:
        driver = make_driver("sunspec", server.port)
        assert (await driver.read()).readings["generation"].value == 1200.0
        assert set(driver.roles or ()) == {Role.PV}
