"""The agent as a service: it waits where it cannot work yet, goes on with the last valid site file, and says how it stands.

systemd hears when it is ready and, while every loop turns, that it lives; the updater reads `health.json`. Nobody is
there to start it again, so a missing or faulty site file and a queue that cannot be opened are waited for, said once.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from edge_agent import __version__
from edge_agent.agent import Agent, run_agent
from edge_agent.config import Site
from edge_agent.config.last_valid import keep, last_valid, remark_on
from edge_agent.health import Facts, judge, to_file, worked_before
from edge_agent.model.clock import Clock
from edge_agent.model.errors import AgentBusy, ConfigError, HouseMoved, StorageError
from edge_agent.shift import EvidenceOfTime, Shift, no_evidence
from edge_agent.site_reading import SiteReading, read_site
from edge_agent.systemd import Service

log = logging.getLogger(__name__)

LOOK_S = 10.0  # between two looks at the running agent
START_LOOK_S = 0.1  # until it is ready
RETRY_S = 5.0  # between attempts to begin
SILENT_S = 60.0  # a device that fails for less than this is not worth a word
_FILE = "health.json"


async def run(site_file: Path, clock: Clock, evidence: EvidenceOfTime = no_evidence, begun: SiteReading | None = None) -> None:
    """`edge-agent run`: one agent for a site file, stopped by SIGTERM or SIGINT, made to re-read it by SIGHUP.

    `begun` is a reading of the file that is under way.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = Service.from_environment()
    if service is None:
        await run_agent(site_file, clock, stop, evidence, begun)
    else:
        await serve(site_file, clock, service, stop, evidence, begun)


async def serve(
    site_file: Path, clock: Clock, service: Service, stop: asyncio.Event, evidence: EvidenceOfTime = no_evidence, begun: SiteReading | None = None
) -> None:
    """Runs the agent until `stop` is set; waits, saying why, while there is no site file or queue to work with."""
    watch, kept = Watch(service), LastValid(service.state)
    hurry = asyncio.Event()
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        loop.add_signal_handler(signal.SIGHUP, hurry.set)
        try:
            site = await asyncio.to_thread(site_in_force, site_file, kept, begun)
            agent = Agent(site, clock, kept.keep, evidence)
            loop.add_signal_handler(signal.SIGHUP, agent.reload)
            await watch.over(agent, stop)
        except _CannotBegin as reason:
            watch.waits(reason)
        except HouseMoved as error:
            watch.waits(_CannotBegin([str(error)]))
        except (StorageError, AgentBusy) as error:
            watch.waits(_CannotBegin([str(error)], ours=True))
        begun = None
        hurry.clear()
        await _first_of(stop, hurry, RETRY_S)


async def _first_of(stop: asyncio.Event, hurry: asyncio.Event, seconds: float) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in (stop, hurry)]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()


class _CannotBegin(Exception):
    """Why there is nothing to run. `ours`: another version of the program could."""

    def __init__(self, lines: list[str], ours: bool = False) -> None:
        self.lines = lines
        self.ours = ours


def site_in_force(site_file: Path, kept: LastValid, begun: SiteReading | None = None) -> Site:
    """The site file, else the last valid copy of it. Raises _CannotBegin when there is neither."""
    if not site_file.exists():
        words = f"there is no site file {site_file} yet: `sudo edge-agent setup` writes one, and the agent begins by itself"
        raise _CannotBegin([words])
    try:
        site = (begun or SiteReading(site_file)).site()
    except ConfigError as mistakes:
        return kept.instead(site_file, mistakes)
    kept.keep(site)
    return site


