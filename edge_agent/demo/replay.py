"""`edge-agent replay`: a recording as a device again, with its changes at their time, over and over.

Registers are served over Modbus on the loopback interface; messages are published by the demo's own broker
there, or to another one. So a device in someone's cellar can be looked at on a desk.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from edge_agent.demo.broker import Broker
from edge_agent.demo.mqtt_wire import Message
from edge_agent.demo.register_server import Place, RegisterServer
from edge_agent.model.errors import ConfigError, EdgeAgentError, Problem
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.recording.file import ChangeSection, MessageSection, RecordingSection, Tables, read_recording, recorded_setup, words_of

PAUSE_S = 5.0  # between the end of a recording and its beginning anew
_LOOK_S = 0.1  # how soon a client that waits for an answer is noticed
Publish = Callable[[Message], None]
TimedT = TypeVar("TimedT", ChangeSection, MessageSection)


def run(options: Namespace) -> int:
    """`edge-agent replay FILE`: until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        print("a device for the site file (Ctrl-C ends it):", file=sys.stderr)
        asyncio.run(replay(options.file, options.port, options.rtu, options.broker, lambda text: print(text, flush=True)))
    return 0


async def replay(file: Path, port: int, rtu: bool, broker: str, say: Callable[[str], None]) -> None:
    """Serves the recording until it is cancelled; says where. Raises ConfigError, EdgeAgentError when a port is taken."""
    recording = read_recording(file)
    setup = recorded_setup(recording, beside=file.parent)
    try:
        if setup.profile.spec.transport == "modbus":
            await _replay_registers(recording, setup, port, rtu or recording.transport != "tcp", say)
        else:
            await _replay_messages(file, recording, setup, port, broker, say)
    except OSError as error:
        raise EdgeAgentError(f"cannot listen on port {port}: {error.strerror}; write another --port") from None


def site_line(recording: RecordingSection, setup: DeviceSetup, where: str) -> str:
    """The device as a line of a site file."""
    parts = [f"id: {setup.id}", f"name: {setup.name}", f"profile: {recording.profile}", where]
    parts += [f"role: {setup.role or 'consumer'}"] if setup.profile.spec.role == "any" else []
    parts += [f"variant: {recording.variant}"] if recording.variant else []
    parts += ["parameters: {" + ", ".join(f'{name}: "{value}"' for name, value in recording.parameters.items()) + "}"] if recording.parameters else []
    return "  - {" + ", ".join(parts) + "}"


# registers


def words_by_place(units: dict[int, Tables]) -> dict[Place, dict[int, int]]:
    """A recording's registers, address by address."""
    return {
        (unit, table): {address + offset: word for address, text in runs.items() for offset, word in enumerate(words_of(text))}
        for unit, tables in units.items()
        for table, runs in tables.items()
    }


async def _replay_registers(recording: RecordingSection, setup: DeviceSetup, port: int, rtu: bool, say: Callable[[str], None]) -> None:
    words = words_by_place(recording.registers)
    async with RegisterServer(words, rtu, port) as server:
        connection = f'connection: "{"rtu+tcp" if rtu else "tcp"}://127.0.0.1:{server.port}", unit: {setup.unit}'
        say(site_line(recording, setup, connection))
        await change_over_time(words, recording.changes)


async def change_over_time(words: dict[Place, dict[int, int]], changes: list[ChangeSection]) -> None:
    """Makes the changes at their time; after the last one the recording begins anew. Runs until it is cancelled."""
    if not changes:
        await asyncio.Event().wait()
    first = {place: dict(held) for place, held in words.items()}
    while True:
        for place, held in first.items():
            words[place].update(held)
        async for change in _in_time(changes):
            for place, held in words_by_place(change.registers).items():
                words.setdefault(place, {}).update(held)
        await asyncio.sleep(PAUSE_S)


async def _in_time(parts: list[TimedT]) -> AsyncIterator[TimedT]:
    """Each part `after` its time, counted from now."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for part in sorted(parts, key=lambda one: one.after):
        await asyncio.sleep(max(0.0, began + part.after - loop.time()))
        yield part


# messages


async def _replay_messages(file: Path, recording: RecordingSection, setup: DeviceSetup, port: int, broker: str, say: Callable[[str], None]) -> None:
    if not recording.messages:
        raise ConfigError([Problem(str(file), 0, "the recording holds no messages")])
    where = f'topic: "{setup.topic}"'
    if broker:
        async with _other_broker(broker, recording.messages) as publish:
            say(f"# to {broker}; answers to requests of the agent's own are left out")
            say(site_line(recording, setup, where))
            await _publish_over_time(publish, recording.messages)
    async with Broker(port=port) as own:
        say(f"mqtt: {{broker: mqtt://127.0.0.1:{own.port}}}")
        say("devices:")
        say(site_line(recording, setup, where))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_publish_over_time(own.publish, recording.messages))
            tasks.create_task(_answer_requests(own, setup, recording.messages))


async def _publish_over_time(publish: Publish, messages: list[MessageSection]) -> None:
    """Publishes what was retained at once, the rest at its time; then begins anew. Runs until it is cancelled."""
    for one in messages:
        if one.retained:
            publish(Message(one.topic, one.payload.encode(), retain=one.retained))
    told = [one for one in messages if not one.retained and "{reply}" not in one.topic]
    while told:
        async for one in _in_time(told):
            publish(Message(one.topic, one.payload.encode(), retain=one.retained))
        await asyncio.sleep(PAUSE_S)
    await asyncio.Event().wait()


async def _answer_requests(broker: Broker, setup: DeviceSetup, messages: list[MessageSection]) -> None:
    """Some devices answer on a topic that the asker chooses (`{reply}/rpc`): whoever subscribes to one is answered."""
    answers = [one for one in messages if "{reply}" in one.topic]
    answered: set[str] = set()
    while answers:
        for wanted in broker.filters - answered:
            for one in answers:
                name, _, rest = wanted.partition("/")
                if one.topic == f"{{reply}}/{rest}" and name != setup.topic and "+" not in wanted:
                    payload = one.payload.replace("{reply}", name)
                    broker.publish(Message(wanted, payload.encode()))
            answered.add(wanted)
        answered &= broker.filters  # who comes back is answered again
        await asyncio.sleep(_LOOK_S)


@contextlib.asynccontextmanager
async def _other_broker(url: str, messages: list[MessageSection]) -> AsyncIterator[Publish]:
    """A client of another broker; what it let the broker retain is taken back at the end."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    parts = urlsplit(url)
    if parts.scheme != "mqtt" or not parts.hostname:
        raise EdgeAgentError(f"--broker {url}: write mqtt://host:1883")
    client = Client(CallbackAPIVersion.VERSION2)
    try:
        await asyncio.to_thread(client.connect, parts.hostname, parts.port or 1883)
    except OSError as error:
        raise EdgeAgentError(f"{url}: {error.strerror or error}; is the broker running?") from None
    client.loop_start()

    def publish(message: Message) -> None:
        client.publish(message.topic, message.payload, retain=message.retain)

    try:
        yield publish
    finally:
        for topic in {one.topic for one in messages if one.retained}:
            await asyncio.to_thread(client.publish(topic, b"", retain=True).wait_for_publish, 2)
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)
