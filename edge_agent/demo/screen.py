"""What a person sees of the demo: a live table on a terminal, plain lines elsewhere, a summary at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edge_agent.cloud.vocabulary import STATUS_IDS
from edge_agent.demo.house import House
from edge_agent.demo.summary import Account, Comparison

ZONE = ZoneInfo("Europe/Vienna")
_ENERGY = {
    "ENERGY_CONSUMPTION": "used",
    "ENERGY_GENERATION": "generated",
    "ENERGY_IMPORT": "charged",
    "ENERGY_EXPORT": "discharged",
    "GRID_ENERGY_CONSUMPTION": "from grid",
    "ENERGY_EXCESS": "to grid in ½ h",
}
_POWER = {"POWER_CONSUMPTION": "", "POWER_GENERATION": "sun", "GRID_POWER_CONSUMPTION": "from grid", "POWER_EXCESS": "to grid"}
_OF_SOURCE = {
    ("SMART_METER", "ENERGY_CONSUMPTION"): "from grid",
    ("SMART_METER", "POWER_CONSUMPTION"): "from grid",
    ("CAR_CHARGER", "ENERGY_CONSUMPTION"): "charged",
    ("GATEWAY", "POWER_CONSUMPTION"): "used",
}
_STATUS = {number: status.value for status, number in STATUS_IDS.items()}
_WIDE = 120  # columns
_STYLES = {"running": "green", "offline": "red", "fault": "bold red", "warning": "yellow"}


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers under the table."""

    waiting: int
    live: int
    historical: int
    refused: int


