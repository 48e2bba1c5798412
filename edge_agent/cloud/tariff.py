"""Prices that change by the hour: what another program writes of them, and the DYNAMIC tariff that the platform takes. Pure.

Two forms are understood: the platform's own (the guide's Tariff Configuration; the whole tariff, or only its list of slices) and
evcc's (`/api/tariff/grid`, the topic `site/forecast/grid`). Prices are per kWh in the tariff's currency and may be negative.
A list with one mistake in it is refused as a whole: prices that are wrong are worse than none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from edge_agent.model.clock import utc_text

MOST_SLICES = 1000  # ten days of quarter-hours; the guide speaks of one or two days
_LATEST = 10**11  # a time of more seconds is one in milliseconds


class BadPrices(ValueError):
    """What another program wrote cannot be used as prices; the text says why."""


@dataclass(frozen=True, slots=True)
class PriceSlice:
    """One price per kWh of [start, end), in UTC epoch seconds. `price` is a plain decimal, so that equal prices are equal texts."""

    start: int
    end: int
    price: str


@dataclass(frozen=True, slots=True)
class Prices:
    """Slices in order, none overlapping another; `currency` where the source names one."""

    slices: tuple[PriceSlice, ...]
    currency: str = ""

    def ahead(self, now: float) -> tuple[PriceSlice, ...]:
        """The slices that are not over yet: what is past is never sent."""
        return tuple(one for one in self.slices if one.end > now)


def read_prices(text: bytes) -> Prices:
    """The prices in a file or message. Raises BadPrices."""
    if not text.strip():
        raise BadPrices("is empty; does the program that writes it run?")
    try:
        found = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadPrices(f"is no JSON ({error})") from None
    return _prices(found)


def _prices(found: Any) -> Prices:
    rows, currency = _rows(found)
    if isinstance(rows, int | float):
        raise BadPrices("holds one price, not those of the time to come; evcc has them on site/forecast/grid")
    if not isinstance(rows, list):
        raise BadPrices("holds no list of prices: neither the platform's `tariffs` nor evcc's `rates`")
    if len(rows) > MOST_SLICES:
        raise BadPrices(f"holds {len(rows)} prices; more than {MOST_SLICES} are not taken")
    slices = sorted((_slice(row, number) for number, row in enumerate(rows, 1)), key=lambda one: one.start)
    for one, other in pairwise(slices):
        if other.start < one.end:
            raise BadPrices(f"the prices from {utc_text(one.start)} and from {utc_text(other.start)} overlap")
    return Prices(tuple(slices), currency if isinstance(currency, str) else "")


def _rows(found: Any, currency: Any = "") -> tuple[Any, Any]:
    """The list of slices and the currency, from whatever they are wrapped in."""
    if not isinstance(found, dict):
        return found, currency
    currency = found.get("currency", currency)
    for wrapping in ("result", "settings", "tariff", "dynamic"):
        if isinstance(found.get(wrapping), dict):
            return _rows(found[wrapping], currency)
    return found.get("tariffs", found.get("rates")), currency


def _slice(row: Any, number: int) -> PriceSlice:
    if not isinstance(row, dict):
        raise BadPrices(f"price {number} is no object")
    start, end = (_instant(row, names, number) for names in (("from", "start"), ("to", "end")))
    if end <= start:
        raise BadPrices(f"price {number} ends at {utc_text(end)}, not after its start")
    return PriceSlice(start, end, _decimal(_first(row, ("price", "value")), number))


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if name in row), None)


def _instant(row: Mapping[str, Any], names: Sequence[str], number: int) -> int:
    """A time in UTC epoch seconds, from seconds or from a date with its offset."""
    value = _first(row, names)
    at = _dated(value, number) if isinstance(value, str) else value
    if isinstance(at, bool) or not isinstance(at, int | float) or not abs(at) < math.inf or at != int(at):  # also of an integer that no float holds
        raise BadPrices(f"price {number} has no `{names[0]}` in whole seconds and no `{names[1]}` with a date")
    if not 0 < at < _LATEST:
        raise BadPrices(f"price {number}: {str(value)[:40]} is no time in seconds since 1970" + (" but in milliseconds" if at >= _LATEST else ""))
    return int(at)


def _dated(text: str, number: int) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadPrices(f"price {number}: {text[:40]!r} is no date and time") from None
    if at.tzinfo is None:
        raise BadPrices(f"price {number}: {text!r} does not say its offset, such as +01:00 or Z")
    return at.timestamp()


def _decimal(value: Any, number: int) -> str:
    """A price as a plain decimal of at most six places: programs that count in binary fractions write 0.30000000000000004."""
    try:
        price = Decimal(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except InvalidOperation:
        price = None
    if price is None or not price.is_finite() or price.adjusted() >= 6:
        raise BadPrices(f"price {number}: {str(value)[:40]!r} is no price")
    plain = f"{round(price, 6):f}"
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain == "-0" else plain


def check_usable(prices: Prices, currency: str, now: float) -> None:
    """Raises BadPrices for another currency than the one wanted (empty: any), and when none of the prices is of now or later."""
    if currency and prices.currency and currency != prices.currency:
        raise BadPrices(f"is in {prices.currency}, but the site file says currency: {currency}")
    if not prices.ahead(now):
        over = f"its last price ended at {utc_text(prices.slices[-1].end)}" if prices.slices else "it holds no price"
        raise BadPrices(f"{over}; does the program that refreshes it run?")


def dynamic_tariff(slices: Sequence[PriceSlice], named: Mapping[str, str]) -> dict[str, Any]:
    """The tariff as the platform writes it; `named` is what the site file says of it (minPrice, maxPrice, currency), else the slices' own."""
    prices = sorted((Decimal(one.price), one.price) for one in slices)
    return {
        "type": "DYNAMIC",
        "minPrice": prices[0][1],
        "maxPrice": prices[-1][1],
        **named,
        "dynamic": {"tariffs": [{"price": one.price, "from": one.start, "to": one.end} for one in slices]},
    }


def same_ahead(known: object, wanted: Mapping[str, Any], now: float) -> bool:
    """Whether the platform's tariff is DYNAMIC and says of the time to come what the wanted one says, so that nothing need be written."""
    if not isinstance(known, dict) or any(known.get(name) != wanted.get(name) for name in ("type", "currency")) or known.get("type") != "DYNAMIC":
        return False
    try:
        return _prices(known).ahead(now) == _prices(wanted).ahead(now)
    except BadPrices:
        return False
