"""However a part of the backlog is divided and put back, no event of it is lost, doubled or (but for single ones) moved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.outbox.rows import Queued
from edge_agent.uplink.backlog import Backlog, Part, named_places


def part(first: int, size: int) -> Part:
    return tuple(Queued(seq, ("a", "A", "GATEWAY", "ENERGY_CONSUMPTION"), 1.0, seq) for seq in range(first, first + size))


def seqs(backlog: Backlog) -> list[int]:
    return [queued.seq for one in backlog for queued in one]


STEPS = st.tuples(st.integers(1, 12), st.sampled_from(["halve", "put back", "put first"]))


@given(st.lists(st.integers(0, 9), max_size=6), st.lists(STEPS, max_size=12))
def test_nothing_is_lost_by_dividing(sizes: list[int], steps: list[tuple[int, str]]) -> None:
    backlog = Backlog()
    first = 0
    for size in sizes:
        backlog.add(part(first, size))
        first += size
    for limit, step in steps:
        if not backlog:
            break
        taken = backlog.next(limit)
        assert 1 <= len(taken) <= limit
        if step == "halve" and len(taken) > 1:
            backlog.halve(taken)
        elif step == "put back":
            backlog.put_back(taken)
        else:
            backlog.put_first(taken)
        assert all(backlog)
        assert sorted(seqs(backlog)) == list(range(first))


def test_halves_go_in_order_before_the_others() -> None:
    backlog = Backlog()
    backlog.add(part(5, 2))
    backlog.halve(part(0, 5))
    assert [len(one) for one in backlog] == [3, 2, 2]
    assert seqs(backlog) == list(range(7))


def test_a_single_event_lets_the_next_part_go_first() -> None:
    backlog = Backlog()
    backlog.add(part(5, 2))
    backlog.put_back(part(0, 1))
    assert seqs(backlog) == [5, 6, 0]
    backlog.put_back(part(10, 2))
    assert seqs(backlog) == [10, 11, 5, 6, 0]


def test_a_map_counts_only_when_all_its_keys_are_places() -> None:
    assert named_places({"0": "a", "4": "b"}, 5) == {0: "a", 4: "b"}
    assert named_places({"5": "a"}, 5) == {}
    assert named_places({"0": "a", "deviceId": "b"}, 5) == {}
    assert named_places({"²": "a"}, 5) == {}
    assert named_places({}, 5) == {}
