"""An hour of events becomes one: every energy is in it, in the decimal figures that the cloud adds up."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.model.events import Merging, QueueRules
from edge_agent.outbox.thinning import Row, thinned

HOUR = 3600
TYPES = {1: "ENERGY", 2: "POWER", 3: "RATE", 4: "STATE", 5: "ENERGY_BY_START"}
MERGED: dict[str, Merging] = {"ENERGY": "sum", "POWER": "mean", "RATE": "last", "ENERGY_BY_START": "sum"}
RULES = QueueRules(merged=MERGED, at_start=frozenset({"ENERGY_BY_START"}))

VALUES = st.decimals(-(10**7), 10**7, places=3).map(float)
ROWS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 30).map(lambda quarter: quarter * 900), VALUES), max_size=40).map(
    lambda rows: [(seq, *row) for seq, row in enumerate(rows, 1)]
)


def after(rows: list[Row]) -> list[Row]:
    """The rows as they stand after the thinning."""
    result = thinned(rows, TYPES, RULES)
    changed = {row[0]: row for row in result.changed}
    return [changed.get(row[0], row) for row in rows if row[0] not in result.gone]


def quarters(series: int, *values: float, start: int = HOUR) -> list[Row]:
    """The quarter-hours that end at, or for series 5 start at, `start` + 900 and so on."""
    first = start if series == 5 else start + 900
    return [(place + 1, series, first + 900 * place, value) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("series", "expected"),
    [(1, (2 * HOUR, 100.6)), (2, (2 * HOUR, 25.15)), (3, (2 * HOUR, 40.0)), (5, (HOUR, 100.6))],
    ids=["sum", "mean", "last", "sum by start"],
)
def test_an_hour_becomes_one_event_in_the_place_of_its_last(series: int, expected: tuple[int, float]) -> None:
    assert after(quarters(series, 10.1, 20.2, 30.3, 40.0)) == [(4, series, *expected)]


def test_what_the_rules_do_not_name_stays() -> None:
    rows = quarters(4, 0.0, 1.0, 0.0, 1.0)
    assert after(rows) == rows


def test_hours_stay_apart_at_the_full_hour() -> None:
    assert after(quarters(1, 1, 2, 3, 4, 5)) == [(4, 1, 2 * HOUR, 10.0), (5, 1, 2 * HOUR + 900, 5)]
    assert after(quarters(5, 1, 2, 3, 4, 5)) == [(4, 5, HOUR, 10.0), (5, 5, 2 * HOUR, 5)]


def test_an_hour_whose_sum_is_no_number_stays() -> None:
    rows = quarters(1, 1e308, 1e308)
    assert after(rows) == rows


@given(ROWS)
def test_sums_are_exact_and_order_and_states_are_kept(rows: list[Row]) -> None:
    left = after(rows)

    def of(some: list[Row], series: int) -> list[Row]:
        return [row for row in some if row[1] == series]

    def total(some: list[Row]) -> Decimal:
        return sum((Decimal(repr(row[3])) for row in some), Decimal())

    for series in (1, 5):
        assert total(of(left, series)) == total(of(rows, series))
        hours = [(row[2] - (series == 1)) // HOUR for row in of(left, series)]
        assert len(set(hours)) == len(hours)
    assert of(left, 4) == of(rows, 4)
    assert [row[0] for row in left] == sorted(row[0] for row in left)
    assert after(left) == left, "thinning again finds nothing"
    for series in (2, 3):
        values = [row[3] for row in of(rows, series)]
        assert all(min(values) - 0.001 <= row[3] <= max(values) + 0.001 for row in of(left, series))
