"""The real agent is updated and taken back while its queue changes its format, and loses nothing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from edge_agent.outbox.schema import FORMAT, OLDEST_FORMAT
from tests.packaging.booted import need_booted_systems
from tests.packaging.installed import SITE, start_house, wait_for_events, write_site
from tests.packaging.updating import Gateway, gateways, on_all

SOAK_S = 36  # the agent reports every ten seconds, and a third of the soak without a report counts as hanging
_QUEUE = "/var/lib/edge-agent/edge-agent.db"
_ROWS = "SELECT seq, series, at, value FROM events"
_TABLES = "SELECT name FROM sqlite_master"


def later_version(deb: Path, folder: Path, version: str, queue_format: int, added: str = "") -> Path:
    """The agent's deb as a later version whose queue has another format, with some lines added to the module that opens it."""
    root = folder / f"agent-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(root)], check=True)
    replace(root / "DEBIAN/control", r"(?m)^Version: .*", f"Version: {version}")
    code = root / "usr/lib/edge-agent/edge_agent"
    replace(code / "__init__.py", r'__version__ = ".*"', f'__version__ = "{version}"')
    schema = code / "outbox/schema.py"
    replace(schema, rf"(?m)^FORMAT = {FORMAT}\b", f"FORMAT = {queue_format}")
    replace(schema, r"(?m)^_ADDED = \{\n", f"_ADDED = {{\n    {FORMAT + 1}: 'CREATE TABLE IF NOT EXISTS later (at INTEGER);',\n")
    schema.write_text(schema.read_text() + added)
    built = folder / f"edge-agent_{version}_amd64.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(root), str(built)], check=True, capture_output=True)
    return built


def replace(file: Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, lambda _: text, file.read_text(), count=1)
    assert count == 1, f"{pattern} is not in {file}"
    file.write_text(changed)


def queued(gateway: Gateway) -> set[str]:
    """What waits in the queue, row by row."""
    return asked(gateway, _ROWS)


def tables(gateway: Gateway) -> set[str]:
    return asked(gateway, _TABLES)


def asked(gateway: Gateway, query: str) -> set[str]:
    """What a copy of the queue's files answers; the agent lets nobody else in."""
    code = f"import sqlite3; [print(*row) for row in sqlite3.connect('/run/copy/edge-agent.db').execute('{query}')]"
    gateway.run(f"rm -rf /run/copy; mkdir /run/copy; cp {_QUEUE} {_QUEUE}-wal /run/copy/")
    return set(gateway.run(f'python3 -c "{code}"').stdout.splitlines())


def taken_back(gateway: Gateway, bad: str, good: str) -> dict[str, str]:
    """Looks for updates, which brings the bad version, and waits until the good one is back; the report."""
    gateway.look()
    report = gateway.settled(180)
    assert (report["state"], report["from"], report["to"]) == ("rolled-back", good, bad)
    assert gateway.installed() == gateway.running() == good
    return report


def test_update_and_way_back_across_a_change_of_the_queue_lose_nothing(agent_deb: Path, tmp_path: Path) -> None:
    need_booted_systems()
    with gateways(agent_deb, SOAK_S) as fleet:

        def story(gateway: Gateway) -> None:
            folder = tmp_path / gateway.system.root.parent.name
            folder.mkdir()
            operator = gateway.operator
            start_house(gateway.system)
            write_site(gateway.system)
            wait_for_events(gateway.system)
            write_site(gateway.system, SITE.replace(":8090", ":8099"))  # where no cloud is: the queue fills
            gateway.run("systemctl reload edge-agent")
            gateway.wait_for("edge-agent queue --json | grep -E '\"waiting\": [1-9][0-9]'")

            before, first = queued(gateway), gateway.installed()
            crash = "import os, threading\nthreading.Timer(4, os._exit, (3,)).start()\n"
            operator.release_deb("9.1.0", later_version(agent_deb, folder, "9.1.0", FORMAT + 1, crash))
            assert "restarts: " in taken_back(gateway, "9.1.0", first)["reason"]
            assert tables(gateway) > {"events", "later"}  # the file stays as the later version made it
            between = queued(gateway)
            assert before <= between

            operator.release_deb("9.2.0", later_version(agent_deb, folder, "9.2.0", OLDEST_FORMAT - 1))
            assert "was written by a newer edge-agent" in taken_back(gateway, "9.2.0", first)["reason"]
            assert between <= queued(gateway)
            gateway.wait_for("edge-agent status | grep -A 1 'updates: version 9.2.0 was taken back'")

            operator.release_deb("9.3.0", later_version(agent_deb, folder, "9.3.0", FORMAT + 1))
            gateway.wait_for("grep '\"devices_read\": 2' /run/edge-agent/health.json")
            gateway.look()
            compared = gateway.read("pending")
            assert (compared["devices"], compared["worked"].split()[:2]) == ("2", ["devices", "queue"])
            gateway.wait_for('systemctl is-active edge-agent && grep \'"version": "9.3.0", "state": "[hd]e\' /run/edge-agent/health.json')
            assert between <= queued(gateway)
            arrived = int(gateway.run("cat /run/house").stdout)
            waiting = len(queued(gateway))
            write_site(gateway.system)
            gateway.run("systemctl reload edge-agent")
            gateway.wait_for(f"test $(cat /run/house) -ge {arrived + waiting}")

        on_all(fleet, story)
