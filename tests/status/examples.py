"""A status document to vary."""

from __future__ import annotations

from edge_agent.outbox.rows import Stats
from edge_agent.status.advice import advice, health
from edge_agent.status.document import BalanceFacts, ClockFacts, Device, DeviceState, Intervals, Node, Status, Uploads, Value

NOW = 1_772_610_000.0


def device(name: str = "grid-meter", state: DeviceState = "ok", error: str = "") -> Device:
    value = Value(meter_point=name, role="grid", quantity="power_w", value=-1234.5, quality="ok", reason="")
    return Device(
        id=name,
        name="Main meter",
        profile="eastron-sdm630",
        address="tcp://192.168.1.9:502 unit 1",
        state=state,
        error=error,
        read_at=NOW - 4,
        age_s=4.0,
        round_trip_ms=None if error else 12.5,
        reads=10,
        failures=1 if error else 0,
        round_trips_s=0.125,
        failing_s=90.0 if error else None,
        polled_s=4.0,
        points_absent=0,
        values=[] if error else [value],
        findings=[],
    )


def queue() -> Stats:
    return Stats(
        waiting=0,
        refused=0,
        failing=0,
        dead=0,
        oldest_at=None,
        newest_at=None,
        accepted_live=12,
        accepted_historical=3,
        buried=0,
        possibly_doubled=0,
        requeued=0,
        sent_again=0,
        merged=0,
        dropped=0,
        dropped_letters=0,
        salvages=0,
        size_bytes=300_000,
    )


def healthy() -> Status:
    return Status(
        version="1.2.3",
        at=NOW,
        uptime_s=7200.0,
        building_id="99900000C048ADA6",
        cloud_url="https://api.moost.io",
        time_zone="Europe/Vienna",
        interval_s=900,
        health="healthy",
        advice=[],
        flow=[Node(kind="grid", power_w=-1234.5, reason="", soc_percent=None, names=["Main meter"])],
        devices=[device()],
        uploads=Uploads(
            state="running",
            accepted_at=NOW - 30,
            next_try_at=None,
            stopped_at=None,
            backlog_starts_at=None,
            events_per_s=None,
            time_left_s=None,
            in_flight=0,
            accepted_live=12,
            accepted_historical=3,
            buried=0,
            calls=15,
            calls_s=1.5,
        ),
        queue=queue(),
        site_remark="",
        intervals=Intervals(known=40, absent=2),
        clock=ClockFacts(trusted=True, reason="systemd-timesyncd set it", since_s=7200.0, offset_s=1_772_600_000.0, held=0),
        token_left_s=80_000.0,
        building="registered",
        balance=BalanceFacts(carried_wh=0.0, carried_since=None, mistake="", lost_today_wh=None, lost_yesterday_wh=None),
        updates=None,
        storage_failed=False,
        totals_missing={},
        building_problems=[],
        verification="",
    )


def judged(status: Status) -> Status:
    status["advice"] = advice(status)
    status["health"] = health(status)
    return status
