"""What `edge-agent setup` came to: lines for an installer, JSON for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.codec.human import counted
from edge_agent.config import Site
from edge_agent.config.credentials import PACKAGED
from edge_agent.setup.site_text import Drafted

# a running agent took the new file over, or keeps the old one; None: none runs
Agent = Literal["took it over", "keeps the old one"] | None

_AGENT_SAYS = {
    "took it over": "the running agent reads the site file anew",
    "keeps the old one": "the running agent keeps the old site file, its log says why; a restart takes it over: sudo systemctl restart edge-agent",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A site file that `check` accepts, and what is new in it."""

    file: Path
    site: Site
    drafted: Sequence[Drafted]
    building_is_known: bool | None  # None: the cloud was not asked
    agent: Agent

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield f"{self.file}: ok: {counted(len(self.site.devices), 'device')} for building {self.site.account.building_id}"
        yield from (f"{self.file}: warning: {warning}" for warning in self.site.warnings)
        yield from (f"{self.file}: left as a comment at its end: {one.remark}" for one in self.drafted if not one.certain)
        yield _AGENT_SAYS[self.agent] if self.agent is not None else _next_step(self.file)

    def to_json(self, balance: dict[str, Any] | None) -> dict[str, Any]:
        """For `--json`. `balance`: as `read --balance --json` has it, None where it was not watched."""
        return {
            "file": str(self.file),
            "building_id": self.site.account.building_id,
            "building_is_known": self.building_is_known,
            "devices": [device.id for device in self.site.devices],
            "added": [dict(one.entry) for one in self.drafted if one.certain],
            "left_as_comment": [{"device": dict(one.entry), "reason": one.remark} for one in self.drafted if not one.certain],
            "warnings": list(self.site.warnings),
            "problems": [],
            "agent": self.agent,
            "balance": balance,
        }


def _next_step(file: Path) -> str:
    starts = "the service begins by itself" if file.parent == PACKAGED else f"`edge-agent run --config {file}` starts the agent"
    return f"{starts}; `edge-agent status` shows how it goes"
