"""What may stand in the site file: its sections, keys and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_agent.codec.human import Duration, Integer, Size
from edge_agent.model.measurements import DeviceStatus, Role
from edge_agent.profiles.document import OneOrMore, Section

PLATFORM_INTERVAL_S = 900  # the guide: one update per sensor every 15 minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class MoostSection(Section):
    """The account: which customer, which building, which credentials."""

    base_url: str = "https://api.moost.io"
    customer_id: str
    building_id: str
    client_id: str
    client_secret_file: str | None = None
    ca_file: str | None = None  # a private authority, for a cloud of one's own


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffSection(Section):
    """The building's tariff. `low_tariff` gives each day's window: `monday: 19:00-07:00`. DYNAMIC prices come from a file or a topic."""

    type: Literal["SINGLE", "DUAL", "DYNAMIC"]
    min_price: str | None = field(default=None, metadata={"pattern": r"^\d+(\.\d+)?$"})
    max_price: str | None = field(default=None, metadata={"pattern": r"^\d+(\.\d+)?$"})
    currency: str | None = field(default=None, metadata={"pattern": r"^[A-Z]{3}$"})
    low_tariff: dict[Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"], str] = field(default_factory=dict)
    file: str | None = None
    topic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildingSection(Section):
    """What registers the building at the platform."""

    zip: str
    city: str
    country_code: str = field(metadata={"pattern": r"^[A-Z]{2}$"})
    active: bool | None = None
    tariff: TariffSection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportingSection(Section):
    """When and how values become events. The last four keys are decisions where the platform is silent."""

    interval: Duration = float(PLATFORM_INTERVAL_S)
    poll_interval: Duration = 10.0
    household_id: str = "household"
    household_name: str = "Household"
    timestamp: Literal["end", "start"] = "end"
    outside_the_table: bool = True
    status_ids: dict[DeviceStatus, Integer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSection(Section):
    """How old an event may be to go through the live call, how many old ones go at once, and whether the platform's counting is checked daily."""

    backfill_after: Duration = 3600.0
    batch_size: Integer = field(default=500, metadata={"ge": 1, "le": 10_000})
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSection(Section):
    """Where the queue is, and how large it may grow."""

    path: str = "edge-agent.db"
    max_size: Size = field(default=256_000_000, metadata={"ge": 1_000_000})


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSection(Section):
    """The broker: `mqtt://host:1883`, or `mqtts://host:8883` for TLS."""

    broker: str = "mqtt://localhost:1883"
    username: str = ""
    password_file: str | None = None
    ca_file: str | None = None
    client_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSection(Section):
    """Where the status page listens. An address that others reach needs a password."""

    listen: str = "127.0.0.1:8080"
    password_file: str | None = None
    hosts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSection(Section):
    """One device of the house."""

    id: str
    name: str
    profile: str
    connection: str | None = None
    unit: Integer | None = field(default=None, metadata={"ge": 0, "le": 255})
    topic: str | None = None
    role: Role | None = None
    roles: OneOrMore[Role] | None = None
    type: str = ""
    invert: bool = False
    scale: float = field(default=1.0, metadata={"gt": 0})
    serial: str = ""
    variant: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    poll_interval: Duration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSection(Section):
    """The whole file."""

    moost: MoostSection
    time_zone: str | None = None
    building: BuildingSection | None = None
    reporting: ReportingSection = ReportingSection()
    upload: UploadSection = UploadSection()
    storage: StorageSection = StorageSection()
    mqtt: MqttSection | None = None
    web: WebSection | None = None
    devices: list[DeviceSection]
