"""A serial bus at a pseudo terminal, with its units in another process: pauses, noise, echo, and units that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.drivers import modbus_link
from edge_agent.drivers.modbus import ModbusDriver
from edge_agent.drivers.modbus_link import ModbusLink, ModbusLinks
from edge_agent.model.errors import GarbledAnswer, NoAnswer, NoConnection
from edge_agent.profiles.library import DeviceProfile
from edge_agent.profiles.profile import ModbusSpec
from edge_agent.profiles.setup import Connection, DeviceSetup
from tests.conftest import HandClock
from tests.drivers.rtu_bus import words_of

TIMEOUT = 1.0
POINTS = "a: {input: 100, as: u16}\nb: {input: 300, as: u16}"


class Adapter:
    """A USB adapter that can be plugged into the same place again; its bus lives while it is plugged in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[str] | None = None

    def plug_in(self, **settings: Any) -> None:
        command = [sys.executable, str(Path(__file__).with_name("rtu_bus.py"))]
        folder = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=folder, env={"PYTHONPATH": str(folder)}, stdin=-1, stdout=-1, text=True)
        assert self._process.stdout is not None
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(self._process.stdout.readline().strip())
        self.set(**settings)

    def set(self, **settings: Any) -> dict[str, Any]:
        """Changes the bus; tells what it has seen."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(settings), file=self._process.stdin, flush=True)
        seen: dict[str, Any] = json.loads(self._process.stdout.readline())
        return seen

    def unplug(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def link(self, clock: HandClock, baudrate: int = 9600) -> ModbusLink:
        return ModbusLinks(clock).get(self.connection(baudrate), ModbusSpec())

    def connection(self, baudrate: int = 9600) -> Connection:
        return Connection("serial", path=str(self.path), baudrate=baudrate)


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[Adapter]:
    adapter = Adapter(tmp_path / "ttyUSB0")
    adapter.plug_in()
    yield adapter
    adapter.unplug()


async def test_units_of_one_bus_answer_each_for_itself_with_silence_between_frames(adapter: Adapter, hand_clock: HandClock) -> None:
    adapter.set(units=[1, 2, 3])
    link = adapter.link(hand_clock)
    asked = [(unit, address) for unit in (1, 2, 3) for address in (0, 100, 1000)] * 3
    answers = await asyncio.gather(*(link.read(unit, "holding", address, 5, TIMEOUT) for unit, address in asked))
    assert answers == [words_of(unit, address, 5) for unit, address in asked]
    seen = adapter.set()
    assert seen["requests"] == 27
    assert seen["garbage"] == 0
    assert seen["shortest_gap_s"] >= 3.5 * 11 / 9600
    await link.close()


@pytest.mark.parametrize(
    ("before", "after", "echo"),
    [
        ("00", "", False),
        ("ff00ff", "", False),
        ("01", "", False),  # as if the answer began
        ("00" * 60, "", False),
        ("", "", True),
        ("00", "", True),  # the line is driven anew, after the echo
    ],
)
async def test_noise_and_echo_before_an_answer_cost_nothing(before: str, after: str, echo: bool, adapter: Adapter, hand_clock: HandClock) -> None:
    adapter.set(before=before, after=after, echo=echo)
    link = adapter.link(hand_clock)
    for address, count in ((0, 1), (0x0400, 2), (0x0204, 1), (600, 3), (0, 125)):
        assert await link.read(1, "input", address, count, TIMEOUT) == words_of(1, address, count)
    await link.close()


async def test_echo_of_a_silent_unit_is_no_value(adapter: Adapter, hand_clock: HandClock) -> None:
    """The echo of this question and a stray zero make a frame with a right checksum."""
    adapter.set(units=[], echo=True, before="00")
    link = adapter.link(hand_clock)
    with pytest.raises(NoAnswer, match="but 1 bytes that are none; check baud rate and parity"):
        await link.read(1, "input", 0x0400, 2, 0.1)
    adapter.set(before="")
    with pytest.raises(NoAnswer, match="check the wiring and `unit:`"):
        await link.read(1, "input", 0x0400, 2, 0.1)
    await link.close()


async def test_unit_that_disappears_costs_only_itself_and_comes_back(
    adapter: Adapter, hand_clock: HandClock, profile_of: Callable[..., DeviceProfile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    adapter.set(units=[1, 2])
    links = ModbusLinks(hand_clock)
    profile = profile_of(POINTS, modbus="timeout: 200ms")
    connection = adapter.connection()
    drivers = [
        ModbusDriver(DeviceSetup(f"m{unit}", "", profile, connection, unit), links.get(connection, profile.spec.modbus), hand_clock)
        for unit in (1, 2)
    ]

    async def both() -> list[dict[str, object]]:
        samples = await asyncio.gather(*(driver.read() for driver in drivers))
        return [{name: reading.value for name, reading in sample.readings.items()} for sample in samples]

    right = [{"a": float(words_of(unit, 100, 1)[0]), "b": float(words_of(unit, 300, 1)[0])} for unit in (1, 2)]
    assert await both() == right
    adapter.set(units=[1])
    for _ in range(3):
        assert await both() == [right[0], {}]
    assert "no answer" in drivers[1].last_error
    adapter.set(units=[1, 2])
    hand_clock.forward(61)
    assert await both() == right
    await links.close()


async def test_adapter_that_is_pulled_out_and_plugged_in_again_is_used_again(adapter: Adapter, hand_clock: HandClock) -> None:
    link = adapter.link(hand_clock)
    assert await link.read(1, "input", 7, 2, TIMEOUT) == words_of(1, 7, 2)
    adapter.unplug()
    adapter.path.unlink()
    with pytest.raises(NoConnection, match="check that the adapter is plugged in"):
        await link.read(1, "input", 7, 2, TIMEOUT)
    adapter.plug_in()
    hand_clock.forward(61)
    assert await link.read(1, "input", 7, 2, TIMEOUT) == words_of(1, 7, 2)
    await link.close()


async def test_caller_who_leaves_does_not_let_two_talk_at_once(adapter: Adapter, hand_clock: HandClock) -> None:
    adapter.set(units=[1, 2], late=1.0, late_s=0.6)
    link = adapter.link(hand_clock)
    for address in range(4):
        impatient = asyncio.create_task(link.read(1, "input", address, 2, TIMEOUT))
        await asyncio.sleep(0.02)
        impatient.cancel()
        assert await patient_read(link, 2, 50 + address) == words_of(2, 50 + address, 2)
    await link.close()


async def test_question_that_leaves_late_is_waited_for_as_long(adapter: Adapter, hand_clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_link, "_QUIET_S", 0.05)
    adapter.set(late_from_s=0.2, late_s=0.25)
    link = adapter.link(hand_clock)
    await link.read(1, "input", 0, 2, TIMEOUT)
    for address in range(4):
        adapter.set(late=1.0)
        await asyncio.sleep(0.02)  # the pause between two frames is over: the question goes out at once
        late = asyncio.create_task(link.read(1, "input", 1000 + address, 2, 0.3))
        await asyncio.sleep(0)
        time.sleep(0.5)  # a machine that is busy with something else before the bytes leave
        with pytest.raises(NoAnswer):
            await late
        adapter.set(late=0.0)
        assert await link.read(1, "input", address, 2, TIMEOUT) == words_of(1, address, 2)
    await link.close()


async def patient_read(link: ModbusLink, unit: int, address: int) -> tuple[int, ...]:
    """Two registers; asked again when the bus was silent, as it is rather than late on a machine that is busy."""
    for _ in range(10):
        with contextlib.suppress(NoAnswer):
            return tuple(await link.read(unit, "input", address, 2, TIMEOUT))
    raise AssertionError("the bus was silent ten times")


async def test_hundred_reads_and_not_one_value_in_the_wrong_point(adapter: Adapter, hand_clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_link, "_QUIET_S", 0.1)
    adapter.set(units=[1, 2], late=0.3, late_s=0.5)  # and on a busy machine it takes some more to come through the terminal
    link = adapter.link(hand_clock, 115200)
    lost = cancelled = 0

    async def ask(number: int) -> None:
        nonlocal lost, cancelled
        chance = random.Random(number)
        unit, address, count = chance.choice([1, 1, 1, 2]), chance.randrange(3000), chance.choice([1, 2, 2, 2])
        try:
            async with asyncio.timeout(chance.uniform(0.001, 2.0) if chance.random() < 0.3 else None):
                words = await link.read(unit, "holding", address, count, 0.3)
        except TimeoutError:
            cancelled += 1
        except (NoAnswer, GarbledAnswer):
            lost += 1
        else:
            assert words == words_of(unit, address, count)

    for start in range(0, 120, 20):
        await asyncio.gather(*(ask(number) for number in range(start, start + 20)))
    await link.close()
    assert lost > 3
    assert cancelled > 5
    assert lost + cancelled < 84
