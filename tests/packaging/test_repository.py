"""The operator's command makes a repository that apt can trust, and never takes a version away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.dummy_agent import dummy_deb

PACKAGING = Path(__file__).parents[2] / "packaging"
COMMAND = PACKAGING / "repository" / "repository.py"
UPDATER = PACKAGING / "updater"
Repository = Callable[..., subprocess.CompletedProcess[str]]


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The operator's command, run where DEBS, REPOSITORY and KEY are."""
    need("apt-ftparchive", "gpg", "gpgv", "dpkg-deb")
    (tmp_path / "DEBS").mkdir()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(COMMAND), *words], cwd=tmp_path, text=True, capture_output=True, check=False)

    return run


@pytest.fixture
def with_key(repository: Repository) -> Repository:
    assert repository("key", "KEY").returncode == 0
    return repository


def index(folder: Path, architecture: str = "arm64") -> str:
    return (folder / f"REPOSITORY/dists/stable/main/binary-{architecture}/Packages").read_text()


def percentages(folder: Path) -> dict[str, str]:
    """What the index says of each version: the percentage, or nothing where everybody may have it."""
    found = {}
    for stanza in filter(None, index(folder).strip().split("\n\n")):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if not line.startswith(" "))
        found[fields["Version"]] = fields.get("Phased-Update-Percentage", "")
    return found


def publish(repository: Repository) -> str:
    done = repository("publish", "DEBS", "REPOSITORY", "KEY")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_new_version_reaches_nobody_until_its_phase_says_so(with_key: Repository, tmp_path: Path) -> None:
    dummy_deb(tmp_path / "DEBS", "1.0.0")
    assert "edge-agent 1.0.0: 0 %" in publish(with_key)
    assert percentages(tmp_path) == {}
    phases = tmp_path / "DEBS" / "phases"
    phases.write_text(phases.read_text().replace("1.0.0 0", "1.0.0 100"))
    dummy_deb(tmp_path / "DEBS", "1.1.0~rc1")
    publish(with_key)
    assert percentages(tmp_path) == {"1.0.0": ""}
    phases.write_text(phases.read_text().replace("rc1 0", "rc1 5"))
    publish(with_key)
    assert percentages(tmp_path) == {"1.0.0": "", "1.1.0~rc1": "5"}


def test_version_stays_when_its_deb_leaves_the_folder(with_key: Repository, tmp_path: Path) -> None:
    deb = dummy_deb(tmp_path / "DEBS", "1:1.0.0")
    (tmp_path / "DEBS" / "phases").write_text("edge-agent 1:1.0.0 100\n")
    publish(with_key)
    deb.unlink()
    (tmp_path / "DEBS" / "phases").write_text("edge-agent 1:1.0.0 100\nedge-agent 1:2.0.0 5\n")
    dummy_deb(tmp_path / "DEBS", "1:2.0.0")
    publish(with_key)
    assert set(percentages(tmp_path)) == {"1:1.0.0", "1:2.0.0"}
    for line in index(tmp_path).splitlines():
        if line.startswith("Filename: "):
            assert (tmp_path / "REPOSITORY" / line.removeprefix("Filename: ")).is_file()


