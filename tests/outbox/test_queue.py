"""The queue's file: what is kept through reopening, kills, full disks and files that are none of ours."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlite_utils

from edge_agent.model.errors import StorageError
from edge_agent.model.events import Event
from edge_agent.outbox.queue import Queue
from edge_agent.outbox.rows import Queued

DAY = 86400.0


def event(device: str, at: int, value: float = 1.5, type: str = "ENERGY_CONSUMPTION", name: str = "Meter") -> Event:
    return Event(device, name, "SMART_METER", type, value, at)


def old(queue: Queue, limit: int = 1000) -> list[Queued]:
    return queue.take_old(1e12, 1e12, limit)


def events_of(taken: Sequence[Queued]) -> list[Event]:
    return [queued.event for queued in taken]


def test_events_and_their_state_are_there_after_reopening(tmp_path: Path) -> None:
    events = [event("a", 900, 0.1), event("b", 900, -0.0), event("a", 1800, 1e300)]
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put(events, {"metering": "{}"})
        queue.put([], {"metering": '{"a": 1}'})
    with Queue.opened(tmp_path / "q.db") as queue:
        assert events_of(old(queue)) == events
        assert queue.state("metering") == '{"a": 1}'
        assert queue.state("other") is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_refused_with_all_that_came_with_it(tmp_path: Path, value: float) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        with pytest.raises(ValueError, match="a ENERGY_CONSUMPTION"):
            queue.put([event("b", 900), event("a", 900, value)], {"state": "1"})
        assert old(queue) == []
        assert queue.state("state") is None


def test_taking_removes_nothing_and_accepting_removes_only_what_was_accepted(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", at) for at in range(10)], {})
        taken = old(queue, 5)
        assert old(queue, 5) == taken
        queue.accept([taken[3], taken[1]], historical=True)
        assert [queued.at for queued in old(queue)] == [0, 2, 4, 5, 6, 7, 8, 9]
        assert queue.stats()["accepted_historical"] == 2


def test_live_and_old_share_the_queue_between_them(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", at) for at in (100, 5000, 200, 6000)], {})
        assert [queued.at for queued in queue.take_live(5000, 4000, 10)] == [5000, 6000]
        assert [queued.at for queued in queue.take_old(5000, 4000, 10)] == [100, 200]


def test_the_newest_of_a_device_and_type_is_promoted_up_to_the_given_age(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 100), event("a", 200), event("b", 50), event("c", 150), event("c", 5000)], {})
        live = queue.take_live(5000, 100, 10)
        assert [(queued.key[0], queued.at, queued.promoted) for queued in live] == [("a", 200, True), ("c", 5000, False)]
        assert [(queued.key[0], queued.at) for queued in queue.take_old(5000, 100, 10)] == [("a", 100), ("b", 50), ("c", 150)]


def test_a_newer_value_takes_the_promotion_over(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 200)], {})
        assert [queued.at for queued in queue.take_live(5000, 0, 10)] == [200]
        queue.put([event("a", 300), event("a", 250)], {})
        assert [queued.at for queued in queue.take_live(5000, 0, 10)] == [300]


@pytest.mark.parametrize("reopened", [False, True])
def test_what_is_older_than_a_value_already_sent_live_is_never_promoted(tmp_path: Path, reopened: bool) -> None:
    queue = Queue(tmp_path / "q.db")
    queue.put([event("a", 100), event("a", 200)], {})
    queue.accept(queue.take_live(5000, 0, 10), historical=False)
    if reopened:
        queue.close()
        queue = Queue(tmp_path / "q.db")
    assert queue.take_live(5000, 0, 10) == []
    assert [queued.at for queued in queue.take_old(5000, 0, 10)] == [100]
    queue.close()


@pytest.mark.parametrize("back_from_the_dead", [False, True])
def test_what_waits_behind_a_live_value_that_was_sent_is_not_promoted_after_a_restart(tmp_path: Path, back_from_the_dead: bool) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 100)], {})
        if back_from_the_dead:
            queue.bury(queue.take_old(5000, 5000, 1)[0], 400, "bad", 1.0)
        queue.put([event("a", 6000)], {})
        queue.accept(queue.take_live(5000, 0, 10), historical=False)
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.retry_dead()
        assert queue.take_live(5000, 0, 10) == []
        assert [queued.at for queued in queue.take_old(5000, 0, 10)] == [100]


def test_a_clock_set_back_finds_the_live_events_again(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", at) for at in (100, 5000, 9000)], {})
        assert [queued.at for queued in queue.take_live(9000, 9000, 10)] == [9000]
        assert [queued.at for queued in queue.take_live(50, 50, 10)] == [100, 5000, 9000]


def test_a_backlog_behind_promoted_events_is_found(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 200), event("b", 200), event("c", 100), event("c", 200)], {})
        assert [(queued.key[0], queued.at) for queued in queue.take_old(5000, 0, 1)] == [("c", 100)]


def test_a_live_event_that_comes_back_from_the_dead_is_found(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 9000), event("b", 9000)], {})
        queue.bury(queue.take_live(5000, 0, 1)[0], 400, "bad", 1.0)
        assert [queued.key[0] for queued in queue.take_live(5000, 0, 10)] == ["b"]
        queue.retry_dead()
        assert [queued.key[0] for queued in queue.take_live(5000, 0, 10)] == ["a", "b"]


def test_troubled_events_are_left_out_until_they_are_accepted_or_buried(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 1), event("b", 2), event("c", 3)], {})
        first, second, third = old(queue)
        queue.set_aside(first, "refused", 400, "bad", 10.0)
        queue.set_aside(second, "failing", 500, "broken", 10.0)
        queue.set_aside(second, "failing", 503, "still broken", 20.0)
        assert old(queue) == [third]
        assert [(one.queued, one.kind, one.attempts, one.status, one.reason) for one in queue.troubled()] == [
            (first, "refused", 1, 400, "bad"),
            (second, "failing", 2, 503, "still broken"),
        ]
        stats = queue.stats()
        assert (stats["waiting"], stats["refused"], stats["failing"]) == (3, 1, 1)
        assert [row["state"] for row in queue.waiting(10)] == ["refused", "failing", "waiting"]
        queue.accept([second], historical=False)
        queue.bury(first, 400, "bad", 30.0)
        assert queue.troubled() == []
        assert queue.stats()["waiting"] == 1


def test_a_dead_letter_keeps_its_reason_and_goes_back_to_its_old_place(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 1, 7.0), event("a", 2)], {})
        queue.bury(old(queue)[0], 400, "deviceId: does not match", 99.0)
        (letter,) = queue.dead_letters(10)
        assert (letter["device_id"], letter["value"], letter["at"], letter["status"], letter["reason"], letter["buried_at"]) == (
            ("a", 7.0, 1, 400, "deviceId: does not match", 99)
        )
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 3)], {})
        assert queue.retry_dead() == 1
        assert [queued.at for queued in old(queue)] == [1, 2, 3]
        assert queue.dead_letters(10) == []
        stats = queue.stats()
        assert (stats["dead"], stats["buried"], stats["requeued"]) == (0, 1, 1)


def test_a_place_is_not_given_twice_while_a_dead_letter_holds_it(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 1)], {})
        queue.bury(old(queue)[0], 400, "bad", 9.0)
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 2)], {})
        assert queue.retry_dead() == 1
        assert [queued.at for queued in old(queue)] == [1, 2]


def test_a_renamed_device_keeps_the_name_its_waiting_events_were_queued_with(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 1, name="Old"), event("a", 2, name="New")], {})
        assert [queued.event.device_name for queued in old(queue)] == ["Old", "New"]


def test_stats_tell_how_much_waits_since_when(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        empty = queue.stats()
        assert (empty["waiting"], empty["oldest_at"], empty["newest_at"]) == (0, None, None)
        queue.put([event("a", 900), event("b", 300), event("a", 1800)], {})
        stats = queue.stats()
        assert (stats["waiting"], stats["oldest_at"], stats["newest_at"]) == (3, 300, 1800)
        assert stats["size_bytes"] > 4096


def test_an_event_takes_less_than_forty_bytes(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        before = (tmp_path / "q.db").stat().st_size
        queue.put([event(f"device-{number % 60}", 1_700_000_000 + number, number * 1.37) for number in range(50_000)], {})
    assert ((tmp_path / "q.db").stat().st_size - before) / 50_000 < 40


def test_the_file_says_what_it_holds_to_other_tools(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 900)], {})
    db = sqlite_utils.Database(tmp_path / "q.db")
    assert set(db.table_names()) == {"series", "events", "troubled", "dead", "counters", "state", "sent"}
    assert next(iter(db["series"].rows))["device_id"] == "a"
    db.close()


# bounds


def test_above_its_size_the_queue_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db", max_size=200_000) as queue:
        for first in range(0, 20_000, 500):
            queue.put([event("a", at) for at in range(first, first + 500)], {})
        stats = queue.stats()
        assert stats["dropped"] > 0
        assert stats["waiting"] + stats["dropped"] == 20_000
        assert [queued.at for queued in old(queue, 1)] == [stats["dropped"]]
        assert (tmp_path / "q.db").stat().st_size < 300_000


def test_a_full_disk_is_said_in_words_and_costs_nothing_that_was_committed(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 1)], {"state": "1"})
        queue._db.execute(f"PRAGMA max_page_count={queue._db.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(StorageError, match="full; make room"):
            queue.put([event("a", at) for at in range(2, 5000)], {"state": "2"})
        assert [queued.at for queued in old(queue)] == [1]
        assert queue.state("state") == "1"
        queue._db.execute("PRAGMA max_page_count=100000")
        queue.put([event("b", 2)], {"state": "2"})
        assert [queued.at for queued in old(queue)] == [1, 2]


def bury_all(queue: Queue, at: float = 9.0) -> None:
    with queue.transaction():
        for queued in old(queue, 10**6):
            queue.bury(queued, 400, "refused " * 30, at)


def test_dead_letters_make_room_for_events_and_not_the_other_way_round(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Queue.opened(tmp_path / "q.db", max_size=200_000) as queue:
        queue.put([event("bad", at) for at in range(2000)], {})
        bury_all(queue)
        assert queue.stats()["dead"] == 2000
        for first in range(0, 2000, 100):
            queue.put([event("a", at) for at in range(first, first + 100)], {})
        stats = queue.stats()
        assert (stats["waiting"], stats["dropped"]) == (2000, 0)
        assert stats["dropped_letters"] > 0
        assert stats["dead"] + stats["dropped_letters"] == 2000
        assert min(letter["at"] for letter in queue.dead_letters(10_000)) == stats["dropped_letters"]
    assert [record.getMessage().rpartition("; ")[2] for record in caplog.records] == ["its oldest dead letters are dropped and counted"]


def test_when_all_dead_letters_are_gone_the_oldest_events_go(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db", max_size=200_000) as queue:
        queue.put([event("bad", at) for at in range(300)], {})
        bury_all(queue)
        for first in range(0, 20_000, 500):
            queue.put([event("a", at) for at in range(first, first + 500)], {})
        stats = queue.stats()
        assert (stats["dead"], stats["dropped_letters"]) == (0, 300)
        assert stats["waiting"] + stats["dropped"] == 20_000


@pytest.mark.parametrize("reopened", [False, True])
def test_there_are_never_more_dead_letters_than_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reopened: bool) -> None:
    monkeypatch.setattr("edge_agent.outbox.queue.MOST_DEAD", 500)
    queue = Queue(tmp_path / "q.db")
    for first in range(0, 1200, 200):
        queue.put([event("bad", at) for at in range(first, first + 200)], {})
        bury_all(queue, at=float(first))
        stats = queue.stats()
        assert stats["dead"] <= 500
        assert stats["dead"] + stats["dropped_letters"] == first + 200
        if reopened:
            queue.close()
            queue = Queue(tmp_path / "q.db")
    assert queue.stats()["buried"] == 1200
    assert min(letter["at"] for letter in queue.dead_letters(10_000)) == stats["dropped_letters"]
    assert queue.retry_dead() == stats["dead"]
    bury_all(queue)
    assert queue.stats()["dead"] == stats["dead"]
    queue.close()


def test_after_a_rollback_that_cannot_be_cleaned_up_the_queue_fails_in_words_and_then_goes_on(tmp_path: Path) -> None:
    def deny_series(action: int, table: str | None, *_: str | None) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_READ and table == "series" else sqlite3.SQLITE_OK

    def put_and_break(queue: Queue) -> None:
        with queue.transaction():
            queue.put([event("new", 1)], {})
            queue._db.set_authorizer(deny_series)
            raise ZeroDivisionError

    with Queue.opened(tmp_path / "q.db") as queue:
        queue.put([event("a", 1)], {})
        with pytest.raises(ZeroDivisionError):
            put_and_break(queue)
        for attempt in (lambda: queue.put([event("new", 2)], {}), lambda: old(queue), lambda: queue.take_live(0, 0, 1), queue.troubled):
            with pytest.raises(StorageError, match="prohibited"):
                attempt()
        queue._db.set_authorizer(None)
        queue.put([event("new", 3)], {})
        assert [(queued.key[0], queued.at) for queued in old(queue)] == [("a", 1), ("new", 3)]
    with Queue.opened(tmp_path / "q.db") as queue:
        assert [(queued.key[0], queued.at) for queued in old(queue)] == [("a", 1), ("new", 3)]


# files that cannot be used


def test_another_programs_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="no queue of edge-agent"):
        Queue(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    path.write_bytes(b"hello " * 1000)
    with pytest.raises(StorageError, match="damaged or no queue"):
        Queue(path)


def test_a_damaged_file_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    with Queue.opened(path) as queue:
        queue.put([event("a", at) for at in range(5000)], {})
    content = bytearray(path.read_bytes())
    content[40_000:80_000] = b"\xff" * 40_000
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged or no queue"):
        _read_all(path)
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged or no queue"):
        Queue(path)


def _read_all(path: Path) -> None:
    with Queue.opened(path) as queue:
        queue.waiting(10_000)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder .*nowhere does not exist; create it"):
        Queue(tmp_path / "nowhere" / "q.db")


def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a folder; `storage.path:`"):
        Queue(tmp_path)


def test_an_unwritable_folder_is_said_in_words() -> None:
    with pytest.raises(StorageError, match="cannot be written .* check that /proc/self belongs to"):
        Queue(Path("/proc/self/q.db"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_read_only_file_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    Queue(path).close()
    path.chmod(0o400)
    with pytest.raises(StorageError, match="cannot be written"):
        Queue(path)


def test_a_second_program_is_refused_in_words(tmp_path: Path) -> None:
    with Queue.opened(tmp_path / "q.db"), pytest.raises(StorageError, match="another program has the queue open"):
        Queue(tmp_path / "q.db")


# a kill in the middle

_WRITER = """
import sys
from pathlib import Path
from edge_agent.model.events import Event
from edge_agent.outbox.queue import Queue
queue = Queue(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    queue.put([Event("a", "A", "SMART_METER", "ENERGY_CONSUMPTION", float(number), number)] * 3, {"last": str(number)})
    if number % 5 == 0:
        queue.accept(queue.take_old(1e12, 1e12, 4), True)
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 40, 150])
def test_a_kill_in_the_middle_loses_nothing_that_was_committed(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "q.db"
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout.read().split()]
    with Queue.opened(path) as queue:
        last = int(queue.state("last") or 0)
        waiting, accepted = old(queue, 10**6), queue.stats()["accepted_historical"]
        assert told[-1] <= last <= told[-1] + 1
        assert len(waiting) + accepted == 3 * last
        values = [queued.value for queued in waiting]
        assert values == sorted(values)
        assert values.count(float(last)) == 3
