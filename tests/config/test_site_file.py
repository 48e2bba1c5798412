"""The site file: what is accepted, and what each mistake says."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.config import Site, load_site
from edge_agent.model.errors import ConfigError
from edge_agent.model.measurements import Role
from edge_agent.uplink.settings import PriceSource

ACCOUNT = """\
moost:
  customer_id: 656730be2bc9719e6e5ed51d
  building_id: 99900000C048ADA6
  client_id: 6cUo
  client_secret_file: client-secret
"""
METER = """\
  - id: grid-meter
    name: Main meter
    profile: eastron-sdm630
    connection: rtu+tcp://192.168.1.9:502
    role: grid
"""
MINIMAL = ACCOUNT + "devices:\n" + METER

Load = Callable[[str], Site]
Mistakes = Callable[[str], list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> Site:
        (tmp_path / "agent.yaml").write_text(text)
        secret = tmp_path / "client-secret"
        secret.write_text("s3cret-0123456789\n")
        secret.chmod(0o600)
        return load_site(tmp_path / "agent.yaml")

    return load


@pytest.fixture
def mistakes(load: Load, tmp_path: Path) -> Mistakes:
    """What the file is refused with, each as `line: text`."""

    def mistakes(text: str) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            load(text)
        return [str(problem).removeprefix(f"{tmp_path}/agent.yaml:") for problem in refused.value.problems]

    return mistakes


def test_example_of_the_readme_is_accepted(load: Load) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme.split("```yaml\n")[1].split("```")[0]
    site = load(example)
    assert [setup.id for setup in site.devices] == ["grid-meter", "hybrid", "wallbox"]
    assert site.interval_s == 900
    assert site.upload.backfill_after_s == 3600
    assert site.max_size == 256_000_000
    assert site.devices[1].roles == frozenset({Role.PV, Role.BATTERY})
    assert site.devices[2].topic == "go-eCharger/222819"


def test_defaults_are_those_of_the_platform(load: Load) -> None:
    site = load(MINIMAL)
    assert site.account.base_url == "https://api.moost.io"
    assert (site.interval_s, site.poll_interval_s, site.household.id) == (900, 10.0, "household")
    assert site.warnings == ()


def test_identifiers_that_yaml_would_turn_are_read_as_text(load: Load) -> None:
    site = load(MINIMAL + "building: {zip: 01067, city: Dresden, country_code: NO}\n")
    assert site.building is not None
    assert (site.building.zip, site.building.country_code) == ("01067", "NO")


def test_all_mistakes_are_reported_at_once_with_their_lines(mistakes: Mistakes) -> None:
    found = mistakes(MINIMAL.replace("role: grid", "rolle: grid\n    unit: one") + "reporting: {interval: 15 minutes}\n")
    assert found == [
        "11: unknown key 'devices[0].rolle'; did you mean 'role'?",
        "12: devices[0].unit: takes a whole number, not 'one'",
        "13: reporting.interval: '15 minutes' is no duration: write a number with ms, s, m, h or d, such as 15m",
    ]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("eastron-sdm630", "eastron-sdm63", "9: grid-meter: unknown profile 'eastron-sdm63'; did you mean 'eastron-sdm630'?"),
        ("rtu+tcp://", "rtu-tcp://", "10: grid-meter: 'rtu-tcp' is no kind of connection; did you mean 'rtu+tcp'?"),
        ("192.168.1.9:502", "192.168.1.9:70000", "10: grid-meter: 'rtu+tcp://192.168.1.9:70000': the port must be a number from 1 to 65535"),
        ("rtu+tcp://192.168.1.9:502", "serial:///dev/ttyUSB0?baudrate=9601", "10: grid-meter: baudrate is one of 300, "),
        ("    role: grid\n", "", "7: grid-meter: eastron-sdm630 does not tell where it measures"),
        ("role: grid", "role: gird", "11: devices[0].role: takes 'grid', "),
        ("id: grid-meter", "id: m1", "7: id: 'm1' is no device id"),
        ("id: grid-meter", "id: household", "7: 'household' is the id of the household"),
        ("building_id: 99900000C048ADA6", "building_id: main house", "3: moost.building_id: "),
        ("656730be2bc9719e6e5ed51d", "656730be", "2: moost.customer_id: "),
        ("role: grid", "role: grid\n    type: SMARTMETER", "12: grid-meter: type: 'SMARTMETER' is no device type; did you mean 'SMART_METER'?"),
        ("role: grid", "role: grid\n    scale: -40", "12: devices[0].scale: "),
        ("role: grid", "role: grid\n    variant: old", "12: grid-meter: eastron-sdm630 has no variant 'old'"),
        ("role: grid", "role: grid\n    topic: meter", "12: grid-meter: eastron-sdm630 is read over Modbus"),
        (
            "role: grid",
            "role: grid\n  - {id: wallbox, name: W, profile: go-e-charger}",
            "12: wallbox: go-e-charger is read over MQTT, but there is no broker",
        ),
        ("client_secret_file: client-secret", "client_secret: abc123", "5: moost.client_secret: a secret does not belong into this file"),
        ("moost:", "time_zone: Europe/Wien\nmoost:", "1: time_zone: 'Europe/Wien' is no time zone"),
        ("moost:", "reporting: {interval: 7m}\nmoost:", "1: reporting.interval: 420 s does not divide a day"),
        ("moost:", "reporting: {interval: 1500ms}\nmoost:", "1: reporting.interval: "),
        ("role: grid", "role: grid\n    poll_interval: 1h", "12: grid-meter: poll_interval: is longer than the interval"),
        (
            "role: grid",
            "role: grid\n  - {id: hyb, name: H, profile: sungrow-sh, connection: 'tcp://h', invert: true}",
            "12: hyb: sungrow-sh has several roles",
        ),
        ("moost:", "storage: {max_size: 1B}\nmoost:", "1: storage.max_size: "),
        ("moost:", "moost:\n  ca_file: client-secret", "2: moost.ca_file: "),
        ("moost:", "storage: {max_size: big}\nmoost:", "1: storage.max_size: 'big' is no size"),
        ("moost:", "mqtt: {broker: 'mqtt://user:pw@host'}\nmoost:", "1: mqtt.broker: a password does not belong into this file"),
        ("moost:", "moost:\n  base_url: http://api.moost.io", "2: moost.base_url: the client secret would travel in the clear"),
        ("moost:", "moost:\n  base_url: https://[::1", "2: moost.base_url: 'https://[::1' is no address; write https://api.moost.io"),
        ("moost:", "mqtt: {broker: 'mqtt://[::1'}\nmoost:", "1: mqtt.broker: is no broker; write mqtt://localhost:1883"),
        ("rtu+tcp://192.168.1.9:502", "tcp://[::1", "10: grid-meter: 'tcp://[::1' is no connection: write tcp://host:port"),
        ("moost:", "time_zone: CEST\nmoost:", "1: time_zone: 'CEST' is no time zone; write one such as Europe/Vienna"),
        ("moost:", "reporting: {status_ids: {of: 1}}\nmoost:", "1: reporting.status_ids.of: takes 'offline', "),
        ("    role: grid", "  role: grid", "11: is not valid YAML: this line begins in another column"),
        ("    role: grid", "    role: grid\n    role: pv", "12: 'role' is written twice"),
    ],
)
def test_mistake_is_named_with_its_line_and_what_to_write(mistakes: Mistakes, before: str, after: str, message: str) -> None:
    assert before in MINIMAL
    found = mistakes(MINIMAL.replace(before, after, 1))
    assert any(problem.startswith(message) for problem in found), found


def test_mistakes_of_the_schema_do_not_hide_the_others(mistakes: Mistakes) -> None:
    broken = METER.replace("role: grid", "unit: one").replace("id: grid-meter", "id: broken")
    unknown = METER.replace("id: grid-meter", "id: other").replace("eastron-sdm630", "estron-sdm630")
    found = mistakes(ACCOUNT.replace("client_id", "client") + "devices:\n" + broken + unknown + "upload: {batch_size: 0}\n")
    assert [problem.split(":")[0] for problem in found] == ["1", "4", "11", "14", "17"]
    assert found[3].startswith("14: other: unknown profile 'estron-sdm630'; did you mean 'eastron-sdm630'?")


def test_duplicate_device_id_names_both_lines(mistakes: Mistakes) -> None:
    found = mistakes(MINIMAL + METER.replace("192.168.1.9", "192.168.1.10"))
    assert found == ["12: 'grid-meter' is the id of two devices; the first is in line 7; ids are for ever"]


def test_two_devices_on_one_serial_port_with_different_settings_are_refused(mistakes: Mistakes) -> None:
    first = METER.replace("rtu+tcp://192.168.1.9:502", "serial:///dev/ttyUSB0?baudrate=9600")
    second = first.replace("grid-meter", "sub-meter").replace("9600", "19200").replace("role: grid", "role: consumer\n    unit: 2")
    found = mistakes(ACCOUNT + "devices:\n" + first + second)
    assert len(found) == 1
    assert found[0].startswith("15: sub-meter: is set to serial:///dev/ttyUSB0?baudrate=19200")


def test_two_framings_on_one_gateway_are_refused(mistakes: Mistakes) -> None:
    second = METER.replace("grid-meter", "sub-meter").replace("rtu+tcp", "tcp").replace("role: grid", "role: consumer\n    unit: 2")
    assert "one line has one setting" in mistakes(MINIMAL + second)[0]


def test_secret_in_the_file_is_not_printed(mistakes: Mistakes) -> None:
    assert "abc123" not in "".join(mistakes(MINIMAL.replace("client_secret_file: client-secret", "client_secret: abc123")))


def test_short_interval_is_allowed_with_a_warning(load: Load) -> None:
    site = load("reporting: {interval: 2s, poll_interval: 500ms}\n" + MINIMAL)
    assert site.interval_s == 2
    assert "the platform asks for one update every 15 minutes" in site.warnings[0]


def test_secret_comes_from_the_systemd_credential_then_the_environment(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = MINIMAL.replace("  client_secret_file: client-secret\n", "")
    monkeypatch.setenv("MOOST_CLIENT_SECRET", "from-environment")
    assert load(text).account.client_secret == "from-environment"
    (tmp_path / "moost-client-secret").write_text("from-credential\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load(text).account.client_secret == "from-credential"


def test_missing_secret_says_where_to_put_it(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOOST_CLIENT_SECRET", raising=False)
    found = mistakes(MINIMAL.replace("  client_secret_file: client-secret\n", ""))
    assert found == ["1: moost: there is no client secret; write client_secret_file: client-secret, with the secret in that file"]


def test_secret_that_others_can_read_is_warned_about(load: Load, tmp_path: Path) -> None:
    load(MINIMAL)
    (tmp_path / "client-secret").chmod(0o644)
    site = load_site(tmp_path / "agent.yaml")
    assert site.warnings == (f"{tmp_path}/client-secret can be read by others; make it private: chmod 600 {tmp_path}/client-secret",)
    assert stat.S_IMODE((tmp_path / "client-secret").stat().st_mode) == 0o644


def test_secret_never_shows_in_a_repr(load: Load) -> None:
    assert "s3cret" not in repr(load(MINIMAL))


def test_two_grid_meters_are_warned_about(load: Load) -> None:
    hybrid = "  - {id: hybrid, name: H, profile: sungrow-sh, connection: 'tcp://192.168.1.12'}\n"
    assert "several grid meters (grid-meter, hybrid)" in load(MINIMAL + hybrid).warnings[0]


def test_own_profile_is_found_beside_the_site_file(load: Load, tmp_path: Path) -> None:
    profile = "vendor: Own\nkind: meter\ntransport: modbus\nrole: grid\npoints:\n  p: {input: 0, as: f32, unit: W, positive: import, is: power_w}\n"
    (tmp_path / "my-meter.yaml").write_text(profile)
    site = load(MINIMAL.replace("eastron-sdm630", "./my-meter.yaml").replace("    role: grid\n", ""))
    assert site.devices[0].role is Role.GRID


def test_mistake_in_an_own_profile_names_its_file_and_line(mistakes: Mistakes, tmp_path: Path) -> None:
    (tmp_path / "my-meter.yaml").write_text("vendor: Own\nkind: meter\ntransport: modbus\nrole: grid\npoints:\n  p: {input: 0, as: f32, unti: W}\n")
    found = mistakes(MINIMAL.replace("eastron-sdm630", "./my-meter.yaml"))
    assert found == [f"{tmp_path}/my-meter.yaml:6: unknown key 'points.p.unti'; did you mean 'unit'?"]


def test_dual_tariff_becomes_the_platforms_windows(load: Load) -> None:
    tariff = "{type: DUAL, min_price: '0.296', max_price: '0.385', currency: EUR, low_tariff: {monday: 19:00-07:00}}"
    site = load(MINIMAL + f"building: {{zip: '8010', city: Graz, country_code: AT, tariff: {tariff}}}\n")
    assert site.building is not None
    assert site.building.tariff == {
        "type": "DUAL",
        "minPrice": "0.296",
        "maxPrice": "0.385",
        "currency": "EUR",
        "dual": {"lowTariff": {"mondayStartTime": "19:00", "mondayEndTime": "07:00"}},
    }


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_site(tmp_path / "nowhere.yaml")
    assert str(refused.value) == f"{tmp_path}/nowhere.yaml: there is no such file; `edge-agent setup` writes one"


BUILDING = "building: {{zip: '8010', city: Graz, country_code: AT, tariff: {{type: DYNAMIC, {}}}}}\n"
BROKER = "mqtt: {broker: mqtt://localhost}\n"


def test_dynamic_prices_come_from_a_file_beside_the_site_file_or_a_topic(load: Load, tmp_path: Path) -> None:
    site = load(MINIMAL + BUILDING.format("file: prices.json, currency: EUR"))
    assert site.building is not None
    assert site.building.tariff is None
    assert site.building.prices == PriceSource(tmp_path / "prices.json", named={"currency": "EUR"})
    site = load(MINIMAL + BROKER + BUILDING.format("topic: evcc/site/forecast/grid"))
    assert site.building is not None
    assert site.building.prices == PriceSource(topic="evcc/site/forecast/grid")


@pytest.mark.parametrize(("content", "warning"), [(None, "there is no such file"), ("{", "is no JSON"), ("[]", "it holds no price")])
def test_a_price_file_that_is_not_good_yet_is_a_warning(load: Load, tmp_path: Path, content: str | None, warning: str) -> None:
    if content is not None:
        (tmp_path / "prices.json").write_text(content)
    (found,) = load(MINIMAL + BUILDING.format("file: prices.json")).warnings
    assert found.startswith(f"building.tariff: {tmp_path}/prices.json: {warning}")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("currency: EUR", "a DYNAMIC tariff needs file: or topic:; write file: prices.json, or topic: evcc/site/forecast/grid"),
        ("file: a.json, topic: b", "a DYNAMIC tariff needs file: or topic:"),
        ("topic: b", "a topic, but there is no broker"),
        ("topic: b/#", "building.tariff.topic: holds a wildcard"),
        ("file: a.json, low_tariff: {monday: 19:00-07:00}", "a DYNAMIC tariff has no low_tariff"),
    ],
)
def test_mistakes_of_a_dynamic_tariff_are_named(mistakes: Mistakes, keys: str, message: str) -> None:
    assert any(message in problem for problem in mistakes(MINIMAL + BUILDING.format(keys)))


def test_only_a_dynamic_tariff_has_a_file(mistakes: Mistakes) -> None:
    single = BUILDING.format("file: a.json").replace("DYNAMIC", "SINGLE")
    assert "a SINGLE tariff has no file; write type: DYNAMIC" in mistakes(MINIMAL + single)[0]


@pytest.mark.parametrize(("key", "active"), [("", None), (", active: false", False), (", active: true", True)])
def test_a_building_is_deactivated_and_reactivated_by_a_key(load: Load, key: str, active: bool | None) -> None:
    site = load(MINIMAL + f"building: {{zip: '8010', city: Graz, country_code: AT{key}}}\n")
    assert site.building is not None
    assert site.building.active is active


def test_secret_may_be_an_encrypted_systemd_credential(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    for name in ("moost-client-secret-encrypted", "mqtt-password-encrypted"):
        (tmp_path / name).write_text(f"from-{name}\n".replace("-encrypted", ""))
    site = load(MINIMAL.replace("  client_secret_file: client-secret\n", "") + "mqtt: {username: gateway}\n")
    assert site.account.client_secret == "from-moost-client-secret"
    assert site.mqtt is not None
    assert site.mqtt.password == "from-mqtt-password"


def test_secret_that_the_folders_group_can_read_is_right_where_the_folder_shares(load: Load, tmp_path: Path) -> None:
    load(MINIMAL)
    (tmp_path / "client-secret").chmod(0o640)
    assert load_site(tmp_path / "agent.yaml").warnings
    tmp_path.chmod(0o2770)
    assert load_site(tmp_path / "agent.yaml").warnings == ()
    (tmp_path / "client-secret").chmod(0o644)
    assert load_site(tmp_path / "agent.yaml").warnings
