"""The MQTT driver against a real broker: what a device says, how long it holds, and what goes wrong."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_agent.drivers.mqtt import MqttDriver
from edge_agent.drivers.mqtt_hub import MqttHub
from edge_agent.drivers.settings import MqttSettings
from edge_agent.model.measurements import Quality, Reading, Role, Sample
from edge_agent.profiles.library import load_profile
from edge_agent.profiles.setup import DeviceSetup
from tests.conftest import HandClock, Mosquitto, until
from tests.drivers.mqtt_device import MqttDevice, all_passed, sample_when

PLUG = """
vendor: ACME
kind: plug
transport: mqtt
role: plug
mqtt: {stale_after: 60s}
points:
  power: {topic: "{topic}/state", path: $.power, unit: W, positive: consumption, is: power_w, valid: [-10, 4000]}
  energy: {topic: "{topic}/state", path: $.energy, unit: kWh, is: import_wh}
"""


class House:
    """A broker, one device on it, and the driver that listens to it."""

    def __init__(self, broker: Mosquitto, clock: HandClock, folder: Path) -> None:
        self.broker, self.clock, self.folder = broker, clock, folder
        self.hub = MqttHub(MqttSettings("127.0.0.1", broker.port), clock)
        self.device = MqttDevice(broker.port)
        self.drivers: list[MqttDriver] = []

    def driver(self, profile: str = PLUG, topic: str = "acme/1", known_serial: str = "", **parameters: str) -> MqttDriver:
        if "\n" in profile:
            (self.folder / "device.yaml").write_text(profile, encoding="utf-8")
            profile = str(self.folder / "device.yaml")
        found = load_profile(profile)
        defaults = {name: spec.default for name, spec in found.spec.parameters.items() if spec.default is not None}
        setup = DeviceSetup("plug", "Plug", found, topic=topic, role=Role.PLUG, parameters=defaults | parameters)
        self.drivers.append(MqttDriver(setup, self.hub, self.clock, known_serial))
        return self.drivers[-1]

    async def connected(self, profile: str = PLUG, topic: str = "acme/1", known_serial: str = "", **parameters: str) -> MqttDriver:
        """A driver whose subscriptions the broker has: what is said from now on is heard live."""
        driver = self.driver(profile, topic, known_serial, **parameters)
        await until(lambda: self.hub.connected)
        await self.passed()
        return driver

    async def passed(self) -> None:
        """Waits until all that the device said so far has reached the drivers."""
        await all_passed(self.hub, self.device)

    async def close(self) -> None:
        for driver in self.drivers:
            await driver.close()
        await self.hub.close()
        self.device.close()


@pytest.fixture
async def house(mosquitto: Mosquitto, hand_clock: HandClock, tmp_path: Path) -> AsyncIterator[House]:
    one = House(mosquitto, hand_clock, tmp_path)
    yield one
    await one.close()


def value(sample: Sample, point: str) -> object:
    return sample.readings[point].value


# how long a value holds


async def test_a_live_message_is_dated_by_its_arrival(house: House) -> None:
    driver = await house.connected()
    start = house.clock.now()
    await house.device.say("acme/1/state", '{"power": 41.5, "energy": 2}')
    await house.passed()
    house.clock.forward(20)
    sample = await driver.read()
    assert sample.at == start + 20
    assert sample.error == ""
    assert sample.readings["power"] == Reading(41.5, "W", Quality.OK, start, "", '{"power": 41.5, "energy": 2}')
    assert value(sample, "energy") == 2000


async def test_a_value_older_than_its_limit_is_stale(house: House) -> None:
    driver = await house.connected()
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.passed()
    house.clock.forward(60)
    assert value(await driver.read(), "power") == 41.5
    house.clock.forward(1)
    reading = (await driver.read()).readings["power"]
    assert (reading.value, reading.quality, reading.reason) == (None, Quality.STALE, "61 s old, more than 60 s")
    assert reading.at == house.clock.now() - 61


async def test_a_point_may_have_a_limit_of_its_own(house: House) -> None:
    driver = await house.connected(PLUG.replace("is: import_wh}", "is: import_wh, stale_after: 1h}"))
    await house.device.say("acme/1/state", '{"power": 41.5, "energy": 2}')
    await house.passed()
    house.clock.forward(3600)
    sample = await driver.read()
    assert sample.readings["power"].quality is Quality.STALE
    assert value(sample, "energy") == 2000


async def test_a_retained_copy_is_no_present_value(house: House) -> None:
    await house.device.say("acme/1/state", '{"power": 41.5}', retain=True)
    driver = await house.connected()
    reading = (await driver.read()).readings["power"]
    assert (reading.value, reading.quality, reading.reason) == (None, Quality.STALE, "retained by the broker, age unknown")
    await house.device.say("acme/1/state", '{"power": 42.5}', retain=True)
    await house.passed()
    assert value(await driver.read(), "power") == 42.5


async def test_a_retained_repetition_does_not_undo_what_was_heard_live(house: House) -> None:
    driver = await house.connected()
    await house.device.say("acme/1/state", '{"power": 41.5}', retain=True)
    await house.passed()
    house.driver()  # subscribes to the same topic, so the broker repeats its copy to both
    await house.passed()
    assert value(await driver.read(), "power") == 41.5


async def test_a_retained_copy_that_carries_its_date_is_dated_by_it(house: House) -> None:
    dated = PLUG.replace("is: power_w,", "is: power_w, dated: {path: $.at, format: epoch_s},")
    await house.device.say("acme/1/state", f'{{"power": 41.5, "energy": 2, "at": {house.clock.now() - 30}}}', retain=True)
    driver = await house.connected(dated)
    sample = await driver.read()
    assert sample.readings["power"].at == house.clock.now() - 30
    assert value(sample, "power") == 41.5
    assert sample.readings["energy"].quality is Quality.STALE


@pytest.mark.parametrize(
    ("form", "text"),
    [("epoch_s", "1772609990.5"), ("epoch_ms", "1772609990500"), ("iso", '"2026-03-04T07:39:50.5Z"'), ("iso", '"2026-03-04T08:39:50.500+01:00"')],
)
async def test_dates_are_read_in_each_format(house: House, form: str, text: str) -> None:
    driver = await house.connected(PLUG.replace("is: power_w,", f"is: power_w, dated: {{path: $.at, format: {form}}},"))
    await house.device.say("acme/1/state", f'{{"power": 1, "at": {text}}}')
    await house.passed()
    assert (await driver.read()).readings["power"].at == 1772609990.5


@pytest.mark.parametrize("text", ["0", "12345", "1772613600", '"now"', "null", "true", "1e400", "[1]", '"2026-03-04T07:39:50"'])
async def test_a_date_that_cannot_be_is_not_believed(house: House, text: str) -> None:
    form = "iso" if "T" in text else "epoch_s"
    driver = await house.connected(PLUG.replace("is: power_w,", f"is: power_w, dated: {{path: $.at, format: {form}}},"))
    await house.device.say("acme/1/state", f'{{"power": 1, "at": {text}}}')
    await house.passed()
    assert (await driver.read()).readings["power"].at == house.clock.now()


async def test_a_buffered_record_is_old_and_does_not_replace_a_newer_one(house: House) -> None:
    driver = await house.connected(PLUG.replace("is: power_w,", "is: power_w, dated: {path: $.at, format: epoch_s},"))
    now = house.clock.now()
    await house.device.say("acme/1/state", f'{{"power": 7, "at": {now - 3600}}}')
    await house.passed()
    assert "3600 s old" in (await driver.read()).readings["power"].reason
    await house.device.say("acme/1/state", f'{{"power": 8, "at": {now}}}')
    await house.device.say("acme/1/state", f'{{"power": 9, "at": {now - 1800}}}')
    await house.passed()
    assert value(await driver.read(), "power") == 8


async def test_a_clock_that_is_set_moves_no_value_in_time(house: House) -> None:
    driver = await house.connected()
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.passed()
    house.clock.forward(10)
    house.clock.set_wall(house.clock.now() + 86_400)
    reading = (await driver.read()).readings["power"]
    assert reading.value == 41.5
    assert reading.at == house.clock.now() - 10


# on change, and proofs of life

ON_CHANGE = PLUG.replace("{stale_after: 60s}", "{stale_after: 60s, on_change: true}")
WITH_WORDS = ON_CHANGE.replace("on_change: true", 'on_change: true, availability: {topic: "{topic}/lwt", online: up, offline: down}')
TICKING = ON_CHANGE.replace("on_change: true", 'on_change: true, availability: {topic: "{topic}/uptime", within: 10s}')


async def test_a_retained_value_holds_while_the_device_says_that_it_lives(house: House) -> None:
    await house.device.say("acme/1/state", '{"power": 41.5}', retain=True)
    driver = await house.connected(WITH_WORDS)
    assert (await driver.read()).readings["power"].reason == "retained by the broker, age unknown"
    await house.device.say("acme/1/lwt", "up", retain=True)
    await house.passed()
    house.clock.forward(7200)
    sample = await driver.read()
    assert sample.error == ""
    assert (value(sample, "power"), sample.readings["power"].at) == (41.5, house.clock.now())


async def test_a_last_will_ends_what_held(house: House) -> None:
    driver = await house.connected(WITH_WORDS)
    device = MqttDevice(house.broker.port, will=("acme/1/lwt", "down"))
    await device.say("acme/1/lwt", "up", retain=True)
    await device.say("acme/1/state", '{"power": 41.5}')
    await house.passed()
    assert value(await driver.read(), "power") == 41.5
    device.vanish()
    sample = await sample_when(driver, lambda sample: sample.error)
    assert sample.error == "plug: acme/1/lwt says 'down'"
    assert sample.readings["power"].quality is Quality.STALE
    assert sample.readings["power"].reason == sample.error


async def test_a_heartbeat_carries_values_on_to_its_last_tick(house: House) -> None:
    await house.device.say("acme/1/state", '{"power": 41.5}', retain=True)
    await house.device.say("acme/1/uptime", "1", retain=True)
    driver = await house.connected(TICKING)
    assert (await driver.read()).readings["power"].quality is Quality.STALE, "a retained tick proves nothing"
    await house.device.say("acme/1/uptime", "2", retain=True)
    await house.passed()
    house.clock.forward(8)
    sample = await driver.read()
    assert sample.error == ""
    assert (value(sample, "power"), sample.readings["power"].at) == (41.5, house.clock.now() - 8)


async def test_a_heartbeat_that_stops_makes_the_device_unreachable(house: House) -> None:
    driver = await house.connected(TICKING)
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.device.say("acme/1/uptime", "2")
    await house.passed()
    house.clock.forward(42)
    sample = await driver.read()
    assert sample.error == "plug: acme/1/uptime is silent for 42 s (it should speak within 10 s)"
    assert sample.readings["power"].quality is Quality.STALE


async def test_a_device_that_goes_and_comes_back_is_one_line_each(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    driver = await house.connected(TICKING)
    for _ in range(2):
        await house.device.say("acme/1/uptime", "2")
        await house.passed()
        for _ in range(3):
            await driver.read()
        house.clock.forward(42)
    for _ in range(3):
        await driver.read()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("edge_agent")]
    assert lines == ["plug: acme/1/uptime is silent for 42 s (it should speak within 10 s)"]
    await house.device.say("acme/1/uptime", "3")
    await house.passed()
    await driver.read()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("edge_agent")] == [*lines, "plug: speaks again"]


async def test_without_an_availability_topic_anything_said_shows_life(house: House) -> None:
    driver = await house.connected(ON_CHANGE)
    await house.device.say("acme/1/state", '{"power": 41.5, "energy": 1}')
    await house.passed()
    for _ in range(5):
        house.clock.forward(50)
        await house.device.say("acme/1/state", '{"energy": 1}')
        await house.passed()
    sample = await driver.read()
    assert (value(sample, "power"), sample.readings["power"].at) == (41.5, house.clock.now())
    house.clock.forward(61)
    assert (await driver.read()).readings["power"].quality is Quality.STALE


async def test_a_word_that_is_neither_online_nor_offline_proves_nothing(house: House) -> None:
    driver = await house.connected(WITH_WORDS)
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.device.say("acme/1/lwt", "sleeping")
    await house.passed()
    house.clock.forward(61)
    sample = await driver.read()
    assert sample.error == ""
    assert sample.readings["power"].quality is Quality.STALE


async def test_what_a_device_said_before_the_broker_was_lost_proves_nothing_after(house: House) -> None:
    driver = await house.connected(WITH_WORDS)
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.device.say("acme/1/lwt", "up")
    await house.passed()
    house.clock.forward(3600)
    assert value(await driver.read(), "power") == 41.5
    house.broker.stop()
    sample = await sample_when(driver, lambda sample: sample.error)
    assert sample.error.endswith("the connection was lost; is the broker running?")
    assert sample.readings["power"].quality is Quality.STALE
    house.broker.start()
    sample = await sample_when(driver, lambda sample: not sample.error)
    assert sample.readings["power"].quality is Quality.STALE, "its last will may have passed unheard"


async def test_a_bridge_that_speaks_is_no_proof_that_its_device_lives(house: House) -> None:
    bridge = """[{topic: bridge/state, online: online, offline: offline}, {topic: "{topic}/availability", online: online, offline: offline}]"""
    await house.device.say("acme/1/state", '{"power": 41.5}', retain=True)
    driver = await house.connected(PLUG.replace("{stale_after: 60s}", f"{{on_change: true, availability: {bridge}}}"))
    await house.device.say("bridge/state", "online")
    await house.passed()
    assert (await driver.read()).readings["power"].quality is Quality.STALE


async def test_a_device_gets_its_time_again_when_the_broker_is_back(house: House) -> None:
    driver = await house.connected(TICKING)
    await house.device.say("acme/1/uptime", "1")
    await house.passed()
    house.broker.stop()
    await sample_when(driver, lambda sample: sample.error)
    house.clock.forward(3600)
    house.broker.start()
    await until(lambda: house.hub.connected)
    assert (await driver.read()).error == ""
    house.clock.forward(11)
    assert "acme/1/uptime is silent for 11 s" in (await driver.read()).error


async def test_all_availability_topics_must_agree(house: House) -> None:
    both = """[{topic: bridge/state, path: [$.state, $], online: online, offline: offline},
      {topic: "{topic}/availability", path: [$.state, $], online: online, offline: offline}]"""
    driver = await house.connected(PLUG.replace("{stale_after: 60s}", f"{{stale_after: 60s, on_change: true, availability: {both}}}"))
    await house.device.say("bridge/state", '{"state":"online"}')
    await house.device.say("acme/1/availability", "online")
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.passed()
    house.clock.forward(3600)
    assert value(await driver.read(), "power") == 41.5
    await house.device.say("bridge/state", '{"state":"offline"}')
    await house.passed()
    assert (await driver.read()).error == "plug: bridge/state says 'offline'"
    await house.device.say("bridge/state", "online")
    await house.device.say("acme/1/availability", '{"state":"sleeping"}')
    await house.passed()
    sample = await driver.read()
    assert sample.error == ""
    assert sample.readings["power"].quality is Quality.STALE


async def test_a_device_that_falls_silent_is_unreachable(house: House) -> None:
    driver = await house.connected()
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.passed()
    house.clock.forward(121)
    assert (await driver.read()).error == "plug: silent for 121 s on acme/1/state"


async def test_nothing_ever_heard_says_what_to_check(house: House) -> None:
    driver = await house.connected("go-e-charger", "go-eCharger/222819")
    house.clock.forward(42)
    early = await driver.read()
    assert early.error == ""
    assert early.readings["power"].reason == "nothing heard yet on go-eCharger/222819/nrg"
    house.clock.forward(42)
    late = await driver.read()
    hint = "check topic: and that MQTT is enabled on the device"
    assert late.error == f"plug: nothing heard on go-eCharger/222819/# since start (84 s); {hint}"
    assert late.readings["power"].quality is Quality.NOT_AVAILABLE


async def test_only_retained_copies_are_not_taken_for_a_device(house: House) -> None:
    await house.device.say("go-eCharger/222819/nrg", "[231]", retain=True)
    driver = await house.connected("go-e-charger", "go-eCharger/222819")
    house.clock.forward(61)
    assert "nothing but retained copies on go-eCharger/222819/#" in (await driver.read()).error


# what a message may look like


async def test_a_key_that_is_not_in_a_message_is_unchanged(house: House) -> None:
    driver = await house.connected()
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.device.say("acme/1/state", '{"energy": 2}')
    await house.passed()
    sample = await driver.read()
    assert (value(sample, "power"), value(sample, "energy")) == (41.5, 2000)


@pytest.mark.parametrize(
    ("payload", "quality", "words"),
    [
        ("hello", Quality.ERROR, "is no JSON: 'hello'"),
        ('{"power": 41', Quality.ERROR, "is no JSON"),
        ('{"power": "much"}', Quality.UNKNOWN, "'much' is no number"),
        ('{"power": true}', Quality.UNKNOWN, "'true' is no number"),
        ('{"power": [1, 2]}', Quality.ERROR, "an array of 2 where one value belongs"),
        ('{"power": {"W": 1}}', Quality.ERROR, "an object where one value belongs"),
        ('{"power": null}', Quality.NOT_AVAILABLE, "not available (null)"),
        ('{"power": "unavailable"}', Quality.NOT_AVAILABLE, "not available (unavailable)"),
        ('{"power": "-"}', Quality.NOT_AVAILABLE, "not available (-)"),
        ('{"power": NaN}', Quality.NOT_AVAILABLE, "not available (nan)"),
        ('{"power": 1e999}', Quality.NOT_AVAILABLE, "not available (inf)"),
        ('{"power": 5000}', Quality.OUT_OF_RANGE, "5000 W is outside -10 to 4000"),
        ("", Quality.NOT_AVAILABLE, "not available"),
        (b"\xff\xfe{", Quality.ERROR, "no UTF-8"),
        (b'{"power": 41, "fill": "' + b"x" * 300_000 + b'"}', Quality.ERROR, "300025 bytes is longer than"),
    ],
)
async def test_a_payload_that_gives_no_value_gives_the_reason(house: House, payload: str | bytes, quality: Quality, words: str) -> None:
    driver = await house.connected()
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.device.say("acme/1/state", payload)
    await house.passed()
    reading = (await driver.read()).readings["power"]
    assert (reading.value, reading.quality) == (None, quality)
    assert words in reading.reason
    await house.device.say("acme/1/state", '{"power": 42}')
    await house.passed()
    assert value(await driver.read(), "power") == 42, "a bad payload ends with the next good one"


async def test_a_number_in_quotes_is_a_number(house: House) -> None:
    driver = await house.connected()
    await house.device.say("acme/1/state", '{"power": "1.942"}')
    await house.passed()
    assert value(await driver.read(), "power") == 1.942


async def test_only_messages_that_say_so_are_read(house: House) -> None:
    filtered = PLUG.replace("is: power_w,", "is: power_w, where: {$.device: '{serial}', $.buffered: 'no'},")
    driver = await house.connected(filtered + "parameters: {serial: {}}\n", serial="7")
    await house.device.say("acme/1/state", '{"power": 1, "device": 7, "buffered": "no"}')
    await house.device.say("acme/1/state", '{"power": 2, "device": 8, "buffered": "no"}')
    await house.device.say("acme/1/state", '{"power": 3, "device": 7, "buffered": "yes"}')
    await house.device.say("acme/1/state", '{"power": 4, "device": 7}')
    await house.device.say("acme/1/state", '{"power": 5, "device": null, "buffered": "no"}')
    await house.passed()
    assert value(await driver.read(), "power") == 1


async def test_of_several_topics_the_last_that_spoke_counts(house: House) -> None:
    driver = await house.connected(PLUG.replace('{topic: "{topic}/state", path: $.power,', '{topic: ["{topic}/a", "{topic}/b"],'))
    await house.device.say("acme/1/a", "1")
    await house.device.say("acme/1/b", "2")
    await house.passed()
    assert value(await driver.read(), "power") == 2
    await house.device.say("acme/1/a", "3")
    await house.passed()
    assert value(await driver.read(), "power") == 3


async def test_a_position_that_another_topic_tells(house: House) -> None:
    row = '{topic: "{topic}/values", path: "$[*]", index_by: {topic: "{topic}/value_ids", equals: "74"},'
    driver = await house.connected(PLUG.replace('{topic: "{topic}/state", path: $.power,', row))
    await house.device.say("acme/1/values", "[231.2,1091.4,null]")
    await house.passed()
    assert value(await driver.read(), "power") is None
    await house.device.say("acme/1/value_ids", "[1,74,211]", retain=True)
    await house.passed()
    assert value(await driver.read(), "power") == 1091.4
    await house.device.say("acme/1/value_ids", "[74,1,211]", retain=True)
    await house.device.say("acme/1/values", "[7,231.2,null]")
    await house.passed()
    assert value(await driver.read(), "power") == 7


async def test_parts_of_a_text(house: House) -> None:
    driver = await house.connected(PLUG.replace("path: $.power,", 'path: "$[1]", split: ";",'))
    await house.device.say("acme/1/state", "21.5;880;-")
    await house.passed()
    assert value(await driver.read(), "power") == 880


async def test_a_direction_that_another_point_tells(house: House) -> None:
    signed = PLUG.replace("positive: consumption", "positive: {by: way, values: {1: export, 0: import}}")
    driver = await house.connected(signed + '  way: {topic: "{topic}/state", path: $.way}\n')
    for way, power in (("0", 41.5), ("1", -41.5), ("7", None)):
        await house.device.say("acme/1/state", f'{{"power": 41.5, "way": {way}}}')
        await house.passed()
        assert value(await driver.read(), "power") == power


async def test_a_total_is_made_of_several_topics_and_as_old_as_the_oldest(house: House) -> None:
    net = """
