"""One Modbus device against a real server: what it does, and what becomes of its readings."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable, Sequence

import pytest
from pymodbus.constants import ExcCodes

from edge_agent.codec.registers import encode
from edge_agent.drivers.modbus import ModbusDriver
from edge_agent.model.measurements import Quality, Sample
from edge_agent.profiles.library import DeviceProfile
from tests.conftest import HandClock
from tests.drivers.conftest import MakeDriver
from tests.simulators import Request, frame, misbehaving, serving

MakeProfile = Callable[..., DeviceProfile]

POINTS = """
power: {input: 0, as: s16, unit: W, positive: import, is: power_w}
voltage: {input: 1, as: u16, scale: 0.1, unit: V}
energy: {input: 10, as: u32, unit: kWh, is: import_wh}
limit: {holding: 0, as: u16, unit: A}
"""
REGISTERS = {"input": {0: [0xFFFE, 2301], 10: [0, 7]}, "holding": {0: [16], 100: encode("AB1", "string(2)")}}
SERIAL = "serial: {holding: 100, as: string(2), once: true}\n"


@pytest.fixture(autouse=True)
def longest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A back-off takes its full length, so that tests know it."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


def values(sample: Sample) -> dict[str, object]:
    return {name: reading.value for name, reading in sample.readings.items()}


def absent(sample: Sample, name: str) -> tuple[Quality, str]:
    reading = sample.readings[name]
    assert reading.value is None
    return reading.quality, reading.reason


def plan_of(driver: ModbusDriver) -> list[tuple[str, int, int]]:
    return [(block.table, block.address, block.count) for block in driver.plan]


async def test_all_points_come_in_few_requests(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    async with serving({1: REGISTERS}) as server:
        driver = make_driver(profile_of(POINTS), server.port)
        sample = await driver.read()
        assert sample.error == ""
        assert values(sample) == {"power": -2.0, "voltage": pytest.approx(230.1), "energy": 7000.0, "limit": 16.0}
        assert sample.readings["energy"].raw == (0, 7)
        assert plan_of(driver) == [("holding", 0, 1), ("input", 0, 2), ("input", 10, 2)]
        server.requests.clear()
        await driver.read()
        assert len(server.requests) == 3
        await driver.close()


async def test_two_who_ask_at_once_get_a_round_each(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    async with serving({1: REGISTERS}) as server:
        driver = make_driver(profile_of(POINTS + SERIAL, "identity: serial"), server.port)
        first, second = await asyncio.gather(driver.read(), driver.read())
        assert values(first) == values(second)
        assert server.count("holding", 100) == 2, "met once: to identify it, and for the point"


async def test_only_reading_functions_are_ever_sent(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    points = POINTS + "plugged: {discrete: 3, is: switch_on}\nrelay: {coil: 2}\n"
    async with serving({1: REGISTERS}) as server:
        driver = make_driver(profile_of(points + SERIAL, "identity: serial"), server.port)
        assert values(await driver.read())["plugged"] is False
        assert server.functions == {1, 2, 3, 4}


async def test_illegal_address_costs_only_its_own_point(make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock) -> None:
    rows = "\n".join(f"p{address}: {{input: {address}, as: u16}}" for address in range(16))
    registers = {1: {"input": {0: list(range(11)), 12: list(range(12, 16))}}}
    async with serving(registers) as server:
        driver = make_driver(profile_of(rows), server.port)
        sample = await driver.read()
        assert [sample.readings[f"p{address}"].value for address in range(16)] == [*map(float, range(11)), None, *map(float, range(12, 16))]
        quality, reason = absent(sample, "p11")
        assert quality is Quality.NOT_AVAILABLE
        assert "refuses input 11 with exception 2: it has no such register" in reason
        server.requests.clear()
        again = await driver.read()
        assert values(again) == values(sample)
        assert absent(again, "p11") == (quality, reason)
        assert plan_of(driver) == [("input", 0, 11), ("input", 12, 4)]
        assert server.count("input", 11) == 0
        hand_clock.forward(86_400)
        assert values(await driver.read()) == values(sample)
        assert server.count("input", 11) > 0


async def test_request_across_a_gap_that_the_device_does_not_allow_is_made_only_once(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    points = "a: {input: 0, as: u16}\nb: {input: 5, as: u16}\nc: {input: 6, as: u16}\nd: {input: 7, as: u16}"
    async with serving({1: {"input": {0: [1], 5: [2, 3, 4]}}}) as server:
        driver = make_driver(profile_of(points, modbus="max_gap: 10"), server.port)
        for _ in range(3):
            assert values(await driver.read()) == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
        refused = [request for request in server.requests if request.covers(3)]
        assert len(refused) == 2  # the whole, and its first half


async def test_register_that_was_there_before_is_tried_again_soon(make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock) -> None:
    gone = False

    async def fault(request: Request) -> ExcCodes | None:
        return ExcCodes.ILLEGAL_ADDRESS if gone and request.covers(1) else None

    async with serving({1: REGISTERS}) as server:
        server.fault = fault
        driver = make_driver(profile_of(POINTS), server.port)
        await driver.read()
        gone = True
        sample = await driver.read()
        assert absent(sample, "voltage")[0] is Quality.ERROR
        assert sample.readings["power"].value == -2.0
        gone = False
        assert (await driver.read()).readings["voltage"].value is None
        hand_clock.forward(301)
        assert (await driver.read()).readings["voltage"].value == pytest.approx(230.1)


async def test_busy_device_loses_that_block_for_that_round_only(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    busy = 1

    async def fault(request: Request) -> ExcCodes | None:
        nonlocal busy
        if request.covers(10) and busy:
            busy -= 1
            return ExcCodes.DEVICE_BUSY
        return None

    async with serving({1: REGISTERS}) as server:
        server.fault = fault
        driver = make_driver(profile_of(POINTS), server.port)
        sample = await driver.read()
        assert sample.error == ""
        quality, reason = absent(sample, "energy")
        assert quality is Quality.ERROR
        assert "exception 6: it is busy" in reason
        assert sample.readings["power"].value == -2.0
        assert (await driver.read()).readings["energy"].value == 7000.0


async def test_device_that_refuses_everything_is_a_failure_and_is_asked_again(
    make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock
) -> None:
    refusing = True

    async def fault(_: Request) -> ExcCodes | None:
        return ExcCodes.ILLEGAL_ADDRESS if refusing else None

    async with serving({1: REGISTERS}) as server:
        server.fault = fault
        driver = make_driver(profile_of(POINTS), server.port)
        sample = await driver.read()
        assert "refuses" in sample.error
        assert sample.readings == {}
        refusing = False
        hand_clock.forward(1.01)
        assert None not in values(await driver.read()).values()


async def test_silence_ends_the_round_and_what_was_read_stays(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    silent = True

    async def fault(request: Request) -> None:
        if silent and request.table == "input" and request.address == 0:
            await asyncio.sleep(0.4)

    async with serving({1: REGISTERS}) as server:
        server.fault = fault
        driver = make_driver(profile_of(POINTS), server.port)
        start = time.monotonic()
        sample = await driver.read()
        assert time.monotonic() - start < 0.6
        assert sample.error == ""
        assert sample.readings["limit"].value == 16.0
        assert "no answer" in absent(sample, "power")[1]
        assert "not asked, since before" in absent(sample, "energy")[1]
        # the silent request goes to the end of the round, so that the others are read
        assert (await driver.read()).readings["energy"].value == 7000.0
        silent = False
        assert (await driver.read()).readings["power"].value == -2.0


async def test_answer_lost_now_and_then_changes_nothing(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    lost = False

    async def fault(request: Request) -> None:
        if lost and request.table == "input" and request.address == 0:
            await asyncio.sleep(0.2)

    async with serving({1: REGISTERS}) as server:
        server.fault = fault
        driver = make_driver(profile_of(POINTS, modbus="timeout: 100ms"), server.port)
        await driver.read()
        plan = plan_of(driver)
        for _ in range(3):
            lost = True
            assert (await driver.read()).readings["power"].value is None
            lost = False
            assert (await driver.read()).readings["power"].value == -2.0
        assert sorted(plan_of(driver)) == sorted(plan)


async def test_requests_that_are_too_long_for_a_device_are_halved(make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock) -> None:
    """Some meters do not answer long requests at all."""
    rows = "\n".join(f"p{address}: {{input: {address}, as: u16}}" for address in range(8)) + "\nserial: {input: 100, as: u16, once: true}"

    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        if request.count > 4:
            return []
        held = {100: [5]}.get(request.address, list(range(request.address, request.address + request.count)))
        return [(0, frame(request, transaction, held[: request.count]))]

    async with misbehaving(reply) as server:
        driver = make_driver(profile_of(rows, "identity: serial", "timeout: 50ms"), server.port)
        for _ in range(8):
            sample = await driver.read()
            hand_clock.forward(120)
        assert [sample.readings[f"p{address}"].value for address in range(8)] == [float(address) for address in range(8)]
        assert plan_of(driver) == [("input", 0, 4), ("input", 4, 4)]


async def test_short_answer_is_absent_and_never_a_wrong_value(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        count = 1 if request.address == 10 else request.count
        return [(0, frame(request, transaction, [3] * count))]

    async with misbehaving(reply) as server:
        sample = await make_driver(profile_of(POINTS), server.port).read()
        quality, reason = absent(sample, "energy")
        assert quality is Quality.ERROR
        assert "2 bytes of values instead of 4" in reason
        assert sample.readings["power"].value == 3.0


async def test_garbage_is_a_failure_in_words(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    async with misbehaving(lambda _request, _transaction: [(0, b"\xde\xad" * 20)]) as server:
        sample = await make_driver(profile_of(POINTS), server.port).read()
        assert sample.error.startswith(f"meter: 127.0.0.1:{server.port} unit 1: the answer ")
        assert sample.readings == {}


async def test_not_available_is_absent_and_never_a_number(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    points = """
    nan: {input: 0, as: f32, unit: W}
    sentinel: {input: 2, as: s16, unit: °C, sentinel: -32768}
    odd: {input: 3, as: u16, unit: "%", valid: [0, 100]}
    """
    async with serving({1: {"input": {0: [0x7FC0, 0, 0x8000, 250]}}}) as server:
        sample = await make_driver(profile_of(points), server.port).read()
        assert [absent(sample, name)[0] for name in ("nan", "sentinel", "odd")] == [
            Quality.NOT_AVAILABLE,
            Quality.NOT_AVAILABLE,
            Quality.OUT_OF_RANGE,
        ]


async def test_unreachable_host_is_said_in_words_once_and_its_return_once(
    make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving({1: REGISTERS}) as server:
        port = server.port
        await server.stop()
        driver = make_driver(profile_of(POINTS), port)
        for _ in range(5):
            sample = await driver.read()
            assert sample.error == driver.last_error
            assert sample.error.startswith(f"meter: nothing listens at 127.0.0.1:{port}; check ")
            hand_clock.forward(2)
        await server.start({1: REGISTERS})
        hand_clock.forward(60)
        assert (await driver.read()).error == driver.last_error == ""
        await driver.read()
        told = [(record.levelname, record.message) for record in caplog.records if record.name == "edge_agent.drivers.modbus"]
        assert [level for level, _ in told] == ["WARNING", "INFO"]
        assert told[1][1] == "meter: answers again"
        await server.stop()


async def test_silent_device_is_left_alone_for_growing_times(make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock) -> None:
    async with misbehaving(lambda _request, _transaction: []) as server:
        driver = make_driver(profile_of(POINTS, modbus="timeout: 20ms"), server.port)
        tries = []
        for _ in range(200):
            asked = len(server.requests)
            sample = await driver.read()
            assert "no answer" in sample.error
            tries.append(len(server.requests) - asked)
            hand_clock.forward(1.001)
        assert max(tries) == 1
        assert [second for second, asked in enumerate(tries) if asked][:7] == [0, 1, 3, 7, 15, 31, 63]
        assert sum(tries[64:]) in (2, 3)


async def test_wrong_unit_is_silence_that_names_the_unit(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        return [(0, frame(request, transaction, [1] * request.count))] if request.unit == 1 else []

    async with misbehaving(reply) as server:
        sample = await make_driver(profile_of(POINTS, modbus="timeout: 50ms"), server.port, unit=7).read()
        assert "unit 7 in 0.05 s; check the wiring and `unit:`" in sample.error


async def test_dead_unit_costs_its_neighbours_one_time_out_per_try(make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock) -> None:
    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        return [(0, frame(request, transaction, [9] * request.count))] if request.unit == 1 else []

    async with misbehaving(reply) as server:
        profile = profile_of(POINTS, modbus="timeout: 100ms")
        alive, dead = make_driver(profile, server.port, 1, id_="alive"), make_driver(profile, server.port, 2, id_="dead")
        for _ in range(20):
            samples = await asyncio.gather(dead.read(), alive.read())
            assert "no answer" in samples[0].error
            assert samples[1].error == ""
            hand_clock.forward(1)
        asked = [request.unit for request in server.requests]
        assert asked.count(1) == 60
        assert asked.count(2) <= 6


async def test_two_units_of_one_host_share_one_connection(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    async with serving({1: REGISTERS, 2: {**REGISTERS, "input": {0: [5, 6], 10: [0, 8]}}}) as server:
        one, two = (make_driver(profile_of(POINTS), server.port, unit, id_=f"m{unit}") for unit in (1, 2))
        first, second = await asyncio.gather(one.read(), two.read())
        assert (first.readings["power"].value, second.readings["power"].value) == (-2.0, 5.0)
        await asyncio.gather(one.read(), two.read())
        assert server.connections == 1


async def test_points_of_another_unit_come_over_the_same_connection(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    head = 'parameters: {meter_unit: {default: "2"}}'
    points = POINTS + 'other: {input: 0, as: u16, unit_id: "{meter_unit}"}'
    async with serving({1: REGISTERS, 3: {"input": {0: [77]}}}) as server:
        driver = make_driver(profile_of(points, head), server.port, parameters={"meter_unit": "3"})
        assert values(await driver.read())["other"] == 77.0
        assert server.connections == 1


async def test_second_instance_is_read_at_its_own_addresses(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    head = 'parameters: {pump: {default: "1", stride: 10}}'
    points = "power: {input: 0, as: u16, unit: W, shift: pump}\nhouse: {input: 1, as: u16}"
    async with serving({1: {"input": {0: [5, 6], 20: [7]}}}) as server:
        driver = make_driver(profile_of(points, head), server.port, parameters={"pump": "3"})
        assert values(await driver.read()) == {"power": 7.0, "house": 6.0}


async def test_words_at_scattered_addresses_and_a_scale_register_come_in_one_answer(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    points = """
    energy: {holding: [20, 4], as: u32, unit: Wh}
    power: {holding: 8, as: s16, unit: W, scale_by: exponent}
    exponent: {holding: 12, as: s16}
    """
    async with serving({1: {"holding": {0: [0, 0, 0, 0, 7, 0, 0, 0, 25, 0, 0, 0, 2] + [0] * 7 + [1]}}}) as server:
        driver = make_driver(profile_of(points), server.port)
        assert values(await driver.read()) == {"energy": 65_543.0, "power": 2500.0, "exponent": 2.0}
        assert plan_of(driver) == [("holding", 4, 17)]
        await server.put(1, "holding", 12, 0xFFFF)
        assert values(await driver.read())["power"] == 2.5
        await server.put(1, "holding", 12, 0x8000)
        assert absent(await driver.read(), "power")[0] is Quality.NOT_AVAILABLE


async def test_values_read_once_are_not_asked_again(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    async with serving({1: REGISTERS}) as server:
        driver = make_driver(profile_of(POINTS + SERIAL), server.port)
        for _ in range(3):
            assert values(await driver.read())["serial"] == "AB1"
        assert server.count("holding", 100) == 1


async def test_another_device_at_the_address_is_refused_with_words(make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock) -> None:
    other = {**REGISTERS, "holding": {0: [16], 100: encode("XY9", "string(2)")}}
    async with serving({1: REGISTERS}) as server:
        driver = make_driver(profile_of(POINTS + SERIAL, "identity: serial"), server.port)
        await driver.read()
        assert driver.serial == "AB1"
        await server.stop()
        await server.start({1: other})  # the address went to another device while the connection was idle
        sample = await driver.read()
        assert sample.readings == {}
        assert sample.error == (
            f"meter: another device answers at 127.0.0.1:{server.port} unit 1: its serial number is XY9, not AB1; "
            "check the address, or write `serial: XY9` if the device was replaced"
        )
        await server.stop()
        await server.start({1: REGISTERS})
        hand_clock.forward(60)
        assert (await driver.read()).error == ""
        assert driver.serial == "AB1"
        await server.stop()


async def test_serial_number_known_from_before_or_from_the_site_file_counts(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    async with serving({1: REGISTERS}) as server:
        profile = profile_of(POINTS + SERIAL, "identity: serial")
        assert "not OLD" in (await make_driver(profile, server.port, known_serial="OLD").read()).error
        assert (await make_driver(profile, server.port, known_serial="OLD", serial="AB1").read()).error == ""


async def test_device_that_changes_in_the_middle_of_a_round_is_noticed(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    """A new connection in the middle of a round: nothing of it is believed before the serial number was read again."""
    serials = iter(["AB1\0", "XY9\0"])
    asked = 0

    async def swapping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        serial = next(serials, "XY9\0")
        while raw := await reader.read(12):
            asked += 1
            if asked == 3:  # hangs up instead of answering its second block
                break
            request = Request(raw[6], raw[7], int.from_bytes(raw[8:10]), int.from_bytes(raw[10:12]))
            words = encode(serial.strip("\0"), "string(2)") if request.address == 100 else [1] * request.count
            writer.write(frame(request, int.from_bytes(raw[:2]), words))
        writer.close()

    server = await asyncio.start_server(swapping, "127.0.0.1", 0)
    driver = make_driver(profile_of(POINTS + SERIAL, "identity: serial"), server.sockets[0].getsockname()[1])
    sample = await driver.read()
    assert "its serial number is XY9, not AB1" in sample.error
    assert sample.readings == {}
    await driver.close()
    server.close()
    await asyncio.sleep(0.05)


async def test_variant_is_recognised_by_what_a_register_reads(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    head = """
variants:
  old: {when: {point: version, below: 5}, points: {power: {scale: 10}}}
  new: {when: {point: version, from: 7}, modbus: {word_order: little}}
  by-hand: {points: {power: {scale: 100}}}
