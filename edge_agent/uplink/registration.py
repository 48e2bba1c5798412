"""Makes the building known at the platform, as the site file describes it, and attaches its devices.

Touches only what the file names: an update reads, merges into what the customer may set, and writes;
what the platform computed is never written back. Devices that others attached stay; only those that this
agent attached before and the file no longer has are dropped. Never deletes a building.

Decision: `active: false` sets the guide's `deactivatedTimestamp` ("shall no longer receive notifications") and nothing else: metering
and uploads go on, so that nothing is missing when the building is reactivated. Reactivation writes it as null, which ends it whether
the platform's update replaces the whole or only what it is given.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from edge_agent.cloud.tariff import same_ahead
from edge_agent.model.clock import Clock
from edge_agent.model.errors import StorageError
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient
from edge_agent.uplink.gate import Cause, Gate
from edge_agent.uplink.settings import Building
from edge_agent.uplink.verdict import Kind, Verdict

log = logging.getLogger(__name__)

Json = dict[str, Any]
_ATTACHED_STATE = "uplink.attached"
# the guide's attributes without those that the platform makes (id, customerId, geolocation, activationTimestamp, profile)
_SETTABLE = (
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
)
_DEVICE = ("id", "type", "name", "product_name")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the platform shall have now: the building, and its devices as {id, type, name, product_name}."""

    building: Building
    devices: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Registration:
    """What came of it: `done`, or the `verdict` that stopped it. `attached`: the ids of our devices the platform has now."""

    verdict: Verdict
    attached: frozenset[str]
    changes: tuple[str, ...] = field(default=())

    @property
    def done(self) -> bool:
        """True when the platform has everything that the file names."""
        return self.verdict.accepted


_DONE = Verdict(Kind.ACCEPTED)


async def register(client: MoostClient, wish: Wanted, attached_before: AbstractSet[str], now: float) -> Registration:
    """One attempt. `attached_before`: what an earlier registration attached; `now` in UTC epoch seconds."""
    building, before = wish.building, frozenset(attached_before)
    changes: list[str] = []
    found = await client.get_building()
    if found.kind is Kind.MISSING:
        made = await client.create_building({"customerBuildingId": client.account.building_id, **named(building)})
        if not made.accepted and made.kind is not Kind.EXISTS:
            return Registration(made, before)
        changes.append("created" if made.accepted else "found")
        found = await client.get_building()
    known = _building_in(found)
    if known is None:
        return Registration(found if not found.accepted else _unread(found), before, tuple(changes))
    wanted = merged(known, building, now)
    if wanted is not None:
        written = await client.update_building(wanted)
        if not written.accepted:
            return Registration(written, before, tuple(changes))
        changes.append(_change(known, wanted))
    complete = with_ours(known.get("devices"), wish.devices, before)
    if complete is not None:
        written = await client.attach_devices(complete)
        if not written.accepted:
            return Registration(written, before, tuple(changes))
        changes.append("devices attached")
    return Registration(_DONE, frozenset(one["id"] for one in wish.devices), tuple(changes))


