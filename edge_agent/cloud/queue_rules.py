"""What the queue must know of the cloud's words: which values are kept after they were sent, and what may become an hour's value.

Decision: what waits too long for the space there is becomes one event an hour. Energies are summed, so that every
watt-hour still arrives; powers and temperatures are averaged; of rates the hour's last stays, since a mean of rates is no
rate of the hour. A state (status, mode, switch) keeps each change, a day's value (`*_YESTERDAY`) is one already.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edge_agent.cloud.vocabulary import Decisions, DeviceType, EventType
from edge_agent.model.events import Merging, QueueRules

# What the platform's hourly statistics tell of: kept for comparing.
REMEMBERED = frozenset(
    (DeviceType.GATEWAY.value, event.value)
    for event in (EventType.ENERGY_GENERATION, EventType.ENERGY_CONSUMPTION, EventType.GRID_ENERGY_CONSUMPTION)
)

MERGED: Mapping[str, Merging] = MappingProxyType({
    EventType.ENERGY_CONSUMPTION: "sum",
    EventType.ENERGY_GENERATION: "sum",
    EventType.GRID_ENERGY_CONSUMPTION: "sum",
    EventType.ENERGY_IMPORT: "sum",
    EventType.ENERGY_EXPORT: "sum",
    EventType.ENERGY_EXCESS: "sum",
    EventType.POWER_CONSUMPTION: "mean",
    EventType.POWER_GENERATION: "mean",
    EventType.POWER_EXCESS: "mean",
    EventType.GRID_POWER_CONSUMPTION: "mean",
    EventType.TEMPERATURE: "mean",
    EventType.WATER_TEMPERATURE: "mean",
    EventType.SELF_CONSUMPTION_RATE: "last",
    EventType.SELF_SUFFICIENCY_RATE: "last",
    EventType.STATE_OF_CHARGE_RATE: "last",
})  # fmt: skip

_OF_AN_INTERVAL = frozenset(event for event, merging in MERGED.items() if merging == "sum") | {
    EventType.SELF_CONSUMPTION_RATE,
    EventType.SELF_SUFFICIENCY_RATE,
}


def queue_rules(decisions: Decisions) -> QueueRules:
    """The rules for a site that decided which end of an interval dates its energies."""
    return QueueRules(REMEMBERED, MERGED, _OF_AN_INTERVAL if decisions.interval_timestamp == "start" else frozenset())
