"""The machines that the other tests boot behave as machines do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.booted import RELEASES, machine, need_booted_systems


@pytest.mark.parametrize("release", RELEASES)
def test_disk_outlives_a_power_cut_and_the_tree_stays_as_it_is(release: str, tmp_path: Path) -> None:
    need_booted_systems()
    with machine(release, tmp_path / "first", {Path(__file__).parent: "/srv/tests"}) as first:
        first.boot()
        assert f"VERSION_CODENAME={release}" in first.run("cat /etc/os-release").stdout
        first.run("touch /root/kept; test -e /srv/tests/booted.py")
        first.power_cut()
        first.boot()
        first.run("test -e /root/kept")
    with machine(release, tmp_path / "second") as second:
        second.boot()
        second.run("test ! -e /root/kept")
    assert not list((tmp_path / "first" / release).iterdir())
