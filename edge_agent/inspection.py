"""What `read` and `queue` show, as data (for `--json` and the agent's socket) and as text for a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from edge_agent.codec.human import age_text, counted
from edge_agent.drivers import Driver
from edge_agent.model.clock import Clock, utc_text
from edge_agent.model.errors import EdgeAgentError
from edge_agent.model.measurements import Sample
from edge_agent.profiles.meaning import meanings, measurements
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.terminal import table, wrapped

if TYPE_CHECKING:
    from edge_agent.config import Site
    from edge_agent.outbox.outbox import Queue

Answer = dict[str, Any]


def describe_sample(setup: DeviceSetup, sample: Sample) -> Answer:
    """One device's readings: for each point value, unit, quality, raw words or payload, and what it means for the house."""
    rows = meanings(setup)
    values = measurements(rows, sample)
    means = {row.point: (f"{row.meter_point_id} {row.quantity}", values[row.meter_point_id][row.quantity].value) for row in rows}
    return {
        "id": setup.id,
        "name": setup.name,
        "profile": setup.profile.name,
        "address": address_of(setup),
        "at": utc_text(sample.at),
        "round_trip_ms": round(sample.round_trip_s * 1000, 1),
        "error": sample.error,
        "points": [
            {
                "point": name,
                "value": reading.value,
                "unit": reading.unit,
                "quality": reading.quality.value,
                "reason": reading.reason,
                "at": utc_text(reading.at),
                "raw": reading.raw_text,
                "means": means.get(name, ("", None))[0],
                "meaning_value": means.get(name, ("", None))[1],
            }
            for name, reading in sample.readings.items()
        ],
    }


def address_of(setup: DeviceSetup) -> str:
    """Where a device is, for people."""
    return f"{setup.connection} unit {setup.unit}" if setup.connection else f"topic {setup.topic}"


def reading_text(device: Answer) -> str:
    """A device's readings as a table for the terminal."""
    head = f"{device['id']} ({device['name']}): {device['profile']} at {device['address']}"
    if device["error"]:
        return f"{wrapped(head, 2)}\n{wrapped('  ' + device['error'], 2)}"
    rows = [
        (
            point["point"],
            "-" if point["value"] is None else f"{_shown(point['value'])} {point['unit']}".rstrip(),
            _meaning(device["id"], point),
            _raw(point),
        )
        for point in device["points"]
    ]
    text = wrapped(f"{head}, {device['round_trip_ms']:g} ms", 2) + "\n" + table(("point", "value", "means", "raw, or why not"), rows)
    return "\n".join([text, *(wrapped(f"  WARNING: {finding}", 4) for finding in device.get("findings", []))])


def _meaning(device: str, point: Answer) -> str:
    """`power_w`, `battery soc_percent`, `power_w = -500` where the point itself has another value."""
    means: str = point["means"].removeprefix(f"{device} ").removeprefix(f"{device}.")
    differs = point["meaning_value"] is not None and _shown(point["meaning_value"]) != _shown(point["value"])
    return f"{means} = {_shown(point['meaning_value'])}" if differs else means


def _raw(point: Answer) -> str:
    """What was received; where that is no good value, why, before it."""
    raw = str(point["raw"])
    raw = raw if len(raw) <= 40 else raw[:39] + "…"
    if point["quality"] == "ok":
        return raw
    why = point["quality"] + (f": {point['reason']}" if point["reason"] else "")
    return f"{why} ({raw})" if raw else why


