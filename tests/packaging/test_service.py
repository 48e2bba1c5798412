"""The installed service on booted Debians: sandboxed, waiting, working, stopped, cut off from power, removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent import __version__
from tests.packaging.booted import RELEASES, Machine, need_booted_systems
from tests.packaging.installed import SITE, health, installed, start_house, wait_for_events, write_site

pytestmark = pytest.mark.usefixtures("_bootable")


@pytest.fixture
def _bootable() -> None:
    need_booted_systems()


def property_of(system: Machine, name: str) -> str:
    return system.run(f"systemctl show --property={name} --value edge-agent").stdout.strip()


@pytest.mark.parametrize("release", RELEASES)
def test_service_waits_for_its_site_file_then_works_for_root_and_the_group(release: str, tmp_path: Path, agent_deb: Path) -> None:
    with installed(release, tmp_path, agent_deb) as system:
        system.wait_for("systemctl is-active edge-agent")
        assert "edge-agent setup" in property_of(system, "StatusText")
        assert property_of(system, "NRestarts") == "0"
        assert "`edge-agent setup` writes one" in system.run("edge-agent status", check=False).stderr
        write_site(system, SITE.replace("role: grid", "role: gird"))
        system.wait_for("edge-agent status 2>&1 | grep 'the service runs, but waits: .*gird'")
        assert "enabled" in system.run("systemctl is-enabled edge-agent").stdout

        start_house(system)
        write_site(system)
        wait_for_events(system)
        system.wait_for('grep \'"state": "healthy"\' /run/edge-agent/health.json')
        page = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/').read().decode())"
        assert "<html" in system.run(f'python3 -c "{page}"').stdout
        assert f'"version": "{__version__}"' in health(system)

        system.run("useradd --create-home --groups edge-agent installer")
        for who in ("", "runuser -u installer -- "):
            assert "ok: 2 devices" in system.run(f"{who}edge-agent check").stdout
            assert "Main meter" in system.run(f"{who}edge-agent read grid-meter").stdout
            assert "waiting" in system.run(f"{who}edge-agent queue").stdout
            assert system.run(f"{who}edge-agent status", check=False).returncode in (0, 1)
        # Trusted in this boot, the clock stays so when the agent restarts, also under the sandbox, though a time service appears.
        system.run("mkdir -p /run/systemd/timesync; systemctl restart edge-agent")
        system.wait_for('edge-agent status --json | tr -d \' \\n\' | grep \'"clock":{"trusted":true,"reason":"notimeservice"\'')
        system.run("systemctl stop edge-agent; runuser -u installer -- edge-agent queue; edge-agent queue; systemctl start edge-agent")
        wait_for_events(system)
        stranger = system.run("useradd stranger; runuser -u stranger -- edge-agent queue", check=False)
        assert stranger.returncode != 0
        assert "Traceback" not in stranger.stderr


@pytest.mark.parametrize("release", RELEASES)
def test_service_outlives_stops_power_cuts_and_its_own_removal(release: str, tmp_path: Path, agent_deb: Path) -> None:
    with installed(release, tmp_path, agent_deb) as system:
        start_house(system)
        write_site(system)
        wait_for_events(system)
        took = system.run("date +%s%N; systemctl stop edge-agent; date +%s%N").stdout.split()
        assert (int(took[1]) - int(took[0])) / 1e9 < 10
        assert property_of(system, "Result") == "success"
        system.run("systemctl start edge-agent")
        wait_for_events(system)

        system.power_cut()
        system.boot()
        start_house(system)
        wait_for_events(system)

        system.run("apt remove --yes edge-agent")
        system.run("! systemctl is-active edge-agent; test -s /var/lib/edge-agent/edge-agent.db; test -s /etc/edge-agent/agent.yaml")
        system.run(f"apt install --yes /debs/{agent_deb.name}")
        system.wait_for("systemctl is-active edge-agent")
        system.run("systemctl stop house; apt purge --yes edge-agent")
        left = system.run("find / -xdev -path '*edge-agent*' -not -path '/proc/*' -not -path '/debs/*' -not -path '/sys/*'", check=False).stdout
        assert left.split() == []


@pytest.mark.parametrize("release", RELEASES)
def test_sandbox_lets_serial_ports_through_and_nothing_else(release: str, tmp_path: Path, agent_deb: Path) -> None:
    with installed(release, tmp_path, agent_deb) as system:
        system.run("for one in ttyUSB0:188 ttyACM0:166 ttyAMA0:204 ttyS0:4 input0:13; do mknod /dev/${one%:*} c ${one#*:} 64; done")
        system.run("chgrp dialout /dev/tty[UAS]* /dev/input0; chmod 660 /dev/tty[UAS]* /dev/input0")
        serial = [
            f'  - {{id: on-{name}, name: Meter, profile: eastron-sdm630, connection: "serial:///dev/{name}?baudrate=9600", role: grid}}\n'
            for name in ("ttyUSB0", "ttyACM0", "ttyAMA0", "ttyS0", "input0")
        ]
        write_site(system, SITE[: SITE.index("  - {id: grid")] + "".join(serial).replace("role: grid", "role: house"))
        system.wait_for("edge-agent queue --json | grep batch_size")  # only the running agent knows of it; then it is the service that reads
        said = system.run("edge-agent read --json", check=False).stdout
        errors = {line.split('"')[3].split(":")[0]: line for line in said.splitlines() if '"error"' in line}
        assert len(errors) == 5, said
        refused = [device for device, line in errors.items() if "not permitted" in line or "denied" in line]
        assert refused == ["on-input0"], errors


@pytest.mark.parametrize("release", RELEASES)
def test_sandbox_is_writable_in_its_own_folders_only_and_nothing_runs_from_there(release: str, tmp_path: Path, agent_deb: Path) -> None:
    with installed(release, tmp_path, agent_deb) as system:
        system.wait_for("systemctl is-active edge-agent")
        pid = property_of(system, "MainPID")
        for place in ("/var/lib/edge-agent/x", "/run/edge-agent/x", "/tmp/x"):
            tried = system.run(f"nsenter -t {pid} -m -- sh -c 'cp /bin/true {place} && {place}'", check=False)
            assert (tried.returncode, "Permission denied" in tried.stderr) == (126, True), place
        for place in ("/etc/edge-agent/x", "/usr/lib/edge-agent/x", "/var/lib/x", "/root/x"):
            assert system.run(f"nsenter -t {pid} -m -- touch {place}", check=False).returncode != 0, place
        assert system.run(f"grep -E 'CapEff|NoNewPrivs' /proc/{pid}/status").stdout.split() == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"]


@pytest.mark.parametrize("release", RELEASES)
def test_service_works_on_a_read_only_root_and_says_when_its_state_is_read_only_too(release: str, tmp_path: Path, agent_deb: Path) -> None:
    with installed(release, tmp_path, agent_deb) as system:
        write_site(system)
        system.power_cut()
        system.boot("--read-only", "--tmpfs=/var/lib/edge-agent:mode=755", "--tmpfs=/var/tmp")
        start_house(system)
        wait_for_events(system)
        system.run("! touch /etc/x")
        system.power_cut()
        system.boot("--read-only", "--tmpfs=/var/tmp")
        system.wait_for("grep 'Read-only file system; the agent keeps its queue there' /run/edge-agent/health.json")
        aged = "import json; told = json.load(open('/run/edge-agent/health.json')); assert told['uptime_s'] - told['started_uptime_s'] > 6"
        system.wait_for(f'python3 -c "{aged}"')  # longer than between two attempts
        assert system.run("journalctl --unit=edge-agent --boot --no-pager | grep -c 'no copy of the site file'").stdout.strip() == "1"


@pytest.mark.parametrize("release", RELEASES)
def test_service_goes_on_with_the_last_valid_site_file_after_an_upgrade(release: str, tmp_path: Path, agent_deb: Path) -> None:
    with installed(release, tmp_path, agent_deb) as system:
        start_house(system)
        write_site(system)
        wait_for_events(system)
        write_site(system, SITE.replace("role: grid", "role: gird"))
        system.run(f"dpkg --install /debs/{agent_deb.name}")
        system.wait_for("grep 'last one that was right' /run/edge-agent/health.json")
        wait_for_events(system)
        assert '"state": "degraded"' in health(system)
        shown = system.run("edge-agent status", check=False)
        assert shown.returncode == 1
        assert "last one that was right" in shown.stdout
        assert "role: gird" in system.run("cat /etc/edge-agent/agent.yaml").stdout, "the operator's file is not touched"


def test_operators_own_settings_of_the_unit_hold_and_a_hung_program_is_restarted(tmp_path: Path, agent_deb: Path) -> None:
    with installed("bookworm", tmp_path, agent_deb) as system:
        system.wait_for("systemctl is-active edge-agent")
        system.run("mkdir -p /etc/systemd/system/edge-agent.service.d")
        system.run("printf '[Service]\\nWatchdogSec=15s\\nRestartSec=100ms\\n' > /etc/systemd/system/edge-agent.service.d/override.conf")
        system.run("systemctl daemon-reload; systemctl restart edge-agent")
        system.run(f"dpkg --install /debs/{agent_deb.name}")
        system.wait_for("systemctl is-active edge-agent")
        assert property_of(system, "WatchdogUSec") == "15s", "an upgrade keeps what the operator set"
        system.run("kill -STOP $(systemctl show --property=MainPID --value edge-agent)")
        system.wait_for("test $(systemctl show --property=NRestarts --value edge-agent) = 1")
        system.wait_for("systemctl is-active edge-agent")


@pytest.mark.parametrize("release", RELEASES)
def test_program_that_ends_at_once_is_started_less_and_less_often(release: str, tmp_path: Path, agent_deb: Path) -> None:
    with installed(release, tmp_path, agent_deb) as system:
        system.run("mkdir -p /etc/systemd/system/edge-agent.service.d")
        system.run("printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' > /etc/systemd/system/edge-agent.service.d/override.conf")
        system.run("systemctl daemon-reload; systemctl restart edge-agent", check=False)
        for sleep_s in ("[6]", "[1]2"):  # brackets: the search shall not find itself
            system.wait_for(f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -x '{sleep_s}'")
        assert "Unknown key" not in system.run("journalctl --unit=edge-agent --no-pager").stdout


@pytest.mark.parametrize("release", RELEASES)
def test_secret_may_be_a_credential_plain_or_encrypted(release: str, tmp_path: Path, agent_deb: Path) -> None:
    with installed(release, tmp_path, agent_deb) as system:
        start_house(system)
        write_site(system, SITE.replace("  client_secret_file: client-secret\n", ""))
        system.run("mkdir -p -m 700 /etc/credstore /etc/credstore.encrypted; mv /etc/edge-agent/client-secret /etc/credstore/moost-client-secret")
        system.run("systemctl restart edge-agent")
        wait_for_events(system)
        plain, encrypted = "/etc/credstore/moost-client-secret", "/etc/credstore.encrypted/moost-client-secret-encrypted"
        system.run(f"systemd-creds encrypt --name=moost-client-secret-encrypted {plain} {encrypted}")
        system.run(f"rm {plain}; systemctl restart edge-agent")
        wait_for_events(system)
        assert "only the service can read" in system.run("edge-agent check").stdout
