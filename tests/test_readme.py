"""What the README says is so: its table of devices is the library, its example is a good site file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.catalogue import describe, markdown, with_table
from edge_agent.config import load_site
from edge_agent.profiles.library import load_profile, profile_names

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


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
