"""The prices that another program keeps fresh, in a file or on an MQTT topic: looked at each minute, good ones handed on.

What is missing, garbled, in another currency or over is said once and never sent; the platform keeps what it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from edge_agent.cloud.tariff import BadPrices, Prices, PriceSlice, check_usable, dynamic_tariff, read_prices
from edge_agent.codec.topics import topic_filter
from edge_agent.model.clock import Clock
from edge_agent.uplink.settings import PriceSource

if TYPE_CHECKING:
    from edge_agent.drivers.mqtt_hub import Arrival, MqttHub

log = logging.getLogger(__name__)

LOOK_S = 60.0
# Decision: at most so often is the building written for its prices: the platform works in quarter-hours.
SEND_EVERY_S = 900.0
_LOOKS_OF_PATIENCE = 2  # a file caught while it is written, a broker that is being connected to: not worth a line
_MOST_BYTES = 1_000_000


class PriceFeed:
    """The newest good prices of a source, and what is wrong with it now."""

    def __init__(self, source: PriceSource, clock: Clock, changed: Callable[[], None]) -> None:
        """`changed` is called when there are other prices for the time to come than those handed on before."""
        self.source = source
        self._clock = clock
        self._changed = changed
        self._message: bytes | None = None
        self._arrived = asyncio.Event()
        self._prices: Prices | None = None
        self._given: tuple[PriceSlice, ...] = ()
        self._given_at = -SEND_EVERY_S  # monotonic
        self._failures = 0
        self.problem = ""

    def tariff(self) -> dict[str, Any] | None:
        """The tariff as the platform takes it, of what is still ahead; None without good prices."""
        ahead = self._prices.ahead(self._clock.now()) if self._prices else ()
        if not ahead or self._prices is None:
            return None
        currency = {"currency": self._prices.currency} if self._prices.currency else {}
        return dynamic_tariff(ahead, currency | dict(self.source.named))

    async def run(self, hub: MqttHub | None) -> None:
        """Looks until cancelled; `hub` is the broker's, for a topic."""
        if hub is not None and self.source.topic:
            hub.subscribe(topic_filter(self.source.topic, {}), 1, self._on_message)
        try:
            while True:
                await self.look()
                await self._rest()
        finally:
            if hub is not None:
                hub.unsubscribe(self._on_message)

    async def _rest(self) -> None:
        """A minute, or until other prices have come."""
        self._arrived.clear()
        timer = asyncio.ensure_future(self._clock.sleep(LOOK_S))
        timer.add_done_callback(lambda _: self._arrived.set())
        try:
            await self._arrived.wait()
        finally:
            timer.cancel()

    def _on_message(self, arrival: Arrival) -> None:
        if arrival.payload != self._message:
            self._message = arrival.payload
            self._arrived.set()

    async def look(self) -> None:
        """Reads the source once, and hands on what is new."""
        try:
            prices = read_prices(await self._newest())
            check_usable(prices, self.source.named.get("currency", ""), self._clock.now())
        except BadPrices as error:
            self._say(str(error))
            return
        self._say("")
        self._prices = prices
        now, ahead = self._clock.now(), prices.ahead(self._clock.now())
        if ahead != tuple(one for one in self._given if one.end > now) and self._clock.monotonic() >= self._given_at + SEND_EVERY_S:
            self._given, self._given_at = ahead, self._clock.monotonic()
            self._changed()

    async def _newest(self) -> bytes:
        if self.source.file is not None:
            return await asyncio.to_thread(_content, self.source.file)
        if self._message is None:
            raise BadPrices("nothing has come; does the program that publishes it run, and is it retained?")
        return self._message

    def _say(self, problem: str) -> None:
        """One line when it breaks for longer than a moment, one when it heals."""
        self._failures = self._failures + 1 if problem else 0
        if problem and self._failures < _LOOKS_OF_PATIENCE:
            return
        if problem and not self.problem:
            log.warning("prices of %s: %s; the platform keeps the tariff that it has", self.source, problem)
        elif self.problem and not problem:
            log.info("prices of %s: good again", self.source)
        self.problem = problem


def _content(path: Path) -> bytes:
    """The file's bytes. Raises BadPrices saying why there are none."""
    try:
        if not S_ISREG(path.stat().st_mode):
            raise BadPrices("is no file")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise BadPrices("there is no such file") from None
    except OSError as error:
        raise BadPrices(f"cannot be read ({error.strerror})") from None
    if len(content) > _MOST_BYTES:
        raise BadPrices(f"is larger than {_MOST_BYTES // 1000} kB")
    return content


def complaint_of(path: Path, currency: str, now: float) -> str:
    """What is wrong with the prices in a file now; empty when nothing is."""
    try:
        check_usable(read_prices(_content(path)), currency, now)
    except BadPrices as error:
        return str(error)
    return ""
