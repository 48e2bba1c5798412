"""What tests of several floors share: a real MQTT broker, and a clock that a test moves; no test has a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # no speed is asserted, least of all on a busy machine
settings.load_profile("any machine")

_MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


_PORTS = 20_000 + os.getpid() % 60 * 200  # this process's own, below those that the system gives to outgoing connections


def free_port() -> int:
    """A port on which nobody listens, and that nobody else takes while the one that a test lets listen there is stopped."""
    for port in random.sample(range(_PORTS, _PORTS + 200), 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Mosquitto:
    """A mosquitto of our own on a free port of this machine; it may be stopped and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.lines = ["allow_anonymous true"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert _MOSQUITTO is not None
        config = self.folder / "mosquitto.conf"
        # port 1883 is mosquitto's without a listener; the user keeps a broker started by root from dropping its rights to its files
        head = [f"listener {self.port} 127.0.0.1", "persistence false", *(["user root"] if os.geteuid() == 0 else [])]
        config.write_text("\n".join([*head, *self.lines]) + "\n", encoding="utf-8")
        log = (self.folder / "mosquitto.log").open("ab")
        with log:
            self._process = subprocess.Popen([_MOSQUITTO, "-c", str(config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not self._listens():
            assert self._process.poll() is None, (self.folder / "mosquitto.log").read_text()
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def stopped_mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that a test configures and starts itself. Without mosquitto: skipped, but a failure in CI."""
    if _MOSQUITTO is None:
        reason = "mosquitto is not installed (apt-get install mosquitto)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Mosquitto(folder)
    yield broker
    broker.stop()


@pytest.fixture
def mosquitto(stopped_mosquitto: Mosquitto) -> Mosquitto:
    """A running broker for anyone."""
    stopped_mosquitto.start()
    return stopped_mosquitto


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command sets up logging for its process; the next test shall not inherit that."""
    loggers = [logging.getLogger(), logging.getLogger("edge_agent")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


class HandClock:
    """A clock that stands until a test moves it. Sleepers wake when it has moved past their time."""

    def __init__(self, start: float = 1_772_610_000.0) -> None:
        self.wall = start
        self.boot_id = "boot"
        self.elapsed = 1000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.elapsed

    def suspended_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        until = self.elapsed + seconds
        while self.elapsed < until:
            await asyncio.sleep(0.005)

    def forward(self, seconds: float) -> None:
        """Lets that much time pass."""
        self.wall += seconds
        self.elapsed += seconds

    def set_wall(self, at: float) -> None:
        """Sets the system's time, as NTP does at boot; no time passes."""
        self.wall = at


@pytest.fixture
def hand_clock() -> HandClock:
    return HandClock()


async def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Waits for a condition, and fails when it does not come true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)
