"""A house that goes to another gateway: what the queue's state says of it, so that no energy is sent by both.

`moved`: the house goes or has gone, this queue never sends again. `restored`: until when the other gateway has sent. While a backup is
restored a mark beside the site file keeps the agent from starting on half of each.
"""

from __future__ import annotations

import json
from pathlib import Path

from edge_agent.model.clock import utc_text
from edge_agent.model.errors import HouseMoved

MOVED, RESTORED = "moved", "restored"


def moved_state(at: float, file: str, written: bool) -> str:
    """The state of a queue whose house goes into a backup's file at that time; `written`: it is whole."""
    return json.dumps({"at": at, "file": file, "written": written})


def is_written(state: str) -> bool:
    """Whether the house of such a queue is in a whole backup."""
    return bool(json.loads(state).get("written", True))


def moved_text(database: Path, state: str) -> str:
    """What is said to whoever wants to go on from such a queue."""
    moved = json.loads(state)
    at, file = utc_text(moved["at"]), moved["file"]
    if not is_written(state):
        return (
            f"{database}: this house was to go to another gateway on {at}, but {file} was not written to its end, so nothing is sent from here; "
            "make it again: edge-agent backup --move FILE, and use that one alone, there or with --replace here"
        )
    return (
        f"{database}: this house went to another gateway on {at} (edge-agent backup --move {file}), so nothing is sent "
        f"from here; to come back: edge-agent restore {file} --replace"
    )


def restoring_mark(site_file: Path) -> Path:
    """The file that says that a backup is being put in the place of this site file and its queue; it names the backup."""
    return site_file.with_name(f".{site_file.name}.restoring")


def refuse_half_restored(site_file: Path) -> None:
    """Raises HouseMoved where a restore was begun and has not come to its end: what is here may be of two houses."""
    mark = restoring_mark(site_file)
    if mark.exists():
        backup = mark.read_text(encoding="utf-8", errors="replace")
        raise HouseMoved(
            f"{site_file}: the restore of {backup} did not come to its end, so nothing runs here; do it again: edge-agent restore FILE --replace"
        )


def restored_state(sent_until: float | None) -> str:
    """The state of a queue from a backup; None: the other gateway sent nothing that this one still has."""
    return json.dumps({"sent_until": sent_until})


def sent_until(state: str | None) -> float:
    """The instant until which another gateway has sent what this one would measure; 0 for none."""
    return float(json.loads(state)["sent_until"] or 0.0) if state else 0.0
