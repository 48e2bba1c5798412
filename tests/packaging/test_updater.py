"""A new version proves itself on the gateway, or the one before comes back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.packaging.updating import SOAK_S, STATE, Gateway, gateways, on_all


@pytest.fixture(scope="module")
def fleet() -> Iterator[list[Gateway]]:
    with gateways() as made:
        yield made


def kept(gateway: Gateway) -> list[str]:
    """The versions whose debs are kept."""
    names = gateway.run(f"ls {STATE}/debs").stdout.split()
    return [name.removeprefix("edge-agent_").removesuffix(".deb") for name in names]


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
        assert kept(gateway) == [before, new]
        report = gateway.settled()
        assert (report["state"], report["from"], report["to"]) == ("confirmed", before, new)
        assert gateway.installed() == gateway.running() == new
        assert kept(gateway) == [new]
        assert f"edge-agent {new} replaces {before} and has to prove itself" in gateway.journal()
        assert f"edge-agent {new} is confirmed" in gateway.journal()

    on_all(fleet, story)


@pytest.mark.parametrize("broken", ["crash", "never-ready", "hang", "late-crash", "postinst", "removal", "unhealthy"])
def test_bad_version_goes_and_the_one_before_comes_back_without_network(fleet: list[Gateway], broken: str) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.running()
        bad = gateway.operator.release(broken)
        gateway.look()
        gateway.run("systemctl stop repository")
        report = gateway.settled()
        gateway.run("systemctl start repository")
        assert (report["state"], report["from"], report["to"]) == ("rolled-back", before, bad), report
        assert report["reason"]
        assert broken != "crash" or report["reason"].endswith(f"its last words: {bad} falls over its feet")
        assert gateway.installed() == gateway.running() == before
        assert f"edge-agent {bad} is bad: {report['reason']}. Back to {before}" in gateway.journal()
        assert kept(gateway) == [before]

    on_all(fleet, story)


def test_no_bad_version_is_taken_again_and_a_better_one_is(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        for broken in ("crash", "postinst"):  # the older of two must not be offered instead of the newer
            gateway.operator.release(broken)
            gateway.look()
            assert gateway.settled()["state"] == "rolled-back"
        assert gateway.look()["result"] == "ok"
        gateway.run("apt-get update && apt-get -y upgrade")
        assert gateway.installed() == before
        better = gateway.operator.release()
        gateway.look()
        assert gateway.settled()["state"] == "confirmed"
        assert gateway.installed() == better

    on_all(fleet, story)


def test_human_with_apt_is_judged_too(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        gateway.operator.release("crash")
        gateway.run("apt-get update && apt-get -y upgrade")
        assert gateway.settled()["state"] == "rolled-back"
        _, deb = gateway.operator.build("postinst")
        shutil.copy(deb, gateway.system.root / "root/own.deb")
        gateway.run("! apt-get -y install /root/own.deb")
        assert gateway.settled()["state"] == "rolled-back"
        assert gateway.installed() == gateway.running() == before

    on_all(fleet, story)


def test_deb_that_was_not_kept_is_packed_again_as_it_was(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        gateway.run(f"cp $(find /root /srv/repository/pool -name edge-agent_{before}_all.deb | head -n 1) /root/original.deb; rm -f {STATE}/debs/*")
        gateway.run("echo 'as edited' > /etc/edge-agent/example.conf")
        gateway.operator.release("crash")
        gateway.look()
        gateway.run(f"cp {STATE}/debs/edge-agent_{before}.deb /root/again.deb")
        assert gateway.settled()["state"] == "rolled-back"
        assert gateway.installed() == gateway.running() == before
        assert content(gateway, "/root/again.deb") == content(gateway, "/root/original.deb")
        gateway.run("! dpkg-deb --contents /root/again.deb | grep example.conf")  # edited: it is not what was shipped
        better = gateway.operator.release()
        gateway.look()
        gateway.settled()
        assert gateway.installed() == better
        assert gateway.run("cat /etc/edge-agent/example.conf").stdout == "as edited\n"

    on_all(fleet, story)


def content(gateway: Gateway, deb: str) -> tuple[list[str], list[str]]:
    """A package's fields and maintainer scripts, and its files with their modes; conffiles stay out."""
    gateway.run(f"rm -rf /root/x && dpkg-deb --raw-extract {deb} /root/x && rm -rf /root/x/etc /root/x/DEBIAN/conffiles")
    control = gateway.run("cd /root/x/DEBIAN && sort control && sha256sum p*").stdout.splitlines()
    files = gateway.run(r"cd /root/x && find usr \( -type f -exec sha256sum {} + \) , -printf '%p %M %l\n' | sort").stdout.splitlines()
    return control, files


