"""Prices as other programs write them, and the tariff that comes of them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cloud.tariff import BadPrices, Prices, PriceSlice, check_usable, dynamic_tariff, read_prices, same_ahead

HOUR = 3600
START = 1_732_212_000  # 2024-11-21T18:00:00Z
GUIDE = {
    "settings": {
        "tariff": {
            "type": "DYNAMIC",
            "minPrice": "0.1231",
            "maxPrice": "0.3334",
            "currency": "EUR",
            "dynamic": {
                "tariffs": [
                    {"price": "0.1546", "from": START, "to": START + 900},
                    {"price": "0.1600", "from": START + 900, "to": START + 1800},
                ]
            },
        }
    }
}
EVCC_RATES = [
    {"start": "2024-11-21T19:15:00+01:00", "end": "2024-11-21T19:30:00+01:00", "value": 0.16},
    {"start": "2024-11-21T18:00:00Z", "end": "2024-11-21T18:15:00Z", "value": 0.15460000000000002},
]
EXPECTED = (PriceSlice(START, START + 900, "0.1546"), PriceSlice(START + 900, START + 1800, "0.16"))


def as_bytes(found: Any) -> bytes:
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("found", "currency"),
    [
        (GUIDE, "EUR"),
        (GUIDE["settings"], "EUR"),
        (GUIDE["settings"]["tariff"], "EUR"),
        ({"currency": "CHF", "tariffs": GUIDE["settings"]["tariff"]["dynamic"]["tariffs"]}, "CHF"),  # type: ignore[index]
        (GUIDE["settings"]["tariff"]["dynamic"]["tariffs"], ""),  # type: ignore[index]
        (EVCC_RATES, ""),  # the topic site/forecast/grid
        ({"rates": EVCC_RATES}, ""),  # /api/tariff/grid
        ({"result": {"rates": [{**row, "price": row["value"]} for row in EVCC_RATES]}}, ""),  # of older releases
    ],
    ids=["building", "settings", "tariff", "tariffs", "list", "evcc topic", "evcc call", "older evcc"],
)
def test_the_platform_s_form_and_evcc_s_read_the_same(found: Any, currency: str) -> None:
    assert read_prices(as_bytes(found)) == Prices(EXPECTED, currency)


def row(start: Any = START, end: Any = START + HOUR, price: Any = "0.1") -> dict[str, Any]:
    return {"from": start, "to": end, "price": price}


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ([row(), row(START + 1800, START + 7200)], "the prices from 2024-11-21T18:00:00Z and from 2024-11-21T18:30:00Z overlap"),
        ([row(), row()], "overlap"),
        ([row(end=START)], "price 1 ends at 2024-11-21T18:00:00Z, not after its start"),
        ([row(START * 1000)], "in milliseconds"),
        ([row(), row(-5)], "price 2: -5 is no time"),
        ([row(START + 0.5)], "whole seconds"),
        ([row(True)], "whole seconds"),
        ([row(None)], "price 1 has no `from`"),
        ([row("2024-11-21T18:00:00")], "does not say its offset"),
        ([row("tomorrow")], "'tomorrow' is no date and time"),
        ([row("9999-12-31T23:59:59-23:59")], "is no time in seconds since 1970"),
        ([row("1960-01-01T00:00:00Z")], "is no time in seconds since 1970"),
        ([row(10**300)], "is no time in seconds since 1970"),
        ([row(price=None)], "'None' is no price"),
        ([row(price="0,25")], "'0,25' is no price"),
        ([row(price=True)], "is no price"),
        ([row(price="NaN")], "is no price"),
        ([row(price="1e9")], "is no price"),
        ([row(price="1e999999999")], "is no price"),
        ([row(price=10**400)], "is no price"),
        ([row(10**400)], "is no time in seconds since 1970"),
        ([row(price=[1])], "is no price"),
        (["0.25"], "price 1 is no object"),
        ({"prices": []}, "holds no list of prices"),
        ("text", "holds no list of prices"),
        (0.254, "holds one price, not those of the time to come; evcc has them on site/forecast/grid"),  # the topic site/tariffGrid
        ([row()] * 1001, "holds 1001 prices"),
    ],
)
def test_a_list_with_a_mistake_is_refused_as_a_whole(found: Any, complaint: str) -> None:
    with pytest.raises(BadPrices, match=complaint.replace("(", r"\(")):
        read_prices(as_bytes(found))


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b'[{"price": }]'])
def test_what_is_no_json_is_told(text: bytes) -> None:
    with pytest.raises(BadPrices, match="is no JSON"):
        read_prices(text)


def test_an_emptied_topic_is_told() -> None:
    with pytest.raises(BadPrices, match="is empty; does the program that writes it run"):
        read_prices(b"")


@given(st.binary(max_size=80) | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5).map(as_bytes))
def test_whatever_is_there_it_is_read_or_refused(text: bytes) -> None:
    with contextlib.suppress(BadPrices):
        read_prices(text)


ODD = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=5)
    | st.datetimes(timezones=st.timezones()).map(str)
    | st.integers(1, 10**9)
)


@given(st.lists(st.fixed_dictionaries({"from": ODD, "to": ODD, "price": ODD | st.decimals().map(str)}), max_size=3))
def test_whatever_a_slice_holds_it_is_read_or_refused(rows: list[Any]) -> None:
    with contextlib.suppress(BadPrices):
        for one in read_prices(as_bytes(rows)).slices:
            assert one.start < one.end


@given(st.lists(st.decimals(-10, 10, places=6), min_size=1, max_size=200), st.integers(-5, 205))
def test_what_is_sent_is_what_is_ahead_in_order_and_reads_back(prices: list[Any], passed: int) -> None:
    read = read_prices(as_bytes([row(START + at * 900, START + (at + 1) * 900, str(price)) for at, price in reversed(list(enumerate(prices)))]))
    now = START + passed * 900
    ahead = read.ahead(now)
    assert len(ahead) == max(0, min(len(prices), len(prices) - passed))
    if ahead:
        tariff = dynamic_tariff(ahead, {})
        assert read_prices(as_bytes(tariff)).slices == ahead
        assert float(tariff["minPrice"]) == min(float(one.price) for one in ahead)
        assert float(tariff["maxPrice"]) == max(float(one.price) for one in ahead)
        assert same_ahead(dynamic_tariff(read.slices, {}), tariff, now)


@pytest.mark.parametrize(
    ("written", "price"), [(0.30000000000000004, "0.3"), ("0.2500", "0.25"), (-0.05, "-0.05"), (0, "0"), (-0.0, "0"), (1e-9, "0"), (25, "25")]
)
def test_equal_prices_are_equal_texts(written: object, price: str) -> None:
    assert read_prices(as_bytes([row(price=written)])).slices[0].price == price


def test_what_the_site_file_names_goes_before_the_slices_own() -> None:
    tariff = dynamic_tariff(EXPECTED, {"maxPrice": "0.5", "currency": "EUR"})
    assert (tariff["minPrice"], tariff["maxPrice"], tariff["currency"]) == ("0.1546", "0.5", "EUR")


def test_another_currency_and_prices_that_are_over_are_not_usable() -> None:
    prices = Prices(EXPECTED, "CHF")
    check_usable(prices, "CHF", START)
    check_usable(prices, "", START + 1799)
    with pytest.raises(BadPrices, match="is in CHF, but the site file says currency: EUR"):
        check_usable(prices, "EUR", START)
    with pytest.raises(BadPrices, match="its last price ended at 2024-11-21T18:30:00Z"):
        check_usable(prices, "", START + 1800)
    with pytest.raises(BadPrices, match="holds no price"):
        check_usable(Prices(()), "", START)


@pytest.mark.parametrize(
    "known", [None, "text", {"type": "SINGLE"}, {"type": "DYNAMIC", "dynamic": 5}, {"type": "DYNAMIC", "dynamic": {"tariffs": [1]}}]
)
def test_what_the_platform_has_is_compared_only_when_it_is_prices(known: object) -> None:
    assert not same_ahead(known, dynamic_tariff(EXPECTED, {}), START)
