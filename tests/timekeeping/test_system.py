"""What a machine tells about its clock, from the files and commands that stand for each of its services."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from edge_agent.timekeeping import system
from edge_agent.timekeeping.system import system_evidence


def test_release_s_day_is_that_of_the_changelog() -> None:
    changelog = Path(__file__).parents[2] / "packaging/debian/changelog"
    newest = next(line for line in changelog.read_text().splitlines() if line.startswith(" -- "))
    released_at = parsedate_to_datetime(newest.rpartition(">")[2].strip()).timestamp()
    assert released_at - 366 * 86_400 < system.RELEASED_AT <= released_at, "set RELEASED_AT to the day of the release"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any service; its commands are only those that a test puts there."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    (tmp_path / "run/systemd").mkdir(parents=True)
    return tmp_path


def command(root: Path, name: str, script: str) -> None:
    file = root / "bin" / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


async def told(root: Path) -> tuple[bool | None, str]:
    evidence = await system_evidence(root)
    return evidence.synchronised, evidence.source


async def test_timesyncd_tells_by_its_file(root: Path) -> None:
    (root / "run/systemd/timesync").mkdir()
    assert await told(root) == (False, "systemd-timesyncd")
    (root / "run/systemd/timesync/synchronized").touch()
    assert await told(root) == (True, "systemd-timesyncd")


@pytest.mark.parametrize(("kernel", "synchronised"), [("yes", True), ("no", False)])
async def test_clock_that_was_set_by_hand_since_timesyncd_did_is_not_synchronised(root: Path, kernel: str, synchronised: bool) -> None:
    (root / "run/systemd/timesync").mkdir()
    (root / "run/systemd/timesync/synchronized").touch()
    command(root, "timedatectl", f"printf 'NTP=yes\\nNTPSynchronized={kernel}\\n'")
    assert await told(root) == (synchronised, "systemd-timesyncd")


@pytest.mark.parametrize(
    ("answer", "synchronised"),
    [
        ("7F7F0101,,10,1795270160.117743743,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,0.0,0.0,0.0,Normal", True),
        ("00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.0,1.0,0.0,Not synchronised", False),
    ],
)
async def test_chrony_tells_by_its_leap_status(root: Path, answer: str, synchronised: bool) -> None:
    (root / "run/chrony").mkdir()
    command(root, "chronyc", f'[ "$*" = "-n -c tracking" ] && echo "{answer}"')
    assert await told(root) == (synchronised, "chrony")


async def test_machine_without_a_service_tells_nothing(root: Path) -> None:
    command(root, "chronyc", "echo '506 Cannot talk to daemon'; exit 1")
    (root / "run/chrony").mkdir()
    assert await told(root) == (None, "no time service")


@pytest.mark.parametrize(
    ("answer", "booting_s", "synchronised"),
    [
        ("NTP=yes\nNTPSynchronized=yes", 0.0, True),
        ("NTP=yes\nNTPSynchronized=no", 0.0, False),
        ("NTP=no\nNTPSynchronized=no", 0.0, None),
        ("NTP=no\nNTPSynchronized=no", 1e12, False),
        ("", 0.0, None),
    ],
)
async def test_any_other_service_is_known_to_timedated(
    root: Path, monkeypatch: pytest.MonkeyPatch, answer: str, booting_s: float, synchronised: bool | None
) -> None:
    monkeypatch.setattr(system, "BOOTING_S", booting_s)
    (root / "run/systemd/system").mkdir()
    command(root, "timedatectl", f"printf '{answer}'" if answer else "exit 1")
    assert (await told(root))[0] is synchronised


async def test_command_that_hangs_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "_ANSWER_S", 0.2)
    (root / "run/systemd/system").mkdir()
    command(root, "timedatectl", "exec sleep 60")
    began = time.monotonic()
    assert (await told(root))[0] is None
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("set_at_boot", "ahead_s", "agrees"),
    [("1", 0, True), ("1", -86_400, False), ("0", 0, False), ("nonsense", 0, False)],
)
async def test_rtc_that_set_the_clock_and_ran_on_agrees(root: Path, set_at_boot: str, ahead_s: int, agrees: bool) -> None:
    rtc = root / "sys/class/rtc/rtc0"
    rtc.mkdir(parents=True)
    (rtc / "hctosys").write_text(f"{set_at_boot}\n")
    (rtc / "since_epoch").write_text(f"{int(time.time()) + ahead_s}\n")
    assert (await system_evidence(root)).rtc_agrees is agrees
