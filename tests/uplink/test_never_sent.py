"""What only the platform provides never leaves the house, whatever stands in the queue."""

from __future__ import annotations

from pathlib import Path

from edge_agent.demo.cloud import LocalCloud
from tests.uplink.rig import NOW, event, rig


async def test_events_of_the_platform_s_own_types_become_dead_letters_and_hold_up_nothing(cloud: LocalCloud, tmp_path: Path) -> None:
    forecast, anomaly = "POWER_GENERATION_FORECAST_1H", "GRID_POWER_CONSUMPTION_ANOMALY_SCORE"
    async with rig(cloud, tmp_path) as one, one.running():
        await one.commit(event("live", NOW - 60, 1.0, forecast), event("live", NOW - 60, 2.0))
        await one.commit(*(event("old", NOW - 86400 - age, 3.0, kind) for age, kind in enumerate((anomaly, "ENERGY_CONSUMPTION", anomaly))))
        await one.until_sent(30)
        dead = await one.outbox.dead_letters(10)
    assert sorted(one["type"] for one in dead) == [anomaly, anomaly, forecast]
    assert all("nothing that a customer provides" in one["reason"] for one in dead)
    assert [event["type"] for event in cloud.received()] == ["ENERGY_CONSUMPTION"] * 2
    assert not any(b"FORECAST" in request.body or b"ANOMALY" in request.body for request in cloud.requests)
