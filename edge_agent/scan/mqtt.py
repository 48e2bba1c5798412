"""Listens on a broker for a while: only to topics that some profile's fingerprint has, never to everything. Publishes nothing."""

from __future__ import annotations

from collections import deque

from edge_agent.codec.payloads import Payload, parse_payload
from edge_agent.codec.topics import topic_filter
from edge_agent.drivers.mqtt_hub import Arrival, MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import Clock
from edge_agent.model.errors import EdgeAgentError
from edge_agent.scan.fingerprint import Library
from edge_agent.scan.found import Found
from edge_agent.scan.topics import filters_of, identify

_CONNECT_S = 6.0
_MOST_TOPICS = 5000
_MESSAGES_OF_A_TOPIC = 8  # some devices tell several things on one topic, one after the other


async def listen(settings: MqttSettings, library: Library, seconds: float, clock: Clock) -> list[Found]:
    """The devices that spoke, or had left something on the broker. Raises EdgeAgentError when there is no broker to listen to."""
    heard: dict[str, deque[Payload]] = {}

    def hear(arrival: Arrival) -> None:
        if arrival.topic in heard or len(heard) < _MOST_TOPICS:
            payload = parse_payload(arrival.payload, arrival.length)
            heard.setdefault(arrival.topic, deque(maxlen=_MESSAGES_OF_A_TOPIC)).append(payload)

    hub = MqttHub(settings, clock)
    try:
        for text in filters_of(library):
            hub.subscribe(topic_filter(text, {}), 0, hear)
        await _connected(hub, clock)
        await clock.sleep(seconds)
    finally:
        await hub.close()
    return identify(heard, library)


async def _connected(hub: MqttHub, clock: Clock) -> None:
    until = clock.monotonic() + _CONNECT_S
    while not hub.connected:
        if hub.last_error or clock.monotonic() > until:
            raise EdgeAgentError(hub.last_error or f"{hub.settings.url}: no answer in {_CONNECT_S:g} s; check the address and the network")
        await clock.sleep(0.05)
