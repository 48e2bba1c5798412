"""`edge-agent verify` as it is typed: without an agent, and beside a running one that sends what is missing."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import pytest_asyncio

from edge_agent.cloud.queue_rules import queue_rules
from edge_agent.cloud.vocabulary import Decisions
from edge_agent.config import load_site
from edge_agent.demo.cloud import BUILDING_ID, Answer, LocalCloud, Slow
from edge_agent.model.clock import SystemClock
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox
from edge_agent.shift import Shift
from edge_agent.uplink.client import MoostClient
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, at_terminal, meter, running
from tests.simulators import RegisterServer
from tests.uplink.rig import account_of

HOUR, QUARTER, DAY = 3600, 900, 86400
LOST = int(time.time() - 2 * DAY) // HOUR * HOUR


@pytest_asyncio.fixture
async def history(gateway: Gateway, cloud: LocalCloud, meter_server: RegisterServer) -> None:
    """A gateway that has sent three days, and a cloud that has lost one hour of them."""
    gateway.write_site([meter(meter_server)], time_zone="Europe/Vienna")
    (gateway.folder / "state").mkdir()
    cloud.buildings[BUILDING_ID]["timeZoneId"] = "Europe/Vienna"
    outbox = await Outbox.open(gateway.folder / "state" / "edge-agent.db", None, queue_rules(Decisions()))
    client = MoostClient(account_of(cloud), SystemClock())
    begin = int(time.time() - 3 * DAY) // QUARTER * QUARTER
    ends = range(begin, int(time.time()), QUARTER)
    events = [Event("household", "Household", "GATEWAY", "ENERGY_CONSUMPTION", 100.0 + end // QUARTER * 37 % 91, end) for end in ends]
    missing = {f"ENERGY_CONSUMPTION {LOST}": int(time.time() - DAY)}  # as a check of yesterday found it
    await outbox.commit(events, {"uplink.missing": json.dumps(missing)})
    taken = await outbox.take_live(0, 0, 1000)
    assert (await client.send_batch(taken)).accepted
    await outbox.accept(taken, historical=True)
    await client.close()
    await outbox.close()
    cloud.events = [one for one in cloud.events if not in_lost_hour(one.event)]


def in_lost_hour(event: dict[str, Any]) -> bool:
    return bool(event["deviceId"] == "household" and event["type"] == "ENERGY_CONSUMPTION" and LOST < event["timestamp"] <= LOST + HOUR)


async def test_a_lost_hour_is_shown_and_a_running_agent_sends_it_again(gateway: Gateway, cloud: LocalCloud, history: None) -> None:
    async with running(gateway):
        await until(lambda: (gateway.folder / "state" / "edge-agent.sock").exists(), 30)
        code, out, errors = await gateway.command("verify")
        assert code == 1, errors
        assert "missing" in out
        assert "4 events are queued again" in out
        await until(lambda: sum(in_lost_hour(one) for one in cloud.received("historical")) == 4, 30)
        code, out, errors = await gateway.command("verify", "--days", "4", "--json")
        assert code == 0, out + errors
        assert json.loads(out)["fits"] is True
        await gateway.stop()


async def test_without_an_agent_it_works_by_itself_and_says_when_there_is_no_service(gateway: Gateway, cloud: LocalCloud, history: None) -> None:
    code, out, errors = await gateway.command("verify")
    assert code == 1, errors
    assert "4 events are queued again" in out
    assert (await gateway.queue())["waiting"] == 4
    cloud.fault = lambda request: Answer(403) if "energy-statistics" in request.path else None
    code, out, _ = await gateway.command("verify")
    assert code == 3
    assert "nothing was compared: the platform has no statistics for this account or building (403)" in out


async def test_terminal_sees_what_it_waits_for(gateway: Gateway, cloud: LocalCloud, history: None) -> None:
    cloud.fault = lambda request: Slow(2.5) if "energy-statistics" in request.path else None
    code, shown = await asyncio.to_thread(at_terminal, ["verify", "--config", str(gateway.site)])
    assert code == 1, shown
    assert "\rasking the platform what it counted in 7 days, 1 s" in shown
    assert "hours agree" in shown.rpartition("\r\x1b[K")[2]


@pytest.mark.parametrize("wanted", [True, False])
async def test_one_key_ends_the_daily_check(gateway: Gateway, meter_server: RegisterServer, wanted: bool) -> None:
    gateway.write_site([meter(meter_server)], upload=f"{{verify: {str(wanted).lower()}}}", storage="{path: queue.db}")
    site = load_site(gateway.site)
    outbox = await Outbox.open(site.database)
    async with Shift.started(site, SystemClock(), outbox):
        assert ("verify" in {task.get_name() for task in asyncio.all_tasks()}) is wanted
    await outbox.close()
