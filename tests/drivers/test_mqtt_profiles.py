"""The shipped MQTT profiles: the payloads that the devices' documents show, and what they mean for the house."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from edge_agent.drivers.mqtt import MqttDriver
from edge_agent.drivers.mqtt_hub import MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.measurements import Quality, Quantity, Reading, Role, Value
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.meaning import meanings, measurements, meter_points
from edge_agent.profiles.setup import DeviceSetup
from tests.conftest import HandClock, Mosquitto, until
from tests.drivers.mqtt_device import MqttDevice, all_passed, sample_when


class Site:
    """One device of a house, played on a broker."""

    def __init__(self, broker: Mosquitto, clock: HandClock) -> None:
        self.clock = clock
        self.hub = MqttHub(MqttSettings("127.0.0.1", broker.port), clock, "agent")
        self.device = MqttDevice(broker.port)
        self.driver: MqttDriver | None = None
        self.setup: DeviceSetup | None = None

    async def install(
        self, name: str, topic: str, role: Role, variant: str = "", invert: bool = False, parameters: dict[str, str] | None = None
    ) -> MqttDriver:
        profile = load_profile(name)
        if variant:
            profile = profile.in_variant(variant)
        defaults = {name: spec.default for name, spec in profile.spec.parameters.items() if spec.default is not None}
        self.setup = DeviceSetup("d", "D", profile, topic=topic, role=role, parameters=defaults | (parameters or {}), invert=invert)
        self.driver = MqttDriver(self.setup, self.hub, self.clock)
        await until(lambda: self.hub.connected)
        await all_passed(self.hub, self.device)
        return self.driver

    async def quantities(self, *wanted: Quantity) -> dict[Quantity, Reading]:
        """What the device means for the house, as soon as all wanted quantities are there."""
        assert self.driver is not None
        assert self.setup is not None
        rows = meanings(self.setup)
        names = [row.point for row in rows if row.quantity in wanted]
        assert len(names) == len(wanted)
        sample = await sample_when(self.driver, lambda sample: all(sample.readings[name].value is not None for name in names))
        assert sample.error == ""
        return measurements(rows, sample)["d"]

    async def values(self, *wanted: Quantity) -> dict[Quantity, Value | None]:
        found = await self.quantities(*wanted)
        return {quantity: found[quantity].value for quantity in wanted}

    async def close(self) -> None:
        if self.driver is not None:
            await self.driver.close()
        await self.hub.close()
        self.device.close()


@pytest.fixture
async def site(mosquitto: Mosquitto, hand_clock: HandClock) -> AsyncIterator[Site]:
    one = Site(mosquitto, hand_clock)
    yield one
    await one.close()


GO_E = {
    "nrg": "[231,230,232,3,15.8,15.7,15.9,3649,3611,3688,0,10948,99,99,99,0]",
    "car": "2",
    "eto": "4821377",
    "wh": "5312.5",
    "err": "0",
    "alw": "true",
    "sse": '"222819"',
    "fwv": '"60.4"',
    "tma": "[38.5,null]",
    "fhz": "0",
    "acu": "null",
}


@pytest.mark.parametrize("topic", ["go-eCharger/222819", "/go-eCharger/222819"])
async def test_go_e_charger(site: Site, topic: str) -> None:
    for key, payload in GO_E.items():
        await site.device.say(f"{topic}/{key}", payload, retain=True)
    driver = await site.install("go-e-charger", topic, Role.CHARGER)
    await sample_when(driver, lambda sample: sample.readings["status"].quality is Quality.STALE)
    await site.device.say(f"{topic}/rbt", "918273", retain=True)
    assert await site.values(Quantity.POWER_W, Quantity.IMPORT_WH, Quantity.STATUS, Quantity.SWITCH_ON) == {
        Quantity.POWER_W: 10948,
        Quantity.IMPORT_WH: 4821377,
        Quantity.STATUS: "running",
        Quantity.SWITCH_ON: True,
    }
    readings = (await driver.read()).readings
    assert (readings["power_l2"].value, readings["voltage_l3"].value, readings["current_l1"].value) == (3611, 232, 15.8)
    assert (readings["energy_session"].value, readings["temperature"].value, readings["error"].value) == (5312.5, 38.5, "none")
    assert readings["frequency"].quality is readings["current_now"].quality is Quality.NOT_AVAILABLE
    assert driver.serial == "222819"


@pytest.mark.parametrize(
    ("car", "status", "plugged"),
    [
        ("0", "fault", None),
        ("1", "ready", False),
        ("2", "running", True),
        ("3", "ready", True),
        ("4", "ready", True),
        ("5", "fault", None),
        ("6", None, None),
        ("null", None, None),
        ("9", None, None),
    ],
)
async def test_go_e_car_states(site: Site, car: str, status: str | None, plugged: bool | None) -> None:
    driver = await site.install("go-e-charger", "go-eCharger/222819", Role.CHARGER)
    await site.device.say("go-eCharger/222819/car", car, retain=True)
    await site.device.say("go-eCharger/222819/rbt", "1", retain=True)
    await site.device.say("go-eCharger/222819/fwv", '"60.4"', retain=True)
    sample = await sample_when(driver, lambda sample: sample.readings["firmware"].value)
    assert (sample.readings["status"].value, sample.readings["plugged"].value) == (status, plugged)


WASHER = (
    '{"Time":"2026-02-11T07:45:02","ENERGY":{"TotalStartTime":"2025-06-01T09:00:11","Total":212.418,"Yesterday":1.204,"Today":0.331,'
    '"Power":412,"ApparentPower":455,"ReactivePower":193,"Factor":0.91,"Voltage":233,"Current":1.953}}'
)
THREE_PHASE = (
    '{"Time":"2026-02-11T07:45:04","ENERGY":{"TotalStartTime":"2025-01-01T00:00:00","Total":5120.117,"Yesterday":14.02,"Today":3.871,'
    '"Power":[120,0,845],"Factor":[0.88,0.00,0.97],"Voltage":[231,229,233],"Current":[0.59,0.0,3.74]}}'
)


async def test_tasmota_plug(site: Site) -> None:
    await site.device.listen("cmnd/#")
    await site.device.say("tele/washer/LWT", "Online", retain=True)
    driver = await site.install("tasmota-energy-plug", "washer", Role.PLUG)
    await until(lambda: site.device.heard == [("cmnd/washer/TelePeriod", "")])
    await site.device.say("stat/washer/POWER", "ON")
    await site.device.say("tele/washer/SENSOR", WASHER)
    assert await site.values(Quantity.POWER_W, Quantity.IMPORT_WH, Quantity.SWITCH_ON) == {
        Quantity.POWER_W: 412,
        Quantity.IMPORT_WH: pytest.approx(212418),
        Quantity.SWITCH_ON: True,
    }
    site.clock.forward(901)
    sample = await driver.read()
    assert sample.error == "", "the plug is online, if quiet"
    assert sample.readings["power"].quality is Quality.STALE
    assert sample.readings["switch"].value is True
    await site.device.say("tele/washer/STATE", '{"Time":"2026-02-11T07:50:02","Uptime":"1T02:33:26","POWER":"OFF"}')
    await sample_when(driver, lambda sample: sample.readings["switch"].value is False)
    await site.device.say("tele/washer/LWT", "Offline", retain=True)
    sample = await sample_when(driver, lambda sample: sample.error)
    assert sample.error == "d: tele/washer/LWT says 'Offline'"
    assert sample.readings["switch"].value is None


async def test_tasmota_with_several_phases_and_a_topic_turned_around(site: Site) -> None:
    beginnings = {"tele": "tasmota/{topic}/tele", "stat": "tasmota/{topic}/stat", "cmnd": "tasmota/{topic}/cmnd", "relay": "2"}
    driver = await site.install("tasmota-energy-plug", "meter3p", Role.CONSUMER, parameters=beginnings)
    await site.device.say("tasmota/meter3p/tele/SENSOR", THREE_PHASE)
    await site.device.say("tasmota/meter3p/stat/POWER2", "OFF")
    assert await site.values(Quantity.POWER_W, Quantity.IMPORT_WH, Quantity.SWITCH_ON) == {
        Quantity.POWER_W: 965,
        Quantity.IMPORT_WH: pytest.approx(5120117),
        Quantity.SWITCH_ON: False,
    }
    readings = (await driver.read()).readings
    assert readings["voltage"].value == 231
    assert readings["current"].value == pytest.approx(4.33)


async def test_a_balcony_inverter_behind_a_plug_wired_the_other_way(site: Site) -> None:
    await site.install("tasmota-energy-plug", "balcony", Role.PV, invert=True)
    await site.device.say("tele/balcony/SENSOR", WASHER)
    assert await site.values(Quantity.GENERATION_W, Quantity.GENERATION_WH) == {
        Quantity.GENERATION_W: 412,
        Quantity.GENERATION_WH: pytest.approx(212418),
    }


SHELLY = "shellyplusplugs-7c9ebd010203"
SWITCH = (
    '{"id":0,"source":"MQTT","output":true,"apower":1874.3,"voltage":229.4,"current":8.22,'
    '"aenergy":{"total":51877.402,"by_minute":[31190.1,31244.7,30981.0],"minute_ts":1772610000},"temperature":{"tC":41.7,"tF":107.1}}'
)
SWITCH_OFF = (
    f'{{"src":"{SHELLY}","dst":"{SHELLY}/events","method":"NotifyStatus","params":{{"ts":1772610031.88,'
    '"switch:0":{"id":0,"apower":0.0,"output":false,"source":"timer"}}}'
)


async def test_shelly_switch_over_its_status_topic(site: Site) -> None:
    driver = await site.install("shelly-gen2-switch", SHELLY, Role.PLUG)
    await site.device.say(f"{SHELLY}/status/switch:0", SWITCH)
    assert await site.values(Quantity.POWER_W, Quantity.IMPORT_WH, Quantity.SWITCH_ON) == {
        Quantity.POWER_W: 1874.3,
        Quantity.IMPORT_WH: 51877.402,
        Quantity.SWITCH_ON: True,
    }
    assert (await driver.read()).readings["temperature"].value == 41.7


async def test_shelly_switch_asked_at_the_start_and_then_by_its_changes(site: Site) -> None:
    await site.device.listen("+/rpc")
    driver = await site.install("shelly-gen2-switch", SHELLY, Role.PLUG)
    await until(lambda: site.device.heard)
    assert site.device.heard == [(f"{SHELLY}/rpc", '{"id":1,"src":"agent-d","method":"Shelly.GetStatus"}')]
    await site.device.say("agent-d/rpc", f'{{"id":1,"src":"{SHELLY}","dst":"agent-d","result":{{"ble":{{}},"switch:0":{SWITCH}}}}}')
    assert (await site.values(Quantity.SWITCH_ON, Quantity.POWER_W))[Quantity.SWITCH_ON] is True
    await site.device.say(f"{SHELLY}/events/rpc", SWITCH_OFF)
    sample = await sample_when(driver, lambda sample: sample.readings["switch"].value is False)
    assert (sample.readings["power"].value, sample.readings["energy_total"].value, driver.serial) == (0, 51877.402, SHELLY)
    site.clock.forward(181)
    assert (await driver.read()).readings["switch"].quality is Quality.STALE, "three minutes without its counter"
    await site.device.say(f"{SHELLY}/online", "false")
    assert (await sample_when(driver, lambda sample: sample.error)).error == f"d: {SHELLY}/online says 'false'"


async def test_shelly_channels_are_devices_of_their_own(site: Site) -> None:
    driver = await site.install("shelly-gen2-switch", "shellypro4pm-1", Role.PLUG, parameters={"channel": "3"})
    await site.device.say("shellypro4pm-1/status/switch:0", SWITCH)
    await site.device.say("shellypro4pm-1/status/switch:3", SWITCH.replace("1874.3", "7.5"))
    assert (await site.values(Quantity.POWER_W))[Quantity.POWER_W] == 7.5
    assert (await driver.read()).readings["voltage"].value == 229.4


async def test_shelly_that_only_measures(site: Site) -> None:
    await site.install("shelly-gen2-switch", "shellypmmini-1", Role.PLUG, parameters={"component": "pm1"})
    await site.device.say("shellypmmini-1/status/pm1:0", '{"id":0,"voltage":230.1,"current":0.5,"apower":101.5,"aenergy":{"total":12.5}}')
    assert await site.values(Quantity.POWER_W, Quantity.IMPORT_WH) == {Quantity.POWER_W: 101.5, Quantity.IMPORT_WH: 12.5}


EM = "shellypro3em-0c1a2b3c4d5e"
EM_STATUS = (
    '{"id":0,"a_current":2.11,"a_voltage":231.8,"a_act_power":-402.6,"a_aprt_power":489.5,"a_pf":0.82,"a_freq":50.0,"b_current":1.4,'
    '"b_voltage":230.4,"b_act_power":310.2,"b_aprt_power":322.9,"b_pf":0.96,"b_freq":50.0,"c_current":0.5,"c_voltage":232.0,'
    '"c_act_power":88.0,"c_aprt_power":116.3,"c_pf":0.75,"c_freq":50.0,"n_current":null,"total_current":4.01,"total_act_power":-4.4,'
    '"total_aprt_power":928.7,"user_calibrated_phase":[]}'
)
EM_DATA = (
    '{"id":0,"a_total_act_energy":812044.2,"a_total_act_ret_energy":40210.9,"b_total_act_energy":655310.0,"b_total_act_ret_energy":0.0,'
    '"c_total_act_energy":120950.6,"c_total_act_ret_energy":1.2,"total_act":1588304.8,"total_act_ret":40212.1}'
)
EM_DELTA = (
    f'{{"src":"{EM}","dst":"{EM}/events","method":"NotifyStatus","params":{{"ts":1772610003.41,'
    '"em:0":{"id":0,"a_act_power":-398.1,"total_act_power":1.7}}}'
)


@pytest.mark.parametrize(("invert", "power", "taken", "given"), [(False, -4.4, 1588304.8, 40212.1), (True, 4.4, 40212.1, 1588304.8)])
async def test_shelly_meter(site: Site, invert: bool, power: float, taken: float, given: float) -> None:
    driver = await site.install("shelly-gen2-em", EM, Role.GRID, invert=invert)
    await site.device.say(f"{EM}/status/em:0", EM_STATUS)
    await site.device.say(f"{EM}/status/emdata:0", EM_DATA)
    assert await site.values(Quantity.POWER_W, Quantity.IMPORT_WH, Quantity.EXPORT_WH) == {
        Quantity.POWER_W: power,
        Quantity.IMPORT_WH: taken,
        Quantity.EXPORT_WH: given,
    }
    await site.device.say(f"{EM}/events/rpc", EM_DELTA)
    sample = await sample_when(driver, lambda sample: sample.readings["power"].value == 1.7)
    assert (sample.readings["power_l1"].value, sample.readings["power_l2"].value) == (-398.1, 310.2)
    assert sample.readings["current_n"].quality is Quality.NOT_AVAILABLE
    assert driver.serial == EM
    site.clock.forward(61)
    sample = await driver.read()
    assert sample.readings["power"].quality is Quality.STALE
    assert sample.readings["energy_import"].value == 1588304.8


async def test_shelly_meter_with_channels_of_its_own(site: Site) -> None:
    await site.install("shelly-gen2-em", "shellyproem-1", Role.GRID, variant="monophase", parameters={"channel": "1"})
    await site.device.say("shellyproem-1/status/em1:0", '{"id":0,"act_power":1.0}')
    await site.device.say("shellyproem-1/status/em1:1", '{"id":1,"current":4.029,"voltage":236.1,"act_power":951.2}')
    delta = '{"src":"shellyproem-1","method":"NotifyStatus","params":{"ts":1,"em1data:1":{"total_act_energy":5.5,"total_act_ret_energy":2.25}}}'
    await site.device.say("shellyproem-1/events/rpc", delta)
    assert await site.values(Quantity.POWER_W, Quantity.IMPORT_WH, Quantity.EXPORT_WH) == {
        Quantity.POWER_W: 951.2,
        Quantity.IMPORT_WH: 5.5,
        Quantity.EXPORT_WH: 2.25,
    }


@pytest.mark.parametrize("name", ["tasmota-energy-plug", "shelly-gen2-switch"])
def test_a_plug_that_counts_both_ways_has_an_export(name: str) -> None:
    plain, both = load_profile(name), load_profile(name).in_variant("two-way")
    exports = [
        Quantity.EXPORT_WH in meter_points(DeviceSetup("d", "D", profile, topic="t", role=Role.PLUG))[0].quantities for profile in (plain, both)
    ]
    assert exports == [False, True]
