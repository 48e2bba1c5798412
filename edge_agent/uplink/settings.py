"""What the site file says of the cloud. Apart from the code that uses it, so that to read a site file is not to load that code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MoostAccount:
    """Which customer, which building, which credentials; `ca_file` names a private authority to trust as well."""

    base_url: str
    customer_id: str
    building_id: str
    client_id: str
    client_secret: str = field(repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """What is older than `backfill_after_s` goes through the historical call, `batch_size` events at once. `verify`: the daily check."""

    backfill_after_s: float = 3600.0
    batch_size: int = 500
    verify: bool = True


@dataclass(frozen=True, slots=True)
class PriceSource:
    """Where the slices of a DYNAMIC tariff come from: a file or a topic. `named`: minPrice, maxPrice, currency as the site file has them."""

    file: Path | None = None
    topic: str = ""
    named: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(self.file) if self.file else f"topic {self.topic}"


@dataclass(frozen=True, slots=True)
class Building:
    """What the site file says of the building. None: not named, left alone.

    `tariff` is the guide's object; that of type DYNAMIC is made of the newest `prices`.
    """

    zip: str
    city: str
    country_code: str
    time_zone: str | None = None
    tariff: Mapping[str, object] | None = None
    active: bool | None = None
    prices: PriceSource | None = None
