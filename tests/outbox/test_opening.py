"""Whose queue it is: one building's events never go to another, and an id that was mended keeps its events."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from edge_agent.model.events import Event
from edge_agent.outbox.opening import Opening
from edge_agent.outbox.queue import Queue


def event(at: int) -> Event:
    return Event("meter", "Meter", "SMART_METER", "ENERGY_CONSUMPTION", 1.5, at)


def fill(path: Path, building: str | None, accept: int) -> None:
    with contextlib.closing(Opening(path, building=building).queue()) as queue:
        queue.put([event(at) for at in range(10)], {"metering": '"of that house"'})
        if accept:
            queue.accept(queue.take_old(1e12, 1e12, accept), historical=True)


def waiting(path: Path, building: str | None) -> tuple[int, str | None]:
    with contextlib.closing(Opening(path, building=building).queue()) as queue:
        return queue.stats()["waiting"], queue.state("metering")


def test_the_same_building_goes_on_with_its_queue(tmp_path: Path) -> None:
    fill(tmp_path / "q.db", "customer/one", accept=3)
    assert waiting(tmp_path / "q.db", "customer/one") == (7, '"of that house"')


def test_the_queue_of_another_building_is_set_aside_whole_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "q.db"
    fill(path, "customer/one", accept=3)
    assert waiting(path, "customer/two") == (0, None)
    (aside,) = tmp_path.glob("q.db.customer-one-*")
    assert waiting(aside, "customer/one") == (7, '"of that house"')
    said = [record.getMessage() for record in caplog.records]
    assert "is of building customer/one, not of customer/two; it is set aside as q.db.customer-one-" in said[0]
    assert "7 events wait in it; they go when the site file names that building" in said[1]
    fill(path, "customer/two", accept=1)
    assert waiting(path, "customer/one") == (0, None), "nor does it go back by itself"


def test_an_id_that_was_mended_before_anything_was_accepted_keeps_its_events(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "q.db", "customer/tpyo", accept=0)
    assert waiting(tmp_path / "q.db", "customer/typo") == (10, '"of that house"')
    assert caplog.records == []


def test_a_queue_from_before_buildings_were_noted_belongs_to_the_site(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event(1), event(2)], {"metering": '"of that house"'})
        queue.accept(queue.take_old(10, 10, 1), historical=True)
    assert waiting(tmp_path / "q.db", "customer/one") == (1, '"of that house"')
    assert waiting(tmp_path / "q.db", "customer/two") == (0, None)
