"""Whatever the order of put, take, settle and reopen: nothing is lost, doubled or reordered within a series."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_agent.model.events import Event
from edge_agent.outbox.queue import Queue
from edge_agent.outbox.rows import Queued

# device, name, type and instant; the value is a running number, so that no two events are equal
WHAT = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["Meter", "Renamed"]),
    st.sampled_from(["ENERGY_CONSUMPTION", "SWITCH_STATE"]),
    st.integers(0, 100),
)
What = tuple[str, str, str, int]
FAR = 1e9
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # no fsync to wait for: a kill is tested elsewhere


class QueueMachine(RuleBasedStateMachine):
    """The model is a plain list in order, beside the queue's file."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.path = Path(self._folder.name) / "q.db"
        self.queue = Queue(self.path)
        self.expected: list[Event] = []
        self.apart: list[Event] = []
        self.dead: list[tuple[int, Event]] = []
        self.number = 0
        self.taken: list[Queued] = []
        self.state: dict[str, str] = {}

    def teardown(self) -> None:
        self.queue.close()
        self._folder.cleanup()

    def _events(self, what: list[What]) -> list[Event]:
        self.number += len(what)
        return [Event(device, name, "SMART_METER", type, float(self.number - place), at) for place, (device, name, type, at) in enumerate(what)]

    @rule(what=st.lists(WHAT, max_size=8), text=st.text(max_size=3))
    def put(self, what: list[What], text: str) -> None:
        events = self._events(what)
        self.queue.put(events, {"key": text})
        self.expected += events
        self.state["key"] = text

    @rule(what=st.lists(WHAT, min_size=1, max_size=4))
    def put_and_fail(self, what: list[What]) -> None:
        with pytest.raises(ZeroDivisionError):
            self._put_and_fail(self._events(what))

    def _put_and_fail(self, events: list[Event]) -> None:
        with self.queue.transaction():
            self.queue.put(events, {"key": "never"})
            1 / 0  # noqa: B018

    @rule(since=st.integers(0, 101), age=st.integers(0, 101), limit=st.integers(1, 5))
    def take_live(self, since: int, age: int, limit: int) -> None:
        taken = self.queue.take_live(since, since - age, limit)
        assert all(queued.at >= (since - age if queued.promoted else since) for queued in taken)
        newest = {key: max(event.at for event in self.expected if (event.device_id, event.type) == key) for key in {q.key for q in taken}}
        assert all(newest[queued.key] < since for queued in taken if queued.promoted)
        self.taken = taken

    @rule(before=st.integers(0, 101), limit=st.integers(1, 5))
    def take_old(self, before: int, limit: int) -> None:
        self.taken = self.queue.take_old(before, before, limit)
        assert all(queued.at < before for queued in self.taken)
        assert [queued.seq for queued in self.taken] == sorted(queued.seq for queued in self.taken)

    @rule(before=st.integers(0, 101), age=st.integers(0, 101))
    def live_and_old_are_all(self, before: int, age: int) -> None:
        live, old = self.queue.take_live(before, before - age, 10_000), self.queue.take_old(before, before - age, 10_000)
        assert {queued.seq for queued in live}.isdisjoint(queued.seq for queued in old)
        assert len(live) + len(old) == len(self.expected) - len(self.apart)

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), historical=st.booleans())
    def accept(self, data: st.DataObject, historical: bool) -> None:
        some = data.draw(st.lists(st.sampled_from(self.taken), unique=True, min_size=1))
        self.queue.accept(some, historical)
        for queued in some:
            self.expected.remove(queued.event)
        self.taken = []

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), kind=st.sampled_from(["refused", "failing"]))
    def set_aside(self, data: st.DataObject, kind: str) -> None:
        queued = data.draw(st.sampled_from(self.taken))
        self.queue.set_aside(queued, "refused" if kind == "refused" else "failing", 400, "reason", 1.0)
        self.apart.append(queued.event)
        self.taken = []

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        queued = data.draw(st.sampled_from(self.taken))
        self.queue.bury(queued, 400, "reason", 1.0)
        self.expected.remove(queued.event)
        self.dead.append((queued.seq, queued.event))
        self.taken = []

    @precondition(lambda self: self.apart)
    @rule(data=st.data(), accepted=st.booleans())
    def settle_one_apart(self, data: st.DataObject, accepted: bool) -> None:
        known = data.draw(st.sampled_from(self.queue.troubled())).queued
        if accepted:
            self.queue.accept([known], historical=False)
        else:
            self.queue.bury(known, 400, "reason", 1.0)
            self.dead.append((known.seq, known.event))
        self.expected.remove(known.event)
        self.apart.remove(known.event)
        self.taken = []

    @rule()
    def retry(self) -> None:
        seqs = [queued.seq for queued in self._all()]
        assert self.queue.retry_dead() == len(self.dead)
        merged = sorted([*zip(seqs, self.expected, strict=True), *self.dead], key=lambda pair: pair[0])
        self.expected, self.dead, self.taken = [event for _, event in merged], [], []

    @rule()
    def reopen(self) -> None:
        self.queue.close()
        self.queue = Queue(self.path)
        self.taken = []

    @invariant()
    def all_is_there_in_order(self) -> None:
        assert [queued.event for queued in self._all()] == self.expected
        assert sorted(one.queued.value for one in self.queue.troubled()) == sorted(event.value for event in self.apart)
        assert len(self.queue.dead_letters(1000)) == len(self.dead)
        assert self.queue.state("key") == self.state.get("key")

    def _all(self) -> list[Queued]:
        """Everything that waits, troubled or not, in the queue's order."""
        waiting = self.queue.take_old(FAR, FAR, 100_000) + [one.queued for one in self.queue.troubled()]
        return sorted(waiting, key=lambda queued: queued.seq)


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestQueue = QueueMachine.TestCase
