"""The limit that the agent is measured against: the shortest straight line through the same libraries.

Usage: straight_line.py FOLDER CLOUD_URL

pymodbus reads the grouped blocks once a second, one struct decodes each, one SQLite transaction a second
takes a row a device, one batch POST every five seconds empties the table. No configuration, no checks, no
retries, no metering, no back-off: what an agent adds to this is what it costs.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import struct
import sys
import time

import httpx
from pymodbus.client import AsyncModbusTcpClient

FIRST_PORT = 15020


async def poll(number: int, blocks: list[tuple[str, int, int]], pending: list[tuple[float, str]]) -> None:
    """Reads one device once a second."""
    client = AsyncModbusTcpClient("127.0.0.1", port=FIRST_PORT + number)
    await client.connect()
    loop = asyncio.get_running_loop()
    due = loop.time()
    words, values = struct.Struct(">125H"), struct.Struct(">60H")
    while True:
        fields: list[int] = []
        for table, address, count in blocks:
            read = client.read_holding_registers if table == "holding" else client.read_input_registers
            answer = await read(address, count=count)
            raw = words.pack(*answer.registers, *[0] * (125 - count))
            fields += values.unpack_from(raw)[:8]
        pending.append((time.time(), json.dumps({"source": number, "values": fields[:30]})))
        due += 1
        await asyncio.sleep(max(0.0, due - loop.time()))


async def main(folder: str, url: str) -> None:
    """Polls, stores and uploads until it is killed."""
    database = sqlite3.connect(f"{folder}/events.db", isolation_level=None)
    database.executescript("pragma journal_mode=wal; create table events(id integer primary key, at real, body text)")
    pending: list[tuple[float, str]] = []
    with open(f"{folder}/blocks.json") as file:
        plans = json.load(file)
    tasks = [asyncio.create_task(poll(number, plan, pending)) for number, plan in enumerate(plans)]
    async with httpx.AsyncClient() as cloud:
        beat = 0
        while True:
            await asyncio.sleep(1)
            beat += 1
            database.execute("begin")
            database.executemany("insert into events(at, body) values(?, ?)", pending)
            database.execute("commit")
            pending.clear()
            while beat % 5 == 0 and (rows := database.execute("select id, body from events order by id limit 1000").fetchall()):
                await cloud.post(url, content="[" + ",".join(row[1] for row in rows) + "]")
                database.execute("delete from events where id <= ?", (rows[-1][0],))
            if any(task.done() for task in tasks):
                raise SystemExit("polling ended")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