vendor: ACME
kind: meter
transport: mqtt
role: any
points:
  taken: {topic: "{topic}/taken", unit: kW, positive: import}
  given: {topic: "{topic}/given", unit: kW, positive: export}
  power: {sum: [taken, given], is: power_w}
"""
    driver = await house.connected(net)
    await house.device.say("acme/1/taken", "0.000")
    await house.passed()
    house.clock.forward(10)
    await house.device.say("acme/1/given", "1.942")
    await house.passed()
    reading = (await driver.read()).readings["power"]
    assert (reading.value, reading.at) == (-1942, house.clock.now() - 10)


# who speaks


WITH_SERIAL = PLUG + '  serial: {topic: "{topic}/info", path: $.sn, as: text}\nidentity: serial\n'


async def test_the_serial_number_is_known_even_from_a_retained_copy(house: House) -> None:
    await house.device.say("acme/1/info", '{"sn": "007"}', retain=True)
    driver = await house.connected(WITH_SERIAL, known_serial="007")
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.passed()
    house.clock.forward(50)
    sample = await driver.read()
    assert driver.serial == "007"
    assert (value(sample, "serial"), value(sample, "power")) == ("007", 41.5)


async def test_another_device_at_a_known_topic_is_refused(house: House) -> None:
    driver = await house.connected(WITH_SERIAL, known_serial="007")
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.device.say("acme/1/info", '{"sn": "008"}')
    await house.passed()
    sample = await driver.read()
    assert sample.readings == {}
    assert sample.error == "plug: another device answers on acme/1: serial 008, not 007; check topic: or correct serial:"
    await house.device.say("acme/1/info", '{"sn": "007"}')
    await house.passed()
    assert value(await driver.read(), "power") == 41.5


async def test_several_devices_under_one_wildcard_are_not_mixed(house: House) -> None:
    wild = PLUG.replace('"{topic}/state"', '"{topic}/{instance}/state"') + 'parameters: {instance: {default: "+"}}\n'
    driver = await house.connected(wild)
    await house.device.say("acme/1/30/state", '{"power": 41.5}')
    await house.passed()
    assert value(await driver.read(), "power") == 41.5
    await house.device.say("acme/1/31/state", '{"power": 999}')
    await house.passed()
    sample = await driver.read()
    assert sample.readings == {}
    assert sample.error == "plug: several devices speak on acme/1/+/state (30, 31); name one in the site file"


# requests


async def test_a_device_that_must_be_asked_is_asked_after_each_connection_and_then_regularly(house: House) -> None:
    later = '{"keepalive-options":["suppress-republish"]}'
    request = f"""[{{topic: "R/{{topic}}/keepalive", first_payload: "", payload: '{later}', every: 30s}}]"""
    await house.device.listen("R/#")
    await house.connected(PLUG.replace("{stale_after: 60s}", f"{{requests: {request}}}"))
    await until(lambda: len(house.device.heard) == 1)
    for count in (2, 3):
        house.clock.forward(30)
        await until(lambda count=count: len(house.device.heard) == count)  # type: ignore[misc]
    assert house.device.heard == [("R/acme/1/keepalive", text) for text in ("", later, later)]


async def test_a_closed_driver_asks_and_hears_no_more(house: House) -> None:
    driver = await house.connected(PLUG.replace("{stale_after: 60s}", '{requests: [{topic: "R/{topic}", every: 30s}]}'))
    await house.device.listen("R/#")
    await driver.close()
    house.drivers.clear()
    house.clock.forward(100)
    await house.device.say("acme/1/state", '{"power": 41.5}')
    await house.passed()
    assert house.device.heard == []
    assert value(await driver.read(), "power") is None
