"""What does not come from the operator, or at a wrong time, or has no room, changes nothing on the gateway; and it says why."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packaging.updating import STATE, Gateway, Operator, gateways, on_all


@pytest.fixture(scope="module")
def fleet() -> Iterator[list[Gateway]]:
    with gateways() as made:
        yield made


def suite(operator: Operator) -> Path:
    return operator.repository / "dists" / "stable"


def tampered_deb(operator: Operator) -> None:
    deb = max(suite(operator).parents[1].glob("pool/*.deb"), key=lambda path: path.stat().st_mtime)
    data = bytearray(deb.read_bytes())
    data[-2000] ^= 1
    deb.write_bytes(data)


def tampered_index(operator: Operator) -> None:
    for index in suite(operator).glob("main/binary-*/**/*"):
        if index.is_file():
            index.write_bytes(index.read_bytes()[:-1] + b" ")


def unsigned(operator: Operator) -> None:
    (suite(operator) / "InRelease").write_text(release_of(operator))


def signed_by_a_stranger(operator: Operator) -> None:
    stranger = Operator(operator.folder / "stranger")
    sign(operator, release_of(operator), stranger.key)
    shutil.rmtree(stranger.folder)


def expired(operator: Operator) -> None:
    lines = [line for line in release_of(operator).splitlines() if not line.startswith(("Date:", "Valid-Until:"))]
    sign(operator, "\n".join([*lines, "Date: Mon, 01 Jan 2024 00:00:00 UTC", "Valid-Until: Wed, 31 Jan 2024 00:00:00 UTC"]) + "\n", operator.key)


def release_of(operator: Operator) -> str:
    """The signed text, without its signature."""
    done = subprocess.run(
        ["gpg", "--homedir", str(operator.key), "--decrypt", str(suite(operator) / "InRelease")], text=True, capture_output=True, check=False
    )
    assert "Suite: stable" in done.stdout, done.stderr
    return done.stdout


def sign(operator: Operator, release: str, key: Path) -> None:
    command = ["gpg", "--homedir", str(key), "--batch", "--yes", "--clearsign", "--output", str(suite(operator) / "InRelease")]
    subprocess.run(command, input=release, text=True, capture_output=True, check=True)
    subprocess.run(["gpgconf", "--homedir", str(key), "--kill", "gpg-agent"], capture_output=True, check=False)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (tampered_deb, ("Hash Sum mismatch", "has unexpected size")),
        (tampered_index, ("Hash Sum mismatch", "has unexpected size")),
        (unsigned, ("is not signed", "Clearsigned file isn't valid")),
        (signed_by_a_stranger, ("the public key is not available", "Missing key")),
        (expired, ("is expired",)),
    ],
)
def test_what_the_operator_did_not_sign_is_refused(fleet: list[Gateway], spoil: Callable[[Operator], None], words: tuple[str, ...]) -> None:
    def story(gateway: Gateway) -> None:
        operator, before = gateway.operator, gateway.installed()
        new = operator.release()
        whole = operator.folder / "whole"
        shutil.copytree(operator.repository, whole)
        spoil(operator)
        check = gateway.look()
        assert check["result"] == "failed"
        assert any(text in gateway.run(f"cat {STATE}/apt.log").stdout for text in words), check
        assert gateway.installed() == gateway.running() == before
        assert f"no updates: {check['reason']}" in gateway.journal()
        shutil.copytree(whole, operator.repository, dirs_exist_ok=True)
        shutil.rmtree(whole)
        operator.phase(new, 0)
        assert gateway.look()["result"] == "ok"
        assert "updates work again" in gateway.journal()

    on_all(fleet, story)


def test_older_index_than_one_seen_before_brings_nothing_back(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        operator, before = gateway.operator, gateway.installed()
        new = operator.release()
        former = operator.folder / "former"
        shutil.copytree(suite(operator), former)
        operator.phase(new, 0)
        assert gateway.look()["result"] == "ok"
        assert gateway.installed() == before
        shutil.copytree(former, suite(operator), dirs_exist_ok=True)
        shutil.rmtree(former)
        gateway.look()
        assert gateway.installed() == before

    on_all(fleet, story)


@pytest.mark.parametrize(("off", "words"), [("-900d", ("not valid yet", "Not live until")), ("+900d", ("expired",))])
def test_with_a_clock_far_off_nothing_is_updated(fleet: list[Gateway], off: str, words: tuple[str, ...]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        new = gateway.operator.release()
        library = gateway.run("ls /usr/lib/*/faketime/libfaketime.so.1").stdout.strip()
        folder = "/run/systemd/system/edge-agent-update.service.d"
        gateway.run(
            f"mkdir -p {folder}; printf '[Service]\nEnvironment=LD_PRELOAD={library} FAKETIME={off}\n' > {folder}/clock.conf; systemctl daemon-reload"
        )
        check = gateway.look()
        assert check["result"] == "failed"
        assert any(text in check["reason"] for text in words), check
        assert "this machine's clock says" in check["reason"]
        assert gateway.installed() == gateway.running() == before
        gateway.run(f"rm -r {folder}; systemctl daemon-reload")
        gateway.operator.phase(new, 0)
        assert gateway.look()["result"] == "ok"

    on_all(fleet, story)


def test_without_space_nothing_changes_and_with_space_it_goes_on(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        new = gateway.operator.release()
        for full in (f"{STATE}/debs", "/var/cache/edge-agent-updater", "/usr/lib/edge-agent"):  # the way back, the download, the unpacking
            fill(gateway, full)
            assert gateway.look()["result"] == "failed"
            gateway.settled()
            assert gateway.installed() == gateway.running() == before
            gateway.run(f"umount --lazy {full}")
        assert gateway.look()["result"] == "ok"
        assert gateway.settled()["state"] == "confirmed"
        assert gateway.installed() == new

    on_all(fleet, story)


def fill(gateway: Gateway, folder: str) -> None:
    """Leaves 100 kB of room in a folder."""
    gateway.run(f"rm -rf /var/tmp/was; mkdir -p {folder}; cp -a {folder} /var/tmp/was")
    size = int(gateway.run("du -sk /var/tmp/was | cut -f 1").stdout)
    gateway.run(f"mount -t tmpfs -o size={size + 100}k,mode=755 small {folder} && cp -a /var/tmp/was/. {folder}")


def test_updates_keep_to_the_window(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        before = gateway.installed()
        new = gateway.operator.release()
        for window in ("+1 hour/+2 hours", "-2 hours/-1 hour"):  # one of the two may go over midnight
            gateway.set("WINDOW", between(gateway, window))
            gateway.look()
            assert gateway.installed() == before, window
        gateway.set("WINDOW", "1-5")
        check = gateway.look()
        assert (check["result"], gateway.installed()) == ("failed", before)
        assert "WINDOW=1-5" in check["reason"]
        gateway.set("WINDOW", between(gateway, "-23 hours/+1 minute"))
        gateway.look()
        assert gateway.installed() == new
        assert gateway.settled()["state"] == "confirmed"
        gateway.set("WINDOW", "always")

    on_all(fleet, story)


def between(gateway: Gateway, window: str) -> str:
    """A window around now, as the gateway's clock has it."""
    opens, closes = window.split("/")
    return gateway.run(f"echo $(date -d '{opens}' +%H:%M)-$(date -d '{closes}' +%H:%M)").stdout.strip()


