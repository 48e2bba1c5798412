"""The packages for Raspberry Pis run: what is inside works on their processors, which an emulator stands for."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.booted import cache_folder, debian_mirror

EMULATORS = {"arm64": ("qemu-aarch64-static", "cortex-a72"), "armhf": ("qemu-arm-static", "cortex-a7")}
SITE = """\
moost: {customer_id: 656730be2bc9719e6e5ed51d, building_id: B1, client_id: 6cUo, client_secret_file: client-secret}
devices:
  - {id: meter, name: Meter, profile: eastron-sdm630, connection: "tcp://127.0.0.1:1", role: grid}
"""
# bookworm has Python 3.11, trixie 3.13: each processor once, and both Pythons
MACHINES = [("arm64", "trixie"), ("armhf", "bookworm")]


def foreign_tree(release: str, architecture: str) -> Path:
    """Debian's Python for another processor, unpacked but never run as a system; made at the first call."""
    folder = cache_folder() / f"{release}-{architecture}-python"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            command = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={architecture}", "--include=python3,tzdata"]
            made = subprocess.run([*command, release, str(unfinished), debian_mirror()], text=True, capture_output=True, check=False)
            assert made.returncode == 0, made.stderr
            if not (unfinished / "lib").exists():
                (unfinished / "lib").symlink_to("usr/lib")
            unfinished.rename(folder)
    return folder


class Processor:
    """Runs the package's program on another processor, with the Python of a Debian release."""

    def __init__(self, architecture: str, release: str, deb: Path, folder: Path) -> None:
        emulator, model = EMULATORS[architecture]
        missing = [tool for tool in (emulator, "mmdebstrap") if shutil.which(tool) is None]
        if missing:
            reason = f"not installed: {', '.join(missing)} (apt-get install qemu-user-static mmdebstrap)"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        tree = foreign_tree(release, architecture)
        subprocess.run(["dpkg-deb", "--extract", deb, folder], check=True)
        self._command = [emulator, str(tree / "usr/bin/python3"), "-m", "edge_agent"]
        self._environment = {
            "QEMU_CPU": model,  # without it the emulated processor has features that cost it ten times the time
            "QEMU_LD_PREFIX": str(tree),
            "PYTHONHOME": str(tree / "usr"),
            "PYTHONPATH": str(folder / "usr/lib/edge-agent"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": os.environ["PATH"],
        }

    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [*self._command, *arguments]
        return subprocess.run(command, cwd=cwd, env=self._environment, text=True, capture_output=True, timeout=300, check=False)


@pytest.mark.parametrize(("architecture", "release"), MACHINES)
def test_package_checks_a_site_and_runs_the_demo(architecture: str, release: str, tmp_path: Path, deb_for: Callable[[str], Path]) -> None:
    processor = Processor(architecture, release, deb_for(architecture), tmp_path / "installed")
    (tmp_path / "agent.yaml").write_text(SITE)
    (tmp_path / "client-secret").write_text("s3cret")
    (tmp_path / "client-secret").chmod(0o600)
    checked = processor.run("check", "--config", "agent.yaml", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")

    demo = processor.run("demo", "--duration", "40s", cwd=tmp_path)
    found = re.search(r"(\d+) events arrived live, \d+ as history, (\d+) were refused", demo.stdout)
    assert found, demo.stdout + demo.stderr
    assert int(found[1]) > 0
    assert int(found[2]) == 0
    assert "Traceback" not in demo.stderr
