"""What the README says is so: its tables are those of the program, its example is a good site file."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, _SubParsersAction
from pathlib import Path

import pytest

from edge_agent.catalogue import describe, markdown, with_table
from edge_agent.cli import parser
from edge_agent.config import load_site
from edge_agent.profiles.library import load_profile, profile_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def example_site_file() -> str:
    found = re.search(r"```yaml\n(.*?\nmoost:.*?)```", README, re.DOTALL)
    assert found
    return found[1]


def test_table_of_devices_is_the_library() -> None:
    rows = markdown([describe(load_profile(name)) for name in profile_names()])
    assert with_table(README, rows) == README, "the library has changed: run make readme"


def test_table_needs_its_markers() -> None:
    with pytest.raises(ValueError, match="markers"):
        with_table("a README without them", "| rows |")


def test_example_is_a_good_site_file(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(example_site_file(), encoding="utf-8")
    (tmp_path / "client-secret").write_text("s3cret")
    (tmp_path / "client-secret").chmod(0o600)
    assert [setup.id for setup in load_site(tmp_path / "agent.yaml").devices] == ["grid-meter", "hybrid", "wallbox"]


def commands() -> dict[str, ArgumentParser]:
    (action,) = (action for action in parser()._actions if isinstance(action, _SubParsersAction))
    return dict(action.choices)


def test_table_of_commands_names_every_command_and_only_options_that_it_has() -> None:
    rows = re.findall(r"^\| `edge-agent ([a-z-]+)([^`]*)` \|", README, re.MULTILINE)
    assert {command for command, _ in rows} == set(commands())
    for command, usage in rows:
        known = commands()[command]._option_string_actions
        assert not set(re.findall(r"--[a-z-]+", usage)) - set(known), command
        assert ("--json" in usage) == ("--json" in known), f"{command}: what a program may read has [--json] in its row"


def test_site_file_part_names_every_key_and_no_other() -> None:
    schema = json.loads((ROOT / "schemas" / "agent.json").read_text(encoding="utf-8"))
    keys = {key for section in (schema, *schema["$defs"].values()) for key in section.get("properties", {})}
    assert "low_tariff" in keys
    part = README.partition("## The site file")[2].partition("\n## ")[0]
    assert {key for key in keys if not re.search(rf"\b{key}\b", part)} == set()
    named = [name for cell in re.findall(r"^\| (`[a-z].*?) \|", part, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)]
    assert named
    assert {name for name in named if not set(re.split(r"\.|\[\]", name)) - {""} <= keys} == set()
