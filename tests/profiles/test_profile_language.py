"""Profiles as people write them: each mistake is told with its line and what to write, and what is right is merged."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.model.errors import ConfigError, Problem
from edge_agent.model.measurements import Role
from edge_agent.profiles.document import Document, parse_document, read_document
from edge_agent.profiles.library import DeviceProfile, load_profile, profile_names

METER = """\
vendor: ACME
kind: meter
transport: modbus
role: any
points:
  power: {input: 12, as: f32, unit: W, positive: import, is: power_w}
"""
PLUG = """\
vendor: ACME
kind: plug
transport: mqtt
role: plug
parameters: {channel: {default: "0"}}
mqtt: {stale_after: 60s}
points:
  power: {topic: "{topic}/state", path: $.power, unit: W, positive: consumption, is: power_w}
"""


def load(folder: Path, text: str, name: str = "mine.yaml") -> DeviceProfile:
    (folder / name).write_text(text, encoding="utf-8")
    return load_profile(f"./{name}", folder)


def problems(folder: Path, text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as refusal:
        load(folder, text)
    return refusal.value.problems


# mistakes


@pytest.mark.parametrize(
    ("text", "old", "new", "line", "words"),
    [
        (METER, "vendor: ACME", "vendr: ACME", 1, "unknown key 'vendr'; did you mean 'vendor'?"),
        (METER, "vendor: ACME\n", "", 1, "'vendor' is missing"),
        (METER, "kind: meter", "kind: metre", 2, "kind: takes 'meter'"),
        (METER, "transport: modbus", "transport: mqt", 3, "transport: takes 'modbus' or 'mqtt', not 'mqt'; did you mean 'mqtt'?"),
        (METER, "role: any", "role: gird", 4, "role: takes 'grid', "),
        (METER, "positive: import", "positive: Import", 6, "points.power.positive: takes 'import', "),
        (METER, "role: any\n", "", 1, "the profile has no role; write role: any"),
        (METER, "input: 12", "inpt: 12", 6, "unknown key 'points.power.inpt'; did you mean 'input'?"),
        (METER, "input: 12", "input: twelve", 6, "takes a whole number"),
        (METER, "input: 12", "input: 70000", 6, "points.power: address 70000 is outside 0 to 65535"),
        (METER, "input: 12", "input: 65535", 6, "points.power: address 65535 is outside 0 to 65535"),
        (METER, "input: 12", "input: [1, 2, 3]", 6, "points.power: 3 addresses for 2 registers"),
        (METER, "input: 12", "input: 12, holding: 12", 6, "points.power: has holding and input; write one of"),
        (METER, "input: 12, ", "", 6, "points.power: has no source; write one of"),
        (METER, "as: f32, ", "", 6, "points.power: has no encoding; write as: u16"),
        (METER, "as: f32", "as: text", 6, "points.power: has no encoding"),
        (METER, "as: f32", "as: float", 6, "points.power.as"),
        (METER, "input: 12, as: f32", "topic: a/b", 6, "points.power: a topic in a Modbus profile; write transport: mqtt"),
        (METER, "unit: W", "unit: Watt", 6, "points.power: unknown unit 'Watt'"),
        (METER, "unit: W", "unit: kWh", 6, "points.power: power_w needs a unit of W, not 'kWh'"),
        (METER, "positive: import, ", "", 6, "points.power: a power needs its direction; write positive: with one of import, charging"),
        (METER, "positive: import", "positive: in", 6, "points.power.positive"),
        (METER, "positive: import", "positive: {by: way}", 6, "points.power: there is no other point 'way'"),
        (METER, "is: power_w", "is: pwer_w", 6, "points.power: unknown quantity 'pwer_w'; did you mean 'power_w'?"),
        (METER, "is: power_w", "is: batery.power_w", 6, "points.power: unknown role 'batery'; did you mean 'battery'?"),
        (METER, "is: power_w", "is: battery.power_w", 4, "role 'any' and points with roles of their own"),
        (METER, "is: power_w", "is: power_w, shift: pump", 6, "points.power: there is no parameter 'pump'"),
        (METER, "is: power_w", "is: power_w, scale_by: sf", 6, "points.power: there is no other point 'sf'"),
        (METER, "role: any", "role: any\nidentity: serial", 5, "identity: there is no point 'serial'"),
        (METER, "role: any", "role: any\nmodbus: {max_registers: 500}", 5, "modbus.max_registers: takes at most 125"),
        (METER, "role: any", "role: any\nmodbus: {pause: 5 parsecs}", 5, "'5 parsecs' is no duration"),
        (METER, "role: any", "role: any\nvariants: {old: {when: {point: way, values: [1]}}}", 5, "there is no point 'way'"),
        (METER, "role: any", "role: any\nrole: grid", 5, "'role' is written twice; keep one of the two"),
        (METER, "role: any", "role: any\nextends: nothing", 5, "unknown profile 'nothing'"),
        (METER, "role: any", "role: any\nextends: mine", 5, "'mine' extends itself"),
        (METER, "  power: {", "  power: [", 6, "is not valid YAML"),
        (PLUG, "topic: \"{topic}/state\"", "input: 12", 8, "points.power: a register in an MQTT profile; write transport: modbus"),
        (PLUG, "{topic}/state", "{topik}/state", 8, "points.power: there is no parameter 'topik'; did you mean 'topic'?"),
        (PLUG, "{topic}/state", "{topic}/st+te", 8, "a + stands for a whole level"),
        (PLUG, "{topic}/state", "{topic}/#/state", 8, "a # stands alone after the last slash"),
        (PLUG, "path: $.power", "path: power", 8, "'power' is no path: it starts with $"),
        (PLUG, "path: $.power", "path: '$.params[em:0]'", 8, "is no path from '[em:0]' on"),
        (PLUG, "path: $.power", "path: $.power, where: {device: 7}", 8, "'device' is no path"),
        (PLUG, "path: $.power", "path: $.power, where: {$.device: '{serial}'}", 8, "points.power: there is no parameter 'serial'"),
        (PLUG, "path: $.power", "path: $.power, dated: {path: $.at, format: german}", 8, "points.power.dated.format"),
        (PLUG, "path: $.power", "path: $.power, array: add", 8, "points.power.array"),
        (PLUG, "path: $.power", "path: '$[*]'", 8, "[*] in a path and index_by: belong together"),
        (PLUG, "path: $.power", "path: '$[0]', index_by: {topic: a, equals: 7}", 8, "[*] in a path and index_by: belong together"),
        (PLUG, "{stale_after: 60s}", "{stale_after: 60s, qos: 3}", 6, "mqtt.qos: takes at most 2"),
        (PLUG, "{stale_after: 60s}", "{availability: {topic: a/+b, online: up}}", 6, "a + stands for a whole level"),
        (PLUG, "{stale_after: 60s}", "{availability: {topic: '{tpic}/lwt', online: up}}", 6, "mqtt.availability: there is no parameter 'tpic'"),
        (PLUG, "{stale_after: 60s}", "{availability: {topic: lwt}}", 6, "says nothing about when the device lives; write online:"),
        (PLUG, "{stale_after: 60s}", "{requests: [{topic: a, payload: '{rply}'}]}", 6, "mqtt.requests: there is no parameter 'rply'; did you mean"),
        (PLUG, "unit: W, positive: consumption, is: power_w", "is: switch_on, map: {1: open}", 8, "'open' is no switch_on"),
        (PLUG, "unit: W, positive: consumption, is: power_w", "is: status, map: {1: runing}", 8, "'runing' is no status; did you mean 'running'?"),
        (PLUG, "unit: W, positive: consumption, is: power_w", "is: status, otherwise: broken", 8, "'broken' is no status"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, old: str, new: str, line: int, words: str) -> None:
    assert old in text
    found = problems(tmp_path, text.replace(old, new, 1))
    assert any(words in str(problem) for problem in found), found
    problem = next(problem for problem in found if words in str(problem))
    assert (Path(problem.file).name, problem.line) == ("mine.yaml", line)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, METER.replace("ACME", "ACME\ncolour: red").replace("unit: W", "unit: W, pth: x").replace("kind: meter", "kind: m"))
    assert [problem.line for problem in found] == [2, 3, 7]


def test_what_the_schema_cannot_see_is_told_all_at_once_too(tmp_path: Path) -> None:
    second = "  energy: {input: 99999, as: u32, unit: parsec, is: import_wh}\n  more: {input: 1, as: u16, unit: W, positive: import, is: power_w}\n"
    words = "\n".join(str(problem) for problem in problems(tmp_path, METER + second))
    for part in ("unknown unit 'parsec'", "address 99999", "points 'power' and 'more' are both 'power_w'; combine them with first: or sum:"):
        assert part in words


def test_a_role_beside_points_with_roles_is_told_in_plain_words(tmp_path: Path) -> None:
    found = problems(tmp_path, METER.replace("role: any", "role: grid").replace("is: power_w", "is: battery.power_w"))
    assert str(found[0]).endswith("mine.yaml:4: role 'grid' and points with roles of their own; keep one of the two")


def test_points_with_roles_need_them_everywhere(tmp_path: Path) -> None:
    text = METER.replace("role: any\n", "").replace("is: power_w", "is: battery.power_w")
    found = problems(tmp_path, text + "  soc: {input: 1, as: u16, unit: '%', is: soc_percent}\n")
    assert "'soc_percent' names no role, others do; write battery.soc_percent" in str(found[0])


def test_a_profile_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown profile 'go-e-chargr'; did you mean 'go-e-charger'?"):
        load_profile("go-e-chargr")
    with pytest.raises(ConfigError, match=r"mine\.yaml: there is no such file"):
        load_profile("./mine.yaml", tmp_path)


@pytest.mark.parametrize(
    ("body", "words"), [(b"\xff\xfe", "cannot be read"), (b"", "is missing"), (b"- a\n- b\n", "the file: should be a section"), (b"hello", "section")]
)
def test_a_file_that_is_no_profile_is_told(tmp_path: Path, body: bytes, words: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(body)
    with pytest.raises(ConfigError, match=words):
        load_profile("./mine.yaml", tmp_path)


# what is right


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    profile = load(tmp_path, METER.replace("input: 12", "input: 0x5B14, scale: 0.1, valid: [-1e5, 1e5], stale_after: 15m"))
    point = profile.spec.points["power"]
    assert (point.input, point.scale, point.valid, point.stale_after) == ([0x5B14], 0.1, (-1e5, 1e5), 900)


def test_words_that_yaml_would_turn_into_something_else_stay_words(tmp_path: Path) -> None:
    text = PLUG.replace("unit: W, positive: consumption, is: power_w", "is: switch_on, map: {ON: on, no: off, 1: on, true: on, 012: ~}, sentinel: NO")
    point = load(tmp_path, text).spec.points["power"]
    assert point.map == {"ON": "on", "no": "off", "1": "on", "true": "on", "012": None}
    assert point.sentinel == ["NO"]


def test_one_or_several(tmp_path: Path) -> None:
    one = load(tmp_path, PLUG.replace("{stale_after: 60s}", "{availability: {topic: lwt, online: up, offline: [down, gone]}}"))
    assert [(each.topic, each.online, each.offline) for each in one.spec.mqtt.availability] == [("lwt", ["up"], ["down", "gone"])]
    several = load(tmp_path, PLUG.replace('"{topic}/state"', '["{topic}/a", "{topic}/b"]'))
    assert several.spec.points["power"].topic == ["{topic}/a", "{topic}/b"]


def test_a_family_is_extended_row_by_row(tmp_path: Path) -> None:
    load(tmp_path, METER + "  energy: {input: 72, as: f32, unit: kWh, is: import_wh}\n  soc: {input: 1, as: u16}\n", "family.yaml")
    child = (
        "extends: family\nmodels: Two\nmodbus: {max_registers: 20}\npoints:\n  power: {input: 52}\n  soc: ~\n  extra: {input: 7, as: s16, unit: °C}\n"
    )
    spec = load(tmp_path, child).spec
    assert (spec.vendor, spec.models, spec.modbus.max_registers) == ("ACME", ["Two"], 20)
    assert list(spec.points) == ["power", "energy", "extra"]
    power = spec.points["power"]
    assert (power.input, power.as_, power.is_) == ([52], "f32", "power_w")


def test_an_extending_profile_replaces_a_word_list_as_a_whole(tmp_path: Path) -> None:
    load(tmp_path, PLUG.replace("unit: W, positive: consumption, is: power_w", "is: status, map: {1: running, 2: fault}"), "family.yaml")
    spec = load(tmp_path, "extends: family\npoints:\n  power: {map: {1: ready}}\n").spec
    assert spec.points["power"].map == {"1": "ready"}


def test_a_shipped_profile_can_be_extended(tmp_path: Path) -> None:
    profile = load(tmp_path, "extends: go-e-charger\nmqtt: {stale_after: 5m}\n")
    assert profile.spec.mqtt.stale_after == 300
    assert profile.spec.mqtt.on_change is True
    assert profile.spec.points["power"].path == ["$[11]"]


def test_a_mistake_below_an_extended_profile_names_a_line_of_the_own_file(tmp_path: Path) -> None:
    load(tmp_path, METER, "family.yaml")
    found = problems(tmp_path, "extends: family\npoints:\n  power: {unit: Watt}\n")
    assert (Path(found[0].file).name, found[0].line) == ("mine.yaml", 3)


def test_a_variant_changes_rows_and_adds_and_drops_them(tmp_path: Path) -> None:
    variants = """\
