"""The one connection to the MQTT broker, shared by all devices: the one importer of paho.

paho runs in its own thread, which costs less than the asyncio clients, and connects for ever. What arrives
is handed to the event loop in bursts: one wake-up for everything that waits, so that a broker's retained
thousands do not mean thousands of callbacks. The waiting room is bounded; when the loop cannot follow, the
oldest messages go first, because only the newest of a topic matter.

The hub knows topics and payloads as bytes; what they mean is for `drivers/mqtt.py`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from edge_agent.codec.payloads import MAX_PAYLOAD_BYTES
from edge_agent.codec.topics import TopicFilter
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import Clock
from edge_agent.model.errors import ConfigError, Problem

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessage

logger = logging.getLogger(__name__)

_KEEP_ALIVE_S = 30  # a broker that vanished without a word is noticed after one and a half of it
_CONNECT_TIMEOUT_S = 5.0
_RETRY_S = (1, 15)  # paho doubles from the first to the second; a broker is near, so it is asked often
_MAX_WAITING = 10_000  # messages
_MAX_WAITING_BYTES = 8_000_000
_PER_TURN = 500  # messages handed over before the loop may do something else
_FILTERS_PER_PACKET = 50
_MAX_ROUTES = 10_000  # topics whose listeners are remembered


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came. A payload over the limit is cut away; `length` tells how long it was."""

    topic: str
    payload: bytes
    length: int
    retained: bool  # the broker's stored copy, given at subscribing: its age is unknown
    at: float  # UTC epoch seconds
    monotonic: float


Listener = Callable[[Arrival], None]
Watcher = Callable[[bool], None]


@dataclass(frozen=True, slots=True)
class _Subscription:
    filter: TopicFilter
    qos: int
    listener: Listener


