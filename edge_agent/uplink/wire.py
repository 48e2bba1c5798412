"""An event as the cloud's JSON, cheaply: what names a series is written once and kept.

The same event always gives the same bytes, so that a resend is byte-identical and a cloud able to tell
doubles can. Pure; the ids of customer and building come in here, not earlier, so that a corrected id
mends the backlog too. What a customer does not provide is not written, whatever stands in the queue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite

from edge_agent.cloud.vocabulary import DeviceType, EventType
from edge_agent.model.events import Event
from edge_agent.outbox.rows import Queued

_PROVIDED = frozenset(EventType), frozenset(DeviceType)
_KEPT = 4096  # series; far more than a house has, a bound all the same


class Unwritable(ValueError):
    """Events that are not to be sent: by a number that JSON has none for, by a type that only the platform provides, or by a fault
    in the queue's file; `places` says which and why.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        super().__init__("; ".join(places.values()))
        self.places = places


class EventWriter:
    """Writes the events of one building."""

    def __init__(self, customer_id: str, building_id: str) -> None:
        self._ids = {"customerId": customer_id, "customerBuildingId": building_id}
        self._heads: dict[tuple[str, str, str, str], str] = {}

    def one(self, event: Event | Queued) -> bytes:
        """The body of a live call. Raises Unwritable."""
        return self._joined([event]).encode()

    def many(self, events: Sequence[Event | Queued]) -> bytes:
        """The body of a historical call. Raises Unwritable."""
        return f"[{self._joined(events)}]".encode()

    def _joined(self, events: Sequence[Event | Queued]) -> str:
        try:
            return ",".join(map(self._text, events))
        except (ValueError, TypeError):
            found = {str(place): self._fault(event) for place, event in enumerate(events)}
            raise Unwritable({place: fault for place, fault in found.items() if fault}) from None

    def _fault(self, event: Event | Queued) -> str:
        try:
            self._text(event)
        except (ValueError, TypeError) as error:
            return str(error)
        return ""

    def _text(self, event: Event | Queued) -> str:
        names = event.names if isinstance(event, Queued) else (event.device_id, event.device_name, event.source, event.type)
        value = float(event.value)
        if not isfinite(value):
            raise ValueError(f"{names[0]} {names[3]}: {value} is no JSON number")
        return f'{self._heads.get(names) or self._head(names)}{value!r},"timestamp":{event.at}}}'

    def _head(self, names: tuple[str, str, str, str]) -> str:
        device, _, source, kind = names
        if kind not in _PROVIDED[0] or source not in _PROVIDED[1]:
            raise ValueError(f"{device}: {source} {kind} is nothing that a customer provides, so it is never sent")
        if len(self._heads) >= _KEPT:
            self._heads.clear()
        fields = self._ids | dict(zip(("deviceId", "deviceName", "source", "type"), names, strict=True))
        self._heads[names] = head = json.dumps(fields, separators=(",", ":"))[:-1] + ',"value":'
        return head
