"""systemd's watchdog is fed only while polling, uploading and the queue's thread all turn."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_agent import service
from edge_agent.agent import Agent
from edge_agent.config import load_site
from edge_agent.demo.cloud import LocalCloud
from edge_agent.model.clock import SystemClock
from edge_agent.service import Watch
from edge_agent.shift import Shift, shift
from edge_agent.systemd import Service
from tests.conftest import until
from tests.end_to_end.gateway import SDM630, Gateway, meter
from tests.simulators import serving

WITHIN_S = 30.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "TURN_S", 2.0)
    monkeypatch.setattr(service, "LOOK_S", 0.2)


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[Agent, Path]]:
    """An agent under watch, and the health file that it leaves."""
    stop = asyncio.Event()
    runtime = folder / "run"
    runtime.mkdir()
    async with serving({1: SDM630}) as server:
        with LocalCloud() as cloud:
            gateway = Gateway(folder, cloud)
            gateway.write_site([meter(server)])
            agent = Agent(load_site(gateway.site), SystemClock())
            running = asyncio.create_task(Watch(Service(folder, runtime, "")).over(agent, stop))
            try:
                yield agent, runtime / "health.json"
            finally:
                stop.set()
                await running


def blocked_queue(one: Shift) -> Callable[[], None]:
    """The queue's thread waits, as for a disk that does not answer."""
    go_on = threading.Event()
    waiting = asyncio.create_task(one.outbox.call(lambda _: go_on.wait()))
    waiting.add_done_callback(lambda _: None)
    return go_on.set


def stuck_uploader(one: Shift) -> Callable[[], None]:
    go_on = asyncio.Event()
    before = one.uploader._step

    async def step() -> bool:
        await go_on.wait()
        return await before()

    one.uploader._step = step  # type: ignore[method-assign]
    return go_on.set


def stuck_polling(one: Shift) -> Callable[[], None]:
    """What runs in the polling loop itself waits for something that does not come."""
    clock, go_on = one.clock, asyncio.Event()

    class Stuck(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await go_on.wait()

    one.clock = Stuck()

    def heal() -> None:
        one.clock = clock
        go_on.set()

    return heal


@pytest.mark.parametrize(("hang", "loop"), [(blocked_queue, "the queue"), (stuck_uploader, "uploading"), (stuck_polling, "polling")])
async def test_loop_that_hangs_starves_the_watchdog_until_it_turns_again(
    hang: Callable[[Shift], Callable[[], None]], loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[dict[str, str]] = []
    monkeypatch.setattr(Service, "tell", lambda _, **words: told.append(words))
    caplog.set_level("INFO")
    async with watched(tmp_path) as (agent, file):
        await until(lambda: file.exists() and json.loads(file.read_text())["state"] == "healthy", WITHIN_S)
        assert agent.shift is not None
        heal = hang(agent.shift)
        await until(lambda: json.loads(file.read_text())["state"] == "unhealthy", WITHIN_S)
        assert loop in json.loads(file.read_text())["reasons"][0]
        fed = len(told)
        await until(lambda: len(told) >= fed + 5, WITHIN_S)
        assert not [words for words in told[fed:] if "WATCHDOG" in words]
        heal()
        await until(lambda: json.loads(file.read_text())["state"] == "healthy", WITHIN_S)
        assert "WATCHDOG" in told[-1]
    assert caplog.text.count("no longer turning") >= 1
    assert "turning again" in caplog.text
