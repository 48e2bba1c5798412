"""The status as figures for Prometheus: in the OpenMetrics format for those who ask for it, else in the older text format. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from edge_agent.status.document import Device, Status

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


class _Sample(NamedTuple):
    value: float | None  # None: not known, left out
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


class _Family(NamedTuple):
    name: str  # without a counter's _total
    kind: str
    help: str
    samples: list[_Sample]


def metrics_text(status: Status, openmetrics: bool) -> str:
    """All figures. Names: Prometheus's conventions, base units."""
    lines: list[str] = []
    for family in (*_agent(status), *_devices(status), *_house(status), *_uploads(status)):
        lines += _lines(family, openmetrics)
    return "\n".join(lines) + ("\n# EOF\n" if openmetrics else "\n")


def _lines(family: _Family, openmetrics: bool) -> Iterator[str]:
    total = "_total" if family.kind == "counter" else ""
    head = family.name if openmetrics else family.name + total
    known = [sample for sample in family.samples if sample.value is not None]
    if not known:
        return
    yield f"# HELP {head} {family.help}"
    yield f"# TYPE {head} {family.kind}"
    for sample in known:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels)
        yield f"{family.name}{sample.suffix or total}{f'{{{labels}}}' if labels else ''} {_number(sample.value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float | None) -> str:
    return repr(float(value or 0.0)).removesuffix(".0")


def _agent(status: Status) -> Iterator[_Family]:
    version = (("version", status["version"]),)
    yield _Family("edge_agent_build_info", "gauge", "The agent's version.", [_Sample(1, version)])
    yield _Family("edge_agent_uptime_seconds", "gauge", "How long the agent has been running.", [_Sample(status["uptime_s"])])
    states = [_Sample(status["health"] == state, (("state", state),)) for state in ("healthy", "degraded", "failing")]
    yield _Family("edge_agent_health", "gauge", "1 for the state that the agent is in.", states)
    yield _Family("edge_agent_problems", "gauge", "How many things need a look.", [_Sample(sum(one["problem"] for one in status["advice"]))])

    clock = status["clock"]
    yield _Family("edge_agent_clock_trusted", "gauge", "1 while the dates can be believed.", [_Sample(clock["trusted"])])
    offset = "From the time since boot to UTC: a jump means that the clock was set."
    yield _Family("edge_agent_clock_offset_seconds", "gauge", offset, [_Sample(clock["offset_s"])])
    yield _Family("edge_agent_clock_held_readings", "gauge", "Readings that wait for a trusted clock.", [_Sample(clock["held"])])


def _devices(status: Status) -> Iterator[_Family]:
    devices = status["devices"]

    def each(name: str, kind: str, text: str, value: Callable[[Device], float | None], suffix: str = "") -> _Family:
        samples = [_Sample(value(device), (("device", device["id"]),), suffix) for device in devices]
        return _Family(f"edge_agent_device_{name}", kind, text, samples)

    yield each("up", "gauge", "Whether the device could be read.", _up)
    yield each("reading_age_seconds", "gauge", "How old the newest value is.", lambda device: device["age_s"])
    yield each("polls", "counter", "Polls since the site file was read.", lambda device: device["reads"])
    yield each("poll_failures", "counter", "Polls that the device did not answer.", lambda device: device["failures"])
    durations = each("poll_duration_seconds", "summary", "How long the answered polls took.", lambda device: device["round_trips_s"], "_sum")
    counts = each("poll_duration_seconds", "summary", "", lambda device: device["reads"] - device["failures"], "_count")
    yield durations._replace(samples=[sample for pair in zip(durations.samples, counts.samples, strict=True) for sample in pair])
    yield each("points_absent", "gauge", "Points of the last poll that had no value.", lambda device: device["points_absent"])


def _up(device: Device) -> float | None:
    return None if device["state"] == "waiting" else float(device["state"] not in ("silent", "stale"))


def _house(status: Status) -> Iterator[_Family]:
    powers = [_Sample(node["power_w"], (("part", node["kind"]),)) for node in status["flow"]]
    meaning = "Power now: what the sun gives, the grid gives (negative: takes), the battery charges with, a consumer takes."
    yield _Family("edge_agent_power_watts", "gauge", meaning, powers)
    charges = [_Sample(_ratio(node["soc_percent"]), (("part", node["kind"]),)) for node in status["flow"]]
    yield _Family("edge_agent_state_of_charge_ratio", "gauge", "State of charge, from 0 to 1.", charges)
    counts = status["intervals"]
    found = [_Sample(counts["known"], (("result", "known"),)), _Sample(counts["absent"], (("result", "absent"),))]
    yield _Family("edge_agent_energy_intervals", "counter", "Metered energies of intervals, and those that could not be known.", found)


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else round(percent / 100, 4)


def _uploads(status: Status) -> Iterator[_Family]:
    queue, uploads = status["queue"], status["uploads"]
    results = {
        "accepted_live": queue["accepted_live"],
        "accepted_historical": queue["accepted_historical"],
        "refused": queue["buried"],
        "dropped": queue["dropped"],
    }
    yield _Family("edge_agent_events", "counter", "Events by what became of them.", [_Sample(n, (("result", name),)) for name, n in results.items()])
    yield _Family("edge_agent_queue_events", "gauge", "Events that wait for the cloud.", [_Sample(queue["waiting"])])
    oldest = None if queue["oldest_at"] is None else max(0.0, status["at"] - queue["oldest_at"])
    yield _Family("edge_agent_queue_oldest_age_seconds", "gauge", "How old the oldest waiting event is.", [_Sample(oldest)])
    yield _Family("edge_agent_queue_dead_letters", "gauge", "Events that the cloud refused for good.", [_Sample(queue["dead"])])
    yield _Family("edge_agent_queue_size_bytes", "gauge", "Size of the queue's files.", [_Sample(queue["size_bytes"])])
    yield _Family("edge_agent_uploads_running", "gauge", "1 while uploads run, 0 while they wait.", [_Sample(uploads["state"] == "running")])
    accepted = None if uploads["accepted_at"] is None else round(uploads["accepted_at"], 3)
    yield _Family("edge_agent_last_accepted_timestamp_seconds", "gauge", "When the cloud last accepted an event.", [_Sample(accepted)])
    durations = [_Sample(uploads["calls_s"], (), "_sum"), _Sample(uploads["calls"], (), "_count")]
    yield _Family("edge_agent_upload_duration_seconds", "summary", "How long the calls with events took.", durations)
