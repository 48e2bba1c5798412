"""Damaged files: set aside with a date, what reads goes on in a new one, and no damage takes more than what it hit."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.model.errors import StorageError, StorageFull
from edge_agent.model.events import Event, QueueRules
from edge_agent.outbox.opening import Opening
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.pages import PAGE, Found, rows_on
from edge_agent.outbox.queue import Queue
from edge_agent.outbox.rows import Queued
from tests.disks import fill, small_disk

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a power cut is tested elsewhere
RULES = QueueRules(remembered=frozenset({("GATEWAY", "ENERGY_GENERATION")}))
STATE = json.dumps({"counters": list(range(3000))})
DELIVERED = 1200


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def event(number: int) -> Event:
    device = number % 40
    return Event(f"device-{device}", f"Device {device}", "GATEWAY", "ENERGY_GENERATION", number * 1.25, 1_790_000_000 + number)


def events(first: int, count: int) -> list[Event]:
    return [event(number) for number in range(first, first + count)]


def make(path: Path) -> None:
    """A queue with a past: delivered events, dead letters, troubled ones, state that spans pages."""
    with Queue.opened(path, rules=RULES) as queue:
        for first in range(0, 4000, 400):
            queue.put(events(first, 400), {"metering": STATE, "memory": '{"a": 1}'})
        queue.accept(queue.take_old(1e12, 1e12, DELIVERED), historical=True)
        failing, refused, *rest = queue.take_old(1e12, 1e12, 60)
        queue.set_aside(failing, "failing", 500, "broken", 1.0)
        queue.set_aside(refused, "refused", 400, "bad", 1.0)
        for queued in rest:
            queue.bury(queued, 400, "refused for good", 2.0)


def waiting(queue: Queue) -> dict[int, Queued]:
    taken = queue.take_old(1e12, 1e12, 10**6) + [one.queued for one in queue.troubled()]
    return {queued.seq: queued for queued in taken}


def seqs_by_page(path: Path) -> dict[int, set[int]]:
    """The events and dead letters on each page of a sound file."""
    shapes = (4, 7)
    rows = rows_by_page(path.read_bytes())
    return {number: {row.rowid for row in on if row.rowid is not None and len(row.values) in shapes} for number, on in rows.items()}


def rows_by_page(content: bytes) -> dict[int, list[Found]]:
    """What stands on each page of a sound file."""

    def read(number: int) -> bytes:
        return content[(number - 1) * PAGE : number * PAGE]

    return {number: list(rows_on(number, read)) for number in range(1, len(content) // PAGE + 1)}


def named_on(rows: list[Found]) -> set[str]:
    """The devices whose names stand there: each does twice, in its row and in an index."""
    return {str(text) for row in rows for text in row.values if str(text).startswith("device-")}


def flip(content: bytearray, chance: random.Random) -> set[int]:
    at = chance.randrange(len(content))
    content[at] ^= 1 << chance.randrange(8)
    return {at // PAGE + 1}


def scribble(content: bytearray, chance: random.Random) -> set[int]:
    """A block of a card that came back as something else."""
    at, length = chance.randrange(len(content)), chance.choice([16, 512, 4096, 20_000])
    length = min(length, len(content) - at)
    content[at : at + length] = chance.choice([b"\0" * length, b"\xff" * length, chance.randbytes(length)])
    return set(range(at // PAGE + 1, (at + length - 1) // PAGE + 2))


def cut_off(content: bytearray, chance: random.Random) -> set[int]:
    length = chance.randrange(len(content))
    pages = set(range(length // PAGE + 1, len(content) // PAGE + 1))
    del content[length:]
    return pages


@pytest.mark.parametrize("damage", [flip, scribble, cut_off])
def test_damage_at_random_places_takes_no_more_than_what_it_hit(folder: Path, damage: Callable[[bytearray, random.Random], set[int]]) -> None:
    sound, path = folder / "sound.db", folder / "q.db"
    make(sound)
    by_page, rows = seqs_by_page(sound), rows_by_page(sound.read_bytes())
    with Queue.opened(sound) as queue:
        expected, letters = waiting(queue), {letter["seq"] for letter in queue.dead_letters(1000)}
    salvages = 0
    for seed in range(70):
        content = bytearray(sound.read_bytes())
        hit = damage(content, random.Random(seed))
        path.write_bytes(content)
        lost_at_most = set().union(*(by_page.get(page, set()) for page in hit))
        still_named = set().union(*(named_on(rows[page]) for page in rows.keys() - hit))
        lost_at_most |= {seq for seq in expected.keys() | letters if event(seq - 1).device_id not in still_named}
        with contextlib.closing(Opening(path, rules=RULES).queue()) as queue:
            left = waiting(queue)
            assert expected.keys() - left.keys() <= lost_at_most, f"seed {seed}"
            assert left.keys() - expected.keys() <= lost_at_most, f"seed {seed}: what was delivered came back"
            same = (left.keys() & expected.keys()) - lost_at_most
            assert all(left[seq].event == expected[seq].event for seq in same if left[seq].names == expected[seq].names), f"seed {seed}"
            assert letters - {letter["seq"] for letter in queue.dead_letters(1000)} <= lost_at_most, f"seed {seed}"
            queue.put(events(5000, 3), {"metering": "{}"})
            assert len(waiting(queue)) == len(left) + 3, "it goes on"
            salvages += queue.stats()["salvages"]
        for file in folder.glob("q.db*"):
            file.unlink()
    assert salvages >= 8, "a flip in a value or in free space is none that can be noticed; the others are"


def test_damage_in_the_log_costs_at_most_what_was_written_after_it(folder: Path) -> None:
    sound, path = folder / "sound.db", folder / "q.db"
    make(sound)
    with Queue.opened(sound, rules=RULES) as queue:
        before = waiting(queue)
        for first in range(6000, 6400, 10):
            queue.put(events(first, 10), {"metering": STATE})
        shutil.copy(sound, path)
        log = (folder / "sound.db-wal").read_bytes()
    for seed in range(30):
        content = bytearray(log)
        (flip, scribble, cut_off)[seed % 3](content, random.Random(seed))
        shutil.copy(sound, path)
        path.with_name("q.db-wal").write_bytes(content)
        with contextlib.closing(Opening(path, rules=RULES).queue()) as queue:
            left = waiting(queue)
        assert before.keys() <= left.keys(), f"seed {seed}"
        for file in folder.glob("q.db*"):
            file.unlink()


def test_a_flipped_bit_in_the_log_does_not_take_what_was_committed_behind_it(folder: Path) -> None:
    path = folder / "q.db"
    with contextlib.closing(Queue(folder / "live.db", rules=RULES)) as queue:
        for first in range(0, 400, 10):
            queue.put(events(first, 10), {"metering": str(first)})
        database, log = ((folder / f"live.db{end}").read_bytes() for end in ("", "-wal"))
    places = [*range(0, 56, 4), *(random.Random(seed).randrange(len(log)) for seed in range(30))]
    complete = 0
    for at in places:
        content = bytearray(log)
        content[at] ^= 1 << at % 8
        path.write_bytes(database)
        path.with_name("q.db-wal").write_bytes(content)
        with contextlib.closing(Opening(path, rules=RULES).queue()) as queue:
            left = waiting(queue)
            assert len(left) >= 250, f"byte {at}: more than the page that it hit is lost"
            complete += len(left) == 400
            assert int(queue.state("metering") or 0) >= 370, "more than the last two transactions, which a power cut may have torn"
        for file in folder.glob("q.db*"):
            file.unlink()
    assert complete >= len(places) - 3  # most bits stand in pages that were written anew since


def test_a_transaction_torn_by_a_power_cut_is_no_damage(folder: Path) -> None:
    path = folder / "q.db"
    with contextlib.closing(Queue(folder / "live.db", rules=RULES)) as queue:
        queue.put(events(0, 50), {})
        before = (folder / "live.db-wal").stat().st_size
        queue.put(events(50, 700), {})  # many pages in one transaction
        database, log = ((folder / f"live.db{end}").read_bytes() for end in ("", "-wal"))
    assert len(log) > before + 4 * PAGE
    torn = bytearray(log)
    torn[before + 100 : before + 100 + PAGE] = bytes(PAGE)  # its middle did not reach the disk, its end did
    path.write_bytes(database)
    path.with_name("q.db-wal").write_bytes(torn)
    with contextlib.closing(Opening(path, rules=RULES).queue()) as queue:
        assert len(waiting(queue)) == 50
        assert queue.stats()["salvages"] == 0


def test_a_file_cut_to_nothing_is_salvaged_from_its_log(folder: Path) -> None:
    queue = Queue(folder / "live.db", rules=RULES)
    queue.put(events(0, 500), {"metering": STATE})
    for end in ("", "-wal"):
        shutil.copy(folder / f"live.db{end}", folder / f"q.db{end}")
    queue.close()
    (folder / "q.db").write_bytes(b"")
    with contextlib.closing(Opening(folder / "q.db").queue()) as queue:
        assert len(waiting(queue)) == 500
        assert queue.state("metering") == STATE


def test_state_counters_and_what_was_sent_are_salvaged_too(folder: Path) -> None:
    path = folder / "q.db"
    make(path)
    with Queue.opened(path, rules=RULES) as queue:
        stats, sent = queue.stats(), queue.sent(0, 1e12)
    content = bytearray(path.read_bytes())
    content[:100] = b"\xff" * 100
    path.write_bytes(content)
    with contextlib.closing(Opening(path, rules=RULES).queue()) as queue:
        assert (queue.state("metering"), queue.state("memory")) == (STATE, '{"a": 1}')
        assert queue.sent(0, 1e12) == sent
        assert len(sent) == DELIVERED
        now = queue.stats()
        ignored = {"size_bytes": 0, "salvages": 1}
        assert now | ignored == stats | ignored
        assert now["salvages"] == 1
        assert [one.reason for one in queue.troubled()] == ["broken", "bad"]


def test_the_damaged_file_stays_beside_as_it_was_and_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "q.db"
    make(path)
    broken = bytearray(path.read_bytes())
    hit = max(page for page, seqs in seqs_by_page(path).items() if seqs) - 1
    broken[hit * PAGE : hit * PAGE + 100] = b"\xff" * 100
    for count in range(4):
        path.write_bytes(broken)
        Opening(path).queue().close()
        named = sorted(file.name for file in folder.glob("q.db.damaged-*"))
        assert len(named) == min(count + 1, 2), "a card that fails again and again does not fill itself"
        assert all(re.fullmatch(r"q\.db\.damaged-\d{4}-\d\d-\d\d(-\d+)?", name) for name in named)
        assert all((folder / name).read_bytes() == broken for name in named)
    assert len(caplog.records) == 4
    said = r"q\.db: is damaged .*\. It is set aside as q\.db\.damaged-.*; \d+ events and 58 dead letters of it wait in a new queue"
    assert re.search(said, caplog.text)


@pytest.mark.parametrize("content", [b"devices: []\n" * 1000, b"%PDF but only text"])
def test_a_text_that_was_named_by_mistake_is_not_touched(folder: Path, content: bytes) -> None:
    (folder / "q.db").write_bytes(content)
    with pytest.raises(StorageError, match="a text, and no queue of edge-agent; set `storage.path:`"):
        Opening(folder / "q.db").queue()
    assert (folder / "q.db").read_bytes() == content
    assert [file.name for file in folder.iterdir()] == ["q.db"]


@pytest.mark.parametrize("content", [b"\0" * 100_000, b"\xff\0" * 50_000, b"SQLite format 3\0" + b"\0" * 5000, b"\0"])
def test_a_file_without_anything_in_it_is_set_aside_and_the_queue_begins_anew(folder: Path, content: bytes) -> None:
    (folder / "q.db").write_bytes(content)
    with contextlib.closing(Opening(folder / "q.db").queue()) as queue:
        queue.put(events(0, 1), {})
        assert len(waiting(queue)) == 1


def test_a_power_cut_between_setting_aside_and_replacing_is_made_good(folder: Path) -> None:
    make(folder / "q.db.salvage")
    with contextlib.closing(Opening(folder / "q.db").queue()) as queue:
        assert len(waiting(queue)) == 4000 - DELIVERED - 58
    assert not (folder / "q.db.salvage").exists()


def test_a_salvage_that_was_cut_short_is_begun_again(folder: Path) -> None:
    make(folder / "q.db")
    (folder / "q.db.salvage").write_bytes(b"half of a file")
    content = bytearray((folder / "q.db").read_bytes())
    content[:16] = b"x" * 16
    (folder / "q.db").write_bytes(content)
    with contextlib.closing(Opening(folder / "q.db").queue()) as queue:
        assert len(waiting(queue)) == 4000 - DELIVERED - 58


def test_on_a_full_disk_the_reserve_makes_room_for_the_salvage(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8_000_000) as disk:
        path = disk / "q.db"
        with Queue.opened(path) as queue:
            queue.put(events(0, 2000), {})
        filler = fill(disk)
        with path.open("r+b") as file:
            file.write(b"\xff" * 100)
        with contextlib.closing(Opening(path).queue()) as queue:
            assert len(waiting(queue)) == 2000
            assert not (disk / "q.db.reserve").exists()
        for file_of_ours in disk.glob("q.db*"):
            file_of_ours.unlink()
        path.write_bytes(b"\xff\0" * 2048)
        fill(disk)
        with pytest.raises(StorageFull, match="make room on the file system"):
            Opening(path).queue()
        assert [file.name for file in disk.glob("q.db*")] == ["q.db"], "what was begun takes no room"
        filler.unlink()
        Opening(path).queue().close()


async def test_damage_under_the_running_agent_is_mended_and_nobody_is_refused(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = folder / "q.db"
    make(path)
    pages = seqs_by_page(path)
    outbox = await Outbox.open(path, rules=RULES)
    try:
        hit = max(page for page, seqs in pages.items() if len(seqs) > 100 and min(seqs) > 2500)
        with path.open("r+b") as file:
            file.seek((hit - 1) * PAGE)
            file.write(b"\xff" * PAGE)
        await outbox.call(lambda queue: queue._db.execute("PRAGMA shrink_memory"))
        taken = await outbox.take_old(1e12, 1e12, 10**6)
        assert {queued.seq for queued in taken} >= {seq for seq in range(DELIVERED + 61, 4001)} - pages[hit]
        await outbox.commit(events(5000, 5), {"metering": "{}"})
        await outbox.accept(taken, historical=True)
        assert (await outbox.stats())["waiting"] == 5 + 2
    finally:
        await outbox.close()
    assert sum("is set aside as" in record.getMessage() for record in caplog.records) == 1
    assert len(list(folder.glob("q.db.damaged-*"))) == 1