class LastValid:
    """The last site file that was right, in the service's state folder."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._said: set[str] = set()

    def keep(self, site: Site) -> None:
        """Keeps a copy of a site file that is right. Without it the agent works, too."""
        try:
            keep(site.file, self._state)
        except OSError as error:
            text = f"{self._state}: no copy of the site file could be kept ({error.strerror}); a later mistake in it would stop the agent"
            self._say(logging.WARNING, text)
        else:
            self._said.clear()

    def instead(self, site_file: Path, mistakes: ConfigError) -> Site:
        """The copy, in place of a site file with mistakes. Raises _CannotBegin when there is none, or it has mistakes, too."""
        said = [str(problem) for problem in mistakes.problems]
        if (copy := last_valid(site_file, self._state)) is None:
            raise _CannotBegin([*said, "the agent begins as soon as these mistakes are mended"])
        try:
            site = replace(read_site(site_file, copy), remark=remark_on(mistakes))
        except ConfigError as more:
            raise _CannotBegin([*said, *(f"last valid copy: {problem}" for problem in more.problems)], ours=True) from None
        for line in (*said, "the site file was not taken over; the last one that was right is in force"):
            self._say(logging.ERROR, line)
        return site

    def _say(self, level: int, text: str) -> None:
        """Logs what was not said before: each attempt to begin comes past here."""
        if text not in self._said:
            log.log(level, "%s", text)
        self._said.add(text)


class Watch:
    """Looks at the agent and tells systemd and the updater how it stands."""

    def __init__(self, service: Service, boot_s: Callable[[], float] | None = None) -> None:
        self._service = service
        self._boot_s = boot_s or (lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
        self._started_s = self._boot_s()
        self._file = service.runtime / _FILE if service.runtime else None
        self._worked_s = worked_before(_text(self._file), self._started_s)
        self._ready = False
        self._waits_for: list[str] = []
        self._hanging: list[str] = []
        self._mute = False
        self._probe: asyncio.Task[None] | None = None

    def waits(self, reason: _CannotBegin) -> None:
        """Nothing runs, for a reason that is logged when it is new."""
        if reason.lines != self._waits_for:
            for line in reason.lines:
                log.error("%s", line)
        self._waits_for = reason.lines
        self._publish(self._facts(waiting=reason.lines[0], waiting_is_ours=reason.ours))

    async def over(self, agent: Agent, stop: asyncio.Event) -> None:
        """Runs the agent and looks at it until it ends. Raises what ended it."""
        running, stopping = asyncio.create_task(agent.run(stop), name="agent"), asyncio.create_task(stop.wait())
        try:
            looked = False
            while not (running.done() or stop.is_set()):
                await asyncio.wait([running, stopping], timeout=LOOK_S if looked else START_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if agent.shift is not None and not running.done():
                    self._look(agent.shift)
                    looked = True
                elif looked:
                    self._publish(self._facts(remarks=("the site file is being read anew",)), alive=False)
            if stop.is_set():
                self._tell(STOPPING="1", STATUS="stopping")
            await running
        finally:
            stopping.cancel()

    def _look(self, shift: Shift) -> None:
        self._waits_for = []
        hanging = shift.pulse.late()
        self._say_hanging(hanging)
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(shift.show_life(), name="signs of life")
        self._publish(replace(facts_of(shift, self._facts()), hanging=tuple(hanging)), alive=not hanging)

    def _say_hanging(self, hanging: list[str]) -> None:
        if new := [loop for loop in hanging if loop not in self._hanging]:
            log.error("%s: no longer turning; unless this heals the service is restarted", ", ".join(new))
        if healed := [loop for loop in self._hanging if loop not in hanging]:
            log.info("%s: turning again", ", ".join(healed))
        self._hanging = hanging

    def _facts(self, **known: object) -> Facts:
        return replace(Facts(self._started_s, self._boot_s()), **known)  # type: ignore[arg-type]

    def _publish(self, facts: Facts, alive: bool = True) -> None:
        """Writes health.json and tells systemd; feeds its watchdog when `alive`."""
        health = judge(facts, self._worked_s)
        self._worked_s = dict(health.worked_s)
        words = {"STATUS": "; ".join([health.state, *health.reasons[:3]])}
        if not self._ready:
            words["READY"] = "1"
        if alive:
            words["WATCHDOG"] = "1"
        self._ready = True
        self._tell(**words)
        self._write(to_file(health, __version__, facts))

    def _tell(self, **words: str) -> None:
        try:
            self._service.tell(**words)
        except OSError as error:
            self._say_mute(f"systemd's socket: {error.strerror}")

    def _write(self, text: str) -> None:
        if self._file is None:
            return
        try:
            made = self._file.with_name(f".{_FILE}.new")
            made.write_text(text, encoding="utf-8")
            made.replace(self._file)
        except OSError as error:
            self._say_mute(f"{self._file}: {error.strerror}")

    def _say_mute(self, text: str) -> None:
        if not self._mute:
            log.error("%s; the updater cannot see how the agent stands", text)
        self._mute = True


def facts_of(shift: Shift, bare: Facts) -> Facts:
    """What a shift shows from outside, added to what is known without it."""
    devices, now, upload = shift.device_facts, shift.monotonic(), shift.uploader.status()
    silent = {
        device: known.sample.error
        for device, known in devices.items()
        if known.sample is not None and known.failing_since is not None and now - known.failing_since > SILENT_S
    }
    return replace(
        bare,
        silent_devices=silent,
        read_devices=sum(known.sample is not None and known.failing_since is None for known in devices.values()),
        known_devices=len(devices),
        queue_trouble="the queue cannot be written; what is measured is held in memory" if shift.holds_unstored else "",
        upload_trouble="" if upload.state == "running" else f"uploads {upload.state}",
        upload_refused=upload.refused,
        uploaded=upload.accepted_at is not None,
        remarks=tuple(_remarks(shift)),
    )


def _remarks(shift: Shift) -> Iterable[str]:
    if shift.site.remark:
        yield shift.site.remark
    if not (clock := shift.clock_state()).trusted:
        yield f"the clock is not trusted: {clock.reason}"


def _text(file: Path | None) -> str:
    """What the program before has left; nothing at the first start after a boot."""
    try:
        return file.read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError):
        return ""