def _shown(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def queue_answer(queue: Queue, request: Answer) -> Answer:
    """`queue stats | list | dead | retry` on the open queue. Raises EdgeAgentError for another action."""
    action, limit = request.get("action"), request.get("limit") or 50
    if not isinstance(limit, int) or not 0 < limit <= 100_000:
        raise EdgeAgentError(f"the limit is a number from 1 to 100000, not {limit!r}")
    if action == "stats":
        return {"stats": queue.stats()}
    if action == "list":
        return {"events": queue.waiting(limit)}
    if action == "dead":
        return {"dead": queue.dead_letters(limit)}
    if action == "retry":
        return {"retried": queue.retry_dead()}
    raise EdgeAgentError(f"the queue does not know {action!r}")


def queue_text(answer: Answer) -> str:
    """A queue's answer for the terminal."""
    if "stats" in answer:
        return _lines([*_stats_lines(answer["stats"]), *_upload_lines(answer.get("upload"), answer["stats"]["waiting"])])
    if "retried" in answer:
        return f"{answer['retried']} dead letters are in the queue again" if answer["retried"] else "there are no dead letters"
    if "dead" in answer:
        rows = [(*_event_cells(letter), f"{letter['status']}: {letter['reason']}") for letter in answer["dead"]]
        return table((*_EVENT_HEAD, "why the cloud refused it"), rows) if rows else "there are no dead letters"
    rows = [(*_event_cells(event), _remark(event)) for event in answer["events"]]
    return table((*_EVENT_HEAD, ""), rows) if rows else "the queue is empty: everything has been delivered"


_EVENT_HEAD = ("at", "device", "source", "type", "value")


def _event_cells(event: Answer) -> tuple[str, ...]:
    return utc_text(event["at"]), event["device_id"], event["source"], event["type"], f"{event['value']:.10g}"


def _remark(event: Answer) -> str:
    """What is special about a waiting event."""
    return ": ".join(filter(None, (event["state"].removeprefix("waiting"), event["reason"])))


def _lines(lines: Iterable[tuple[str, str]]) -> str:
    return "\n".join(wrapped(f"{name:10} {text}", 11) for name, text in lines)


def _stats_lines(stats: Answer) -> list[tuple[str, str]]:
    """How the queue stands, and what happened to it: of that only what did."""
    span = f", from {utc_text(stats['oldest_at'])} to {utc_text(stats['newest_at'])}" if stats["waiting"] else ""
    dead = counted(stats["dead"], "dead letter")
    rare = [
        (stats["refused"], "held back", "refused by the cloud until it accepts another event: only then it is the event's fault"),
        (stats["failing"], "held back", "that the cloud answers with a fault of its own (500)"),
        (stats["merged"], "merged", "old events into others of their hour, for want of space"),
        (stats["dropped"], "dropped", "events for want of space"),
        (stats["dropped_letters"], "dropped", "dead letters for want of space"),
        (stats["possibly_doubled"], "doubled", "events at most: an answer was lost or told of a failure, or the agent died while it sent them"),
        (stats["salvages"], "damaged", "times; the damaged files lie beside the queue"),
    ]
    return [
        ("waiting", f"{counted(stats['waiting'], 'event')}{span}"),
        ("delivered", f"{stats['accepted_live']} live, {stats['accepted_historical']} as history"),
        ("refused", dead + (": `edge-agent queue dead` says why, `edge-agent queue retry` sends them again" if stats["dead"] else "")),
        *((name, f"{count} {text}") for count, name, text in rare if count),
        ("size", f"{stats['size_bytes'] / 1e6:.2f} MB"),
    ]


def _upload_lines(upload: Answer | None, waiting: int) -> list[tuple[str, str]]:
    """How a running agent's upload stands: what it waits for, or its pace and the time it still needs."""
    if upload is None:
        return [("upload", "no agent runs")]
    state = upload["state"]
    if upload["next_try_at"] is not None:
        state += f" (since {utc_text(upload['stopped_at'])}, next attempt at {utc_text(upload['next_try_at'])})"
    backlog = backlog_text(upload, waiting, upload["at"])
    return [("upload", state), *([("backlog", backlog)] if backlog else [])]


def backlog_text(upload: Mapping[str, Any], waiting: int, now: float) -> str:
    """What is to be said of an outage's backlog: when it starts, or its pace and how long it will take; nothing where there is none."""
    if upload["backlog_starts_at"] is not None:
        return f"starts in {age_text(upload['backlog_starts_at'] - now)}, at random, so that many gateways do not return at once"
    if not waiting or upload["time_left_s"] is None:
        return ""
    return f"{upload['events_per_s']:.0f} events/s, about {age_text(upload['time_left_s'])} left"


async def read_without_agent(site: Site, device: str, wait_s: float) -> list[Answer]:
    """`read` when no agent runs: connects by itself; MQTT devices are listened to for up to `wait_s` seconds."""
    from edge_agent.devices import Devices
    from edge_agent.model.clock import SystemClock

    chosen = [setup for setup in site.devices if device in ("", setup.id)]
    if not chosen:
        raise EdgeAgentError(f"there is no device {device!r}; known: {', '.join(setup.id for setup in site.devices)}")
    clock = SystemClock()
    devices = Devices(chosen, site.mqtt, clock, {})
    try:
        return list(await asyncio.gather(*(_read_patiently(setup, devices.drivers[setup.id], clock, wait_s) for setup in chosen)))
    finally:
        await devices.close()


async def _read_patiently(setup: DeviceSetup, driver: Driver, clock: Clock, wait_s: float) -> Answer:
    """One reading; over MQTT again and again until every point that means something has a value, or time is up."""
    until = clock.monotonic() + (wait_s if setup.connection is None else 0)
    wanted = {row.point for row in meanings(setup)}
    while True:
        sample = await driver.read()
        missing = sample.error or any(sample.readings[point].value is None for point in wanted if point in sample.readings)
        if not missing or clock.monotonic() >= until:
            return describe_sample(setup, sample)
        await clock.sleep(0.2)
