"""A new version proves itself on the gateway, or the one before comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packaging.updating import STATE, Gateway, gateways, on_all


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    with gateways(tmp_path_factory.mktemp("fleet")) as made:
        yield made


def test_timer_updates_and_the_new_version_is_confirmed(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        new = gateway.operator.release()
        gateway.run("mkdir -p /run/systemd/system/edge-agent-update.timer.d")
        often = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/3\nAccuracySec=1ms\nRandomizedDelaySec=0\n"
        gateway.run(f"printf '{often}' > /run/systemd/system/edge-agent-update.timer.d/soon.conf")
        gateway.run("systemctl daemon-reload; systemctl restart edge-agent-update.timer")
        gateway.wait_for(f"grep -q '^state=judging' {STATE}/report")
        gateway.run("rm -r /run/systemd/system/edge-agent-update.timer.d; systemctl daemon-reload; systemctl restart edge-agent-update.timer")
        assert gateway.run(f"ls {STATE}/debs").stdout.split() == [f"edge-agent_{before}.deb", f"edge-agent_{new}.deb"]
        report = gateway.settled()
        assert (report["state"], report["from"], report["to"]) == ("confirmed", before, new)
        assert gateway.installed() == gateway.running() == new
        assert gateway.run(f"ls {STATE}/debs").stdout.split() == [f"edge-agent_{new}.deb"]
        assert f"edge-agent {new} replaces {before} and has to prove itself" in gateway.journal()
        assert f"edge-agent {new} is confirmed" in gateway.journal()

    on_all(fleet, story)


@pytest.mark.parametrize("broken", ["crash", "never-ready", "hang", "late-crash", "postinst", "removal", "database", "unhealthy"])
def test_bad_version_goes_and_the_one_before_comes_back(fleet: list[Gateway], broken: str) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.running()
        bad = gateway.operator.release(broken)
        gateway.look()
        gateway.run("systemctl stop repository")
        report = gateway.settled()
        gateway.run("systemctl start repository")
        assert (report["state"], report["from"], report["to"]) == ("rolled-back", before, bad), report
        assert gateway.installed() == gateway.running() == before
        assert f"edge-agent {bad} is bad: {report['reason']}. Back to {before}" in gateway.journal()
        gateway.look()
        assert gateway.installed() == before

    on_all(fleet, story)
