"""The options of `edge-agent scan`. Apart, since they are read whenever any command starts, and the scan itself is not."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_agent.bounds import number, numbers

PORTS = (502, 1502)
UNITS_THAT_MATTER = (1, 2, 3, 71, 100, 126, 200, 240, 247)
ACCOUNT = ("customer_id", "building_id", "client_id", "client_secret_file")


def add_options(scan: argparse.ArgumentParser, default_config: str) -> None:
    """The command's options."""
    scan.add_argument("networks", nargs="*", metavar="NETWORK", help="such as 192.168.1.0/24, or a host (default: this machine's private networks)")
    scan.add_argument("--mqtt", metavar="BROKER", help="also listen on a broker, such as mqtt://localhost:1883 (default: the site file's)")
    scan.add_argument(
        "--config", type=Path, metavar="FILE", help=f"a site file with the account and the broker (default: {default_config}, if it is there)"
    )
    scan.add_argument("--write", type=Path, metavar="FILE", help="write a new site file with what was found")
    scan.add_argument("--json", action="store_true", help="print JSON")
    scan.add_argument("--ports", type=numbers(1, 65535), default=PORTS, metavar="N,N", help="Modbus ports to try (default: 502,1502)")
    scan.add_argument(
        "--units",
        type=numbers(0, 255),
        default=(),
        metavar="N,N",
        help=f"unit ids to ask for (default: {','.join(map(str, UNITS_THAT_MATTER))} and where profiles are at home)",
    )
    scan.add_argument(
        "--seconds", type=number(float, 1, 86400), default=300.0, metavar="N", help="end after that time with what was found (default: 300)"
    )
    scan.add_argument("--wait", type=number(float, 0, 3600), default=5.0, metavar="SECONDS", help="how long to listen on the broker (default: 5)")
    for key in ACCOUNT:
        scan.add_argument(f"--{key.replace('_', '-')}", metavar="TEXT", help=f"moost.{key} of the file to write (default: from --config)")
