"""A gateway with the updater, its operator's repository, and what both do to each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.packaging.booted import RELEASES, Machine, machine, need_booted_systems
from tests.packaging.dummy_agent import dummy_deb

PACKAGING = Path(__file__).parents[2] / "packaging"
ADDRESS = "http://127.0.0.1:8000"
STATE = "/var/lib/edge-agent-updater"
SOAK_S = 8
_SERVER = f"""\
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /srv/repository 8000
[Install]
WantedBy=multi-user.target
[Unit]
Description=the operator's web server at {ADDRESS}
"""


class Operator:
    """Somebody with a key, a folder of debs and a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.debs, self.repository, self.key = folder / "DEBS", folder / "REPOSITORY", folder / "KEY"
        self.repository.mkdir(parents=True)
        self.debs.mkdir()
        self._phases: dict[tuple[str, str], int] = {}
        self._number = 0
        self._published_s = 0.0
        self.command("key", "KEY")

    def command(self, *words: str) -> None:
        """Runs the operator's command."""
        command = [sys.executable, str(PACKAGING / "repository" / "repository.py"), *words]
        done = subprocess.run(command, cwd=self.folder, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def build(self, broken: str = "no") -> tuple[str, Path]:
        """A new version of the agent, higher than all before, not published."""
        self._number += 1
        version = f"1.{self._number}.0"
        folder = self.folder / "built"
        folder.mkdir(exist_ok=True)
        return version, dummy_deb(folder, version, broken)

    def release_updater(self, version: str, public_key: Path | None = None) -> None:
        """Puts a later version of the updater into the repository, to be published with the next agent."""
        self.build_updater(self.debs, public_key or self.key / "repository.gpg", version)
        self._phases["edge-agent-updater", version] = 100

    def updater(self) -> Path:
        """The updater for this operator's gateways."""
        return self.build_updater(self.folder, self.key / "repository.gpg")

    def build_updater(self, folder: Path, public_key: Path, *version: str) -> Path:
        """An updater that trusts this key."""
        command = [str(PACKAGING / "updater" / "build"), str(folder), ADDRESS, str(public_key), *version]
        return Path(subprocess.run(command, text=True, capture_output=True, check=True).stdout.strip())

    def release(self, broken: str = "no", percent: int = 100) -> str:
        """Publishes a new version of the stand-in; the version."""
        version, deb = self.build(broken)
        self.release_deb(version, deb, percent)
        return version

    def release_deb(self, version: str, deb: Path, percent: int = 100) -> None:
        """Publishes a deb."""
        shutil.move(deb, self.debs)
        self.phase(version, percent)

    def phase(self, version: str, percent: int, package: str = "edge-agent") -> None:
        """Publishes with another share for a version."""
        self._phases[package, version] = percent
        lines = [f"{name} {number} {share}\n" for (name, number), share in self._phases.items()]
        (self.debs / "phases").write_text("".join(lines))
        self.publish()

    def publish(self) -> None:
        """Publishes what is there, not twice in a second: an index is dated to the second."""
        while time.time() < self._published_s + 1.1:
            time.sleep(0.05)
        self._published_s = time.time()
        self.command("publish", "DEBS", "REPOSITORY", str(self.key))


class Gateway:
    """A booted system with agent and updater."""

    def __init__(self, system: Machine, operator: Operator, soak_s: int) -> None:
        self.system = system
        self.operator = operator
        self.soak_s = soak_s
        self.run = system.run
        self.wait_for = system.wait_for

    def install(self, agent: Path) -> None:
        """Boots, and installs as an installer would; checks in tests are quicker than in the field."""
        settings = self.system.root / "etc/systemd/system.conf.d/trial.conf"
        settings.parent.mkdir()
        settings.write_text("[Manager]\nDefaultEnvironment=EDGE_AGENT_SOAK_FLOOR=1\n")
        self.system.boot()
        (self.system.root / "etc/systemd/system/repository.service").write_text(_SERVER)
        for deb in (agent, self.operator.updater()):
            shutil.copy(deb, self.system.root / "root")
        self.run("systemctl enable --now repository && cd /root && apt install --yes ./edge-agent_*.deb ./edge-agent-updater_*.deb")
        self.set_for_tests()
        self.wait_for("systemctl is-active edge-agent && test -e /run/edge-agent/health.json")

    def install_updater(self) -> None:
        """Installs the updater again."""
        self.run("apt-get install -y /root/edge-agent-updater_*.deb")
        self.set_for_tests()

    def set_for_tests(self) -> None:
        """Settings with which nobody waits long."""
        self.set("WINDOW", "always")
        self.set("SOAK", str(self.soak_s))

    def set(self, name: str, value: str) -> None:
        """Changes a line of the updater's settings."""
        self.run(f"sed -i 's|^{name}=.*|{name}={value}|' /etc/edge-agent-updater/updater.conf")

    def look(self) -> dict[str, str]:
        """Looks for updates now; how that went."""
        self.run("systemctl start edge-agent-update")
        return self.read("check")

    def read(self, name: str) -> dict[str, str]:
        """One of the updater's key=value files; empty when it is not there."""
        lines = self.run(f"cat {STATE}/{name}", check=False).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def settled(self, within_s: float = 120) -> dict[str, str]:
        """Waits until the gate has judged; its report."""
        self.wait_for(f"test ! -e {STATE}/pending && ! systemctl is-active edge-agent-gate", within_s)
        return self.read("report")

    def installed(self) -> str:
        """The installed version; what is not whole is an assertion."""
        assert self.run("dpkg --audit").stdout == ""
        status = self.run("dpkg-query -W -f '${db:Status-Abbrev}${Version}' edge-agent").stdout
        assert status.startswith("ii "), status
        return status.removeprefix("ii ")

    def running(self, within_s: float = 60) -> str:
        """The version that says of itself that it runs."""
        text = self.wait_for("systemctl is-active --quiet edge-agent && cat /run/edge-agent/health.json", within_s)
        found = re.search(r'"version": "([^"]+)"', text)
        assert found, text
        return found[1]

    def journal(self) -> str:
        """What the updater wrote into the journal since boot."""
        return self.run("journalctl -b -t edge-agent-updater -o cat --no-pager").stdout


Story = Callable[[Gateway], None]


@contextmanager
def gateways(agent: Path | None = None, soak_s: int = SOAK_S) -> Iterator[list[Gateway]]:
    """A gateway of each Debian release with its own operator and this agent's deb, else the stand-in in its first version."""
    need_booted_systems()
    with ExitStack() as stack:
        made = []
        for release in RELEASES:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-", dir="/dev/shm")))
            operator = Operator(home)
            binds = {operator.repository: "/srv/repository", Path(__file__).parent: "/tests"}
            made.append(Gateway(stack.enter_context(machine(release, home / "machine", binds)), operator, soak_s))
        on_all(made, lambda gateway: gateway.install(agent or gateway.operator.build()[1]))
        yield made


def on_all(gateways: list[Gateway], story: Story) -> None:
    """Plays a story on all gateways side by side: most of it is waiting."""
    with ThreadPoolExecutor(len(gateways)) as pool:
        for told in [pool.submit(story, gateway) for gateway in gateways]:
            told.result()
