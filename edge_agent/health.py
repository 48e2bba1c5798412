"""Whether the agent does its work, and whether it is to blame if not. Pure.

An update is judged by it, so one question decides: does something no longer work that worked shortly before this
start? Then this program is `unhealthy`. What did not work before either, or what others cause (no internet, one
meter without power), makes it `degraded`: worth a look, but no reason to take an update back.

The file `health.json` in the service's runtime folder carries it to the updater, and over a restart to the next
program. All its times are seconds since the machine's boot, which no clock step moves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["healthy", "degraded", "unhealthy"]

SETTLE_S = 90.0  # after a start, before what is missing counts against the program
RECENT_S = 600.0  # what worked so long before the start counts as working before it: an inverter may go to sleep


@dataclass(frozen=True, slots=True)
class Facts:
    """What can be told of a running agent. `started_s` and `now_s` are seconds since boot."""

    started_s: float
    now_s: float
    silent_devices: Mapping[str, str] = field(default_factory=dict)  # id: what is wrong
    read_devices: int = 0  # that were read at the last attempt
    known_devices: int = 0  # in the site file
    queue_trouble: str = ""
    upload_trouble: str = ""
    upload_refused: bool = False  # the cloud answers, and refuses: the trouble may be ours
    uploaded: bool = False  # since the start
    remarks: tuple[str, ...] = ()  # what else is worth a look
    hanging: tuple[str, ...] = ()  # loops that no longer turn
    waiting: str = ""  # why nothing runs yet
    waiting_is_ours: bool = False  # it is this program that cannot use what another could


@dataclass(frozen=True, slots=True)
class Health:
    """The judgement. `worked_s` says for each part of the work when it was last seen working, in seconds since boot.

    `works` and `fails` are for the updater, which compares them with the version before also after a reboot.
    """

    state: State
    reasons: tuple[str, ...]
    worked_s: Mapping[str, float]
    works: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()  # and could be this program's fault


def judge(facts: Facts, worked_before_s: Mapping[str, float]) -> Health:
    """The health now; `worked_before_s` is what the health before, or that of the program before, knew."""
    works = tuple(_works(facts))
    fails = tuple(part for part in _failing(facts) if part not in works)
    worked_s = {**worked_before_s, **{part: facts.now_s for part in works}}
    lost = [part for part in fails if _worked_before(facts, worked_before_s.get(part))]
    reasons = tuple(_reasons(facts))
    if facts.hanging or facts.waiting_is_ours or lost:
        before = tuple(f"before this start {_PARTS[part]}" for part in lost)
        return Health("unhealthy", reasons + before, worked_s, works, fails)
    return Health("degraded" if reasons else "healthy", reasons, worked_s, works, fails)


_PARTS = {"devices": "devices could be read", "queue": "the queue could be written", "upload": "uploads were accepted"}


def _works(facts: Facts) -> list[str]:
    if facts.waiting:
        return []
    parts = {"devices": facts.read_devices > 0, "queue": not facts.queue_trouble, "upload": facts.uploaded and not facts.upload_trouble}
    return [part for part, works in parts.items() if works]


def _failing(facts: Facts) -> list[str]:
    """The parts whose failure could be this program's fault."""
    if facts.waiting or facts.now_s - facts.started_s < SETTLE_S:
        return []
    parts = {"devices": facts.read_devices == 0, "queue": bool(facts.queue_trouble), "upload": facts.upload_refused}
    return [part for part, fails in parts.items() if fails]


def _worked_before(facts: Facts, at_s: float | None) -> bool:
    return at_s is not None and facts.started_s - RECENT_S <= at_s <= facts.started_s


def _reasons(facts: Facts) -> list[str]:
    hanging = [f"{loop} no longer turns" for loop in facts.hanging]
    silent = [f"{device}: {text.removeprefix(f'{device}: ')}" for device, text in facts.silent_devices.items()]
    others = [text for text in (facts.waiting, facts.queue_trouble, facts.upload_trouble) if text]
    return [*hanging, *others, *facts.remarks, *silent]


def to_file(health: Health, version: str, facts: Facts) -> str:
    """The text of `health.json`."""
    told = {
        "version": version,
        "state": health.state,
        "reasons": list(health.reasons),
        "ready": True,
        "uptime_s": round(facts.now_s, 1),
        "started_uptime_s": round(facts.started_s, 1),
        "works": list(health.works),
        "fails": list(health.fails),
        "devices_read": facts.read_devices,
        "devices_known": facts.known_devices,
        "worked_uptime_s": {part: round(at, 1) for part, at in health.worked_s.items()},
    }
    return json.dumps(told, ensure_ascii=False) + "\n"


def worked_before(text: str, now_s: float) -> dict[str, float]:
    """What the `health.json` of the program before knew to work; nothing when it is damaged or of another boot."""
    try:
        worked = json.loads(text)["worked_uptime_s"]
        return {part: float(worked[part]) for part in _PARTS if part in worked and float(worked[part]) <= now_s}
    except (ValueError, KeyError, TypeError):
        return {}


def reasons_in(text: str) -> list[str]:
    """What a `health.json` gives as reasons; none when it is damaged."""
    try:
        return [str(reason) for reason in json.loads(text)["reasons"]]
    except (ValueError, KeyError, TypeError):
        return []