"""
    points = "version: {holding: 0, as: u16, once: true}\npower: {input: 0, as: u32, unit: W}"
    for version, variant, power in ((4, "old", 10.0), (5, "", 1.0), (7, "new", 65_536.0)):
        async with serving({1: {"holding": {0: [version]}, "input": {0: [0, 1]}}}) as server:
            profile = profile_of(points, head)
            driver = make_driver(profile, server.port)
            assert (values(await driver.read())["power"], driver.variant) == (power, variant)
            forced = make_driver(profile.in_variant("by-hand"), server.port, id_="forced")
            assert (values(await forced.read())["power"], forced.variant) == (100.0, "by-hand")


async def test_variant_is_recognised_by_the_connection(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    head = "variants: {bus: {when: {transport: rtu+tcp}, points: {power: {scale: 10}}}}"
    for scheme, power in (("tcp", 1.0), ("rtu+tcp", 10.0)):
        async with serving({1: {"input": {0: [1]}}}, rtu=scheme != "tcp") as server:
            driver = make_driver(profile_of("power: {input: 0, as: u16, unit: W}", head), server.port, scheme=scheme)
            assert values(await driver.read()) == {"power": power}


async def test_only_connection_is_left_to_others_between_polls(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    async with serving({1: REGISTERS}) as server:
        driver = make_driver(profile_of(POINTS, modbus="close_after_poll: true"), server.port)
        for polls in (1, 2):
            assert (await driver.read()).error == ""
            assert not driver._link.connected
            assert server.connections == polls


async def test_what_is_known_of_a_device_is_forgotten_when_it_goes(make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock) -> None:
    head = "variants: {old: {when: {point: version, below: 5}, points: {power: {scale: 10}}}}"
    points = "version: {holding: 0, as: u16, once: true}\npower: {input: 0, as: u16, unit: W}"
    async with serving({1: {"holding": {0: [4]}, "input": {0: [1]}}}) as server:
        driver = make_driver(profile_of(points, head), server.port)
        assert values(await driver.read()) == {"version": 4.0, "power": 10.0}
        await server.stop()
        assert "nothing listens" in (await driver.read()).error
        await server.start({1: {"holding": {0: [6]}, "input": {0: [1]}}})
        hand_clock.forward(60)
        assert values(await driver.read()) == {"version": 6.0, "power": 1.0}
        await server.stop()


async def test_direction_stands_in_another_register(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    points = """
    flags: {input: 0, as: u16}
    power: {input: 1, as: s16, unit: W, positive: {by: flags, bits: {1: charging, 2: discharging}}, is: power_w}
    """
    async with serving({1: {"input": {0: [2, 500]}}}) as server:
        driver = make_driver(profile_of(points), server.port)
        for flags, raw, power in ((2, 500, 500.0), (4, 500, -500.0), (4, -500, -500.0), (0, 0, 0.0)):
            await server.put(1, "input", 0, flags)
            await server.put(1, "input", 1, raw, "s16")
            assert values(await driver.read())["power"] == power
        await server.put(1, "input", 1, 300)
        assert absent(await driver.read(), "power") == (Quality.UNKNOWN, "flags is 0, which names no direction")


async def test_a_thousand_reads_of_a_slow_bus_never_mix_up_points(
    make_driver: MakeDriver, profile_of: MakeProfile, hand_clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.drivers.modbus_link._QUIET_S", 0.01)
    chance = random.Random(3)
    rows = "\n".join(f"p{address}: {{input: {address}, as: u16}}" for address in (0, 1, 5, 6, 20, 21, 22, 40))

    def reply(request: Request, transaction: int) -> Sequence[tuple[float, bytes]]:
        words = [1000 * request.unit + address for address in range(request.address, request.address + request.count)]
        return [(0.03 if chance.random() < 0.04 else 0, frame(request, transaction, words, rtu=True))]

    async with misbehaving(reply, rtu=True) as server:
        profile = profile_of(rows, modbus="timeout: 15ms")
        drivers = [make_driver(profile, server.port, unit, id_=f"m{unit}", scheme="rtu+tcp") for unit in (1, 2)]
        read = 0
        for _ in range(125):
            for unit, sample in enumerate(await asyncio.gather(*(driver.read() for driver in drivers)), start=1):
                for name, reading in sample.readings.items():
                    assert reading.value in (None, 1000.0 * unit + int(name[1:]))
                    read += reading.value is not None
            hand_clock.forward(60)
        assert read > 800
        assert server.connections > 10


async def test_cancelled_read_leaves_the_device_readable(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    async def slowly(_: Request) -> None:
        await asyncio.sleep(0.02)

    async with serving({1: REGISTERS}, rtu=True) as server:
        server.fault = slowly
        driver = make_driver(profile_of(POINTS), server.port, scheme="rtu+tcp")
        for after in (0.0, 0.005, 0.03, 0.05):
            task = asyncio.create_task(driver.read())
            await asyncio.sleep(after)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert None not in values(await driver.read()).values()


async def test_unreachable_device_holds_up_nobody_else(make_driver: MakeDriver, profile_of: MakeProfile) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=1)  # accepts and never answers
    async with serving({1: REGISTERS}) as server:
        profile = profile_of(POINTS)
        stuck = make_driver(profile, listening.getsockname()[1], id_="stuck")
        alive = make_driver(profile, server.port, id_="alive")
        waiting = asyncio.create_task(stuck.read())
        for _ in range(5):
            assert (await alive.read()).error == ""
        assert not waiting.done()
        assert "no answer" in (await waiting).error
    listening.close()
