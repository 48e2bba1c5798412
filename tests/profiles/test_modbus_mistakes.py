"""What a Modbus profile must not say, each with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.model.errors import ConfigError
from edge_agent.profiles.library import load_profile, profile_names

HEAD = "vendor: Test\nkind: meter\ntransport: modbus\nrole: any\n"


def mistakes(folder: Path, text: str) -> list[str]:
    (folder / "mine.yaml").write_text(HEAD + text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_profile("./mine.yaml", folder)
    return [f"{problem.line}: {problem.text}" for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ("points:\n  a: {input: 0, as: u16, scale_by: b}\n  b: {input: 125, as: s16}", "6: points.a: its registers are more than 125 apart"),
        ("points:\n  a: {input: 0, as: u16, scale_by: b}\n  b: {holding: 1, as: s16}", "6: points.a: 'b' is no register of the same table and unit"),
        ("points:\n  a: {input: [0, 200], as: u32}", "6: points.a: its registers are more than 125 apart"),
        ("points:\n  a: {input: 0, as: string(126)}", "6: points.a: its registers are more than 125 apart"),
        ("points:\n  a: {sunspec: {models: [103], point: Watt}}", "6: points.a: no SunSpec model [103] with a point 'Watt' is known here"),
        ("points:\n  a: {input: 0}", "6: points.a: has no encoding"),
        ("points:\n  a: {input: 0, as: u17}", "6: points.a.as: "),
        ("points:\n  a: {input: 65535, as: u32}", "6: points.a: address 65535 is outside 0 to 65535"),
        ("points:\n  a: {input: [1, 2, 3], as: u32}", "6: points.a: 3 addresses for 2 registers"),
        ("points:\n  a: {input: 0, as: u16}\nvariants:\n  v: {points: {a: {unit: Vv}}}", "points.a: unknown unit 'Vv'"),
    ],
)
def test_mistake_is_told_with_its_line(tmp_path: Path, points: str, said: str) -> None:
    assert any(said in line for line in mistakes(tmp_path, points)), mistakes(tmp_path, points)


@pytest.mark.parametrize("name", profile_names())
def test_every_variant_of_a_shipped_profile_is_a_valid_profile(name: str) -> None:
    profile = load_profile(name)
    for variant in profile.spec.variants:
        assert profile.in_variant(variant).variant == variant


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_says_how_to_set_the_device_up_and_where_its_facts_are_from(name: str) -> None:
    spec = load_profile(name).spec
    assert spec.setup
    assert spec.sources
    assert any(point.quantity for point in spec.points.values())
