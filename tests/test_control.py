"""The lock of the state folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.control import state_lock
from edge_agent.model.errors import AgentBusy, StorageError


def test_second_holder_is_told_who_holds_it(tmp_path: Path) -> None:
    with state_lock(tmp_path), pytest.raises(AgentBusy, match="in use by an agent or a command"), state_lock(tmp_path):
        pass
    with state_lock(tmp_path):
        pass


def test_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "shadow"
    victim.write_text("of root's\n")
    state = tmp_path / "state"
    state.mkdir()
    (state / "edge-agent.lock").symlink_to(victim)
    with pytest.raises(StorageError, match="symbolic link"), state_lock(state):
        pass
    assert victim.read_text() == "of root's\n"
