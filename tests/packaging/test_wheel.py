"""The wheel is whole: it installs into an empty environment and runs the demo outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COLUMNS"))}
    return subprocess.run([str(part) for part in command], cwd=cwd, env=environment, timeout=timeout_s, text=True, capture_output=True, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's programs into which nothing but the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("edge_agent-*.whl")
    assert run(sys.executable, "-m", "venv", folder / "venv", cwd=folder).returncode == 0
    programs = folder / "venv" / "bin"
    locked = run(sys.executable, ROOT / "packaging" / "lock.py", cwd=folder)
    (folder / "requirements.txt").write_text(locked.stdout)
    for what in (("--require-hashes", "--requirement", folder / "requirements.txt"), ("--no-index", wheel)):
        done = run(programs / "pip", "install", "--quiet", "--disable-pip-version-check", *what, cwd=folder)
        assert done.returncode == 0, done.stderr
    return programs


def test_help_runs_from_the_bare_wheel(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "edge-agent", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_profiles_are_inside_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "from edge_agent.profiles.library import profile_names; print(*profile_names())"
    done = run(installed / "python", "-c", code, cwd=tmp_path)
    assert set(done.stdout.split()) == {path.stem for path in (ROOT / "device_profiles").glob("*.yaml")}


def test_demo_runs_from_the_bare_wheel_and_its_energy_adds_up(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "edge-agent", "demo", "--duration", "60s", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_schemas_are_inside_the_wheel_where_the_profiles_name_them(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "edge-agent", "schema", "profile", cwd=tmp_path)
    assert done.stdout == (ROOT / "schemas" / "profile.json").read_text(encoding="utf-8")
    code = "from edge_agent.profiles.library import library_folder as f; print((f() / '../schemas/profile.json').is_file())"
    assert run(installed / "python", "-c", code, cwd=tmp_path).stdout.strip() == "True"
