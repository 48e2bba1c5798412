"""What the local cloud takes as a building: the guide's attributes, strictly. Pure."""

from __future__ import annotations

import re
from typing import Any

COMPUTED = ("id", "customerId", "activationTimestamp", "geolocation", "profile")
_SETTABLE = {
    "customerBuildingId",
    "zip",
    "city",
    "countryCode",
    "timeZoneId",
    "registrationTimestamp",
    "deactivatedTimestamp",
    "isEarlyAdopter",
    "userIds",
    "disabledNotifications",
    "inactiveRules",
    "devices",
    "settings",
    "properties",
}


def building_complaint(building: object) -> str | None:
    """What is wrong with a building that is to be created or written, or None."""
    if not isinstance(building, dict) or not isinstance(building.get("customerBuildingId"), str):
        return "customerBuildingId: is missing"
    if strange := building.keys() - _SETTABLE:
        return f"{sorted(strange)[0]}: is computed or unknown, never written"
    if not all(isinstance(building.get(name, ""), str) for name in ("zip", "city", "countryCode", "timeZoneId")):
        return "zip, city, countryCode, timeZoneId: are texts"
    if type(building.get("deactivatedTimestamp")) not in (int, type(None)):
        return "deactivatedTimestamp: is no int64"
    return _tariff_complaint((building.get("settings") or {}).get("tariff"))


def _tariff_complaint(tariff: Any) -> str | None:
    if tariff is None:
        return None
    if not isinstance(tariff, dict) or tariff.get("type") not in ("SINGLE", "DUAL", "DYNAMIC"):
        return "settings.tariff.type: is none of SINGLE, DUAL, DYNAMIC"
    if not all(_is_decimal(tariff.get(name, "0")) for name in ("minPrice", "maxPrice")):
        return "settings.tariff: minPrice and maxPrice are texts with a number"
    slices = tariff.get("dynamic", {}).get("tariffs") if tariff["type"] == "DYNAMIC" else []
    if not isinstance(slices, list) or not all(set(one) == {"price", "from", "to"} and _is_decimal(one["price"]) for one in slices):
        return "settings.tariff.dynamic.tariffs: is no list of price, from, to"
    times = [at for one in slices for at in (one["from"], one["to"])]
    if not all(type(at) is int for at in times) or times != sorted(times):
        return "settings.tariff.dynamic.tariffs: from and to are seconds, in order"
    return None


def _is_decimal(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(r"-?\d+(\.\d+)?", text) is not None
