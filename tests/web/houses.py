"""Two houses for the page's pictures: one in which all is well, and one with troubles."""

from __future__ import annotations

from typing import Any

from edge_agent.status.document import Device, DeviceState, Node, Status, Value
from tests.status.examples import NOW, device, healthy, judged
from tests.web.serving import House, day_of_charts

AT = NOW + 4.5 * 3600  # a quarter past one in the afternoon


def _device(name: str, title: str, values: dict[str, float | str], age_s: float, state: DeviceState = "ok", error: str = "") -> Device:
    one = device(name, state, error)
    found = []
    for key, value in values.items():
        role, _, quantity = key.partition(".")
        found.append(Value(meter_point=name, role=role, quantity=quantity, value=value, quality="ok", reason=""))
    return {**one, "name": title, "values": found, "age_s": age_s, "read_at": AT - age_s, "failing_s": 540.0 if error else None}


def _node(kind: str, power_w: float | None, *names: str, soc_percent: float | None = None, reason: str = "") -> Node:
    return Node(kind=kind, power_w=power_w, reason=reason, soc_percent=soc_percent, names=list(names))


def _points(devices: list[Device]) -> dict[str, dict[str, Any]]:
    rows = (
        ("power_total", -1843.2, "W", "ok", "", "0xC4E6 0x6666"),
        ("import_total", 2871431.9, "Wh", "ok", "", "0x4533 0x76E9"),
        ("export_total", 3351886.0, "Wh", "ok", "", "0x4551 0x7E2F"),
        ("frequency", 50.02, "Hz", "ok", "", "0x4248 0x147B"),
        ("power_l3", None, "W", "not available", "the device says so", "0x7FC0 0x0000"),
    )
    keys = ("point", "value", "unit", "quality", "reason", "raw")
    return {one["id"]: {"id": one["id"], "points": [dict(zip(keys, row, strict=True)) for row in rows]} for one in devices}


def _house(status: Status, letters: list[dict[str, Any]] | None = None) -> House:
    finding = {"wrong": True, "text": "the meter `grid-meter` counts the wrong way: write `invert: true`", "points": ["grid-meter"]}
    terms = [{"role": "grid", "point": "grid-meter", "watts": -1843.2}, {"role": "pv", "point": "hybrid.pv", "watts": 7421.0}]
    checked = {"terms": terms, "findings": [finding], "errors": [], "wrong": True}
    return House(judged(status), day_of_charts(AT), letters or [], _points(status["devices"]), checked)


def good_house() -> House:
    """Sun at noon, the battery charging, the car and the heat pump running."""
    status = healthy()
    status["at"] = AT
    status["uptime_s"] = 23 * 86400.0
    status["devices"] = [
        _device("grid-meter", "Main meter", {"grid.power_w": -1843.2}, 3),
        _device("hybrid", "Roof and battery", {"pv.generation_w": 7421.0, "battery.power_w": 1210.0, "battery.soc_percent": 78.0}, 5),
        _device("heat-pump", "Heat pump", {"heat_pump.power_w": 1630.0, "heat_pump.status": "running"}, 5),
        _device("wallbox", "Garage", {"charger.power_w": 2350.0, "charger.status": "running"}, 2),
        _device("washer", "Washing machine", {"plug.power_w": 38.0}, 4),
    ]
    status["flow"] = [
        _node("sun", 7421.0, "Roof and battery"),
        _node("grid", -1843.2, "Main meter"),
        _node("battery", 1210.0, "Roof and battery", soc_percent=78.0),
        _node("house", 4367.8, "House"),
        _node("charger", 2350.0, "Garage"),
        _node("heat_pump", 1630.0, "Heat pump"),
        _node("plug", 38.0, "Washing machine"),
    ]
    status["uploads"]["accepted_at"] = AT - 41
    status["queue"]["accepted_live"] = 48_211
    return _house(status)


def bad_house() -> House:
    """A silent inverter, a power that cannot be, no internet, and events that the cloud refused."""
    house = good_house()
    status = house.status
    error = "hybrid: no answer from 192.168.1.12:502 in 3 s; check cable, power and `connection:`"
    status["devices"][1] = _device("hybrid", "Roof and battery", {}, 540, "silent", error)
    grid = status["devices"][0]
    grid["state"] = "partial"
    grid["values"].append(
        Value(meter_point="grid-meter", role="grid", quantity="import_wh", value=None, quality="out of range", reason="9.9e9 Wh is beyond 1e9 Wh")
    )
    absent = "no current power from hybrid"
    status["flow"] = [_node(node["kind"], None, reason=absent) if node["kind"] in ("sun", "battery", "house") else node for node in status["flow"]]
    status["totals_missing"] = {"hybrid.pv": "has been silent since 2026-03-04T12:01:00Z"}
    waiting = "waiting: api.moost.io cannot be reached (no route to host)"
    status["uploads"] = {**status["uploads"], "state": waiting, "next_try_at": AT + 2, "accepted_at": AT - 5400}
    status["queue"] = {**status["queue"], "waiting": 312, "oldest_at": int(AT - 5400), "dead": 2}
    letter = {"device_id": "wallbox", "type": "CHARGING_MODE", "value": 9, "at": AT - 86400, "reason": "400: value must be between 0 and 7"}
    return _house(status, [letter, {**letter, "at": AT - 90000}])
