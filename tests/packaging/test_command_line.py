"""Man page and completion know every command and every option, since they come from the same parser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.cli import parser

sys.path.insert(0, str(Path(__file__).parents[2] / "packaging"))
from command_line import completion, man_page  # noqa: E402

COMMANDS = [command for action in parser()._actions if action.dest == "command" for command in action.choices or ()]


def test_man_page_has_every_command_and_is_the_same_each_time() -> None:
    page = man_page(1_767_225_600).replace("\\-", "-")
    assert page == man_page(1_767_225_600).replace("\\-", "-")
    assert [command for command in COMMANDS if f"edge-agent {command}" not in page] == []
    assert "2026-01-01" in page
    assert page.index(".SH FILES") > page.index("--sent-until")


def test_man_page_is_valid_roff() -> None:
    if shutil.which("groff") is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("groff is not installed: apt-get install groff-base")
    checked = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=man_page(0), text=True, capture_output=True, check=True)
    assert checked.stderr == ""


@pytest.mark.parametrize("line", ["edge-agent ", "edge-agent queue --", "edge-agent sta"])
def test_bash_completes_commands_and_options(line: str, tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(completion("bash"))
    words = line.split(" ")
    script = f"""
        source {tmp_path / "completion"}
        COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}"); COMP_CWORD={len(words) - 1}
        _shtab_edge_agent; printf '%s\\n' "${{COMPREPLY[@]}}" """
    found = subprocess.run(["bash", "-c", script], text=True, capture_output=True, check=True).stdout.split()
    expected = {"edge-agent ": set(COMMANDS), "edge-agent queue --": {"--json", "--limit", "--config", "--help"}, "edge-agent sta": {"status"}}
    assert expected[line] <= set(found)
