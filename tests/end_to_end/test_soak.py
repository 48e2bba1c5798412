"""Weeks of a house within a minute or two, while everything fails at random; at the end the cloud has what the agent committed.

`EDGE_AGENT_SOAK_S=3600` runs it for an hour (two years of the house). `EDGE_AGENT_SOAK_SEED` names other faults than the usual
ones, `random` new ones each time; the seed is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_SECRET, Answer, Drop, Fault, LocalCloud, Request, Slow, parse
from edge_agent.model.clock import ScaledClock
from edge_agent.uplink.settings import UploadSettings
from tests.conftest import free_port
from tests.end_to_end import soaking
from tests.end_to_end.gateway import SDM630, Gateway, meter
from tests.fault_proxy import FaultProxy, Harm, faulty_line
from tests.simulators import RegisterServer, serving
from tests.uplink.rig import event, rig

SOAK_S = float(os.environ.get("EDGE_AGENT_SOAK_S", "60"))
_NAMED = os.environ.get("EDGE_AGENT_SOAK_SEED", "1")
SEED = random.randrange(10**6) if _NAMED == "random" else int(_NAMED)
SPEED = 20_000.0  # a day in 4.3 s
START = 1_800_000_000.0 - 1_800_000_000 % 86400
BATCH = 50
POWER_W = 7200.0
PROBE = "probe"  # the device of one last event, for suspects are judged when another one was accepted

Sent = tuple[str, str, int, float]  # device, event type, timestamp, value


class House:
    """The house, its gateway and its cloud; and all that may happen to them."""

    def __init__(self, gateway: Gateway, cloud: LocalCloud, line: FaultProxy, clock: ScaledClock, chance: random.Random) -> None:
        self.gateway, self.cloud, self.line, self.clock, self.chance = gateway, cloud, line, clock, chance
        self.committed: Counter[Sent] = Counter()
        self.log: list[str] = []
        self.happened: Counter[str] = Counter()
        self.kills = 0
        self.unacknowledged = 0  # calls that took effect although their answer did not say so
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self.at_work = asyncio.Event()
        self.misfortunes = [
            self.line_does_harm,
            self.line_does_harm,
            self.cloud_fails,
            self.cloud_fails,
            self.cloud_fails_now_and_then,
            self.cloud_takes_small_batches,
            self.building_is_unknown,
            self.tokens_are_revoked,
            self.nobody_listens,
            self.connections_are_forgotten,
            self.agent_is_killed,
            self.agent_is_restarted,
            self.site_is_read_anew,
            self.disk_is_full,
        ]

    # the agent

    async def start_agent(self) -> None:
        self.at_work.clear()
        arguments = (str(self.gateway.site), str(SPEED), str(START), str(self.clock._zero))
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(soaking.__file__)), *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [asyncio.create_task(self._note(process.stdout)), asyncio.create_task(self._listen(process.stderr))]

    async def end_agent(self, how: signal.Signals) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(30):
            await self._process.wait()
            await asyncio.gather(*self._readers)

    async def _note(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            if line.endswith(b"\n"):
                device, kind, at, value = json.loads(line)
                self.committed[device, kind, at, value] += 1

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.log.append(line.decode().rstrip())
            if b" devices, building " in line:
                self.at_work.set()

    # what happens

    async def suffer(self, seconds: float) -> None:
        """One misfortune after the other, each followed by some peace."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self._process is not None
            assert self._process.returncode is None, "\n".join(self.log[-20:])
            misfortune = self.chance.choice(self.misfortunes)
            self.happened[misfortune.__name__] += 1
            await misfortune(self.chance.uniform(0.05, 1.2))
            self.heal()
            await asyncio.sleep(self.chance.uniform(0.05, 1.0))

    def heal(self) -> None:
        self.line.harm = Harm.NONE
        self.cloud.fault = lambda request: None
        self.cloud.max_batch = None

    async def line_does_harm(self, seconds: float) -> None:
        self.line.harm = self.chance.choice([harm for harm in Harm if harm is not Harm.NONE])
        self.happened[self.line.harm.name] += 1
        await asyncio.sleep(seconds)

    async def nobody_listens(self, seconds: float) -> None:
        self.unacknowledged += 4
        await self.line.stop()
        await asyncio.sleep(seconds)
        await self.line.start()

    async def connections_are_forgotten(self, seconds: float) -> None:
        self.unacknowledged += 4
        self.line.forget()
        await asyncio.sleep(seconds)

    async def cloud_fails(self, seconds: float) -> None:
        fault = self._fault()
        self.cloud.fault = lambda request: self._told(request, fault)
        await asyncio.sleep(seconds)

    async def cloud_fails_now_and_then(self, seconds: float) -> None:
        self.cloud.fault = lambda request: self._told(request, self._fault()) if self.chance.random() < 0.3 else None
        await asyncio.sleep(2 * seconds)

    def _fault(self) -> Fault:
        faults: list[Fault] = [
            Answer(500),
            Answer(502, b"<html>bad gateway</html>"),
            Answer(500, stored=self.chance.randrange(1, BATCH)),
            Answer(429, headers={"Retry-After": "600"}),
            Answer(401),
            Answer(200, b"<html>sign in</html>"),
            Drop(),
            Drop(after_storing=True),
            Slow(soaking.PATIENCE_S * 1.5),
        ]
        return self.chance.choice(faults)

    def _told(self, request: Request, fault: Fault) -> Fault:
        if isinstance(fault, Answer) and fault.stored and not isinstance(parse(request), list):
            return Answer(500)
        self.unacknowledged += isinstance(fault, Drop | Slow) or (isinstance(fault, Answer) and fault.stored > 0)
        return fault

    async def cloud_takes_small_batches(self, seconds: float) -> None:
        self.cloud.max_batch = self.chance.randrange(10, BATCH)
        await asyncio.sleep(seconds)

    async def building_is_unknown(self, seconds: float) -> None:
        known = self.cloud.buildings.pop(BUILDING_ID)
        await asyncio.sleep(seconds)
        self.cloud.buildings[BUILDING_ID] = known

    async def tokens_are_revoked(self, seconds: float) -> None:
        self.cloud.revoke_tokens()
        await asyncio.sleep(seconds)

    async def agent_is_killed(self, seconds: float) -> None:
        self.kills += 1
        await self.end_agent(signal.SIGKILL)
        await self.start_agent()
        await asyncio.sleep(seconds)

    async def agent_is_restarted(self, seconds: float) -> None:
        await self.end_agent(signal.SIGTERM)
        await asyncio.sleep(seconds)
        await self.start_agent()

    async def site_is_read_anew(self, seconds: float) -> None:
        await asyncio.wait_for(self.at_work.wait(), 30)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        await asyncio.sleep(seconds)

    async def disk_is_full(self, seconds: float) -> None:
        """No file may grow: what is written fails as on a disk that is broken or full."""
        await asyncio.wait_for(self.at_work.wait(), 30)
        assert self._process is not None
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0, hard))
        await asyncio.sleep(seconds)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (hard, hard))

    # the end

    @property
    def received(self) -> Counter[Sent]:
        return Counter((one["deviceId"], one["type"], one["timestamp"], one["value"]) for one in self.cloud.received())


