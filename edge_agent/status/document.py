"""The words of the status document, as JSON has them. Instants are UTC epoch seconds; what is not known is None with a reason beside it."""

from __future__ import annotations

from typing import Literal, TypedDict

from edge_agent.outbox.rows import Stats

Health = Literal["healthy", "degraded", "failing"]
# all read; some points failed; nothing read; its polls no longer end; not asked yet
DeviceState = Literal["ok", "partial", "silent", "stale", "waiting"]


class Advice(TypedDict):
    """One thing that somebody should know. `problem`: it costs data, or will."""

    problem: bool
    subject: str  # a device, a role, or a part of the agent
    text: str


class Node(TypedDict):
    """One part of the house in the energy flow. Positive watts: sun produces, grid gives, battery charges, a consumer takes."""

    kind: str  # sun, grid, battery, house, or a consumer's role
    power_w: float | None
    reason: str  # why there is no power
    soc_percent: float | None
    names: list[str]


class Value(TypedDict):
    """What one point of a device means for the house."""

    meter_point: str
    role: str
    quantity: str  # its unit is in its name
    value: float | str | bool | None
    quality: str
    reason: str


class Device(TypedDict):
    """One device of the site file."""

    id: str
    name: str
    profile: str
    address: str
    state: DeviceState
    error: str  # in the words of `read`
    read_at: float | None  # when the newest value was true
    age_s: float | None
    round_trip_ms: float | None
    reads: int  # since the site file was read
    failures: int  # of these
    round_trips_s: float  # how long the others took together
    failing_s: float | None
    polled_s: float | None  # since its newest poll ended
    points_absent: int
    values: list[Value]
    findings: list[str]  # what stands against its values


class Uploads(TypedDict):
    """The way to the cloud. The counts are since the site file was read."""

    state: str  # "running", or why it waits
    accepted_at: float | None
    next_try_at: float | None
    stopped_at: float | None  # since when nothing goes through
    backlog_starts_at: float | None  # the random moment after an outage, while the backlog waits for it
    events_per_s: float | None  # the backlog's pace
    time_left_s: float | None  # what it still needs at that pace
    in_flight: int
    accepted_live: int
    accepted_historical: int
    buried: int
    calls: int
    calls_s: float  # how long all of them took together


class BalanceFacts(TypedDict):
    """What is in no total of the house, in Wh."""

    carried_wh: float  # negative consumption that waits for the next interval
    carried_since: float | None
    mistake: str  # why such a remainder was dropped
    lost_today_wh: float | None  # by the hybrid inverters; None: they do not tell
    lost_yesterday_wh: float | None


class ClockFacts(TypedDict):
    """Whether the dates can be believed."""

    trusted: bool
    reason: str  # who set it, or why it is not trusted
    since_s: float
    offset_s: float | None  # from the time since boot to UTC, while it is trusted
    held: int  # readings that wait for their date


class Updates(TypedDict):
    """What the updater reports: its last look for updates, and how the last new version did."""

    checked_at: float | None
    check: str  # ok, failed, or empty
    check_reason: str
    changed_at: float | None
    state: str  # judging, confirmed, rolled-back, stuck, refused, or empty
    version_from: str
    version_to: str
    reason: str


class Intervals(TypedDict):
    """Metered energies of intervals since the site file was read, and those that could not be known."""

    known: int
    absent: int


class Status(TypedDict):
    """All of it."""

    version: str
    at: float
    uptime_s: float
    building_id: str
    cloud_url: str
    time_zone: str
    interval_s: int
    health: Health
    advice: list[Advice]
    flow: list[Node]
    devices: list[Device]
    uploads: Uploads
    queue: Stats
    site_remark: str  # why what is in force is not what stands in the site file; empty: it is
    token_left_s: float | None  # until the cloud's token is renewed; None: there is none
    building: str  # whether the platform knows it
    intervals: Intervals
    balance: BalanceFacts
    clock: ClockFacts
    updates: Updates | None  # None: no updater is installed
    storage_failed: bool  # events are held in memory because the queue cannot be written
    building_problems: list[str]  # what is wrong with the building's data: it is refused, or there are no good prices
    verification: str  # what the last daily check of the platform's statistics found wrong
    totals_missing: dict[str, str]  # why there are no house totals, by role or measuring point
