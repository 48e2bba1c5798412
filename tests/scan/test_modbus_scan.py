"""Scanning the loopback network, where real Modbus servers answer, and some that do not behave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from edge_agent.demo.devices import HEAT_PUMP, HYBRID, ModbusDevice
from edge_agent.demo.house import House
from edge_agent.model.clock import SystemClock
from edge_agent.profiles.library import load_profile
from edge_agent.scan.fingerprint import Library
from edge_agent.scan.found import CHOOSE, SURE, UNKNOWN, Found, without_repeats
from edge_agent.scan.modbus import PortScan
from edge_agent.scan.network import hosts_of, named_network
from edge_agent.scan.sweep import Sweep
from tests.scan.conftest import QUICK, Serve
from tests.simulators import Request, frame, misbehaving, serving

READ_FUNCTIONS = {1, 2, 3, 4}


async def scan_of(scan: PortScan, hosts: Sequence[str], *ports: int) -> list[Found]:
    sweep = Sweep()
    await sweep.run(scan, hosts, ports)
    assert sweep.remarks == []
    return without_repeats(sorted(sweep.found, key=lambda one: (one.address, one.unit)))


async def test_devices_of_a_network_are_found_with_unit_serial_and_profile(serve: Serve, port: int, port_scan: PortScan) -> None:
    servers = [await serve(name, f"127.0.0.{number}") for number, name in enumerate(("sungrow-sh", "kostal-plenticore", "lambda-eureka-luft"), 2)]
    found = await scan_of(port_scan, hosts_of([named_network("127.0.0.0/28")]), port)
    assert [(one.address, one.unit, one.profiles) for one in found] == [
        (f"tcp://127.0.0.2:{port}", 1, ("sungrow-sh",)),
        (f"tcp://127.0.0.3:{port}", 71, ("kostal-plenticore",)),
        (f"tcp://127.0.0.4:{port}", 1, ("lambda-eureka-luft",)),
    ]
    assert found[0].serial
    assert found[0].confidence == SURE
    assert all(server.functions and server.functions <= READ_FUNCTIONS for server in servers)


async def test_demo_devices_are_found(library: Library) -> None:
    house = House(1, 1_772_610_000)
    async with ModbusDevice(HYBRID, lambda: house) as hybrid, ModbusDevice(HEAT_PUMP, lambda: house) as heat_pump:
        scan = PortScan(library, (1, 2), QUICK, SystemClock())
        found = await scan_of(scan, ["127.0.0.1"], hybrid.port, heat_pump.port)
    assert {one.profiles for one in found} == {("sungrow-sh",), ("lambda-eureka-luft",)}


async def test_sunspec_device_without_a_profile_of_its_own_gets_the_general_one(serve: Serve, port: int, port_scan: PortScan) -> None:
    await serve("sunspec--with-battery")
    (found,) = await scan_of(port_scan, ["127.0.0.1"], port)
    assert found.profiles in (("sunspec",), ("fronius-gen24",))
    assert found.models[0] == 1
    assert found.what
    without_vendors = replace(port_scan, library={"sunspec": load_profile("sunspec")})
    (found,) = await scan_of(without_vendors, ["127.0.0.1"], port)
    assert found.profiles == ("sunspec",)


async def test_profile_of_a_vendor_goes_before_the_general_one_and_takes_its_meter_along(serve: Serve, port: int, port_scan: PortScan) -> None:
    await serve("fronius-gen24")
    (found,) = await scan_of(port_scan, ["127.0.0.1"], port)
    assert (found.unit, found.profiles) == (1, ("fronius-gen24",))
    assert "Fronius" in found.what


async def test_station_with_registers_at_another_unit_is_one_device(serve: Serve, port: int, port_scan: PortScan) -> None:
    await serve("alfen-eve")
    (found,) = await scan_of(port_scan, ["127.0.0.1"], port)
    assert (found.unit, found.profiles, found.serial) == (1, ("alfen-eve",), "ACE0123456")


async def test_rtu_frames_on_a_tcp_port_are_tried_where_modbus_tcp_is_met_with_silence(serve: Serve, port: int, port_scan: PortScan) -> None:
    server = await serve("abb-b23")
    (found,) = await scan_of(port_scan, ["127.0.0.1"], port)
    assert server.connections < 12, "the other units are not asked first, at a time-out each"
    assert (found.address, found.profiles) == (f"rtu+tcp://127.0.0.1:{port}", ("abb-b23",))


async def test_several_meters_behind_a_gateway_are_several_devices(serve: Serve, port: int, port_scan: PortScan) -> None:
    server = await serve("schneider-iem3155")
    await server.stop()
    recorded = {"holding": {49: [0x6945, 0x4D33, 0x3135, 0x3500, *[0] * 16], 129: [4, 29201], 3109: [0x4248, 0x0000]}}
    other = {"holding": {**recorded["holding"], 129: [4, 29202]}}
    async with serving({1: recorded, 2: other}) as server:
        found = await scan_of(port_scan, ["127.0.0.1"], server.port)
    assert [(one.unit, one.profiles, one.serial) for one in found] == [
        (1, ("schneider-iem3155",), "291345"),
        (2, ("schneider-iem3155",), "291346"),
    ]


async def test_device_that_answers_as_any_unit_is_listed_once_at_its_profiles_unit(library: Library) -> None:
    registers = {1016: [0x0005, 0x2CE8], 1014: [0x0126, 0x7C37]}  # a Keba P30 of a kind that does not look at the unit id

    def answer(request: Request, transaction: int) -> list[tuple[float, bytes]]:
        words = registers.get(request.address, [0] * request.count)
        return [(0.0, frame(request, transaction, words[: request.count]))]

    async with misbehaving(answer) as server:
        scan = PortScan({"keba-p30": library["keba-p30"]}, (1, 2, 71, 255), QUICK, SystemClock())
        (found,) = await scan_of(scan, ["127.0.0.1"], server.port)
    assert (found.unit, found.profiles) == (255, ("keba-p30",))
    assert len({request.unit for request in server.requests}) == 2, "the first unit, and one that nobody has"


async def test_fingerprint_that_fits_two_profiles_names_both(serve: Serve, port: int, port_scan: PortScan, library: Library) -> None:
    twin = replace(library["sungrow-sh"], name="twin")
    await serve("sungrow-sh")
    (found,) = await scan_of(replace(port_scan, library={**library, "twin": twin}), ["127.0.0.1"], port)
    assert found.profiles == ("sungrow-sh", "twin")
    assert found.confidence == CHOOSE


async def test_device_with_another_byte_order_is_found_with_its_variant(serve: Serve, port: int, port_scan: PortScan) -> None:
    await serve("go-e-charger-modbus--bytes-swapped")
    library = {"go-e-charger-modbus": load_profile("go-e-charger-modbus")}
    (found,) = await scan_of(replace(port_scan, library=library), ["127.0.0.1"], port)
    assert (found.profiles, found.variant) == (("go-e-charger-modbus",), "bytes-swapped")


def test_device_that_is_found_at_two_units_keeps_the_profile_made_for_it() -> None:
    general = Found("tcp://192.168.1.5:502", 1, "SMA", "3001", ("sunspec",), SURE)
    own = Found("tcp://192.168.1.5:502", 3, "SMA", "3001", ("sma-stp-se",), SURE)
    elsewhere = Found("tcp://192.168.1.6:502", 3, "SMA", "3001", ("sma-stp-se",), SURE)
    assert without_repeats([general, own, elsewhere]) == [own, elsewhere]
    assert without_repeats([own, general]) == [own]


async def test_modbus_device_that_no_profile_fits_is_shown_as_such(port_scan: PortScan) -> None:
    async with serving({1: {"holding": {7: [1, 2, 3]}}}) as server:
        (found,) = await scan_of(port_scan, ["127.0.0.1"], server.port)
    assert (found.profiles, found.confidence) == ((), UNKNOWN)


async def test_port_that_accepts_and_says_nothing_is_left_after_a_while(library: Library) -> None:
    async with misbehaving(lambda request, transaction: []) as server:
        scan = PortScan(library, (1, 2), replace(QUICK, answer_s=0.05), SystemClock())
        assert await scan_of(scan, ["127.0.0.1"], server.port) == []
        assert 2 <= len(server.requests) <= 12


async def test_port_that_speaks_something_else_is_asked_only_a_few_times(port_scan: PortScan) -> None:
    async with misbehaving(lambda request, transaction: [(0.0, b"HTTP/1.1 400 Bad Request\r\n\r\n")]) as server:
        assert await scan_of(port_scan, ["127.0.0.1"], server.port) == []
        assert len(server.requests) <= 8


async def test_host_takes_no_longer_than_agreed_and_keeps_what_was_found(serve: Serve, port: int, port_scan: PortScan) -> None:
    await serve("sungrow-sh")
    async with misbehaving(lambda request, transaction: []) as silent:
        scan = replace(port_scan, pace=replace(QUICK, answer_s=30.0, host_s=3.0))
        sweep, begin = Sweep(), time.monotonic()
        await sweep.run(scan, ["127.0.0.1"], [port, silent.port])
    assert time.monotonic() - begin < 25
    assert [one.profiles for one in sweep.found] == [("sungrow-sh",)]
    assert "127.0.0.1 was left after 3 s" in sweep.remarks[0]


async def test_few_connections_are_open_at_once(port: int, library: Library) -> None:
    open_now = most = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await reader.read()
        open_now -= 1
        writer.close()

    server = await asyncio.start_server(accept, "0.0.0.0", port)
    scan = PortScan(library, (1,), replace(QUICK, answer_s=0.05), SystemClock())
    await scan_of(scan, hosts_of([named_network("127.0.0.0/26")]), port)
    server.close()
    await server.wait_closed()
    assert 2 <= most <= 32


async def test_spared_lines_are_not_touched(serve: Serve, port: int, port_scan: PortScan) -> None:
    server = await serve("sungrow-sh")
    sweep = Sweep()
    await sweep.run(port_scan, ["127.0.0.1"], [port], spared={("127.0.0.1", port)})
    assert sweep.found == []
    assert server.connections == 0


async def test_host_is_asked_one_question_at_a_time_also_on_two_ports(library: Library) -> None:
    asked: list[float] = []

    def answer(request: Request, transaction: int) -> list[tuple[float, bytes]]:
        asked.append(time.monotonic())
        return [(0.03, frame(request, transaction, [0] * request.count))]

    async with misbehaving(answer) as one, misbehaving(answer) as other:
        scan = PortScan(library, (1, 2), QUICK, SystemClock())
        await scan_of(scan, ["127.0.0.1"], one.port, other.port)
    assert one.requests
    assert other.requests
    assert min(later - earlier for earlier, later in zip(asked, asked[1:], strict=False)) >= 0.03
