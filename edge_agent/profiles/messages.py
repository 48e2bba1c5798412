"""What an MQTT profile's rows want from messages: compiled once per device, pure.

`read_payload` turns one parsed payload into a row's reading. When that reading is still true is the
driver's business, not this module's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from edge_agent.codec.payloads import MISSING, NO_VALUE_WORDS, Combine, Path, Payload, compile_path, find, pick, split_payload
from edge_agent.codec.topics import TopicFilter, topic_filter
from edge_agent.codec.values import Raw, ValueRule, key_of, to_reading
from edge_agent.model.measurements import Quality, Reading
from edge_agent.profiles.derive import value_rule
from edge_agent.profiles.library import fill_parameters
from edge_agent.profiles.profile import PointSpec
from edge_agent.profiles.setup import DeviceSetup

_FIRST_DATE = 1577836800.0  # 2020-01-01: what is dated before comes from a clock that was never set
_AHEAD_S = 60.0  # a device's clock may be this much ahead of ours and still be believed


@dataclass(frozen=True, slots=True)
class PayloadRow:
    """A point of an MQTT profile, ready to read payloads."""

    name: str
    filters: tuple[TopicFilter, ...]
    paths: tuple[Path, ...]
    rule: ValueRule
    where: tuple[tuple[Path, str], ...]
    combine: Combine
    split: str
    index_topic: TopicFilter | None
    index_value: str
    date_path: Path | None
    date_format: str
    on_change: bool
    lasting: bool  # a serial number, a rating: true for ever once it was heard
    stale_after_s: float


@dataclass(frozen=True, slots=True)
class Reported:
    """What a message says about a row: its reading, the raw value before scaling, and whether the payload dated it."""

    reading: Reading
    raw: Raw
    self_dated: bool


def payload_rows(setup: DeviceSetup, parameters: Mapping[str, str]) -> tuple[PayloadRow, ...]:
    """The rows of a device that listen to topics. `parameters` has what `{...}` stands for, `topic` included."""
    return tuple(_row(setup, name, point, dict(parameters)) for name, point in setup.profile.spec.points.items() if point.topic)


def _row(setup: DeviceSetup, name: str, point: PointSpec, parameters: dict[str, str]) -> PayloadRow:
    spec = setup.profile.spec
    rule = value_rule(point)
    index_by = point.index_by
    return PayloadRow(
        name=name,
        filters=tuple(topic_filter(topic, parameters) for topic in point.topic or []),
        paths=tuple(compile_path(fill_parameters(path, parameters)) for path in point.path),
        rule=replace(rule, sentinels=rule.sentinels | (NO_VALUE_WORDS - set(rule.words))),
        where=tuple((compile_path(fill_parameters(path, parameters)), fill_parameters(text, parameters)) for path, text in point.where.items()),
        combine=point.array,
        split=point.split,
        index_topic=topic_filter(index_by.topic, parameters) if index_by else None,
        index_value=fill_parameters(index_by.equals, parameters) if index_by else "",
        date_path=compile_path(fill_parameters(point.dated.path, parameters)) if point.dated else None,
        date_format=point.dated.format if point.dated else "",
        on_change=spec.mqtt.on_change if point.on_change is None else point.on_change,
        lasting=point.once or name == spec.identity,
        stale_after_s=point.stale_after or spec.mqtt.stale_after,
    )


def read_payload(row: PayloadRow, payload: Payload, arrived_at: float, position: int | None = None) -> Reported | None:
    """The row's reading from a payload that arrived then; None when the payload says nothing about it."""
    if row.split:
        payload = split_payload(payload, row.split)
    if not all(_reads(path, wanted, payload) for path, wanted in row.where):
        return None
    picked = pick(row.paths, payload, row.combine, position)
    if picked is None:
        return None
    if picked.problem:
        return Reported(Reading(None, row.rule.unit, Quality.ERROR, arrived_at, picked.problem, payload.text), None, False)
    raw = picked.raw
    if row.rule.is_text and not row.split and () in row.paths and isinstance(raw, int | float):
        raw = payload.text  # a serial number of digits is text: 007 or 1e5 must not become numbers
    own_date = self_dated(row, payload, arrived_at)
    at = arrived_at if own_date is None else own_date
    return Reported(to_reading(row.rule, raw, at, payload.text), raw, own_date is not None)


def _reads(path: Path, wanted: str, payload: Payload) -> bool:
    return _is(find(path, payload.data), wanted)


def position_of(row: PayloadRow, payload: Payload) -> int | None:
    """Where in the row's array its value stands, as the list in this payload says; None when it is not in it."""
    if not isinstance(payload.data, list):
        return None
    return next((number for number, item in enumerate(payload.data) if _is(item, row.index_value)), None)


def _is(item: object, wanted: str) -> bool:
    return isinstance(item, bool | int | float | str) and key_of(item) == wanted


def self_dated(row: PayloadRow, payload: Payload, arrived_at: float) -> float | None:
    """When the payload says its values were true, in epoch seconds; None when it does not say, or cannot know.

    A date before 2020 or in the future comes from a clock that is not set. A little ahead counts as now.
    """
    if row.date_path is None:
        return None
    found = find(row.date_path, payload.data)
    at = _date(found, row.date_format) if found is not MISSING else None
    if at is None or not _FIRST_DATE <= at <= arrived_at + _AHEAD_S:
        return None
    return min(at, arrived_at)


def _date(found: object, form: str) -> float | None:
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    try:
        if form != "iso":
            return float(found) / (1000.0 if form == "epoch_ms" else 1.0)
        date = datetime.fromisoformat(str(found))
    except (ValueError, OverflowError):
        return None
    return date.timestamp() if date.tzinfo else None  # without an offset nobody knows which hour is meant
