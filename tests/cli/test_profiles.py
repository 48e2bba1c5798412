"""`edge-agent profiles`: the library for people, and an installer's own profile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.profiles.library import profile_names

GOOD = """\
vendor: ACME
kind: meter
transport: modbus
role: any
setup: Switch it on.
sources: the manual
identity: serial
fingerprint: [{point: serial}]
points:
  power: {input: 12, as: f32, unit: W, positive: import, is: power_w}
  energy: {input: 72, as: f32, unit: kWh, is: import_wh}
  serial: {holding: 0, as: u32, once: true}
"""


def test_list_names_each_profile_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines[1:-1]) == profile_names()
    (sungrow,) = [line for line in lines if line.split()[0] == "sungrow-sh"]
    assert all(word in sungrow for word in ("hybrid", "modbus", "battery, grid, pv", "mixed", "Sungrow: SH3.6RS"))
    assert any("BMW i Wallbox" in line for line in lines), "a pipe gets all models, for grep"


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "--json"]) == 0
    (charger,) = [one for one in json.loads(capsys.readouterr().out) if one["name"] == "go-e-charger"]
    assert charger == {
        "name": "go-e-charger",
        "kind": "charger",
        "vendor": "go-e",
        "models": ["Charger HOME+", "Charger HOMEfix", "Charger Gemini", "Charger PRO"],
        "transport": "mqtt",
        "roles": ["charger"],
        "confidence": "two-sources",
    }


def test_show_tells_how_to_set_the_device_up_and_what_its_points_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "show", "sungrow-sh"]) == 0
    out = capsys.readouterr().out
    assert "Connect the inverter's own LAN port" in out
    assert "input 13009 s32" in out
    assert "grid.power_w (positive: export)" in out
    assert "first of battery_power_signed, battery_power_magnitude" in out
    assert "mkaiser/Sungrow-SHx" in out
    assert max(map(len, out.splitlines())) < 160


def test_show_of_every_profile_works(capsys: pytest.CaptureFixture[str]) -> None:
    for name in profile_names():
        assert main(["profiles", "show", name]) == 0
        assert main(["profiles", "show", name, "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_unknown_profile_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "show", "eastron-sdm360"]) == 1
    assert "did you mean 'eastron-sdm630'?" in capsys.readouterr().err


def test_show_without_a_name_says_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profiles", "show"]) == 1
    assert "write a profile's name or a file" in capsys.readouterr().err


def test_check_of_a_good_profile_has_nothing_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert main(["profiles", "check", str(tmp_path / "mine.yaml")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/mine.yaml: ok: 3 points, any\n"


def test_check_tells_every_mistake_by_line_and_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace("unit: kWh", "unit: kwh").replace("identity: serial", "identity: number"))
    assert main(["profiles", "check", str(tmp_path / "mine.yaml")]) == 1
    assert sorted(line.split(":")[1] for line in capsys.readouterr().err.splitlines()) == ["11", "7"]
    assert main(["profiles", "check", str(tmp_path / "mine.yaml"), "--json"]) == 1
    assert sorted(problem["line"] for problem in json.loads(capsys.readouterr().out)["problems"]) == [7, 11]


@pytest.mark.parametrize(
    ("left_out", "warning"),
    [
        ("identity: serial\n", "1: warning: no identity"),
        ("fingerprint: [{point: serial}]\n", "1: warning: no fingerprint"),
        ("setup: Switch it on.\n", "1: warning: no setup"),
        ("sources: the manual\n", "1: warning: no sources"),
        ("  energy: {input: 72, as: f32, unit: kWh, is: import_wh}\n", "10: warning: points.power: a power without an energy counter"),
    ],
)
def test_check_warns_of_what_weakens_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str], left_out: str, warning: str) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace(left_out, ""))
    assert main(["profiles", "check", str(tmp_path / "mine.yaml")]) == 0
    assert f"{tmp_path}/mine.yaml:{warning}" in capsys.readouterr().out
