"""Few requests for many registers, within what the device allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.codec.read_plan import Block, Limits, Span, halves, plan

spans = st.builds(Span, st.integers(1, 2), st.sampled_from(["holding", "input"]), st.integers(0, 300), st.integers(1, 8))
limits = st.builds(
    Limits,
    max_registers=st.integers(1, 125),
    max_gap=st.integers(0, 20),
    barriers=st.lists(st.integers(0, 300), max_size=4).map(tuple),
    single_reads=st.booleans(),
)


def ranges(blocks: tuple[Block, ...]) -> list[tuple[int, int]]:
    return [(block.address, block.count) for block in blocks]


def unwanted(block: Block) -> list[int]:
    """How many registers in a row are read along that nobody wants."""
    wanted = {address for span in block.spans for address in range(span.address, span.end)}
    runs, run = [0], 0
    for address in range(block.address, block.end):
        run = 0 if address in wanted else run + 1
        runs.append(run)
    return runs


@given(st.lists(spans, max_size=40), limits)
def test_every_span_is_wholly_in_one_block_and_no_limit_is_broken(wanted: list[Span], allowed: Limits) -> None:
    blocks = plan(wanted, allowed)
    assert sorted(span for block in blocks for span in block.spans) == sorted(set(wanted))
    for block in blocks:
        for span in block.spans:
            assert (span.unit, span.table) == (block.unit, block.table)
            assert block.address <= span.address
            assert span.end <= block.end
        assert max(unwanted(block)) <= allowed.max_gap
        if len(block.spans) > 1:
            assert block.count <= allowed.max_registers
            assert not allowed.single_reads
            assert not any(block.address < barrier < block.end for barrier in allowed.barriers)


@given(st.lists(spans, max_size=40), st.lists(spans, max_size=6), limits)
def test_no_block_reads_along_a_register_known_to_be_bad(wanted: list[Span], bad: list[Span], allowed: Limits) -> None:
    for block in plan(wanted, allowed, bad):
        held = {address for span in block.spans for address in range(span.address, span.end)}
        for span in bad:
            if (span.unit, span.table) == (block.unit, block.table):
                between = set(range(block.address, block.end)) - held
                assert span.address not in between


@given(st.lists(spans, min_size=1, max_size=20), limits)
def test_halves_hold_the_same_spans(wanted: list[Span], allowed: Limits) -> None:
    for block in plan(wanted, allowed):
        parts = halves(block)
        assert tuple(span for part in parts for span in part.spans) == block.spans
        assert len(parts) == (2 if len(block.spans) > 1 else 1)


def test_neighbours_are_one_request_and_a_gap_is_bridged_as_far_as_allowed() -> None:
    wanted = [Span(1, "input", address, 2) for address in (0, 2, 8, 30)]
    assert ranges(plan(wanted, Limits())) == [(0, 4), (8, 2), (30, 2)]
    assert ranges(plan(wanted, Limits(max_gap=4))) == [(0, 10), (30, 2)]
    assert ranges(plan(wanted, Limits(max_gap=4, barriers=(8,)))) == [(0, 4), (8, 2), (30, 2)]
    assert ranges(plan(wanted, Limits(max_gap=4, max_registers=9))) == [(0, 4), (8, 2), (30, 2)]


def test_tables_and_units_never_share_a_request() -> None:
    assert len(plan([Span(1, "input", 0, 1), Span(1, "holding", 1, 1), Span(2, "input", 1, 1)], Limits())) == 3


def test_span_that_no_answer_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="126 registers"):
        plan([Span(1, "input", 0, 126)], Limits())
