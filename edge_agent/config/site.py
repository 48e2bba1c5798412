"""A checked site file. Apart from the code that checks it, which a running agent does not load."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.cloud import vocabulary
from edge_agent.drivers.settings import MqttSettings
from edge_agent.profiles.setup import DeviceSetup
from edge_agent.uplink.settings import Building, MoostAccount, UploadSettings


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The page's address. Without a password everybody on it may read, and nobody may change anything."""

    host: str
    port: int
    password: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()  # names besides this machine's own


@dataclass(frozen=True)
class Site:
    """A checked site file: the settings of every floor, and what is allowed but worth a warning."""

    file: Path
    account: MoostAccount
    building: Building | None
    time_zone: str
    interval_s: int
    poll_interval_s: float
    decisions: vocabulary.Decisions
    household: vocabulary.HouseholdDevice
    upload: UploadSettings
    database: Path
    max_size: int
    mqtt: MqttSettings | None
    web: WebSettings | None
    devices: tuple[DeviceSetup, ...]
    warnings: tuple[str, ...]
    remark: str = ""  # why this is not what stands in the file
