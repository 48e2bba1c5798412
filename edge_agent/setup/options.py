"""The options of `edge-agent setup`: one for each answer. Apart, since they are read whenever any command starts."""

from __future__ import annotations

import argparse

from edge_agent.bounds import number, numbers
from edge_agent.scan.options import PORTS


def add_options(setup: argparse.ArgumentParser) -> None:
    """The command's options."""
    account = setup.add_argument_group("the account")
    account.add_argument("--customer-id", metavar="ID", help="moost.customer_id, 24 letters and digits")
    account.add_argument("--building-id", metavar="ID", help="moost.building_id")
    account.add_argument("--client-id", metavar="ID", help="moost.client_id")
    account.add_argument("--client-secret-file", metavar="FILE", help="where to read the client secret once; - is the standard input")
    account.add_argument("--base-url", metavar="URL", help="another cloud than https://api.moost.io")
    account.add_argument("--ca-file", metavar="FILE", help="a private certificate authority of that cloud")
    building = setup.add_argument_group("the building, to register it; leave it out where the cloud knows it already")
    building.add_argument("--zip", metavar="CODE", help="postal code")
    building.add_argument("--city", metavar="NAME", help="place")
    building.add_argument("--country-code", metavar="CC", help="two letters, such as AT")
    building.add_argument("--time-zone", metavar="ZONE", help="such as Europe/Vienna (default: the system's)")
    devices = setup.add_argument_group("the devices")
    devices.add_argument("--network", nargs="*", metavar="NETWORK", help="networks or hosts to scan (default: this machine's private networks)")
    devices.add_argument("--ports", type=numbers(1, 65535), default=PORTS, metavar="N,N", help="Modbus ports to try (default: 502,1502)")
    devices.add_argument("--mqtt", metavar="BROKER", help="a broker to listen on, such as mqtt://localhost:1883")
    devices.add_argument("--no-scan", action="store_true", help="look for no devices")
    devices.add_argument(
        "--seconds", type=number(float, 0, 3600), default=60.0, metavar="N", help="how long to watch the balance; 0: not at all (default: 60)"
    )
    setup.add_argument(
        "--yes", action="store_true", help="ask nothing: what no option gives keeps its default, and devices that are certain are taken"
    )
    setup.add_argument("--offline", action="store_true", help="do not try the credentials at the cloud")
    setup.add_argument("--json", action="store_true", help="print JSON; questions and progress stay on the standard error")