def _change(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """An update in a word."""
    before, after = bool(known.get("deactivatedTimestamp")), bool(wanted.get("deactivatedTimestamp"))
    return "updated" if before == after else "deactivated" if after else "reactivated"


def _building_in(found: Verdict) -> Json | None:
    """The building that an answer holds; None where it is none, or one that could not be written back."""
    body = found.body
    if not found.accepted or not isinstance(body, dict) or not isinstance(body.get("settings") or {}, dict):
        return None
    devices = body.get("devices") or []
    if not isinstance(devices, list) or not all(isinstance(device, dict) for device in devices):
        return None
    try:
        json.dumps(body, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return body


def _unread(found: Verdict) -> Verdict:
    return Verdict(Kind.LATER, "the platform's answer is no building; check `base_url:`", found.status)


def named(building: Building) -> Json:
    """What the file names, in the platform's words."""
    attributes: Json = {"zip": building.zip, "city": building.city, "countryCode": building.country_code}
    if building.time_zone is not None:
        attributes["timeZoneId"] = building.time_zone
    if building.tariff is not None:
        attributes["settings"] = {"tariff": dict(building.tariff)}
    return attributes


def merged(known: Mapping[str, Any], building: Building, now: float) -> Json | None:
    """The building to write: what the platform has and the customer may set, with what the file names; None when nothing differs."""
    result = {name: known[name] for name in _SETTABLE if name in known}
    if isinstance(result.get("devices"), list):
        result["devices"] = [_settable(device) for device in result["devices"]]
    before = json.dumps(result, sort_keys=True)
    wanted = named(building)
    if "settings" in wanted:
        settings = dict(known.get("settings") or {})
        wanted["settings"] = settings | {"tariff": _tariff(settings.get("tariff"), wanted["settings"]["tariff"], now)}
    if building.active is not None and building.active == bool(known.get("deactivatedTimestamp")):
        wanted["deactivatedTimestamp"] = None if building.active else int(now)
    result |= wanted
    return None if json.dumps(result, sort_keys=True) == before else result


def _tariff(known: object, wanted: Json, now: float) -> object:
    """A tariff of the same type keeps what the file does not name (its prices, its currency); another type starts anew.

    A DYNAMIC one is written only when its prices of the time to come are others.
    """
    same = isinstance(known, dict) and known.get("type") == wanted["type"]
    complete = {**(known if same and isinstance(known, dict) else {}), **wanted}
    return known if same_ahead(known, complete, now) else complete


def with_ours(known: object, ours: Sequence[Mapping[str, str]], attached_before: AbstractSet[str]) -> list[Json] | None:
    """All devices the building shall have: those of others as they are, then ours; None when it has them already.

    One of ours that stands there under another id (should the platform give its own) counts as attached, so that none doubles.
    """
    present = [_settable(device) for device in known] if isinstance(known, list) else []
    mine = {device["id"] for device in ours} | attached_before
    others = [device for device in present if device.get("id") not in mine]
    renumbered = [_without_id(device) for device in others]
    wanted = others + [_settable(device) for device in ours if _without_id(device) not in renumbered]

    def by_id(devices: Sequence[Json]) -> list[tuple[str, str]]:
        return sorted((str(device.get("id")), json.dumps(device, sort_keys=True)) for device in devices)

    return None if by_id(wanted) == by_id(present) else wanted


def _settable(device: Mapping[str, Any]) -> Json:
    return {name: device[name] for name in _DEVICE if name in device}


def _without_id(device: Mapping[str, Any]) -> Json:
    return {name: device[name] for name in _DEVICE[1:] if name in device}


async def keep_registered(client: MoostClient, wish: Callable[[], Wanted], outbox: Outbox, clock: Clock) -> str:
    """Registers, and tries again until the platform has it all (empty) or refuses it for its content (why, for people).

    What was attached is kept in the queue's file. `wish` is asked anew before each attempt.
    """
    gate = Gate(clock, subject="the building's registration")
    while True:
        try:
            verdict = await _attempt(client, wish(), outbox, clock.now())
        except StorageError as error:
            gate.fail(Cause.STORAGE, str(error))
        else:
            if verdict.accepted:
                gate.succeed()
                return ""
            if verdict.kind is Kind.REFUSED:
                problem = f"building {client.account.building_id} is refused ({verdict.reason}); correct `building:` in the site file"
                log.error("%s", problem)
                return problem
            cause = Cause.CREDENTIALS if verdict.kind is Kind.UNAUTHORIZED else Cause.FAILED if verdict.reached else Cause.UNREACHED
            gate.fail(cause, verdict.reason, retry_after_s=verdict.retry_after_s)
        await clock.sleep(gate.wait_s)


async def _attempt(client: MoostClient, wish: Wanted, outbox: Outbox, now: float) -> Verdict:
    """Registers once, from what is remembered and into it. Raises StorageError when the queue's file cannot be used."""
    before = _remembered(await outbox.load_state(_ATTACHED_STATE))
    result = await register(client, wish, before, now)
    if result.done:
        if result.changes:
            log.info("building %s: %s", client.account.building_id, ", ".join(result.changes))
        if result.attached != before:
            await outbox.commit([], {_ATTACHED_STATE: json.dumps(sorted(result.attached))})
    return result.verdict


def _remembered(text: str | None) -> frozenset[str]:
    """The ids that an earlier registration attached; none where what is stored makes no sense, so that nothing is dropped for it."""
    try:
        ids = json.loads(text or "[]")
    except ValueError:
        return frozenset()
    return frozenset(one for one in ids if isinstance(one, str)) if isinstance(ids, list) else frozenset()