@dataclass
class Received:
    """What the cloud has, the newest of each kind by device; the order of devices is that of the site file."""

    names: Mapping[str, str]
    newest: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)

    def take(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Adds events as they arrive; an older one never replaces a newer one."""
        for event in events:
            kinds = self.newest.setdefault(event["deviceId"], {})
            if event["type"] not in kinds or kinds[event["type"]]["timestamp"] <= event["timestamp"]:
                kinds[event["type"]] = event


def clock_text(at: float) -> str:
    """`11:15`, in the house's time zone."""
    return f"{datetime.fromtimestamp(at, ZONE):%H:%M}"


def watts_text(watts: float) -> str:
    """`812 W` or `5.91 kW`."""
    return f"{watts:.0f} W" if abs(watts) < 1000 else f"{watts / 1000:.2f} kW"


def flow_line(house: House) -> Text:
    """Where the power goes at this moment."""
    flows = house.flows
    sun, base = flows.pv / 1000, (flows.consumption - flows.car) / 1000
    grid, battery = (flows.grid_import - flows.grid_export) / 1000, (flows.battery_charge - flows.battery_discharge) / 1000
    car = watts_text(flows.car / 1000) if flows.car else "plugged in" if house.car.is_plugged else "away"
    parts = [
        (f"sun {watts_text(sun)}", "yellow" if sun else "dim"),
        (f"battery {'charges' if battery > 0 else 'gives'} {watts_text(abs(battery))} ({100 * house.hybrid.soc:.0f} %)", "green"),
        (f"grid {'gives' if grid > 0 else 'takes'} {watts_text(abs(grid))}", "red" if grid > 50 else "cyan"),
        (f"house {watts_text(base)}", "magenta"),
        (f"car {car}", "blue" if house.car.is_plugged else "dim"),
    ]
    return Text("  |  ").join(Text(text, style) for text, style in parts)


def live_view(house: House, received: Received, figures: Figures, speed: float, width: int) -> RenderableType:
    """The whole live picture for a terminal of that many columns."""
    title = Text.assemble(
        ("edge-agent demo", "bold"), f"   {datetime.fromtimestamp(house.at, ZONE):%A %d %B %Y, %H:%M:%S}", (f"   {speed:g}x", "dim")
    )
    title.append(f"   {house.heat_pump.outside_c:.0f} °C outside", "dim")
    table = _table(received, width >= _WIDE)
    return Group(Padding(title, (1, 1, 0, 1)), Padding(flow_line(house), (1, 1)), table, Padding(_figures(figures), (0, 1)))


def _table(received: Received, wide: bool) -> Table:
    table = Table(box=box.ROUNDED, title="what has arrived at the cloud", title_style="dim")
    for heading in ("device", *(["id"] if wide else []), "until", "energy of the interval", "power", "state"):
        table.add_column(heading, style="dim" if heading == "id" else "")
    for device_id, name in received.names.items():
        events = received.newest.get(device_id, {})
        ends = [event["timestamp"] for kind, event in events.items() if kind in _ENERGY]
        until = clock_text(max(ends)) if ends else "..."
        shown = name if wide or "." not in device_id else device_id  # two roles of one device share its name
        table.add_row(shown, *([device_id] if wide else []), until, _joined(_energies(events)), _joined(_powers(events)), _state(events))
    return table


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _energies(events: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for kind, word in _ENERGY.items():
        if event := events.get(kind):
            yield f"{event['value']:.0f} Wh {_OF_SOURCE.get((event['source'], kind), word)}"


def _powers(events: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for kind, word in _POWER.items():
        if event := events.get(kind):
            yield f"{watts_text(event['value'])} {_OF_SOURCE.get((event['source'], kind), word)}".rstrip()


def _state(events: Mapping[str, Mapping[str, Any]]) -> Text:
    text = Text()
    for kind, event in events.items():
        if word := _state_word(kind, event):
            text.append(", " if text else "")
            text.append(word, _STYLES.get(word, ""))
    return text


def _state_word(kind: str, event: Mapping[str, Any]) -> str:
    value = event["value"]
    match kind:
        case "DEVICE_STATUS":
            return _STATUS.get(int(value), str(value))
        case "SWITCH_STATE":
            words = ("unplugged", "plugged in") if event["source"] == "CAR_CHARGER" else ("off", "on")
            return words[bool(value)]
        case "STATE_OF_CHARGE_RATE":
            return f"{value:.0f} %"
        case "WATER_TEMPERATURE":
            return f"water {value:.1f} °C"
        case "SELF_SUFFICIENCY_RATE":
            return f"{value:.0f} % of its own"
    return ""


def _figures(figures: Figures) -> Text:
    refused = (f"{figures.refused} refused", "bold red" if figures.refused else "dim")
    return Text.assemble(
        (f"{figures.live}", "bold"),
        " events arrived live, ",
        (f"{figures.historical}", "bold"),
        " as history, ",
        refused,
        f"; {figures.waiting} wait in the queue",
    )


def lines(events: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[str]:
    """Events as plain lines: one for all that a device says of one moment."""
    groups: dict[tuple[int, str], dict[str, Mapping[str, Any]]] = {}
    for event in events:
        groups.setdefault((event["timestamp"], event["deviceId"]), {})[event["type"]] = event
    for (at, device_id), kinds in sorted(groups.items()):
        said = [_joined(_energies(kinds)), _joined(_powers(kinds)), _state(kinds).plain]
        if any(said):
            yield f"{clock_text(at)}  {device_id:<15} {names.get(device_id, ''):<16} {'; '.join(filter(None, said))}"


def summary_view(found: Iterable[Comparison], empty: Iterable[Account], width: int) -> Table:
    """The comparison as a table for a terminal of that many columns."""
    wide = width >= _WIDE
    title = "what the devices counted against what the cloud received, in Wh"
    table = Table(box=box.ROUNDED if wide else box.SIMPLE_HEAD, title=title, title_style="dim", pad_edge=wide, collapse_padding=not wide)
    for heading in ("device", "direction", "from-until"):
        table.add_column(heading, no_wrap=True)
    for heading in ("counted", "received", "off by", "at most", *(("%", "events") if wide else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        percent = _signed(100 * one.difference_wh / one.counted_wh, 2) if one.counted_wh > 1 else ""
        table.add_row(
            one.account.device_id,
            one.account.direction,
            f"{clock_text(one.begin)}-{clock_text(one.end)}",
            f"{one.counted_wh:.1f}",
            f"{one.received_wh:.1f}",
            Text(_signed(one.difference_wh, 1), "green" if one.agrees else "bold red"),
            f"±{one.allowed_wh:.0f}",
            *((percent, str(one.events)) if wide else ()),
        )
    for account in empty:
        table.add_row(account.device_id, account.direction, Text("nothing received", "bold red"))
    return table


def _signed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"


def console() -> Console:
    """Stdout: a terminal with its size, or a file that takes lines of any length."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=200)
