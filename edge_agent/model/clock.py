"""Time as the agent sees it: passed in everywhere, so that tests and the demo can bend it.

Instants are UTC in epoch seconds (`at`), the unit the cloud's events use and in which quarter-hours
are multiples of 900. Durations and back-offs use `monotonic()`, which no clock step moves.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

EARLIEST_AT = 1_767_225_600  # 2026-01-01: a clock that says less is not set; a gateway boots without one
BOOT_ID = "EDGE_AGENT_BOOT_ID"


class Clock(Protocol):
    """What every loop takes its time from. `boot_id` names the boot that `monotonic` counts from; empty when that cannot be told."""

    boot_id: str

    def now(self) -> float:
        """UTC, epoch seconds; may step when the system's clock is set."""

    def monotonic(self) -> float:
        """Seconds that only ever go forward, from an arbitrary zero."""

    def suspended_s(self) -> float:
        """For how long the machine has been suspended since boot; `monotonic()` went on meanwhile."""

    async def sleep(self, seconds: float) -> None:
        """Waits that many of this clock's seconds."""


class SystemClock:
    """The machine's own time."""

    def __init__(self) -> None:
        self.boot_id = os.environ.get(BOOT_ID, "")  # from the service's unit, whose sandbox hides the file
        with suppress(OSError):
            self.boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)  # unlike the plain monotonic clock it goes on while the machine is suspended

    def suspended_s(self) -> float:
        return self.monotonic() - time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ScaledClock:
    """Runs `speed` times faster than the machine's time, from `start` on: the demo's clock."""

    def __init__(self, speed: float, start: float) -> None:
        self.speed = speed
        self.boot_id = uuid.uuid4().hex
        self._start = start
        self._zero = time.monotonic()

    def now(self) -> float:
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        return (time.monotonic() - self._zero) * self.speed

    def suspended_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)


def utc_text(at: float) -> str:
    """`2026-03-01T10:15:00Z`, for people and logs."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
