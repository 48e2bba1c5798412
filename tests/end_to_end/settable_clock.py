"""The machine's clock for an agent in the test's own process: it can be set, and the machine suspended."""

from __future__ import annotations

import asyncio
import time


class SettableClock:
    """The machine's clock with a wall time that a test can set."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.suspended = 0.0
        self.boot_id = "boot"

    def now(self) -> float:
        return time.time() + self.offset + self.suspended

    def monotonic(self) -> float:
        return time.monotonic() + self.suspended

    def suspended_s(self) -> float:
        return self.suspended

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