class MqttHub:
    """Connects when the first filter is subscribed to, in the background and for ever. Lives in one event loop."""

    def __init__(self, settings: MqttSettings, clock: Clock, client_id: str = "") -> None:
        self.settings = settings
        self.client_id = client_id or settings.client_id or f"edge-agent-{uuid4().hex[:12]}"
        self.connected = False
        self.last_error = ""  # why it is not connected; empty while it is, and before the first try has ended
        self._clock = clock
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._down_since: float | None = None
        self._subscriptions: list[_Subscription] = []  # replaced, never changed: paho's thread reads it
        self._routes: dict[str, tuple[Listener, ...]] = {}
        self._watchers: list[Watcher] = []
        self._lock = threading.Lock()  # guards the four below
        self._waiting: deque[Arrival] = deque()
        self._waiting_bytes = 0
        self._woken = False
        self._dropped = 0
        self._asking = threading.Lock()
        self._asked: dict[int, list[str]] = {}  # filters by the number of the packet that asked for them

    # for drivers, in the event loop

    def subscribe(self, topics: TopicFilter, qos: int, listener: Listener) -> None:
        """Calls `listener` for each message that matches, from now on and after every reconnect."""
        self._subscriptions = [*self._subscriptions, _Subscription(topics, qos, listener)]
        self._routes.clear()
        if self._client is None:
            self._start()
        elif self.connected:
            self._ask_for(self._client, [(topics.text, qos)])

    def unsubscribe(self, listener: Listener) -> None:
        """Ends all of a listener's subscriptions; a filter that no one wants any more is given back to the broker."""
        gone = {one.filter.text for one in self._subscriptions if one.listener == listener}
        self._subscriptions = [one for one in self._subscriptions if one.listener != listener]
        self._routes.clear()
        left = {one.filter.text for one in self._subscriptions}
        if self._client is not None and self.connected:
            for text in sorted(gone - left):
                self._client.unsubscribe(text)

    def watch(self, watcher: Watcher) -> None:
        """Calls `watcher` with True after each connection (when all is subscribed) and with False after each loss."""
        self._watchers.append(watcher)
        if self.connected:
            watcher(True)

    def unwatch(self, watcher: Watcher) -> None:
        """Ends `watch`."""
        self._watchers.remove(watcher)

    def publish(self, topic: str, payload: str) -> None:
        """Sends a request that a device needs in order to talk; never retained. Nothing happens while not connected."""
        if self._client is not None and self.connected:
            self._client.publish(topic, payload, qos=0, retain=False)

    async def close(self) -> None:
        """Says goodbye to the broker and ends paho's thread; waits at most a second for it."""
        client, self._client = self._client, None
        if client is None:
            return
        self._watchers.clear()
        self._subscriptions = []
        self.connected = False
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            client.disconnect()
            client.loop_stop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set)

        # A thread of its own, since a connect to a silent host blocks until its time-out and must not hold up the end.
        threading.Thread(target=stop, name="mqtt-close", daemon=True).start()
        try:
            await asyncio.wait_for(ended.wait(), 1.0)
        except TimeoutError:
            logger.debug("%s: still connecting while closing; left to end by itself", self.settings.url)

    def _start(self) -> None:
        from paho.mqtt.client import Client  # 40 ms and 1 MiB that a house without MQTT need not pay
        from paho.mqtt.enums import CallbackAPIVersion

        self._loop = asyncio.get_running_loop()
        client = Client(CallbackAPIVersion.VERSION2, self.client_id, clean_session=True)
        if self.settings.username:
            client.username_pw_set(self.settings.username, self.settings.password)
        if self.settings.tls:
            client.tls_set_context(_tls_context(self.settings))
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.reconnect_delay_set(*_RETRY_S)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.connect_async(self.settings.host, self.settings.port, _KEEP_ALIVE_S)
        self._client = client
        client.loop_start()

    def _ask_for(self, client: Client, pairs: list[tuple[str, int]]) -> None:
        """Subscribes; remembers under which number, so that a refusal can name its filter."""
        with self._asking:  # held until the number is noted: the answer may come at once, in the other thread
            _, number = client.subscribe(pairs)
            if number is not None:
                self._asked[number] = [text for text, _ in pairs]

    # called by paho, in its thread

    def _tell_loop(self, what: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *arguments)

    def _on_connect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._tell_loop(self._lost, _refusal(str(reason), self.settings))
            return
        wanted: Mapping[str, int] = _filters(self._subscriptions)
        pairs = list(wanted.items())
        for start in range(0, len(pairs), _FILTERS_PER_PACKET):
            self._ask_for(client, pairs[start : start + _FILTERS_PER_PACKET])
        self._tell_loop(self._found, wanted)

    def _on_connect_fail(self, client: Client, _: Any) -> None:
        error = sys.exc_info()[1]  # paho calls from its handler and names no reason
        self._tell_loop(self._lost, _failure(error, self.settings))

    def _on_disconnect(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._tell_loop(self._lost, "")

    def _on_subscribe(self, client: Client, _: Any, number: int, reasons: list[Any], properties: Any) -> None:
        with self._asking:
            asked = self._asked.pop(number, [])
        refused = [text for text, reason in zip(asked, reasons, strict=False) if reason.is_failure]
        if refused:
            self._tell_loop(self._refused, refused)

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        length = len(message.payload)
        body = bytes(message.payload) if length <= MAX_PAYLOAD_BYTES else b""
        try:
            topic = message.topic
        except UnicodeDecodeError:  # no topic of ours
            return
        arrival = Arrival(topic, body, length, message.retain, self._clock.now(), self._clock.monotonic())
        with self._lock:
            self._waiting.append(arrival)
            self._waiting_bytes += len(body)
            while len(self._waiting) > _MAX_WAITING or self._waiting_bytes > _MAX_WAITING_BYTES:
                self._waiting_bytes -= len(self._waiting.popleft().payload)
                self._dropped += 1
            wake, self._woken = not self._woken, True
        if wake:
            self._tell_loop(self._hand_over)

    # in the event loop

    def _hand_over(self) -> None:
        with self._lock:
            turn = [self._waiting.popleft() for _ in range(min(_PER_TURN, len(self._waiting)))]
            self._waiting_bytes -= sum(len(arrival.payload) for arrival in turn)
            self._woken = bool(self._waiting)
            more, dropped, self._dropped = self._woken, self._dropped, 0
        if dropped:
            logger.warning("%s: %d messages came faster than they could be read; the oldest were dropped", self.settings.url, dropped)
        if more and self._loop is not None:
            self._loop.call_soon(self._hand_over)  # before the listeners: an error in one must not stop the rest
        for arrival in turn:
            for listener in self._listeners(arrival.topic):
                listener(arrival)

    def _listeners(self, topic: str) -> tuple[Listener, ...]:
        listeners = self._routes.get(topic)
        if listeners is None:
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            found = [one.listener for one in self._subscriptions if one.filter.captures(topic) is not None]
            listeners = self._routes[topic] = tuple(dict.fromkeys(found))
        return listeners

    def _found(self, subscribed: Mapping[str, int]) -> None:
        if self._client is None:
            return
        for text, qos in _filters(self._subscriptions).items():
            if text not in subscribed:  # added while the connection was being made
                self._ask_for(self._client, [(text, qos)])
        if self._down_since is not None:
            logger.info("%s: connected again after %.0f s", self.settings.url, self._clock.monotonic() - self._down_since)
        self.connected, self.last_error, self._down_since = True, "", None
        for watcher in list(self._watchers):
            watcher(True)

    def _lost(self, reason: str) -> None:
        """Not connected (any more). The first loss is reported; the tries that follow are silent."""
        if self._client is None:
            return
        was_connected, self.connected = self.connected, False
        self.last_error = reason or self.last_error or f"{self.settings.url}: the connection was lost; is the broker running?"
        if self._down_since is None:
            self._down_since = self._clock.monotonic()
            logger.warning("%s; trying again until it works", self.last_error)
        if was_connected:
            for watcher in list(self._watchers):
                watcher(False)

    def _refused(self, filters: list[str]) -> None:
        what, user = ", ".join(filters), self.settings.username
        logger.warning("%s: the broker refuses to hand out %s; check its access list for user %r", self.settings.url, what, user)


def _filters(subscriptions: list[_Subscription]) -> dict[str, int]:
    """The filters to subscribe to, each with the highest quality of service that anyone wants."""
    filters: dict[str, int] = {}
    for one in subscriptions:
        filters[one.filter.text] = max(one.qos, filters.get(one.filter.text, 0))
    return filters


def _tls_context(settings: MqttSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    except (OSError, ValueError) as error:
        text = f"cannot be used as the certificate authority of {settings.url}: {error}"
        raise ConfigError([Problem(str(settings.ca_file), 0, text, "write mqtt.ca_file: with a PEM file")]) from None


def _refusal(reason: str, settings: MqttSettings) -> str:
    """Words for a CONNACK that says no."""
    if "user name" in reason.lower() or "authori" in reason.lower():
        who = f"user {settings.username!r}" if settings.username else "a client without user name"
        return f"{settings.url}: the broker refuses {who} ({reason}); check mqtt.username and its password file"
    return f"{settings.url}: the broker refuses the connection ({reason})"


def _failure(error: BaseException | None, settings: MqttSettings) -> str:
    """Words for a connection that was never made."""
    if isinstance(error, ConnectionRefusedError):
        return f"{settings.url}: connection refused; is the broker running?"
    if isinstance(error, TimeoutError):
        return f"{settings.url}: no answer in {_CONNECT_TIMEOUT_S:g} s; check the address and the network"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{settings.url}: its certificate is not trusted ({error.verify_message}); check mqtt.ca_file and the host name"
    if isinstance(error, ssl.SSLError):
        return f"{settings.url}: no TLS there ({error.reason or error}); check the port and whether the broker speaks TLS"
    if isinstance(error, OSError) and error.strerror:
        return f"{settings.url}: {error.strerror}; check the address"
    return f"{settings.url}: cannot connect ({error})"
