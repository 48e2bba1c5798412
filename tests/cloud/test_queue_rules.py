"""What the queue may do with which event type, held against the table of event types."""

from __future__ import annotations

from edge_agent.cloud.queue_rules import MERGED, REMEMBERED, queue_rules
from edge_agent.cloud.vocabulary import EVENT_RULES, Decisions, EventType


def test_every_energy_is_summed_so_that_no_watt_hour_is_lost() -> None:
    assert {event for event in EventType if EVENT_RULES[event].unit == "Wh" and EVENT_RULES[event].rhythm != "day"} == {
        event for event, merging in MERGED.items() if merging == "sum"
    }


def test_states_and_values_of_a_day_are_never_merged() -> None:
    assert {event for event in EventType if event not in MERGED} == {
        event for event in EventType if EVENT_RULES[event].unit == "ID" or EVENT_RULES[event].rhythm == "day"
    }


def test_only_powers_and_temperatures_are_averaged() -> None:
    assert {EVENT_RULES[EventType(event)].unit for event, merging in MERGED.items() if merging == "mean"} == {"W", "°C"}


def test_what_is_dated_by_the_intervals_start_follows_the_site() -> None:
    assert queue_rules(Decisions()).at_start == frozenset()
    at_start = queue_rules(Decisions(interval_timestamp="start")).at_start
    assert {"ENERGY_CONSUMPTION", "SELF_CONSUMPTION_RATE"} <= at_start
    assert not any("POWER" in event for event in at_start)


def test_the_households_hourly_energies_are_remembered() -> None:
    assert {event for _, event in REMEMBERED} == {"ENERGY_GENERATION", "ENERGY_CONSUMPTION", "GRID_ENERGY_CONSUMPTION"}
    assert {source for source, _ in REMEMBERED} == {"GATEWAY"}