variants:
  small:
    help: firmware before 2
    modbus: {word_order: little}
    points:
      power: {input: 99}
      soc: ~
      extra: {input: 7, as: s16, unit: °C}
"""
    profile = load(tmp_path, METER + "  soc: {input: 1, as: u16}\n" + variants)
    small = profile.in_variant("small").spec
    assert (profile.spec.modbus.word_order, small.modbus.word_order) == ("big", "little")
    assert list(small.points) == ["power", "extra"]
    assert (small.points["power"].input, small.points["power"].unit) == ([99], "W")
    assert list(profile.spec.points) == ["power", "soc"], "the profile itself stays as it was"


def test_a_variant_that_makes_no_profile_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown unit 'parsec'"):
        load(tmp_path, METER + "variants:\n  odd:\n    points:\n      power: {unit: parsec}\n")


def test_roles_are_those_of_the_points(tmp_path: Path) -> None:
    text = METER.replace("role: any\n", "").replace("is: power_w", "is: battery.power_w")
    assert load(tmp_path, text).roles == {Role.BATTERY}
    assert load(tmp_path, METER).roles == frozenset()


@pytest.mark.parametrize("name", profile_names())
def test_each_shipped_profile_and_variant_is_right_and_documented(name: str) -> None:
    profile = load_profile(name)
    for variant in profile.spec.variants:
        assert profile.in_variant(variant).spec.points
    assert profile.spec.sources, "where its facts come from"
    assert profile.spec.setup, "what the installer must do"
    assert any(point.is_ for point in profile.spec.points.values())


# documents


def test_a_document_knows_the_line_of_every_place() -> None:
    document = parse_document("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "f.yaml")
    assert document.data == {"a": "1", "b": ["x", {"c": "2", "d": "3"}]}
    places = [((), 1), (("a",), 1), (("b",), 2), (("b", 0), 3), (("b", 1, "c"), 4), (("b", 1, "d"), 5), (("b", 1, "gone"), 4), (("gone",), 1)]
    assert [document.line(place) for place, _ in places] == [line for _, line in places]
    assert Document("f.yaml", {}, {}).line(("a",)) == 0


def test_every_scalar_is_the_text_that_stands_there() -> None:
    text = "zip: 01067\ncountry: NO\nempty:\nnothing: ~\nquoted: '~'\ndate: 2026-01-01\nfloat: 1e3\n"
    assert parse_document(text, "f").data == {
        "zip": "01067",
        "country": "NO",
        "empty": None,
        "nothing": None,
        "quoted": "~",
        "date": "2026-01-01",
        "float": "1e3",
    }


def test_an_alias_is_what_it_stands_for() -> None:
    assert parse_document("a: &x [1, 2]\nb: *x\n", "f").data == {"a": ["1", "2"], "b": ["1", "2"]}


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path)
