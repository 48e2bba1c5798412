"""The agent's Debian packages as the tests install them, built once in a session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build_debs(folder: Path, *architectures: str) -> Path:
    """Builds the packages of these architectures into the folder, and gives it."""
    command = [sys.executable, str(ROOT / "packaging" / "build.py"), "--output", str(folder), *architectures]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the agent's package for each architecture."""
    return build_debs(tmp_path_factory.mktemp("debs"))


@pytest.fixture(scope="session")
def agent_deb(debs: Path) -> Path:
    """The agent's package for this machine's architecture, amd64."""
    (file,) = debs.glob("edge-agent_*_amd64.deb")
    return file
