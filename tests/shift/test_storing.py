"""Events that cannot be written are held, in bounded memory, and none is dropped without being counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.model.clock import SystemClock
from edge_agent.model.events import Event
from edge_agent.outbox.outbox import Outbox
from edge_agent.shift import storing
from edge_agent.shift.storing import Storing


def event(number: int) -> Event:
    return Event("meter", "Meter", "SMART_METER", "ENERGY_CONSUMPTION", float(number), 1_800_000_000 + number)


async def test_queue_that_cannot_be_written_for_long_costs_the_oldest_events_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(storing, "MOST_HELD", 10)
    outbox = await Outbox.open(tmp_path / "queue.db")
    await outbox.call(lambda queue: queue._db.execute("PRAGMA query_only=ON"))
    held = Storing(outbox, SystemClock(), 900.0, lambda: {"metering": "{}"}, lambda: None, lambda _: None)
    for number in range(25):
        held.add([event(number)], changed=False)
        assert not await held.store()
    assert held.failed
    await outbox.call(lambda queue: queue._db.execute("PRAGMA query_only=OFF"))
    assert await held.store()
    await held.close()
    stats, waiting = await outbox.stats(), await outbox.waiting(100)
    await outbox.close()
    assert [one["value"] for one in waiting] == list(range(15, 25))
    assert stats["dropped"] == 15
    assert len([record for record in caplog.records if "dropped and counted" in record.getMessage()]) == 1
