"""The building as the platform is to know it: address, time zone, tariff, whether it is active."""

from __future__ import annotations

import os
import re
import time
import zoneinfo
from collections.abc import Mapping
from pathlib import Path

from edge_agent.codec.human import nearest
from edge_agent.codec.topics import topic_mistake
from edge_agent.config.findings import Findings
from edge_agent.config.schema import SiteSection, TariffSection
from edge_agent.profiles.document import Location
from edge_agent.uplink.settings import Building, PriceSource

_AT: Location = ("building", "tariff")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"


def building_of(findings: Findings, site: SiteSection) -> Building | None:
    """What registers the building; None when the file has no `building`. A time zone counts only when the file names it."""
    if (section := site.building) is None:
        return None
    tariff, prices = None, None
    if section.tariff and section.tariff.type == "DYNAMIC":
        prices = _prices(findings, site, section.tariff)
    elif section.tariff:
        tariff = _tariff(findings, section.tariff)
    return Building(section.zip, section.city, section.country_code, site.time_zone, tariff, section.active, prices)


def _prices(findings: Findings, site: SiteSection, tariff: TariffSection) -> PriceSource | None:
    """Where a DYNAMIC tariff's prices come from. A file that is not (yet) good is a warning: another program writes it."""
    if tariff.low_tariff:
        findings.wrong((*_AT, "low_tariff"), "building.tariff: a DYNAMIC tariff has no low_tariff", "write type: DUAL")
    if (tariff.file is None) == (tariff.topic is None):
        findings.wrong(_AT, "building.tariff: a DYNAMIC tariff needs file: or topic:", "write file: prices.json, or topic: evcc/site/forecast/grid")
        return None
    if tariff.topic is not None:
        if mistake := topic_mistake(tariff.topic) or ("holds a wildcard" if set("+#") & set(tariff.topic) else ""):
            findings.wrong((*_AT, "topic"), f"building.tariff.topic: {mistake}")
        elif site.mqtt is None:
            findings.wrong((*_AT, "topic"), "building.tariff: a topic, but there is no broker", "write mqtt: {broker: mqtt://localhost:1883}")
        return PriceSource(topic=tariff.topic, named=_named(tariff))
    from edge_agent.uplink.prices import complaint_of  # only here: it brings the loops along that look at the prices

    path = findings.path.parent / str(tariff.file)
    if complaint := complaint_of(path, tariff.currency or "", time.time()):
        findings.warnings.append(f"building.tariff: {path}: {complaint}")
    return PriceSource(path, named=_named(tariff))


def _named(tariff: TariffSection) -> dict[str, str]:
    """What the file says of the prices, in the platform's words."""
    named = {"minPrice": tariff.min_price, "maxPrice": tariff.max_price, "currency": tariff.currency}
    return {key: value for key, value in named.items() if value is not None}


def _tariff(findings: Findings, tariff: TariffSection) -> dict[str, object]:
    """The tariff as the platform writes it (guide, Tariff Configuration)."""
    result: dict[str, object] = {"type": tariff.type, **_named(tariff)}
    for key in ("file", "topic"):
        if getattr(tariff, key) is not None:
            findings.wrong((*_AT, key), f"building.tariff: a {tariff.type} tariff has no {key}", "write type: DYNAMIC")
    if tariff.type == "DUAL":
        result["dual"] = {"lowTariff": _windows(findings, tariff, _AT)}
    elif tariff.low_tariff:
        findings.wrong((*_AT, "low_tariff"), "building.tariff: a SINGLE tariff has no low_tariff", "write type: DUAL")
    return result


def _windows(findings: Findings, tariff: TariffSection, at: Location) -> dict[str, str]:
    windows: dict[str, str] = {}
    low_tariff: Mapping[str, str] = {str(day): window for day, window in tariff.low_tariff.items()}
    for day in _DAYS:
        if (window := low_tariff.get(day)) is None:
            continue
        times = re.fullmatch(rf"\s*({_TIME})\s*-\s*({_TIME})\s*", window)
        if times is None:
            findings.wrong((*at, "low_tariff", day), f"building.tariff.low_tariff.{day}: {window!r} is no window", "write 19:00-07:00")
        else:
            windows |= {f"{day}StartTime": times[1], f"{day}EndTime": times[3]}
    if not low_tariff:
        findings.wrong(at, "building.tariff: a DUAL tariff needs low_tariff:", "write low_tariff: {monday: 19:00-07:00, ...}")
    return windows


def time_zone_of(findings: Findings, site: SiteSection) -> str:
    """The house's IANA time zone: the file's, else the system's."""
    name = site.time_zone or _system_time_zone()
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zones = [zone for zone in zoneinfo.available_timezones() if "/" in zone]  # a place: EST knows no summer time
        findings.wrong(("time_zone",), f"time_zone: {name!r} is no time zone", nearest(name, zones) or "write one such as Europe/Vienna")
    return name


def _system_time_zone() -> str:
    """The system's IANA zone, from where Debian and systemd keep it; UTC when they do not say."""
    target = os.path.realpath("/etc/localtime")
    if "/zoneinfo/" in target:
        return target.partition("/zoneinfo/")[2]
    try:
        return Path("/etc/timezone").read_text(encoding="utf-8").strip() or "UTC"
    except OSError:
        return "UTC"
