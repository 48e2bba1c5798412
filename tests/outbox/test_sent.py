"""What the cloud has of the remembered series: kept for five weeks, put back once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.model.events import Event, QueueRules
from edge_agent.outbox.queue import Queue

RULES = QueueRules(remembered=frozenset({("GATEWAY", "ENERGY_GENERATION"), ("GATEWAY", "ENERGY_CONSUMPTION")}))
DAY = 86400


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Queue.opened(tmp_path / "q.db", rules=RULES) as queue:
        yield queue


def event(at: int, value: float = 1.5, type: str = "ENERGY_GENERATION", source: str = "GATEWAY", device: str = "household") -> Event:
    return Event(device, "House", source, type, value, at)


def deliver(queue: Queue, *events: Event, historical: bool = True) -> None:
    queue.put(events, {})
    queue.accept(queue.take_old(1e12, 1e12, 1000), historical)


@pytest.mark.parametrize("historical", [True, False])
def test_what_was_accepted_of_a_remembered_series_is_known(queue: Queue, historical: bool) -> None:
    others = [event(900, type="POWER_GENERATION"), event(900, source="INVERTER", device="pv")]
    deliver(queue, event(1800, 2.5), event(900), event(900, 7.0, "ENERGY_CONSUMPTION"), *others, historical=historical)
    queue.put([event(2700)], {})
    assert [(one.type, one.at, one.value, one.resent) for one in queue.sent(0, 1e9)] == [
        ("ENERGY_GENERATION", 900, 1.5, False),
        ("ENERGY_CONSUMPTION", 900, 7.0, False),
        ("ENERGY_GENERATION", 1800, 2.5, False),
    ]
    assert [one.at for one in queue.sent(900, 1800)] == [900, 900]


def test_what_was_never_accepted_is_not_known_as_sent(queue: Queue) -> None:
    queue.put([event(900), event(1800)], {})
    first, second = queue.take_old(1e12, 1e12, 10)
    queue.bury(first, 400, "bad", 1.0)
    queue.set_aside(second, "failing", 500, "broken", 1.0)
    assert queue.sent(0, 1e9) == []


def test_five_weeks_are_kept(queue: Queue) -> None:
    for day in range(50):
        deliver(queue, event(day * DAY))
    assert [one.at // DAY for one in queue.sent(0, 1e9)] == list(range(14, 50))


def test_what_is_put_back_is_history_and_goes_back_only_once(queue: Queue) -> None:
    deliver(queue, *(event(at, at / 10) for at in (900, 1800, 2700, 3600)), event(1800, 5.0, "ENERGY_CONSUMPTION"))
    assert queue.send_again("ENERGY_GENERATION", 1800, 3600) == 2
    assert queue.take_live(3600, 0, 10) == []
    back = queue.take_old(1e12, 0, 10)
    assert [queued.event for queued in back] == [event(1800, 180.0), event(2700, 270.0)]
    assert queue.send_again("ENERGY_GENERATION", 1800, 3600) == 0
    queue.accept(back, historical=True)
    assert [one.resent for one in queue.sent(0, 1e9)] == [False, True, False, True, False]
    assert queue.send_again("ENERGY_GENERATION", 0, 1e9) == 2
    assert queue.stats()["waiting"] == 2


@pytest.mark.parametrize("reopened", [False, True])
def test_newer_values_are_still_live_after_something_was_put_back(tmp_path: Path, reopened: bool) -> None:
    queue = Queue(tmp_path / "q.db", rules=RULES)
    deliver(queue, event(900), historical=False)
    queue.send_again("ENERGY_GENERATION", 0, 1e9)
    queue.put([event(1800)], {})
    if reopened:
        queue.close()
        queue = Queue(tmp_path / "q.db", rules=RULES)
    assert [queued.at for queued in queue.take_live(5000, 0, 10)] == [1800]
    assert [queued.at for queued in queue.take_old(5000, 0, 10)] == [900]
    queue.close()
