"""What an update meets seldom: a system that is read-only, reboots in the middle, a version that cannot even be unpacked, no way back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.dummy_agent import dummy_deb
from tests.packaging.updating import SOAK_S, STATE, Gateway, gateways, on_all


@pytest.fixture(scope="module")
def fleet() -> Iterator[list[Gateway]]:
    with gateways() as made:
        yield made


def tell(gateway: Gateway, version: str, **facts: object) -> None:
    """What that version of the stand-in says of its work in health.json."""
    gateway.run(f"echo '{json.dumps(facts).strip('{}')}' > /var/lib/edge-agent/more-{version}")


def reboot(gateway: Gateway, *options: str) -> None:
    gateway.system.power_cut()
    gateway.system.boot(*options)


MISTAKES = [
    ("WINDOW", "05:00-05:00", "ends when it begins"),
    ("WINDOW", "25:00-27:00", "write a time of day"),
    ("SOAK", "0", "at least 1,"),
    ("SOAK", "ten minutes", "at least 1,"),
    ("REPOSITORY", "", "write the address"),
]


def test_setting_with_a_mistake_is_said_and_nothing_is_updated(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        new = gateway.operator.release()
        for name, value, words in MISTAKES:
            was = gateway.run(f"sed -n 's/^{name}=//p' /etc/edge-agent-updater/updater.conf").stdout.strip()
            gateway.set(name, value)
            check = gateway.look()
            gateway.set(name, was)
            assert check["result"] == "failed"
            assert f"{name}={value} in /etc/edge-agent-updater/updater.conf" in check["reason"]
            assert words in check["reason"]
        assert gateway.installed() == before
        gateway.operator.phase(new, 0)

    on_all(fleet, story)


def test_soak_in_the_field_is_not_shorter_than_the_agent_needs(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        in_the_field = "env -u EDGE_AGENT_SOAK_FLOOR sh -c '. /usr/lib/edge-agent-updater/common; echo $SOAK_FLOOR'"
        assert gateway.run(in_the_field).stdout == "300\n"

    on_all(fleet, story)


def test_version_that_cannot_be_unpacked_is_tried_three_times_and_no_more(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        bad = gateway.operator.release("preinst")
        for _ in range(3):
            check = gateway.look()
            assert check["result"] == "failed"
            assert "pre-installation script" in check["reason"]
            gateway.settled()
        report = gateway.read("report")
        assert (report["state"], report["from"], report["to"]) == ("refused", before, bad)
        assert "pre-installation script" in report["reason"]
        assert f"edge-agent {bad} cannot be installed" in gateway.journal()
        assert gateway.look()["result"] == "ok"
        assert gateway.installed() == gateway.running() == before

    on_all(fleet, story)


def test_what_others_cause_is_reported_and_condemns_nobody(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        tell(gateway, gateway.installed(), works=["devices", "queue"], fails=[], devices_read=5, devices_known=5)
        gateway.wait_for("grep devices_read /run/edge-agent/health.json")
        new = gateway.operator.release()
        tell(gateway, new, works=["devices", "queue"], fails=[], devices_read=4, devices_known=5)
        gateway.look()
        gateway.wait_for(f'grep -q \'"version": "{new}"\' /run/edge-agent/health.json')
        gateway.run("sleep 2")
        tell(gateway, new, works=["queue"], fails=["devices"], devices_read=0, devices_known=5)  # it did read them
        report = gateway.settled()
        assert (report["state"], report["to"]) == ("confirmed", new)
        assert report["reason"] == "fewer devices answer: 4 of 5, before 5"
        assert f"{new} is confirmed, but fewer devices answer" in gateway.journal()

    on_all(fleet, story)


def test_what_worked_before_the_update_is_asked_for_after_a_reboot_too(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        tell(gateway, before, works=["devices", "queue", "upload"], fails=[], devices_read=5, devices_known=5)
        gateway.wait_for("grep devices_read /run/edge-agent/health.json")
        gateway.set("SOAK", "600")
        bad = gateway.operator.release()
        tell(gateway, bad, works=["queue"], fails=["devices"], devices_read=0, devices_known=5)
        gateway.look()
        gateway.wait_for(f"grep -q '^state=judging' {STATE}/report")
        gateway.set("SOAK", str(SOAK_S))
        reboot(gateway)
        report = gateway.settled()
        assert (report["state"], report["from"], report["to"]) == ("rolled-back", before, bad)
        assert "devices: no longer, and before the update it worked" in report["reason"]
        assert gateway.installed() == gateway.running() == before

    on_all(fleet, story)


def test_machine_that_starts_again_and_again_goes_back_if_it_ran_before(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        gateway.set("SOAK", "600")
        new = gateway.operator.release()
        gateway.look()
        gateway.wait_for(f"grep -q '^state=judging' {STATE}/report && grep -q '^ran_s=[1-9]' {STATE}/pending && test -e {STATE}/boots")
        gateway.run(f"for boot in 1 2 3 4 5; do echo $boot >> {STATE}/boots; done; sed -i 's/^ran_s=.*/ran_s=7200/' {STATE}/pending")
        reboot(gateway)
        gateway.wait_for(f"test $(wc -l < {STATE}/boots) = 8 && systemctl is-active edge-agent-gate")  # the sixth reboot
        assert gateway.read("pending")["to"] == new  # it did not run long before either
        gateway.run(f"systemctl stop edge-agent-gate.path edge-agent-gate; sed -i 's/^ran_s=.*/ran_s=90000/' {STATE}/pending")
        gateway.run("systemctl start edge-agent-gate.path")
        report = gateway.settled()
        assert (report["state"], report["from"], report["to"]) == ("rolled-back", before, new)
        assert "the machine has started 6 times before it had run for 600 s" in report["reason"]
        assert gateway.installed() == gateway.running() == before
        gateway.set("SOAK", str(SOAK_S))

    on_all(fleet, story)


def test_stuck_gateway_is_healed_by_the_next_version(fleet: list[Gateway], tmp_path: Path) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        gateway.run("systemctl stop edge-agent-gate.path")
        bad = gateway.operator.release("crash")
        gateway.look()
        folder = tmp_path / gateway.system.root.parent.name
        folder.mkdir()
        useless = dummy_deb(folder, before, depends="what-is-nowhere")  # whole, and cannot be installed
        shutil.copy(useless, gateway.system.root / f"{STATE[1:]}/debs/edge-agent_{before}.deb")
        gateway.run("systemctl start edge-agent-gate.path")
        gateway.wait_for(f"grep -q '^state=stuck' {STATE}/report")
        assert gateway.read("report")["to"] == bad
        assert "what-is-nowhere" in gateway.read("report")["reason"]
        better = gateway.operator.release()
        assert gateway.look()["result"] == "ok"
        report = gateway.settled(90)
        assert (report["state"], report["to"]) == ("confirmed", better)
        assert gateway.installed() == gateway.running() == better

    on_all(fleet, story)


def test_read_only_root_is_said(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        new = gateway.operator.release()
        reboot(gateway, "--read-only", "--tmpfs=/var/lib/edge-agent:mode=755", "--tmpfs=/var/tmp")
        gateway.run("systemctl start edge-agent-update")
        assert "reason=the system's root is read-only" in gateway.run("cat /run/edge-agent-updater/check").stdout
        assert "no updates: the system's root is read-only" in gateway.journal()
        reboot(gateway)
        gateway.operator.phase(new, 0)
        assert gateway.look()["result"] == "ok"
        assert gateway.installed() == before

    on_all(fleet, story)


def test_root_that_forgets_at_the_next_boot_is_said(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        new = gateway.operator.release()
        upper = gateway.run(r"sed -n 's|.* / overlay .*upperdir=\([^,]*\).*|\1|p' /proc/mounts").stdout.strip()
        gateway.run(f"mkdir -p {upper} && mount -t tmpfs forgetful {upper}")
        assert "overlay in memory" in gateway.look()["reason"]
        assert gateway.installed() == before
        gateway.run(f"umount {upper}; rmdir {upper}")
        gateway.operator.phase(new, 0)

    on_all(fleet, story)


def test_key_is_changed_without_a_visit(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        operator, before = gateway.operator, gateway.installed()
        operator.command("key", "NEW")
        both = operator.folder / "both.gpg"
        both.write_bytes((operator.key / "repository.gpg").read_bytes() + (operator.folder / "NEW/repository.gpg").read_bytes())
        operator.release_updater("1.0.1", both)
        operator.phase("1.0.1", 100, "edge-agent-updater")
        check = gateway.look()
        assert check["result"] == "ok", check
        operator.key = operator.folder / "NEW"
        new = operator.release()
        assert gateway.look()["result"] == "ok"
        assert gateway.installed() == new != before

    on_all(fleet, story)
