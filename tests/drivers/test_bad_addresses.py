"""What a device refuses is left out, shown, remembered over a restart, and tried again a day later."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.codec.read_plan import Span
from edge_agent.drivers import BadAddress
from edge_agent.model.measurements import Quality
from edge_agent.planning import plan_text, plans
from edge_agent.profiles.library import DeviceProfile
from tests.conftest import HandClock
from tests.drivers.conftest import MakeDriver
from tests.simulators import serving

POINTS = "a: {input: 0, as: u16}\nb: {input: 1, as: u16}\nc: {input: 2, as: u16}\nname: {holding: 5, as: u16, once: true}"
REGISTERS = {1: {"input": {0: [10], 2: [12]}, "holding": {5: [7]}}}
DAY_S = 86_400


async def test_bad_address_is_not_asked_for_after_a_restart_until_its_day_is_over(
    make_driver: MakeDriver, profile_of: Callable[..., DeviceProfile], hand_clock: HandClock
) -> None:
    async with serving(REGISTERS) as server:
        first = make_driver(profile_of(POINTS), server.port)
        await first.read()
        [bad] = first.bad_addresses
        assert bad.span == Span(1, "input", 1, 1)
        assert bad.again_at == hand_clock.now() + DAY_S
        hand_clock.forward(DAY_S / 2)
        server.requests.clear()
        second = make_driver(profile_of(POINTS), server.port)
        second.bad_addresses = [bad]
        sample = await second.read()
        assert (sample.readings["a"].value, sample.readings["c"].value) == (10.0, 12.0)
        assert (sample.readings["b"].value, sample.readings["b"].quality) == (None, Quality.NOT_AVAILABLE)
        assert server.count("input", 1) == 0
        assert list(second.bad_addresses) == [bad]
        hand_clock.forward(DAY_S / 2 + 1)
        await second.read()
        assert server.count("input", 1) > 0
        assert second.bad_addresses[0].again_at > bad.again_at


async def test_what_the_profile_does_not_want_any_more_is_forgotten(make_driver: MakeDriver, profile_of: Callable[..., DeviceProfile]) -> None:
    async with serving(REGISTERS) as server:
        driver = make_driver(profile_of("a: {input: 0, as: u16}"), server.port)
        driver.bad_addresses = [BadAddress(Span(1, "input", 1, 1), 2e9, "refused")]
        await driver.read()
        assert not driver.bad_addresses


async def test_clock_that_was_far_ahead_delays_the_next_try_by_a_day_at_most(
    make_driver: MakeDriver, profile_of: Callable[..., DeviceProfile], hand_clock: HandClock
) -> None:
    async with serving(REGISTERS) as server:
        driver = make_driver(profile_of(POINTS), server.port)
        driver.bad_addresses = [BadAddress(Span(1, "input", 0, 1), hand_clock.now() + 1e8, "refused")]
        assert (await driver.read()).readings["a"].value is None
        hand_clock.forward(DAY_S + 1)
        assert (await driver.read()).readings["a"].value == 10.0


async def test_plan_tells_the_requests_and_what_is_left_out(make_driver: MakeDriver, profile_of: Callable[..., DeviceProfile]) -> None:
    async with serving(REGISTERS) as server:
        driver = make_driver(profile_of(POINTS), server.port)
        [plan] = await plans([driver.setup], "", {"meter": driver})
        assert [(one["table"], one["address"], one["count"], one["points"]) for one in plan["requests"]] == [
            ("input", 0, 1, ["a"]),
            ("input", 2, 1, ["c"]),
        ]
        [left] = plan["left_out"]
        assert (left["address"], left["points"]) == (1, ["b"])
        assert "it has no such register" in left["reason"]
        assert plan["read_once"] == ["name"]
        text = plan_text(plan)
        assert "2 requests a poll" in text
        assert "left out:" in text
        assert "read once and not asked for again: name" in text
