"""What is wrong and what to do, in words, and from it one word on the agent's health. Pure.

A problem costs data now or soon; anything else is a note. Nothing is said twice: a silent device speaks for
the totals that wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.codec.human import age_text, counted
from edge_agent.status.document import Advice, Device, Health, Status
from edge_agent.status.updates import update_advice

_WORDS = {
    "power_w": "power",
    "import_wh": "import counter",
    "export_wh": "export counter",
    "generation_w": "generation",
    "generation_wh": "generation counter",
    "ac_output_w": "AC output",
    "ac_output_wh": "AC output counter",
    "ac_input_wh": "AC input counter",
    "soc_percent": "state of charge",
    "temperature_c": "temperature",
    "water_temperature_c": "water temperature",
    "charging_mode": "charging mode",
    "switch_on": "switch state",
}
STARTING_S = 60.0  # so long a device may take to be met after the start before its silence is worth a word


def advice(status: Status) -> list[Advice]:
    """Everything worth a word, what costs most first."""
    return [
        *_site(status),
        *_storage(status),
        *_uploads(status),
        *_devices(status),
        *_totals(status),
        *_building(status),
        *_counted(status),
        *_refused(status),
        *update_advice(status["updates"], all(device["state"] == "ok" for device in status["devices"])),
    ]


def health(status: Status) -> Health:
    """`failing`: nothing is read or nothing can be stored. `degraded`: some of it is lost or late. Else `healthy`."""
    started = status["uptime_s"] > STARTING_S
    if status["storage_failed"] or (started and status["devices"] and all(device["state"] in ("silent", "stale") for device in status["devices"])):
        return "failing"
    return "degraded" if any(one["problem"] for one in status["advice"]) else "healthy"


def _site(status: Status) -> Iterator[Advice]:
    if status["site_remark"]:
        yield _problem("site file", status["site_remark"])


def _storage(status: Status) -> Iterator[Advice]:
    if status["storage_failed"]:
        yield _problem("queue", "the queue cannot be written: what is measured is held in memory; look at the log and the disk")
    if dropped := status["queue"]["dropped"]:
        yield _problem("queue", f"{counted(dropped, 'event')} dropped for want of space; give storage.max_size more, or bring the uploads back")


def _uploads(status: Status) -> Iterator[Advice]:
    if status["uploads"]["state"] != "running":
        waiting = counted(status["queue"]["waiting"], "event")
        yield _problem("uploads", f"{status['uploads']['state']}; what is measured is kept and sent later, {waiting} so far")


def _devices(status: Status) -> Iterator[Advice]:
    for device in status["devices"]:
        yield from _device(device)


def _device(device: Device) -> Iterator[Advice]:
    if device["state"] == "silent":
        yield _problem(device["id"], device["error"].removeprefix(f"{device['id']}: "))
    if device["state"] == "stale":
        yield _problem(
            device["id"], f"its polls no longer end, the last did {age_text(device['polled_s'] or 0)} ago; look at the line, and at the log"
        )
    for value in device["values"]:
        if device["state"] in ("ok", "partial") and value["value"] is None and value["quality"] not in ("ok", "not available"):
            where = "" if value["meter_point"] == device["id"] else f" of {value['meter_point']}"
            yield _problem(device["id"], f"no {_WORDS.get(value['quantity'], value['quantity'])}{where}: {value['reason'] or value['quality']}")
    for finding in device["findings"]:
        yield _problem(device["id"], finding.removeprefix(f"{device['id']}: "))


def _totals(status: Status) -> Iterator[Advice]:
    silent = {device["id"] for device in status["devices"] if device["state"] in ("silent", "waiting")}
    for what, reason in status["totals_missing"].items():
        if what not in silent and what.rpartition(".")[0] not in silent:
            carried = what == "remainder" and not status["balance"]["mistake"]
            yield _note(what, reason) if carried else _problem(what, f"no house totals: {reason}")


def _building(status: Status) -> Iterator[Advice]:
    for problem in status["building_problems"]:
        yield _problem("building", problem)


def _counted(status: Status) -> Iterator[Advice]:
    if status["verification"]:
        yield _note("platform", status["verification"])


def _refused(status: Status) -> Iterator[Advice]:
    if dead := status["queue"]["dead"]:
        yield _note("queue", f"the cloud refused {counted(dead, 'event')} for good; `edge-agent queue dead` says why, `queue retry` sends them again")


def _problem(subject: str, text: str) -> Advice:
    return Advice(problem=True, subject=subject, text=text)


def _note(subject: str, text: str) -> Advice:
    return Advice(problem=False, subject=subject, text=text)
