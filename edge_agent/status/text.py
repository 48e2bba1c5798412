"""The status document as text for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from edge_agent.codec.human import age_text, counted
from edge_agent.inspection import backlog_text
from edge_agent.status.document import Device, Node, Status, Uploads, Value
from edge_agent.status.updates import update_text
from edge_agent.terminal import table

_COLUMNS = 80
_POWERS = ("power_w", "generation_w", "ac_output_w")
_NAMES = {"sun": "sun", "grid": "grid", "battery": "battery", "house": "house", "charger": "car", "heat_pump": "heat pump"}


def status_text(status: Status) -> str:
    """The whole status."""
    blocks = [_head(status), _flow(status), _devices(status), _cloud(status), _advice(status)]
    return "\n\n".join(block for block in blocks if block)


def _losses(status: Status) -> str:
    """What the inverters lose, which is in no total."""
    today, yesterday = status["balance"]["lost_today_wh"], status["balance"]["lost_yesterday_wh"]
    said = [f"{wh / 1000:.1f} kWh {day}" for wh, day in ((today, "today"), (yesterday, "yesterday")) if wh is not None]
    return f"  lost in inverters: {', '.join(said)}" if said else ""


def _head(status: Status) -> str:
    at = datetime.fromtimestamp(status["at"], ZoneInfo(status["time_zone"]))
    first = f"edge-agent {status['version']}: {status['health']}"
    return f"{first}\nbuilding {status['building_id']}, up {age_text(status['uptime_s'])}, {at:%Y-%m-%d %H:%M:%S %Z}"


def _flow(status: Status) -> str:
    nodes = status["flow"]
    rows = [(_NAMES.get(node["kind"], node["kind"].replace("_", " ")), *_power(node), _joined(node["names"], 40)) for node in nodes]
    return "\n".join(filter(None, ["NOW", table_of(rows), _losses(status)])) if rows else ""


def _power(node: Node) -> tuple[str, str]:
    """Watts, and in which direction they flow."""
    watts = node["power_w"]
    soc = f" {node['soc_percent']:.0f} %" if node["soc_percent"] is not None else ""
    if watts is None:
        return "?", soc.strip()
    words = {"sun": ("gives", "gives"), "grid": ("gives", "takes"), "battery": ("charges", "gives")}.get(node["kind"], ("takes", "gives"))
    return watts_text(abs(watts)), (words[watts < 0] if watts else "") + soc


def watts_text(watts: float) -> str:
    """`812 W` or `5.91 kW`."""
    return f"{watts:.0f} W" if abs(watts) < 1000 else f"{watts / 1000:.2f} kW"


def _devices(status: Status) -> str:
    rows = [(device["id"], device["state"], _age(device), _said(device)) for device in status["devices"]]
    return "DEVICES\n" + table_of(rows)


def _age(device: Device) -> str:
    return "never read" if device["age_s"] is None else f"{age_text(device['age_s'])} ago"


def _said(device: Device) -> str:
    """What a device's newest values are, as far as a line holds them."""
    return _joined([text for value in device["values"] if (text := _value(value))], 46)


def _value(value: Value) -> str:
    said = value["value"]
    if said is None:
        return ""
    if value["quantity"] in _POWERS:
        assert isinstance(said, float | int)
        what = "AC" if value["quantity"] == "ac_output_w" else value["role"].replace("_", " ")
        return f"{what} {watts_text(float(said))}"
    if value["quantity"] == "soc_percent":
        return f"{said:g} %"
    if value["quantity"] in ("status", "charging_mode"):
        return str(said)
    return ""


def _cloud(status: Status) -> str:
    queue, uploads = status["queue"], status["uploads"]
    waiting = "empty" if not queue["waiting"] else counted(queue["waiting"], "event")
    if queue["oldest_at"] is not None:
        waiting += f", the oldest from {age_text(status['at'] - queue['oldest_at'])} ago"
    rows = [
        ("uploads", _uploads(uploads, status["at"])),
        ("delivered", f"{queue['accepted_live']} live, {queue['accepted_historical']} as history"),
        ("queue", f"{waiting} ({queue['size_bytes'] / 1e6:.1f} MB)"),
    ]
    if backlog := backlog_text(uploads, queue["waiting"], status["at"]):
        rows.append(("backlog", backlog))
    token = status["token_left_s"]
    rows.append(("token", "none yet" if token is None else f"good for {age_text(token)}"))
    rows.append(("building", status["building"]))
    clock, updates = status["clock"], status["updates"]
    rows.append(("clock", "right" if clock["trusted"] else f"not trusted: {clock['reason']}; {counted(clock['held'], 'reading')} held"))
    if updates is not None:
        rows.append(("updates", update_text(updates)))
    if queue["dead"] or queue["dropped"]:
        rows.append(("lost", f"{counted(queue['dead'], 'dead letter')}, {queue['dropped']} dropped"))
    return "CLOUD\n" + "\n".join(_wrapped(f"  {name:10} {text}", 13) for name, text in rows)


def _uploads(uploads: Uploads, now: float) -> str:
    accepted = "nothing accepted yet" if uploads["accepted_at"] is None else f"last accepted {age_text(now - uploads['accepted_at'])} ago"
    if uploads["next_try_at"] is None:
        return f"{uploads['state']}, {accepted}"
    return f"{uploads['state']}; {accepted}; next attempt in {age_text(uploads['next_try_at'] - now)}"


def _advice(status: Status) -> str:
    if not status["advice"]:
        return ""
    lines = [_wrapped(f"  {'!' if one['problem'] else '-'} {one['subject']}: {one['text']}", 4) for one in status["advice"]]
    return "WHAT TO LOOK AT\n" + "\n".join(lines)


def table_of(rows: Sequence[Sequence[str]]) -> str:
    """Columns without a head, each line cut at the terminal's width."""
    lines = table([""] * len(rows[0]), rows, 1000).splitlines()[1:]
    return "\n".join(line if len(line) <= _COLUMNS else line[: _COLUMNS - 1] + "…" for line in lines)


def _joined(parts: list[str], width: int) -> str:
    text = ", ".join(parts)
    return text if len(text) <= width else text[: width - 1] + "…"


def _wrapped(text: str, indent: int) -> str:
    return "\n".join(_lines(text, indent))


def _lines(text: str, indent: int) -> Iterator[str]:
    yield from textwrap.wrap(text, _COLUMNS, subsequent_indent=" " * indent, drop_whitespace=True, replace_whitespace=False)
