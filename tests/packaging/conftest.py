"""The agent's Debian packages as the tests install them, built once in a session."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable
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
def deb_for(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str], Path]:
    """Gives the agent's package for an architecture; built once, however many processes share the tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "debs"
    folder.mkdir(exist_ok=True)

    def deb(architecture: str) -> Path:
        with (folder / f"{architecture}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            built = folder / architecture
            if not built.is_dir():
                build_debs(folder / f"{architecture}.unfinished", architecture).rename(built)
        (file,) = built.glob("*.deb")
        return file

    return deb


@pytest.fixture(scope="session")
def agent_deb(deb_for: Callable[[str], Path]) -> Path:
    """The agent's package for amd64, which is what booted machines are."""
    return deb_for("amd64")
