"""A secret's file is for the agent alone, or for the agent's group where a folder hands its group on."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edge_agent.config.credentials import secret_mode
from edge_agent.setup.secret import store_secret


@pytest.mark.parametrize(("folder_mode", "expected"), [(0o755, 0o600), (0o2770, 0o640)])
def test_stored_secret_has_the_narrowest_mode_that_the_service_can_read(tmp_path: Path, folder_mode: int, expected: int) -> None:
    tmp_path.chmod(folder_mode)
    store_secret(tmp_path / "client-secret", "s3cret")
    assert stat.S_IMODE((tmp_path / "client-secret").stat().st_mode) == expected == secret_mode(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["client-secret"]