def test_other_packages_of_the_repository_are_not_taken(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        root = gateway.operator.folder / "bash"
        (root / "DEBIAN").mkdir(parents=True)
        fields = "Package: bash\nVersion: 99\nArchitecture: all\nMaintainer: nobody <nobody@example.invalid>\nDescription: another\n"
        (root / "DEBIAN/control").write_text(fields)
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(root), str(gateway.operator.debs)], check=True, capture_output=True)
        gateway.operator.phase("99", 100, "bash")
        new = gateway.operator.release()
        assert gateway.look()["result"] == "ok"
        assert gateway.settled()["to"] == new
        gateway.run("apt-get update && apt-get -y upgrade")
        assert gateway.run("dpkg-query -W -f '${Version}' bash").stdout != "99"

    on_all(fleet, story)


def test_same_failure_is_logged_once(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        gateway.run("systemctl stop repository")
        first = gateway.look()
        assert first["result"] == "failed"
        assert gateway.look()["result"] == "failed"
        assert gateway.journal().count(f"no updates: {first['reason']}") == 1
        gateway.run("systemctl start repository")
        gateway.look()

    on_all(fleet, story)


def test_share_of_the_fleet_grows_and_nobody_waits_behind_a_version_that_he_may_not_have(fleet: list[Gateway]) -> None:
    def story(gateway: Gateway) -> None:
        gateway.look()
        older, newest = gateway.operator.release(), gateway.operator.release(percent=0)
        few, more = (offers(gateway, newest, percent) for percent in (30, 70))
        assert set(few.values()) == set(more.values()) == {older, newest}
        assert set(few) == set(more) == set(MACHINES)
        takers, later = ({machine for machine, version in offered.items() if version == newest} for offered in (few, more))
        assert takers < later
        gateway.operator.phase(newest, 0)
        gateway.look()
        assert gateway.installed() == older
        assert gateway.settled()["state"] == "confirmed"

    on_all(fleet, story)


MACHINES = [f"{number:032x}" for number in range(1, 25)]


def offers(gateway: Gateway, version: str, percent: int) -> dict[str, str]:
    """Which version each machine would install when that share is published."""
    gateway.operator.phase(version, percent)
    upgrade = r'apt-get -s upgrade -o APT::Machine-ID=$machine | sed -n "s/^Inst edge-agent .*(\([^ ]*\) .*/$machine \1/p"'
    shown = gateway.run(f"apt-get update >/dev/null; for machine in {' '.join(MACHINES)}; do {upgrade}; done").stdout
    return dict(line.split() for line in shown.splitlines())
