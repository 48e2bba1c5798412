from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.model.measurements import EnergyInterval, HouseholdInterval, HouseQuantity, MeterPoint, Quantity, Role
from edge_agent.status.document import Node
from edge_agent.status.history import History, Ring

HOUR = 1_772_607_600  # a full hour
BATTERY = MeterPoint("b", "Battery", "b", Role.BATTERY, "", frozenset({Quantity.IMPORT_WH}))


def node(kind: str, power_w: float | None, soc_percent: float | None = None) -> Node:
    return Node(kind=kind, power_w=power_w, reason="", soc_percent=soc_percent, names=[kind])


def test_power_of_a_slot_is_the_mean_of_what_was_noted() -> None:
    history = History()
    for second, watts in ((0, 1000.0), (10, 3000.0), (20, None)):
        history.note([node("sun", watts), node("battery", 0.0, 50.0 + second)], HOUR + second)
    day = history.charts(HOUR + 20)["day"]
    assert day["columns"]["sun"][-1] == 2000
    assert day["columns"]["soc"][-1] == 60
    assert day["columns"]["sun"][:-1] == [None] * 288
    assert day["start"] + 288 * day["step_s"] == HOUR


def test_energy_stands_in_the_hour_in_which_its_interval_begins() -> None:
    history = History()
    for end in range(HOUR + 900, HOUR + 4500, 900):
        history.take([HouseholdInterval(end, {HouseQuantity.GENERATION_WH: 250.0})], {})
    history.take(
        [EnergyInterval("b", Quantity.IMPORT_WH, HOUR + 900, 40.0), EnergyInterval("b", Quantity.IMPORT_WH, HOUR + 1800, None)], {"b": BATTERY}
    )
    columns = history.charts(HOUR + 3600)["energy"]["columns"]
    assert columns["generation"][-2:] == [1000, None]
    assert columns["charged"][-2] == 40
    assert "import" not in columns


def test_late_energy_is_added_to_its_own_hour_and_ancient_energy_is_dropped() -> None:
    history = History()
    history.take([HouseholdInterval(HOUR, {HouseQuantity.IMPORT_WH: 1.0})], {})
    history.take(
        [HouseholdInterval(HOUR - 86400, {HouseQuantity.IMPORT_WH: 2.0}), HouseholdInterval(HOUR - 30 * 86400, {HouseQuantity.IMPORT_WH: 9.0})], {}
    )
    values = history.charts(HOUR - 1)["energy"]["columns"]["import"]
    assert [value for value in values if value is not None] == [2, 1]
    assert values[-25] == 2


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(-1e6, 1e6, width=32)), max_size=60))
def test_ring_holds_the_newest_rows_whatever_the_order(entries: list[tuple[int, float]]) -> None:
    ring = Ring(10, 8, ["one"])
    kept: dict[int, float] = {}
    newest = 0
    for slot, value in entries:
        ring.set(slot * 10 + 3, "one", value)
        newest = max(newest, slot)
        kept[slot] = value if slot > newest - 8 else kept.get(slot, value)
    shown = ring.columns(newest * 10).get("one", [None] * 8)
    assert shown == [None if slot not in kept else round(kept[slot], 1) for slot in range(newest - 7, newest + 1)]


def test_history_goes_on_after_a_restart() -> None:
    history = History()
    history.note([node("grid", -500.0)], HOUR)
    history.take([HouseholdInterval(HOUR, {HouseQuantity.EXPORT_WH: 125.0})], {})
    again = History.restored(json.loads(json.dumps(history.state())))
    assert again.charts(HOUR) == history.charts(HOUR)
    assert len(json.dumps(history.state())) < 40_000


@pytest.mark.parametrize("state", [None, [], {"version": 2}, {"version": 1}, {"version": 1, "day": {"columns": [], "newest": "x", "numbers": "%"}}])
def test_damaged_history_begins_anew(state: object) -> None:
    assert History.restored(state).charts(HOUR)["day"]["columns"] == {}


def test_what_a_wrong_clock_dated_ahead_is_forgotten() -> None:
    history = History()
    history.note([node("grid", 1.0)], HOUR + 365 * 86400)
    history.forget_future(HOUR)
    history.note([node("grid", 2.0)], HOUR)
    assert history.charts(HOUR)["day"]["columns"]["grid"][-1] == 2