async def count_up(server: RegisterServer, clock: ScaledClock) -> None:
    """A meter that imports steadily, by the house's clock."""
    await server.put(1, "input", 52, POWER_W, "f32")
    while True:
        await server.put(1, "input", 72, clock.monotonic() * POWER_W / 3600 / 1000, "f32")
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def soaked_house(folder: Path) -> AsyncIterator[House]:
    clock = ScaledClock(SPEED, START)
    with LocalCloud(now=clock.now, port=free_port()) as cloud:
        async with faulty_line(int(cloud.url.rpartition(":")[2])) as line, serving({1: SDM630}) as server:
            gateway = Gateway(folder, cloud)
            gateway.write_site([meter(server)], reporting="{interval: 15m, poll_interval: 5m}", upload=f"{{batch_size: {BATCH}}}")
            gateway.site.write_text(gateway.site.read_text().replace(cloud.url, line.url))
            counting = asyncio.create_task(count_up(server, clock))
            house = House(gateway, cloud, line, clock, random.Random(SEED))
            try:
                yield house
            finally:
                await house.end_agent(signal.SIGKILL)
                counting.cancel()
                await asyncio.gather(counting, return_exceptions=True)


async def deliver_the_rest(house: House, folder: Path) -> int:
    """What still waits when the agent has ended; dead letters are put back, for what refused them is over. Gives the doubles it counted."""
    folder.joinpath("edge-agent.db").rename(folder / "queue.db")
    async with rig(house.cloud, folder, clock=house.clock, settings=UploadSettings(batch_size=BATCH)) as one, one.running():
        house.happened["dead letters put back"] = await one.outbox.retry_dead()
        await one.commit(event(PROBE, house.clock.now(), 0.0))
        await one.until_sent(60)
        return (await one.outbox.stats())["possibly_doubled"]


def check_intervals(committed: Counter[Sent]) -> None:
    """Every interval of the house is there once, and together they are what the meter counted."""
    energies = {at: wh for device, kind, at, wh in committed if (device, kind) == ("grid-meter", "ENERGY_CONSUMPTION")}
    ends = sorted(energies)
    assert ends == list(range(ends[0], ends[-1] + 1, 900)), "an interval is missing"
    assert sum(energies.values()) == pytest.approx(len(ends) * POWER_W / 4, rel=0.02)
    twice = [sent for sent, count in committed.items() if count > 1 and sent[1] != "DEVICE_STATUS"]
    assert not twice, f"committed twice: {twice[:10]}"


async def test_after_weeks_of_faults_the_cloud_has_what_the_agent_committed(tmp_path: Path) -> None:
    print(f"EDGE_AGENT_SOAK_SEED={SEED} EDGE_AGENT_SOAK_S={SOAK_S:g}")
    async with soaked_house(tmp_path) as house:
        await house.start_agent()
        await asyncio.wait_for(house.at_work.wait(), 30)
        await house.suffer(SOAK_S)
        await asyncio.sleep(1)
        await house.end_agent(signal.SIGTERM)
        counted = await deliver_the_rest(house, tmp_path / "state")
        days = (house.clock.now() - START) / 86400
    committed = house.committed
    received = Counter({sent: count for sent, count in house.received.items() if sent[0] != PROBE})
    doubles = (received - committed).total()
    print(f"{days:.0f} days, {committed.total()} events, {doubles} doubles ({counted} thought possible), {dict(house.happened)}")
    lost, unknown = committed - received, received.keys() - committed.keys()
    assert not lost, f"seed {SEED}: lost: {list(lost)[:10]}"
    assert len(unknown) <= 30 * house.kills, f"seed {SEED}: more than a kill can hide was never committed: {sorted(unknown)[:10]}"
    assert doubles <= (house.unacknowledged + house.line.lost + house.kills) * BATCH
    assert doubles <= counted, f"seed {SEED}: more came twice than was thought possible"
    check_intervals(Counter([*committed.elements(), *unknown]))
    said = "\n".join(house.log)
    assert "Traceback" not in said, said
    tokens = {request.headers.get("authorization", "").removeprefix("Bearer ") for request in house.cloud.requests} - {""}
    assert not [secret for secret in (CLIENT_SECRET, *tokens) if secret in said]