def test_index_is_signed_and_expires(with_key: Repository, tmp_path: Path) -> None:
    dummy_deb(tmp_path / "DEBS", "1.0.0")
    publish(with_key)
    release = tmp_path / "REPOSITORY/dists/stable/InRelease"
    checked = subprocess.run(["gpgv", "--keyring", str(tmp_path / "REPOSITORY/repository.gpg"), str(release)], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "\nValid-Until: " in release.read_text()
    assert "\nAcquire-By-Hash: yes" in release.read_text()
    for architecture in ("amd64", "arm64", "armhf"):
        assert f" main/binary-{architecture}/Packages.xz\n" in release.read_text()


def test_gateway_that_read_the_former_index_still_finds_its_files(with_key: Repository, tmp_path: Path) -> None:
    by_hash = tmp_path / "REPOSITORY/dists/stable/main/binary-arm64/by-hash/SHA256"
    (tmp_path / "DEBS" / "phases").write_text("edge-agent 1.0.0 100\n")
    dummy_deb(tmp_path / "DEBS", "1.0.0")
    publish(with_key)
    before = set(by_hash.iterdir())
    (tmp_path / "DEBS" / "phases").write_text("edge-agent 1.0.0 100\nedge-agent 1.1.0 5\n")
    dummy_deb(tmp_path / "DEBS", "1.1.0")
    publish(with_key)
    assert before < set(by_hash.iterdir())
    for old in before:
        os.utime(old, (0, 0))
    publish(with_key)
    assert not before & set(by_hash.iterdir())  # nobody reads an index that has expired


def test_published_version_never_changes(with_key: Repository, tmp_path: Path) -> None:
    dummy_deb(tmp_path / "DEBS", "1.0.0")
    publish(with_key)
    before = index(tmp_path)
    dummy_deb(tmp_path / "DEBS", "1.0.0", broken="crash")
    done = with_key("publish", "DEBS", "REPOSITORY", "KEY")
    assert done.returncode == 1
    assert "1.0.0 was published with other contents; give the new build a new version" in done.stderr
    assert index(tmp_path) == before


@pytest.mark.parametrize(
    ("line", "words"),
    [("edge-agent 1.0.0", "is not `package version percent`"), ("edge-agent 1.0.0 101", "0 to 100"), ("edge-agent 1.0.0 5%", "0 to 100")],
)
def test_mistake_in_phases_is_named_by_its_line(with_key: Repository, tmp_path: Path, line: str, words: str) -> None:
    dummy_deb(tmp_path / "DEBS", "1.0.0")
    (tmp_path / "DEBS" / "phases").write_text(f"# shares\n{line}\n")
    done = with_key("publish", "DEBS", "REPOSITORY", "KEY")
    assert done.returncode == 1
    assert "phases:2: " in done.stderr
    assert words in done.stderr
    assert not (tmp_path / "REPOSITORY/dists").exists()


def test_share_of_a_version_that_does_not_exist_is_refused(with_key: Repository, tmp_path: Path) -> None:
    dummy_deb(tmp_path / "DEBS", "1.0.0")
    (tmp_path / "DEBS" / "phases").write_text("edge-agent 1.O.0 5\n")
    done = with_key("publish", "DEBS", "REPOSITORY", "KEY")
    assert done.returncode == 1
    assert "there is no deb of edge-agent 1.O.0" in done.stderr
    assert not (tmp_path / "REPOSITORY/dists").exists()


def test_two_shares_for_one_version_are_refused(with_key: Repository, tmp_path: Path) -> None:
    dummy_deb(tmp_path / "DEBS", "1.0.0")
    (tmp_path / "DEBS" / "phases").write_text("edge-agent 1.0.0 5\nedge-agent 1.0.0 20\n")
    assert "stands here twice" in with_key("publish", "DEBS", "REPOSITORY", "KEY").stderr


def test_key_is_secret_and_never_replaced(with_key: Repository, tmp_path: Path) -> None:
    assert (tmp_path / "KEY").stat().st_mode & 0o077 == 0
    before = (tmp_path / "KEY/repository.gpg").read_bytes()
    done = with_key("key", "KEY")
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert (tmp_path / "KEY/repository.gpg").read_bytes() == before


def test_what_cannot_be_published_is_said_in_words(repository: Repository, tmp_path: Path) -> None:
    assert "make one with: repository.py key KEY" in repository("publish", "DEBS", "REPOSITORY", "KEY").stderr
    assert repository("key", "KEY").returncode == 0
    assert "DEBS: holds no .deb" in repository("publish", "DEBS", "REPOSITORY", "KEY").stderr
    (tmp_path / "DEBS" / "x.deb").write_text("no package")
    done = repository("publish", "DEBS", "REPOSITORY", "KEY")
    assert "x.deb: is no package" in done.stderr
    assert "Traceback" not in done.stderr


def build_updater(folder: Path, *words: str) -> Path:
    done = subprocess.run([str(UPDATER / "build"), str(folder), *words], text=True, capture_output=True, check=True)
    return Path(done.stdout.strip())


def test_updater_is_built_byte_for_byte_alike(tmp_path: Path) -> None:
    assert build_updater(tmp_path / "a").read_bytes() == build_updater(tmp_path / "b").read_bytes()


def test_updater_can_be_built_for_one_operator(with_key: Repository, tmp_path: Path) -> None:
    deb = build_updater(tmp_path / "out", "https://updates.example.com/a&b", str(tmp_path / "KEY/repository.gpg"))
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(tmp_path / "x")], check=True)
    assert "\nREPOSITORY=https://updates.example.com/a&b\n" in (tmp_path / "x/etc/edge-agent-updater/updater.conf").read_text()
    assert (tmp_path / "x/etc/edge-agent-updater/repository.gpg").read_bytes() == (tmp_path / "KEY/repository.gpg").read_bytes()


def test_updater_has_no_errors_for_lintian(tmp_path: Path) -> None:
    need("lintian")
    checked = subprocess.run(["lintian", "--fail-on", "error,warning", str(build_updater(tmp_path))], text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_scripts_have_no_findings_for_shellcheck() -> None:
    need("shellcheck")
    scripts = [*(UPDATER / "lib").iterdir(), UPDATER / "build", *(UPDATER / "debian").glob("p*")]
    command = ["shellcheck", "--shell=sh", "--exclude=SC1091,SC2153", *map(str, scripts)]
    checked = subprocess.run(command, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
