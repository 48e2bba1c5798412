"""Man page and shell completion, both made from the options that the program itself reads."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from typing import Any

import shtab
from argparse_manpage.manpage import Manpage

from edge_agent import __version__
from edge_agent.cli import EXIT_CODES, parser

_SECTIONS = {
    "FILES": """\
.TP
.I /etc/edge-agent/agent.yaml
the site file: the house, its devices, the account
.TP
.I /var/lib/edge-agent/
the queue of events and what outlives a restart""",
    "EXIT STATUS": f"""\
{EXIT_CODES}.
.B edge-agent status
tells by its own codes how the agent stands: see its part above.""",
    "SIGNALS": """\
SIGTERM stops the agent with nothing lost; SIGHUP makes it read the site file again.""",
}


def man_page(at: float) -> str:
    """The page of section 1, dated `at` (UTC epoch seconds)."""
    os.environ["COLUMNS"] = "80"  # the usage lines are wrapped as in a terminal of this width
    data = {"description": "read a house's energy devices for the MOOST cloud", "version": __version__, "manual_title": "User Commands"}
    page = Manpage(parser(), _data=data | {"date": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")}, format="single-commands-section")
    for heading, content in _SECTIONS.items():
        page.add_section(heading, "<", content)
    return str(page)


def completion(shell: str) -> str:
    """The completion script for `bash` or `zsh`."""
    whole = parser()
    for option in _options(whole):
        if option.metavar == "FILE":
            option.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(whole, shell))


def _options(one: argparse.ArgumentParser) -> list[argparse.Action]:
    found: list[argparse.Action] = []
    for action in one._actions:
        found.append(action)
        choices: Any = action.choices if isinstance(action, argparse._SubParsersAction) else {}
        for command in choices.values():
            found += _options(command)
    return found
