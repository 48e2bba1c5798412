"""A stand-in for the agent's deb: a service in shell that reports its health, or breaks in a way of one's choice.

It keeps the contract between agent and updater (unit name, readiness, /run/edge-agent/health.json) and is built in milliseconds.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

UNIT = """\
[Unit]
Description=stand-in for edge-agent
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/lib/edge-agent/agent
Restart=always
RestartSec=1
TimeoutStartSec=60
TimeoutStopSec=5
RuntimeDirectory=edge-agent
StateDirectory=edge-agent
[Install]
WantedBy=multi-user.target
"""

AGENT = """\
#!/bin/sh
version=%(version)s broken=%(broken)s n=0
if [ $broken = crash ] || [ $broken = removal ]; then echo "$version falls over its feet"; exit 1; fi
[ $broken = never-ready ] && exec sleep 3600
systemd-notify --ready
state=healthy
[ $broken = unhealthy ] && state=unhealthy
while :; do
  n=$((n + 1))
  told=$(cat /var/lib/edge-agent/state 2>/dev/null || echo $state)
  more=$(cat /var/lib/edge-agent/more-$version 2>/dev/null)
  printf '{"version": "%%s", "state": "%%s", "reasons": [], "uptime_s": %%s%%s}\\n' $version $told $n "${more:+, $more}" > /run/edge-agent/.new
  mv /run/edge-agent/.new /run/edge-agent/health.json
  [ $broken = late-crash ] && [ $n -ge 10 ] && exit 3
  [ $broken = hang ] && [ $n -ge 6 ] && sleep 3600
  sleep 0.3
done
"""

POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  deb-systemd-helper enable edge-agent.service >/dev/null
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl --no-block restart edge-agent.service
  fi
fi
"""

FAILING = "#!/bin/sh\necho 'this version cannot be %s' >&2\nexit 1\n"


def dummy_deb(folder: Path, version: str, broken: str = "no", depends: str = "systemd") -> Path:
    """Builds edge-agent_VERSION_all.deb; `broken` names what goes wrong with it; slow: unpacking takes its time."""
    root = folder / f"root-{version}"
    files = {
        "DEBIAN/control": f"Package: edge-agent\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.invalid>\n"
        f"Depends: {depends}\nDescription: stand-in\n with more words\n .\n than one line\n",
        "DEBIAN/postinst": FAILING % "configured" if broken == "postinst" else POSTINST,
        "DEBIAN/preinst": {"slow": "#!/bin/sh\nsleep 0.5\n", "preinst": FAILING % "unpacked"}.get(broken, "#!/bin/sh\nexit 0\n"),
        "DEBIAN/prerm": FAILING % "removed" if broken == "removal" else "#!/bin/sh\nexit 0\n",
        "DEBIAN/postrm": FAILING % "removed" if broken == "removal" else "#!/bin/sh\nexit 0\n",
        "DEBIAN/conffiles": "/etc/edge-agent/example.conf\n",
        "etc/edge-agent/example.conf": "as shipped\n",
        "usr/lib/edge-agent/agent": AGENT % {"version": version, "broken": broken},
        "usr/lib/systemd/system/edge-agent.service": UNIT,
    }
    files |= {f"usr/lib/edge-agent/part-{n}": f"{version} {n}\n" * 1000 for n in range(60)}  # unpacking takes its time, as with the real one
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o755 if text.startswith("#!") else 0o644)
    deb = folder / f"edge-agent_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(deb)], check=True, capture_output=True)
    return deb
