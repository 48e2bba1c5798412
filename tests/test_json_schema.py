"""The JSON Schemas for editors: current, and of one mind with what the agent itself accepts and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from edge_agent.cli import main
from edge_agent.json_schema import KINDS, schema_file, schema_text
from edge_agent.profiles.library import library_folder, profile_names
from tests.test_readme import example_site_file

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.yaml"))
SITE = """\
moost: {customer_id: a, building_id: b, client_id: c}
devices: [{id: meter, name: Meter, profile: eastron-sdm630, connection: "tcp://127.0.0.1"}]
"""
METER = "{vendor: A, kind: meter, transport: modbus, role: any, points: {p: {input: 0x0C, as: u16, unit: W, positive: import, is: power_w}}}"


def as_an_editor_sees_it(text: str) -> Any:
    """YAML with its numbers and booleans guessed, keys as text."""
    return _text_keys(YAML(typ="safe", pure=True).load(text))


def _text_keys(part: Any) -> Any:
    if isinstance(part, dict):
        return {str(key): _text_keys(value) for key, value in part.items()}
    return [_text_keys(item) for item in part] if isinstance(part, list) else part


def mistakes(kind: str, text: str) -> list[str]:
    schema = json.loads(schema_file(kind).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(as_an_editor_sees_it(text))]


@pytest.mark.parametrize("kind", KINDS)
def test_schema_file_is_current(kind: str) -> None:
    assert schema_file(kind).read_text(encoding="utf-8") == schema_text(kind), "the models have changed: run make schema"


@pytest.mark.parametrize("kind", KINDS)
def test_command_prints_the_schema(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", kind]) == 0
    assert json.loads(capsys.readouterr().out)["title"].startswith("edge-agent")


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_is_good_in_an_editor(name: str) -> None:
    assert not mistakes("profile", (library_folder() / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_names_its_schema_where_it_is(name: str) -> None:
    """Relative, so that it holds in a checkout and inside the installed package."""
    first, _, _ = (library_folder() / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")
    comment, _, place = first.partition("=")
    assert comment == "# yaml-language-server: $schema"
    assert (library_folder() / place).resolve() == schema_file("profile").resolve()


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_recording_is_good_in_an_editor(path: Path) -> None:
    assert not mistakes("recording", path.read_text(encoding="utf-8"))


def test_readme_example_names_the_schema_that_the_command_prints() -> None:
    assert example_site_file().startswith("# yaml-language-server: $schema=agent.schema.json\n")


def test_readme_example_is_good_in_an_editor() -> None:
    assert not mistakes("agent", example_site_file())


@pytest.mark.parametrize(
    ("kind", "text", "old", "new"),
    [
        ("agent", SITE, "client_id: c", "client: c"),
        ("agent", SITE, "}\ndev", "}\nreporting: {interval: 15 minutes}\ndev"),
        ("agent", SITE, "}\ndev", "}\nstorage: {max_size: 256 megs}\ndev"),
        ("agent", SITE, '"}]', '", role: gird}]'),
        ("profile", METER, "kind: meter", "kind: metre"),
        ("profile", METER, "as: u16", "as: u17"),
        ("profile", METER, "input: 0x0C", "inptu: 12"),
        ("profile", METER, "vendor: A, ", ""),
        ("recording", "{profile: x, origin: device}", "device", "guesswork"),
    ],
)
def test_editor_sees_the_mistake(kind: str, text: str, old: str, new: str) -> None:
    assert old in text
    assert not mistakes(kind, text)
    assert mistakes(kind, text.replace(old, new))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("agent", SITE + "building: {zip: 01067, city: Dresden, country_code: DE}"),
        ("agent", SITE + "reporting: {interval: 15m, poll_interval: 250ms}\nstorage: {max_size: 1.5GB}"),
        ("agent", SITE.replace('"}]', '", roles: grid}]')),
        ("profile", "{extends: eastron-sdm630, models: Mine, points: {frequency: ~, power_total: {scale: 0.1}}}"),
        ("profile", METER.replace("input: 0x0C", "input: ['0x0C']")),
    ],
)
def test_editor_has_nothing_against_what_the_agent_accepts(kind: str, text: str) -> None:
    assert not mistakes(kind, text)


def test_comment_beside_a_key_is_its_description() -> None:
    schema = json.loads(schema_file("profile").read_text(encoding="utf-8"))
    assert schema["$defs"]["PointSpec"]["properties"]["one_source"]["description"] == "only one source supports this row"
    assert all(section.get("description") for section in schema["$defs"].values())
