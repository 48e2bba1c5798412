"""MQTT devices of the simulated house: a go-e charger and a Tasmota plug, each with its real payloads.

Like the real ones they are clients of the broker: the charger publishes each key when it changes, retained,
and ticks; the plug telemeters by its period, retains nothing but its last will, and tells its state when it
is asked. Neither takes a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.demo.devices import frequency, voltages
from edge_agent.demo.house import House, watt_hours
from edge_agent.model.clock import Clock

CHARGER_TOPIC, PLUG_TOPIC = "go-eCharger/222819", "washer"
CHARGER_TOTAL, PLUG_TOTAL = 4_821_377, 212_418  # Wh counted before the demo began
TELE_PERIOD_S = 60.0
_LOCAL = timezone(timedelta(hours=1))
Now = Callable[[], House]


@contextlib.asynccontextmanager
async def _connected(client: Client, port: int, wake: Callable[[], None] = lambda: None, listen: str = "") -> AsyncIterator[Client]:
    """Connects a client and its thread; `wake` is called in the event loop for each message on `listen`."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()

    def connected(*_: object) -> None:
        loop.call_soon_threadsafe(ready.set)

    def heard(*_: object) -> None:
        loop.call_soon_threadsafe(wake)

    client.on_connect, client.on_message = connected, heard
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    try:
        await ready.wait()
        if listen:
            client.subscribe(listen)
        yield client
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


# go-e Charger, API v2: one retained topic per key, the payload is JSON.


def charger_keys(house: House, booted_at: float) -> dict[str, Any]:
    """All keys of the charger as they are now."""
    car, volts = house.car, [round(volt) for volt in voltages(house.at)]
    watts = house.flows.car / 1000
    phases = [round(watts * volt / sum(volts)) for volt in volts]
    factor = 99 if watts else 0
    amperes = [round(phase / volt, 1) for phase, volt in zip(phases, volts, strict=True)]
    now = datetime.fromtimestamp(house.at, UTC)
    return {
        "fhz": round(frequency(house.at), 2),
        "nrg": [*volts, 2, *amperes, *phases, 0, round(watts), factor, factor, factor, 0],
        "eto": CHARGER_TOTAL + math.floor(watt_hours(house.totals.car)),
        "wh": round(watt_hours(car.session_mws), 2),
        "car": car.state.value,
        "err": 0,
        "alw": True,
        "amp": 16,
        "acu": 16 if car.is_plugged else None,
        "ama": 16,
        "cbl": 20 if car.is_plugged else None,
        "frc": 0,
        "psm": 2,
        "pnp": 3,
        "pha": [bool(watts)] * 3 + [True] * 3,
        "modelStatus": 15,
        "tma": [round(22 + watts / 900, 1), round(24 + watts / 1100, 1)],
        "sse": "222819",
        "fwv": "60.4",
        "var": 11,
        "rbt": int(1000 * (house.at - booted_at)),
        "utc": f"{now:%Y-%m-%dT%H:%M:%S}.000.000",
        "loc": f"{now.astimezone(_LOCAL):%Y-%m-%dT%H:%M:%S}.000.000 +01:00",
    }


async def go_e_charger(port: int, house: Now, clock: Clock, tick_s: float = 1.0) -> None:
    """Runs the charger until it is cancelled; a real one ticks each second."""
    booted_at = clock.now() - 86_400
    published: dict[str, str] = {}
    async with _connected(Client(CallbackAPIVersion.VERSION2, client_id="go-eCharger-222819"), port) as client:
        while True:
            for key, value in charger_keys(house(), booted_at).items():
                if published.get(key) != (payload := _compact(value)):
                    published[key] = payload
                    client.publish(f"{CHARGER_TOPIC}/{key}", payload, retain=True)
            await clock.sleep(tick_s)


# Tasmota: telemetry in local time without an offset, energies in kWh with three decimals.


def plug_sensor(house: House) -> dict[str, Any]:
    """The plug's telemetry of its meter."""
    watts, volt = house.flows.washing_machine / 1000, round(voltages(house.at)[1])
    apparent = watts / 0.94 if watts > 5 else 3 * watts
    return {
        "Time": _local_time(house.at),
        "ENERGY": {
            "TotalStartTime": "2025-06-01T09:00:11",
            "Total": math.floor(PLUG_TOTAL + watt_hours(house.totals.washing_machine)) / 1000,
            "Yesterday": 1.204,
            "Today": math.floor(watt_hours(house.today.washing_machine)) / 1000,
            "Period": 0,
            "Power": round(watts),
            "ApparentPower": round(apparent),
            "ReactivePower": round(math.sqrt(apparent**2 - watts**2)),
            "Factor": round(watts / apparent, 2) if apparent else 0.0,
            "Voltage": volt,
            "Current": round(apparent / volt, 3),
        },
    }


def plug_state(house: House, booted_at: float) -> dict[str, Any]:
    """The plug's telemetry of itself."""
    up = timedelta(seconds=int(house.at - booted_at))
    clock_time = datetime.fromtimestamp(up.seconds, UTC)
    wifi = {"AP": 1, "SSId": "home", "BSSId": "02:00:00:00:00:01", "Channel": 6, "RSSI": 78, "Signal": -61}
    return {
        "Time": _local_time(house.at),
        "Uptime": f"{up.days}T{clock_time:%H:%M:%S}",
        "UptimeSec": int(up.total_seconds()),
        "POWER": "ON",
        "Wifi": wifi,
    }


def _local_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, _LOCAL):%Y-%m-%dT%H:%M:%S}"


async def tasmota_plug(port: int, house: Now, clock: Clock) -> None:
    """Runs the plug until it is cancelled. An empty TelePeriod command makes it telemeter at once."""
    booted_at = clock.now() - 200_000
    asked = asyncio.Event()
    plug = Client(CallbackAPIVersion.VERSION2, client_id="DVES_3A41C7")
    plug.will_set(f"tele/{PLUG_TOPIC}/LWT", "Offline", qos=1, retain=True)
    async with _connected(plug, port, asked.set, f"cmnd/{PLUG_TOPIC}/TelePeriod") as client:
        client.publish(f"tele/{PLUG_TOPIC}/LWT", "Online", retain=True)
        client.publish(f"stat/{PLUG_TOPIC}/POWER", "ON")
        while True:
            if asked.is_set():
                client.publish(f"stat/{PLUG_TOPIC}/RESULT", _compact({"TelePeriod": int(TELE_PERIOD_S)}))
            asked.clear()
            client.publish(f"tele/{PLUG_TOPIC}/STATE", _compact(plug_state(house(), booted_at)))
            client.publish(f"tele/{PLUG_TOPIC}/SENSOR", _compact(plug_sensor(house())))
            await _first_of(asked.wait(), clock.sleep(TELE_PERIOD_S))


async def _first_of(*waits: Any) -> None:
    """Waits for one of several things and lets go of the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
