"""The benchmark's household on the wire: ten Modbus TCP devices in one process, as cheap as asyncio allows.

Usage: simulator.py STATS     STATS: a file whose first 8 bytes count the requests served

Every register holds its address, but the low word of the device's counter grows by one each second.
"""

from __future__ import annotations

import asyncio
import functools
import mmap
import struct
import sys
import time
from pathlib import Path

from edge_agent.model.measurements import Quantity
from edge_agent.profiles.library import load_profile

HOUSEHOLD = Path(__file__).parent / "household"
FIRST_PORT = 15020
DEVICES = 10


class Device(asyncio.Protocol):
    """One connection to one device. Requests come whole: they are 12 bytes in one packet."""

    def __init__(self, counter_address: int, stats: mmap.mmap) -> None:
        self._counter = counter_address
        self._stats = stats

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data) - 11, 12):
            transaction, _, _, unit, function, address, count = struct.unpack_from(">HHHBBHH", data, start)
            words = [self._word(address + offset) for offset in range(count)]
            head = struct.pack(">HHHBBB", transaction, 0, 3 + 2 * count, unit, function, 2 * count)
            self._transport.write(head + struct.pack(f">{count}H", *words))
            (served,) = struct.unpack_from("Q", self._stats)
            struct.pack_into("Q", self._stats, 0, served + 1)

    def _word(self, address: int) -> int:
        if address == self._counter:
            return 0
        return int(time.monotonic()) & 0x7FFF if address == self._counter + 1 else address & 0x7FFF


async def main(stats_file: str) -> None:
    """Serves until it is killed."""
    Path(stats_file).write_bytes(bytes(8))
    with open(stats_file, "r+b") as file:
        stats = mmap.mmap(file.fileno(), 8)
    loop = asyncio.get_running_loop()
    for number in range(DEVICES):
        spec = load_profile(f"./device-{number}.yaml", HOUSEHOLD).spec
        counter = next(point for point in spec.points.values() if point.quantity is Quantity.IMPORT_WH)
        address = (counter.holding or counter.input or [0])[0]
        await loop.create_server(functools.partial(Device, address, stats), "127.0.0.1", FIRST_PORT + number)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
