"""What people see fits their terminal's line; what a program reads has whole lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.terminal import columns, table, wrapped

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=12), max_size=30).map(" ".join)


def test_long_last_cell_goes_on_in_its_column() -> None:
    assert table(("point", "reason"), [("power", "no answer from the device in three seconds")], 40).splitlines() == [
        "  point  reason",
        "  power  no answer from the device in",
        "         three seconds",
    ]


def test_last_cell_without_room_goes_on_a_line_of_its_own() -> None:
    found = table(("a long name of a column", "state"), [("a value that is long", "refused: the cloud does not know it")], 40)
    assert found.splitlines()[1:] == ["  a value that is long", "      refused: the cloud does not know", "      it"]


def test_empty_last_cell_takes_no_line() -> None:
    assert table(("x" * 50, ""), [("y", "")], 40).splitlines() == ["  " + "x" * 50, "  y"]


@given(st.lists(st.tuples(st.text("xyz", max_size=8), WORDS), min_size=1, max_size=5))
def test_no_line_is_longer_than_the_terminal_and_no_word_is_lost(rows: list[tuple[str, str]]) -> None:
    found = table(("point", "why"), rows, 60)
    assert max(map(len, found.splitlines())) <= 60
    assert found.split() == f"point why {' '.join(' '.join(row) for row in rows)}".split()


def test_line_goes_on_below_indented_and_words_stay_whole() -> None:
    assert wrapped("upload     waiting: no route to api.moost.io", 11, 30).splitlines() == [
        "upload     waiting: no route",
        "           to api.moost.io",
    ]
    assert wrapped("/a/path/that/is/longer/than/the/line", 2, 24) == "/a/path/that/is/longer/than/the/line"


def test_output_to_a_program_is_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert columns() > 10_000
