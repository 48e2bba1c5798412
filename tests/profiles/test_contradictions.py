"""Profiles that contradict themselves or their family are refused, each with its line and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.codec.payloads import compile_path, parse_payload, pick
from edge_agent.model.errors import ConfigError
from edge_agent.profiles.library import load_profile

MODBUS = "vendor: ACME\nkind: meter\ntransport: modbus\nrole: any\npoints:\n"
MQTT = 'vendor: ACME\nkind: plug\ntransport: mqtt\nrole: plug\nparameters: {instance: {default: "+"}}\npoints:\n'
FAMILY = """\
vendor: ACME
kind: meter
transport: modbus
role: any
modbus: {word_order: little}
points:
  power: {input: 0, as: s32, unit: W, positive: import, is: power_w}
  energy: {input: 2, as: u64, unit: Wh, is: import_wh}
  frequency: {input: 6, as: u16, unit: Hz}
  sure: {input: 8, as: f32, word_order: little}
"""


def mistakes(folder: Path, text: str) -> list[str]:
    """`line: text; hint` of each mistake; empty for a profile that is taken."""
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    try:
        load_profile("./mine.yaml", folder)
    except ConfigError as refused:
        return [str(problem).partition("mine.yaml:")[2] for problem in refused.problems]
    return []


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (
            "  a: {input: 0, as: f32}\n  b: {input: 1, as: f32}\n",
            "7: points.b: shares register 1 with 'a' (f32 at 0-1), but is f32 at 1-2; correct the",
        ),
        ("  a: {input: 0, as: u32}\n  b: {input: 1, as: u16}\n", "7: points.b: shares register 1 with 'a' (u32 at 0-1), but is u16 at 1"),
        ("  a: {holding: [7, 5], as: u32}\n  b: {holding: 4, as: u64}\n", "7: points.b: shares register 5 with 'a' (u32 at 5-7), but is u64 at 4-7"),
        ("  a: {holding: 0, as: string(4)}\n  b: {holding: 3, as: s16}\n", "7: points.b: shares register 3 with 'a'"),
        ("  a: {coil: 70000}\n", "6: points.a: address 70000 is outside 0 to 65535"),
        ("  a: {discrete: -1}\n", "6: points.a: address -1 is outside 0 to 65535"),
        ("  a: {input: 0, as: u16, mask: 0x10000}\n", "6: points.a: mask 0x10000 does not fit u16"),
        ("  a: {input: 0, as: u16, mask: 0}\n", "6: points.a: mask 0x0 does not fit u16"),
        ("  a: {input: 0, as: u16, valid: [100, 0]}\n", "6: points.a: valid: from 100 to 0 nothing is; lowest first"),
        ("  a: {input: 0, as: u17}\n", "6: points.a.as: unknown encoding 'u17': write u16, s16, u32"),
    ],
)
def test_impossible_registers_are_refused(tmp_path: Path, points: str, said: str) -> None:
    found = mistakes(tmp_path, MODBUS + points)
    assert any(line.startswith(said) for line in found), found


@pytest.mark.parametrize(
    "points",
    [
        "  a: {input: 0, as: u16}\n  b: {input: 0, as: u16, map: {1: x}}\n",  # one register, two meanings
        "  a: {input: 0, as: u32}\n  b: {input: 1, as: u16, mask: 0x00FF}\n",  # a field of bits
        "  a: {input: 0, as: u32}\n  b: {holding: 1, as: u16}\n",  # another table
        '  a: {input: 0, as: u32}\n  b: {input: 1, as: u16, unit_id: "2"}\n',  # another unit
        "  a: {input: 0, as: u32}\n  b: {input: 1, as: u16}\n  c: {first: [a, b]}\n",  # newer and older firmware
    ],
)
def test_registers_that_may_be_shared_are_taken(tmp_path: Path, points: str) -> None:
    assert mistakes(tmp_path, MODBUS + points) == []


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ('  a: {topic: "N/+/power"}\n', "7: points.a: 'N/+/power': nobody can tell which device the + stands for; write {instance}"),
        ('  a: {topic: ["{topic}/a", "{topic}/#"]}\n', "7: points.a: '{topic}/#': with # any topic of the device would be this value"),
        ('  a: {topic: a, path: "$[*]", index_by: {topic: "+/names", equals: x}}\n', "7: points.a: '+/names': nobody can tell"),
        ("  a: {topic: a}\nmqtt: {availability: {topic: '+/online', online: up}}\n", "8: mqtt.availability: '+/online': nobody"),
        ("  a: {topic: a}\nmqtt: {requests: [{topic: 'R/+/keepalive'}]}\n", "8: mqtt.requests: 'R/+/keepalive': nobody"),
        (
            "  a: {topic: t, path: $.power}\n  b: {topic: t, path: $.power.total}\n",
            "8: points.b: its path $.power.total goes on inside $.power, where 'a'",
        ),
        ("  a: {topic: t}\n  b: {topic: t, path: $.total}\n", "8: points.b: its path $.total goes on inside $, where 'a' has a single value"),
    ],
)
def test_topics_and_paths_that_cannot_be_are_refused(tmp_path: Path, points: str, said: str) -> None:
    found = mistakes(tmp_path, MQTT + points)
    assert any(line.startswith(said) for line in found), found


@pytest.mark.parametrize(
    "points",
    [
        '  a: {topic: "N/{instance}/power"}\n',
        "  a: {topic: t, path: $.power, array: sum}\n  b: {topic: t, path: '$.power[0]'}\n",
        "  a: {topic: t, path: $.power, where: {$.type: x}}\n  b: {topic: t, path: $.power.total, where: {$.type: y}}\n",
        "  a: {topic: t, path: [$.power, $.power.total]}\n",
    ],
)
def test_topics_and_paths_that_can_be_are_taken(tmp_path: Path, points: str) -> None:
    assert mistakes(tmp_path, MQTT + points) == []


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b'{"power": 12.5}', "12.5 where an object belongs"),
        (b'{"power": {"total": 12.5}}', ""),
        (b'{"power": null}', ""),
        (b'{"power": {"other": 1}}', None),
        (b'{"voltage": 230}', None),
    ],
)
def test_path_into_a_number_is_a_reason_and_not_silence(payload: bytes, problem: str | None) -> None:
    picked = pick((compile_path("$.power.total"),), parse_payload(payload))
    assert (picked.problem if picked else None) == problem


def test_index_into_a_number_is_a_reason_too() -> None:
    picked = pick((compile_path("$.power[0]"),), parse_payload(b'{"power": 7}'))
    assert picked is not None
    assert picked.problem == "7 where an array belongs"


def test_other_word_order_than_the_family_is_refused_with_what_it_would_turn(tmp_path: Path) -> None:
    (tmp_path / "family.yaml").write_text(FAMILY)
    (found,) = mistakes(tmp_path, "extends: family\nmodels: Mine\nmodbus:\n  word_order: big\n")
    assert found.startswith("4: modbus.word_order: big contradicts the family 'family' (little) and would turn power, energy; write word_order:")


@pytest.mark.parametrize(
    "child",
    [
        "modbus: {word_order: little}\n",
        "modbus: {word_order: big}\npoints: {power: {word_order: big}, energy: {input: 100, as: u64}}\n",
        "modbus: {word_order: big}\npoints: {power: {as: s16}, energy: ~}\n",
        "variants: {newer: {modbus: {word_order: big}}}\n",
    ],
)
def test_word_order_said_at_the_rows_or_by_a_variant_is_taken(tmp_path: Path, child: str) -> None:
    (tmp_path / "family.yaml").write_text(FAMILY)
    assert mistakes(tmp_path, "extends: family\nmodels: Mine\n" + child) == []


def test_two_points_for_one_meaning_and_role_are_refused(tmp_path: Path) -> None:
    row = "{{input: {}, as: u16, unit: W, positive: charging, is: battery.power_w}}"
    text = MODBUS.replace("role: any\n", "") + f"  a: {row.format(0)}\n  b: {row.format(1)}\n"
    assert mistakes(tmp_path, text) == ["6: points 'a' and 'b' are both 'battery.power_w'; combine them with first: or sum:"]


def test_one_quantity_in_two_roles_is_taken(tmp_path: Path) -> None:
    row = "{{input: {}, as: u16, unit: W, positive: {}, is: {}.power_w}}"
    text = MODBUS.replace("role: any\n", "") + f"  a: {row.format(0, 'charging', 'battery')}\n  b: {row.format(1, 'import', 'grid')}\n"
    assert mistakes(tmp_path, text) == []
