"""An RTU bus in a process of its own: a program at the other end of a pseudo terminal that plays all units of a bus.

It prints the terminal's path, then reads settings (one JSON object a line) and prints what it has seen so far.
A register of unit u at address a holds `(a ^ u << 12)`, so that a value in the wrong point, or of the wrong unit, shows.
"""

from __future__ import annotations

import json
import os
import pty
import random
import select
import sys
import time
import tty
from typing import Any

from edge_agent.codec.frames import crc16

_LONGEST_STALL_S = 0.05  # a late unit is never later than it was told to be, even on a machine that is busy: rather silent
_LOOK_S = 0.001  # so that it knows when a question came


def words_of(unit: int, address: int, count: int) -> tuple[int, ...]:
    return tuple((address + offset) ^ unit << 12 for offset in range(count))


class Bus:
    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.settings: dict[str, Any] = {"units": [1], "echo": False, "before": "", "after": "", "late": 0.0, "late_from_s": 0.0, "late_s": 0.0}
        self.seen: dict[str, Any] = {"requests": 0, "garbage": 0, "shortest_gap_s": 99.0}
        self._chance = random.Random(3)
        self._received = b""
        self._pending: list[tuple[float, bytes]] = []
        self._last_end = 0.0
        self._looked_at = self._looked_before = 0.0

    def run(self) -> None:
        print(os.ttyname(self.slave), flush=True)
        while True:
            now = time.monotonic()
            self._looked_before, self._looked_at = self._looked_at, now
            wait = min((at for at, _ in self._pending), default=now + 60) - now
            if self.settings["late"]:
                wait = min(wait, _LOOK_S)
            ready, _, _ = select.select([self.master, sys.stdin], [], [], max(0.0, wait))
            if sys.stdin in ready:
                line = os.read(sys.stdin.fileno(), 4096)
                if not line:
                    return
                self.settings |= json.loads(line)
                print(json.dumps(self.seen), flush=True)
            if self.master in ready:
                self._take(os.read(self.master, 1024))
            for due in [one for one in self._pending if one[0] <= time.monotonic()]:
                self._pending.remove(due)
                if not self.settings["late"] or time.monotonic() - due[0] < _LONGEST_STALL_S:
                    self._last_end = time.monotonic()  # before the other side can know: a pause is never seen too short
                    os.write(self.master, due[1])

    def _take(self, data: bytes) -> None:
        if not self._received and self._last_end:
            self.seen["shortest_gap_s"] = min(self.seen["shortest_gap_s"], time.monotonic() - self._last_end)
        if self.settings["echo"]:
            os.write(self.master, data)
        self._received += data
        while len(self._received) >= 8:
            request, self._received = self._received[:8], self._received[8:]
            self.seen["requests"] += 1
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if crc16(request[:6]) != request[6:]:
            self.seen["garbage"] += 1
            return
        unit, function, address, count = request[0], request[1], int.from_bytes(request[2:4]), int.from_bytes(request[4:6])
        before = bytes.fromhex(self.settings["before"])
        if unit not in self.settings["units"]:
            frame = b""
        else:
            body = bytes([unit, function, 2 * count]) + b"".join(word.to_bytes(2) for word in words_of(unit, address, count))
            frame = body + crc16(body) + bytes.fromhex(self.settings["after"])
        delay = self._chance.uniform(self.settings["late_from_s"], self.settings["late_s"]) if self._chance.random() < self.settings["late"] else 0.0
        if before or frame:
            came_at = self._looked_before if self.settings["late"] else time.monotonic()  # not before that
            self._pending.append((came_at + delay, before + frame))


if __name__ == "__main__":
    Bus().run()
