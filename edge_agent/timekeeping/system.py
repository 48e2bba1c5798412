"""What the machine says about its clock, as far as a service without rights may see it.

systemd-timesyncd leaves a file when it has set the clock, and its folder is there while it runs. chrony is asked by
`chronyc` on the loopback interface. Any other service is known to systemd-timedated, which asks the kernel; the agent
cannot, since its sandbox forbids that call. A machine that has none of them, such as a container, tells nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from os.path import exists, isdir
from pathlib import Path

from edge_agent.timekeeping.trust import NOBODY, Evidence

# The day of this release: no clock that is right says less.
RELEASED_AT = 1_795_219_200  # 2026-11-21
BOOTING_S = 120.0  # by then a time service that is to run does
_ANSWER_S = 5.0
_RTC_AGREES_S = 60.0


async def system_evidence(root: Path = Path("/")) -> Evidence:
    """Who sets this machine's clock, and whether they have. Never raises: what cannot be asked tells nothing."""
    synchronised, source = await _service(root / "run")
    return Evidence(synchronised, source, _rtc_agrees(root / "sys/class/rtc"), RELEASED_AT)


async def _service(run: Path) -> tuple[bool | None, str]:
    timesyncd = run / "systemd/timesync"
    if isdir(timesyncd):  # its file outlives a clock that is set by hand, the kernel's flag does not
        return exists(timesyncd / "synchronized") and "NTPSynchronized=no" not in await _timedated(), "systemd-timesyncd"
    if isdir(run / "chrony") and (answer := await _told("chronyc", "-n", "-c", "tracking")):
        return _is_tracking(answer), "chrony"
    if not isdir(run / "systemd/system"):
        return NOBODY.synchronised, NOBODY.source
    answer = await _timedated()
    if "NTPSynchronized=yes" in answer:
        return True, "the time service"
    if "NTP=yes" in answer:
        return False, "the time service"
    if time.clock_gettime(time.CLOCK_BOOTTIME) < BOOTING_S:
        return False, "the machine, which is still starting,"
    return NOBODY.synchronised, NOBODY.source


async def _timedated() -> str:
    return await _told("timedatectl", "show", "--property=NTP", "--property=NTPSynchronized")


def _is_tracking(answer: str) -> bool:
    """Chronyc's comma-separated answer ends with the leap status: Normal, Insert second, Delete second, Not synchronised."""
    return answer.strip().rpartition(",")[2] in ("Normal", "Insert second", "Delete second")


async def _told(*command: str) -> str:
    """What a command prints; empty when it is not there, fails or hangs."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_ANSWER_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return output.decode(errors="replace") if process.returncode == 0 else ""


def _rtc_agrees(rtcs: Path) -> bool:
    """Whether the machine took its time at boot from a clock chip that says the same now: one that has run through the power cut."""
    for rtc in sorted(rtcs.glob("rtc*")):
        with contextlib.suppress(OSError, ValueError):
            set_at_boot, says = (rtc / "hctosys").read_text().strip() == "1", int((rtc / "since_epoch").read_text())
            if set_at_boot:
                return abs(says - time.time()) <= _RTC_AGREES_S
    return False