def test_two_updates_at_once_and_a_third_while_they_are_judged(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        good = gateway.installed()
        unproven = gateway.operator.release()
        with ThreadPoolExecutor(2) as pool:
            timer = pool.submit(gateway.look)
            human = pool.submit(gateway.run, "apt-get update; apt-get -y -o DPkg::Lock::Timeout=60 upgrade")
            assert timer.result()["result"] == "ok"
            human.result()
        assert gateway.installed() == unproven
        gateway.wait_for(f"grep -q '^to={unproven}' {STATE}/report")
        bad = gateway.operator.release("crash")
        assert gateway.look()["result"] == "ok"
        assert gateway.installed() == unproven  # the timer does not interfere
        gateway.run("apt-get update && apt-get -y upgrade")
        report = gateway.settled()
        assert (report["state"], report["from"], report["to"]) == ("rolled-back", good, bad)
        assert gateway.installed() == gateway.running() == good
        assert unproven not in gateway.run(f"cat {STATE}/bad", check=False).stdout.split()

    on_all(fleet, story)


def test_clock_steps_neither_shorten_nor_lengthen_the_soak(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        faked = "Environment=FAKETIME_TIMESTAMP_FILE=/run/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1"
        library = gateway.run("ls /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
        gateway.run("mkdir -p /run/systemd/system/edge-agent-gate.service.d; echo +0 > /run/clock")
        gateway.run(
            f"printf '[Service]\n{faked} LD_PRELOAD={library}\n' > /run/systemd/system/edge-agent-gate.service.d/clock.conf; systemctl daemon-reload"
        )
        gateway.operator.release()
        gateway.look()
        gateway.wait_for(f"grep -q '^state=judging' {STATE}/report")
        began_s = uptime_s(gateway)
        gateway.run("echo +400d > /run/clock")
        gateway.run(f"sleep 3; test -e {STATE}/pending; echo -400d > /run/clock")
        report = gateway.settled(SOAK_S + 30)
        assert report["state"] == "confirmed"
        assert uptime_s(gateway) - began_s >= SOAK_S - 2
        assert int(report["at"]) < 1e9 + 0.8e9  # the steps were seen
        gateway.run("rm -r /run/systemd/system/edge-agent-gate.service.d; systemctl daemon-reload")

    on_all(fleet, story)


def uptime_s(gateway: Gateway) -> float:
    return float(gateway.run("cat /proc/uptime").stdout.split()[0])


def test_ten_power_cuts_in_mid_update_end_healthy_and_condemn_nobody(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        condemned = gateway.run(f"cat {STATE}/bad", check=False).stdout
        gateway.set("SOAK", "600")
        found = []
        for cut in range(10):
            new = gateway.operator.release("slow")
            # a human, who tries again while the gate completes what the last cut has left
            gateway.run("systemd-run --quiet sh -c 'until apt-get --error-on=any update && apt-get -y upgrade; do sleep 0.3; done'")
            if cut > 1:
                gateway.wait_for(f"grep -q '^to={new}' {STATE}/pending")
            gateway.run(f"sleep {0.2 + 0.2 * cut if cut < 2 else 0.15 * (cut - 2):.2f}")
            gateway.system.power_cut()
            found.append(state_of_agent(gateway))
            gateway.system.boot()  # which does not wait for the soak
        assert "half-installed" in found, found  # while it was unpacked, the worst moment
        gateway.run(f"test -e {STATE}/pending")
        gateway.set("SOAK", str(SOAK_S))
        gateway.run("systemctl restart edge-agent-gate")
        assert gateway.settled()["state"] == "confirmed"
        assert gateway.installed() == gateway.running()
        assert gateway.run(f"cat {STATE}/bad", check=False).stdout == condemned

    on_all(fleet, story)


def state_of_agent(gateway: Gateway) -> str:
    """How far dpkg had got with the agent, as the disk of a machine without power has it."""
    dpkg = gateway.system.root / "var/lib/dpkg"
    texts = [(dpkg / "status").read_text(), *(update.read_text() for update in sorted((dpkg / "updates").glob("[0-9]*")))]
    stanzas = [stanza for text in texts for stanza in text.split("\n\n") if stanza.lstrip().startswith("Package: edge-agent\n")]
    return stanzas[-1].split("Status: ")[1].splitlines()[0].split()[-1]


def test_power_cuts_on_the_way_back_do_not_stop_it(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        bad = gateway.operator.release("postinst")
        gateway.look()
        for tenths in (0, 3, 6):
            gateway.wait_for(f"grep -q '^phase=roll-back' {STATE}/pending || test ! -e {STATE}/pending")
            gateway.run(f"sleep 0.{tenths}")
            gateway.system.power_cut()
            gateway.system.boot()
        report = gateway.settled()
        assert (report["state"], report["to"]) == ("rolled-back", bad)
        assert gateway.installed() == gateway.running() == before

    on_all(fleet, story)


def test_agent_that_somebody_stops_meanwhile_is_not_to_blame(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        new = gateway.operator.release()
        gateway.look()
        gateway.wait_for(f"grep -q '^state=judging' {STATE}/report")
        assert gateway.running() == new
        gateway.run(f"sleep 2; systemctl stop edge-agent; sleep {SOAK_S / 2 + 3}; test -e {STATE}/pending; ! systemctl is-active edge-agent")
        gateway.run("systemctl start edge-agent")
        assert gateway.settled()["state"] == "confirmed"
        assert gateway.installed() == gateway.running() == new

    on_all(fleet, story)


def test_agent_that_is_removed_meanwhile_stays_away(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        gateway.set("SOAK", "0")
        new = gateway.operator.release()
        gateway.run("apt-get update && apt-get -y upgrade")
        gateway.wait_for(f"grep -q '^to={new}' {STATE}/report")
        assert f"edge-agent {new} replaces" in gateway.journal()
        assert "prove itself for 600 s" in gateway.journal()  # without any time nobody could
        gateway.set("SOAK", str(SOAK_S))
        gateway.run("systemctl stop edge-agent; dpkg --remove edge-agent")
        gateway.settled(SOAK_S + 30)
        assert gateway.run("dpkg-query -W -f '${db:Status-Status}' edge-agent").stdout == "config-files"
        gateway.run("apt-get update && apt-get -y install edge-agent")
        assert gateway.running() == new

    on_all(fleet, story)


def test_damaged_way_back_leaves_the_way_ahead(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        gateway.set("SOAK", "120")  # time to do damage before the version is condemned
        bad = gateway.operator.release("unhealthy")
        gateway.look()
        gateway.wait_for(f"grep -q '^to={bad}' {STATE}/report")
        gateway.set("SOAK", str(SOAK_S))  # counts for the next version
        way_back = f"edge-agent_{gateway.read('report')['from']}.deb"
        gateway.run(f"truncate -s -5000 {STATE}/debs/{way_back}")
        report = gateway.settled(180)
        assert (report["state"], report["to"]) == ("stuck", bad)
        assert f"{way_back} is gone or damaged" in report["reason"]
        gateway.wait_for("systemctl show -p ActiveState --value edge-agent | grep -x -e active -e activating")  # better than none
        better = gateway.operator.release()
        gateway.look()
        assert gateway.settled()["state"] == "confirmed"
        assert gateway.installed() == gateway.running() == better

    on_all(fleet, story)


def test_disk_that_became_read_only_starts_no_gate_again_and_again(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        gateway.run(f"systemctl stop edge-agent-gate.path; printf 'from=0.1\nto=0.2\nservice=on\nphase=judge\n' > {STATE}/pending")
        gateway.run(f"mount --bind {STATE} {STATE}; mount -o remount,bind,ro {STATE}; systemctl start edge-agent-gate.path")
        gateway.wait_for("journalctl -b -u edge-agent-gate -o cat --no-pager | grep 'Read-only file system'")
        gateway.run("sleep 3")
        said = gateway.run("journalctl -b -u edge-agent-gate -o cat --no-pager").stdout
        assert said.count(f"cannot remove '{STATE}/pending'") == 1
        gateway.run(f"umount {STATE}; systemctl restart edge-agent-gate")
        gateway.settled()

    on_all(fleet, story)


def test_update_that_had_to_wait_looks_again_whether_it_may_begin(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        new = gateway.operator.release()
        gateway.run("systemctl stop edge-agent-gate.path")
        hold = "import fcntl, time; lock = open('/var/lib/dpkg/lock-frontend', 'a'); fcntl.lockf(lock, fcntl.LOCK_EX); time.sleep(600)"
        gateway.run(f'systemd-run --quiet --unit=somebody python3 -c "{hold}"')
        gateway.run("systemctl start --no-block edge-agent-update")
        gateway.wait_for(f"grep 'locked by' {STATE}/dpkg.log")
        gateway.run(f"printf 'from={before}\nto=0.2\n' > {STATE}/pending; systemctl stop somebody")
        gateway.wait_for(
            "! systemctl is-active --quiet edge-agent-update && systemctl show -p ActiveState --value edge-agent-update | grep -x inactive"
        )
        assert gateway.installed() == before
        gateway.run(f"rm {STATE}/pending; systemctl start edge-agent-gate.path")
        gateway.look()
        assert gateway.settled()["to"] == new

    on_all(fleet, story)


def test_updater_updates_itself_together_with_the_agent(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        gateway.operator.release_updater("99.0")
        gateway.operator.release("crash")
        assert gateway.look()["result"] == "ok"
        assert gateway.run("dpkg-query -W -f '${Version}' edge-agent-updater").stdout == "99.0"
        assert gateway.settled()["state"] == "rolled-back"
        assert gateway.installed() == gateway.running() == before
        gateway.run("systemctl is-active edge-agent-update.timer edge-agent-gate.path")

    on_all(fleet, story)


def test_disabled_service_is_updated_and_left_alone(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        gateway.run("systemctl disable --now edge-agent")
        gateway.set("SOAK", "1")
        new = gateway.operator.release()
        gateway.look()
        assert gateway.settled()["state"] == "confirmed"
        assert gateway.installed() == new
        gateway.set("SOAK", str(SOAK_S))
        gateway.run("systemctl enable --now edge-agent")

    on_all(fleet, story)


def test_removed_updater_leaves_apt_working_and_purged_leaves_nothing(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        gateway.run("apt-get -y remove edge-agent-updater")
        new = gateway.operator.release()
        gateway.run("apt-get update && apt-get -y upgrade")
        assert gateway.installed() == new
        gateway.run("apt-get -y purge edge-agent-updater")
        left = gateway.run(
            "find / -xdev -path '*edge-agent*update*' -not -path '/proc/*' -o -xdev -path '*/sources.list.d/edge*'"
        ).stdout.splitlines()
        assert [path for path in left if not path.startswith(("/root/", "/srv/"))] == []
        gateway.install_updater()

    on_all(fleet, story)
