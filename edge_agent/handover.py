"""A house that goes to another gateway: what the queue's state says of it, so that no energy is sent by both.

`moved`: the house has gone, this queue never sends again. `restored`: until when the other gateway has sent.
"""

from __future__ import annotations

import json
from pathlib import Path

from edge_agent.model.clock import utc_text

MOVED, RESTORED = "moved", "restored"


def moved_state(at: float, file: str) -> str:
    """The state of a queue whose house went into a backup's file at that time."""
    return json.dumps({"at": at, "file": file})


def moved_text(database: Path, state: str) -> str:
    """What is said to whoever wants to go on from such a queue."""
    moved = json.loads(state)
    return (
        f"{database}: this house went to another gateway on {utc_text(moved['at'])} (edge-agent backup --move {moved['file']}), so nothing is sent "
        f"from here; to come back: edge-agent restore {moved['file']} --replace"
    )


def restored_state(sent_until: float | None) -> str:
    """The state of a queue from a backup; None: the other gateway sent nothing that this one still has."""
    return json.dumps({"sent_until": sent_until})


def sent_until(state: str | None) -> float:
    """The instant until which another gateway has sent what this one would measure; 0 for none."""
    return float(json.loads(state)["sent_until"] or 0.0) if state else 0.0
