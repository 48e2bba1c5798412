"""Fills the status document from what the running agent knows. Pure: asks no device, no disk and no cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent import __version__
from edge_agent.config import Site
from edge_agent.inspection import address_of
from edge_agent.metering.household import BalanceFacts
from edge_agent.model.measurements import MeterPoint, Quality, Sample
from edge_agent.outbox.rows import Stats
from edge_agent.profiles.meaning import Meaning, measurements
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.status import document
from edge_agent.status.advice import advice, health
from edge_agent.status.document import ClockFacts, Device, DeviceState, Status, Updates, Uploads, Value
from edge_agent.status.flow import flow
from edge_agent.status.seen import Seen
from edge_agent.timekeeping.trust import ClockState
from edge_agent.uplink.upload_status import UploadStatus

_PATIENCE_S = 60.0  # with a device that means nothing for the house


@dataclass(frozen=True, slots=True)
class Known:
    """What a shift knows. `now` is UTC epoch seconds, `monotonic` and `uptime_s` seconds that only go forward."""

    site: Site
    now: float
    monotonic: float
    uptime_s: float
    rows: Mapping[str, tuple[Meaning, ...]]  # by device
    points: Sequence[MeterPoint]
    seen: Seen
    findings: Mapping[str, Sequence[str]]  # by device
    uploads: UploadStatus
    queue: Stats
    token_left_s: float | None
    building: str
    balance: BalanceFacts
    clock: ClockState
    updates: Updates | None
    storage_failed: bool
    totals_missing: Mapping[str, str]
    building_problems: Sequence[str] = ()
    verification: str = ""


def status_of(known: Known) -> Status:
    """The status document."""
    site = known.site
    status = Status(
        version=__version__,
        at=known.now,
        uptime_s=round(known.uptime_s, 1),
        building_id=site.account.building_id,
        cloud_url=site.account.base_url,
        time_zone=site.time_zone,
        interval_s=site.interval_s,
        health="healthy",
        advice=[],
        flow=flow(known.points, known.seen.readings(), known.now),
        devices=[_device(known, setup) for setup in site.devices],
        uploads=_uploads(known.uploads, known.queue["waiting"]),
        queue=known.queue,
        site_remark=site.remark,
        intervals=known.seen.intervals,
        token_left_s=None if known.token_left_s is None else round(known.token_left_s, 1),
        building=known.building,
        balance=_balance(known.balance),
        clock=_clock(known.clock),
        updates=known.updates,
        storage_failed=known.storage_failed,
        totals_missing=dict(known.totals_missing),
        building_problems=list(known.building_problems),
        verification=known.verification,
    )
    status["advice"] = advice(status)
    status["health"] = health(status)
    return status


def _uploads(uploads: UploadStatus, waiting: int) -> Uploads:
    return Uploads(
        state=uploads.state,
        accepted_at=uploads.accepted_at,
        next_try_at=uploads.next_try_at,
        stopped_at=uploads.stopped_at,
        backlog_starts_at=uploads.backlog_starts_at,
        events_per_s=uploads.events_per_s,
        time_left_s=uploads.time_left_s(waiting),
        in_flight=uploads.in_flight,
        accepted_live=uploads.accepted_live,
        accepted_historical=uploads.accepted_historical,
        buried=uploads.buried,
        calls=uploads.calls,
        calls_s=round(uploads.calls_s, 3),
    )


def _balance(balance: BalanceFacts) -> document.BalanceFacts:
    return document.BalanceFacts(
        carried_wh=balance.carried_wh,
        carried_since=balance.carried_since,
        mistake=balance.mistake,
        lost_today_wh=balance.lost_today_wh,
        lost_yesterday_wh=balance.lost_yesterday_wh,
    )


def _clock(clock: ClockState) -> ClockFacts:
    return ClockFacts(
        trusted=clock.trusted,
        reason=clock.reason,
        since_s=round(clock.since_s, 1),
        offset_s=None if clock.offset_s is None else round(clock.offset_s, 3),
        held=clock.held,
    )


def _device(known: Known, setup: DeviceSetup) -> Device:
    facts = known.seen.devices[setup.id]
    sample = facts.sample
    polled_s = None if facts.polled_at is None else known.monotonic - facts.polled_at
    own = [point for point in known.points if point.device_id == setup.id]
    rows = tuple(row for row in known.rows[setup.id] if row.meter_point_id in {point.id for point in own})
    values = [] if sample is None or sample.error else _values(rows, sample)
    return Device(
        id=setup.id,
        name=setup.name,
        profile=setup.profile.name,
        address=address_of(setup),
        state=device_state(sample, values, polled_s or 0.0, _patience_s(own, setup)),
        error=sample.error if sample else "",
        read_at=facts.read_at,
        age_s=None if facts.read_at is None else round(max(0.0, known.now - facts.read_at), 1),
        round_trip_ms=round(sample.round_trip_s * 1000, 1) if sample and not sample.error else None,
        reads=facts.reads,
        failures=facts.failures,
        round_trips_s=round(facts.round_trips_s, 4),
        failing_s=None if facts.failing_since is None else round(known.monotonic - facts.failing_since, 1),
        polled_s=None if polled_s is None else round(polled_s, 1),
        points_absent=sum(reading.value is None for reading in sample.readings.values()) if sample else 0,
        values=values,
        findings=list(known.findings.get(setup.id, ())),
    )


def _values(rows: tuple[Meaning, ...], sample: Sample) -> list[Value]:
    readings = measurements(rows, sample)
    return [
        Value(
            meter_point=row.meter_point_id,
            role=row.role.value,
            quantity=row.quantity.value,
            value=(reading := readings[row.meter_point_id][row.quantity]).value,
            quality=reading.quality.value,
            reason=reading.reason,
        )
        for row in rows
    ]


def _patience_s(points: Sequence[MeterPoint], setup: DeviceSetup) -> float:
    """How long the next poll of a device may take to end."""
    return setup.poll_interval_s + max((point.offline_after_s for point in points), default=_PATIENCE_S)


def device_state(sample: Sample | None, values: Sequence[Value], polled_s: float, patience_s: float) -> DeviceState:
    """How a device stands whose newest poll ended `polled_s` ago; what takes longer than `patience_s` hangs."""
    if sample is None:
        return "waiting"
    if polled_s > patience_s:
        return "stale"
    if sample.error:
        return "silent"
    known = (Quality.OK.value, Quality.NOT_AVAILABLE.value)  # what a device says it has not is no fault
    return "ok" if all(value["quality"] in known for value in values) else "partial"
