"""A device on the broker, as a test plays it, and a driver that listens to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.codec.topics import topic_filter
from edge_agent.drivers.mqtt import MqttDriver
from edge_agent.drivers.mqtt_hub import Arrival, MqttHub
from edge_agent.model.measurements import Sample


class MqttDevice:
    """Speaks to the broker with a client of its own; each message has arrived there when `say` returns."""

    def __init__(self, port: int, will: tuple[str, str] | None = None, username: str = "", password: str = "") -> None:
        self.heard: list[tuple[str, str]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        if will:
            self._client.will_set(*will, qos=1, retain=True)
        if username:
            self._client.username_pw_set(username, password)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_message(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload.decode()))

    async def say(self, topic: str, payload: str | bytes, retain: bool = False) -> None:
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        await asyncio.to_thread(sent.wait_for_publish, 10)
        assert sent.is_published()

    async def listen(self, topic: str) -> None:
        subscribed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_subscribe(client: paho.Client, _: Any, number: int, reasons: list[Any], properties: Any) -> None:
            loop.call_soon_threadsafe(subscribed.set)

        self._client.on_subscribe = on_subscribe
        self._client.subscribe(topic, 1)
        await asyncio.wait_for(subscribed.wait(), 10)

    def vanish(self) -> None:
        """Goes without a goodbye, so that the broker publishes the last will."""
        sock = self._client.socket()
        assert sock is not None
        self._client.loop_stop()
        sock.close()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


_probes = count()


async def all_passed(hub: MqttHub, device: MqttDevice) -> None:
    """Waits until the broker has all of the hub's subscriptions, and the hub all that the device has said.

    A message of our own runs behind the others: when it is here, so are they.
    """
    topic, arrived = f"probe/{next(_probes)}", asyncio.Event()

    def hear(_: Arrival) -> None:
        arrived.set()

    hub.subscribe(topic_filter(topic, {}), 1, hear)
    await device.say(topic, "x", retain=True)  # retained: heard even when it is there before the subscription
    await asyncio.wait_for(arrived.wait(), 10)
    hub.unsubscribe(hear)
    await device.say(topic, "", retain=True)


async def sample_when(driver: MqttDriver, condition: Callable[[Sample], object], within_s: float = 10.0) -> Sample:
    """Reads until a condition holds for the sample."""
    deadline = time.monotonic() + within_s
    while True:
        sample = await driver.read()
        if condition(sample):
            return sample
        assert time.monotonic() < deadline, f"it never came true; last: {sample}"
        await asyncio.sleep(0.01)
