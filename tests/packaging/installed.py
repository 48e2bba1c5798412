"""The agent installed on a booted machine, with a simulated house and cloud on its loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_ID, CLIENT_SECRET, CUSTOMER_ID
from tests.packaging.booted import Machine, machine
from tests.packaging.house import CLOUD_PORT, HYBRID_PORT, METER_PORT

SITE = f"""\
moost:
  base_url: http://127.0.0.1:{CLOUD_PORT}
  customer_id: {CUSTOMER_ID}
  building_id: {BUILDING_ID}
  client_id: {CLIENT_ID}
  client_secret_file: client-secret
web: {{listen: 127.0.0.1:8080}}
reporting: {{interval: 2s, poll_interval: 500ms}}
devices:
  - {{id: grid-meter, name: Main meter, profile: eastron-sdm630, connection: "rtu+tcp://127.0.0.1:{METER_PORT}", role: grid}}
  - {{id: hybrid, name: Sun and battery, profile: sungrow-sh, connection: "tcp://127.0.0.1:{HYBRID_PORT}", roles: [pv, battery]}}
"""


@contextmanager
def installed(release: str, folder: Path, deb: Path) -> Iterator[Machine]:
    """A machine that has booted and installed the agent; no site file yet, no house yet."""
    with machine(release, folder, {deb.parent: "/debs", Path(__file__).parent: "/tests"}) as system:
        system.boot()
        system.run(f"cd /debs && apt install --yes ./{deb.name}")  # the README's words
        yield system


def start_house(system: Machine) -> None:
    """Starts the simulated house; after a power cut it must be started again."""
    system.run("systemd-run --quiet --unit=house python3 /tests/house.py")
    system.wait_for("test -s /run/house")


def write_site(system: Machine, text: str = SITE) -> None:
    """Writes the site file and its secret as a member of the group does."""
    _write(system, "client-secret", CLIENT_SECRET, 640)
    _write(system, "agent.yaml", text, 644)


def _write(system: Machine, name: str, text: str, mode: int) -> None:
    place = f"/etc/edge-agent/{name}"
    system.run(f"cat > {place}.new <<'EOF'\n{text}\nEOF\nchmod {mode} {place}.new && mv {place}.new {place}")


def wait_for_events(system: Machine) -> None:
    """Waits until more events arrive than have so far."""
    system.wait_for(f"test $(cat /run/house) -gt {int(system.run('cat /run/house').stdout)}")


def health(system: Machine) -> str:
    """What the updater is told."""
    return system.run("cat /run/edge-agent/health.json").stdout
