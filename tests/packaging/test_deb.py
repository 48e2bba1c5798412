"""The Debian packages: the same bytes from the same checkout, whole, and as Debian wants them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent import __version__
from tests.packaging.conftest import ROOT, build_debs

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "arm"}


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def need(tool: str, package: str) -> None:
    """Skips the test where a tool is missing; in CI that is a failure."""
    if shutil.which(tool) is None:
        reason = f"{tool} is not installed (apt-get install {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


DebFor = Callable[[str], Path]


def test_package_built_twice_has_the_same_bytes(deb_for: DebFor, tmp_path: Path) -> None:
    (again,) = build_debs(tmp_path, "armhf").iterdir()
    assert again.read_bytes() == deb_for("armhf").read_bytes()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_package_is_small_and_carries_both_pythons_of_its_own_processor(deb_for: DebFor, architecture: str) -> None:
    deb = deb_for(architecture)
    names = re.findall(r"\./(\S+)$", run("dpkg-deb", "--contents", deb), re.MULTILINE)
    compiled = [Path(name).name for name in names if name.endswith(".so")]
    assert {name.split(".")[1].split("-")[1] for name in compiled} == {"311", "313"}
    assert all(ARCHITECTURES[architecture] in name for name in compiled)
    assert "usr/lib/edge-agent/edge_agent/device_profiles/eastron-sdm630.yaml" in names
    assert not [name for name in names if "__pycache__" in name or "/pygments/" in name]
    assert deb.stat().st_size < 6e6


def test_package_has_the_version_and_the_time_of_the_changelog(deb_for: DebFor) -> None:
    newest = (ROOT / "packaging/debian/changelog").read_text(encoding="utf-8").splitlines()[0]
    assert newest.startswith(f"edge-agent ({__version__}) ")
    assert run("dpkg-deb", "--field", deb_for("amd64"), "Version").strip() == __version__


def test_copyright_names_every_carried_library_with_its_licence(deb_for: DebFor, tmp_path: Path) -> None:
    run("dpkg-deb", "--extract", deb_for("arm64"), tmp_path)
    text = (tmp_path / "usr/share/doc/edge-agent/copyright").read_text(encoding="utf-8")
    carried = {path.name for path in (tmp_path / "usr/lib/edge-agent").iterdir() if path.is_dir()} - {"edge_agent", "ruamel", "paho", "serial"}
    carried |= {"ruamel_yaml", "paho_mqtt", "pyserial"}
    for name in carried:
        section = re.search(rf"^={{78}}\n{re.escape(name)} .*\n={{78}}\n((?:(?!={{78}}).*\n)*)", text, re.MULTILINE)
        assert section, f"{name} is not in the copyright file"
        assert re.search("licen[cs]e", section[1], re.IGNORECASE), f"{name} without its licence"


def test_lintian_finds_no_error(deb_for: DebFor) -> None:
    need("lintian", "lintian")
    found = subprocess.run(["lintian", "--fail-on", "error", str(deb_for("arm64"))], text=True, capture_output=True, check=False)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(("processor", "code"), [("armv6l", 1), ("armv7l", 0), ("aarch64", 0)])
def test_first_raspberry_pi_is_refused_with_words(processor: str, code: int, tmp_path: Path) -> None:
    uname = tmp_path / "uname"
    uname.write_text(f"#!/bin/sh\necho {processor}\n")
    uname.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", str(ROOT / "packaging/debian/preinst"), "install"], env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == code
    assert ("Raspberry Pi Zero 2" in done.stderr) == bool(code)


def test_sandbox_is_as_tight_as_promised() -> None:
    need("systemd-analyze", "systemd")
    run("systemd-analyze", "security", "--offline=true", "--threshold=15", ROOT / "systemd/edge-agent.service")
