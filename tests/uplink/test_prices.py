"""Prices that another program keeps fresh: what is handed on when, and what is said of bad ones."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.drivers.mqtt_hub import MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.clock import ScaledClock
from edge_agent.uplink.prices import LOOK_S, SEND_EVERY_S, PriceFeed
from edge_agent.uplink.settings import PriceSource
from tests.conftest import HandClock, Mosquitto, until
from tests.drivers.mqtt_device import MqttDevice, all_passed

HOUR = 3600


def prices(clock: HandClock | ScaledClock, *hours: int, price: str = "0.25") -> str:
    start = int(clock.now() // HOUR) * HOUR
    return json.dumps([{"price": price, "from": start + hour * HOUR, "to": start + (hour + 1) * HOUR} for hour in hours])


class Told:
    """How often the feed said that there is something new."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def feed_of(tmp_path: Path, hand_clock: HandClock, told: Told) -> Callable[..., PriceFeed]:
    return lambda **named: PriceFeed(PriceSource(tmp_path / "prices.json", named=named), hand_clock, told)


def put(folder: Path, text: str) -> None:
    (folder / "prices.json").write_text(text)


async def look(feed: PriceFeed, clock: HandClock, after_s: float = LOOK_S) -> None:
    clock.forward(after_s)
    await feed.look()


async def test_prices_are_handed_on_once_and_again_when_others_come(
    tmp_path: Path, hand_clock: HandClock, feed_of: Callable[..., PriceFeed], told: Told
) -> None:
    feed = feed_of()
    put(tmp_path, prices(hand_clock, 0, 1, 2))
    await look(feed, hand_clock)
    assert told.times == 1
    tariff = feed.tariff()
    assert tariff is not None
    assert [one["price"] for one in tariff["dynamic"]["tariffs"]] == ["0.25"] * 3
    await look(feed, hand_clock, SEND_EVERY_S)
    assert told.times == 1, "nothing new"
    hand_clock.forward(HOUR)
    put(tmp_path, prices(hand_clock, 0, 1))  # the first hour is over and left out
    await look(feed, hand_clock)
    assert told.times == 1, "nothing new of the time to come"
    put(tmp_path, prices(hand_clock, 0, 1, 2, 3))
    await look(feed, hand_clock)
    assert told.times == 2, "another day is known"


async def test_prices_that_change_all_the_time_are_handed_on_once_a_quarter_of_an_hour(
    tmp_path: Path, hand_clock: HandClock, feed_of: Callable[..., PriceFeed], told: Told
) -> None:
    feed = feed_of()
    for minute in range(46):
        put(tmp_path, prices(hand_clock, 0, 1, price=f"0.{minute + 1}"))
        await look(feed, hand_clock, 60)
    assert told.times == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "there is no such file"),
        ("{", "is no JSON"),
        ("[]", "it holds no price; does the program that refreshes it run?"),
        ("past", "its last price ended at"),
        ("franc", "is in CHF, but the site file says currency: EUR"),
        ("x" * 1_000_001, "is larger than 1000 kB"),
        ("folder", "is no file"),
        ("fifo", "is no file"),
    ],
    ids=lambda text: str(text)[:20],
)
async def test_bad_prices_are_said_once_and_never_handed_on(
    tmp_path: Path,
    hand_clock: HandClock,
    feed_of: Callable[..., PriceFeed],
    told: Told,
    caplog: pytest.LogCaptureFixture,
    text: str | None,
    complaint: str,
) -> None:
    caplog.set_level(logging.INFO)
    feed, file = feed_of(currency="EUR"), tmp_path / "prices.json"
    if text == "folder":
        file.mkdir()
    elif text == "fifo":
        os.mkfifo(file)
    elif text is not None:
        put(tmp_path, {"past": prices(hand_clock, -3, -2), "franc": f'{{"currency": "CHF", "tariffs": {prices(hand_clock, 0)}}}'}.get(text, text))
    for _ in range(4):
        await look(feed, hand_clock)
    assert told.times == 0
    assert feed.tariff() is None
    assert complaint in feed.problem
    assert [complaint in record.getMessage() for record in caplog.records] == [True]


async def test_a_path_that_the_system_refuses_is_said(tmp_path: Path, hand_clock: HandClock, told: Told) -> None:
    feed = PriceFeed(PriceSource(tmp_path / ("x" * 300)), hand_clock, told)
    for _ in range(2):
        await look(feed, hand_clock)
    assert "cannot be read (File name too long)" in feed.problem


async def test_a_file_caught_while_it_is_written_is_not_worth_a_line(
    tmp_path: Path, hand_clock: HandClock, feed_of: Callable[..., PriceFeed], told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    feed = feed_of()
    whole = prices(hand_clock, 0, 1)
    put(tmp_path, whole[:20])
    await look(feed, hand_clock)
    put(tmp_path, whole)
    await look(feed, hand_clock)
    assert (told.times, caplog.records) == (1, [])


async def test_prices_that_run_out_are_said_and_those_that_come_back_too(
    tmp_path: Path, hand_clock: HandClock, feed_of: Callable[..., PriceFeed], told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    feed = feed_of()
    put(tmp_path, prices(hand_clock, 0, 1))
    await look(feed, hand_clock)
    for _ in range(3):
        await look(feed, hand_clock, 2 * HOUR)
    assert feed.tariff() is None
    put(tmp_path, prices(hand_clock, 0, 1))
    await look(feed, hand_clock)
    assert told.times == 2
    assert feed.problem == ""
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, said
    assert "its last price ended at" in said[0]
    assert "the platform keeps the tariff that it has" in said[0]
    assert "good again" in said[1]


async def test_evcc_s_topic_is_followed_as_it_speaks(mosquitto: Mosquitto, told: Told) -> None:
    clock = HandClock(1_800_000_000)
    start = 1_800_000_000 - 1_800_000_000 % HOUR
    rates = [{"start": start + hour * HOUR, "end": start + (hour + 1) * HOUR, "value": 0.1 + hour / 100} for hour in range(48)]
    hub, device = MqttHub(MqttSettings("127.0.0.1", mosquitto.port), clock), MqttDevice(mosquitto.port)
    await device.say("evcc/site/forecast/grid", json.dumps(rates), retain=True)
    feed = PriceFeed(PriceSource(topic="evcc/site/forecast/grid", named={"currency": "EUR"}), clock, told)
    running = asyncio.create_task(feed.run(hub))
    await until(lambda: told.times == 1, 30)
    tariff = feed.tariff()
    assert tariff is not None
    assert tariff["currency"] == "EUR"
    assert tariff["dynamic"]["tariffs"][-1] == {"price": "0.57", "from": start + 47 * HOUR, "to": start + 48 * HOUR}
    await device.say("evcc/site/forecast/grid", "", retain=True)  # evcc empties its topics when it stops
    await all_passed(hub, device)
    clock.forward(LOOK_S + 1)
    await until(lambda: "is empty" in feed.problem, 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await hub.close()
    device.close()


async def test_a_topic_on_which_nothing_comes_is_said(mosquitto: Mosquitto, told: Told) -> None:
    clock = ScaledClock(1000, 1_800_000_000)
    hub = MqttHub(MqttSettings("127.0.0.1", mosquitto.port), clock)
    feed = PriceFeed(PriceSource(topic="evcc/site/forecast/grid"), clock, told)
    running = asyncio.create_task(feed.run(hub))
    await until(lambda: "nothing has come" in feed.problem, 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await hub.close()
    assert told.times == 0
