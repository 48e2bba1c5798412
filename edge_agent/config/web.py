"""Where the status page listens, and who may see it."""

from __future__ import annotations

import ipaddress
import re

from edge_agent.config.credentials import secret_in
from edge_agent.config.findings import Findings
from edge_agent.config.schema import WebSection
from edge_agent.config.site import WebSettings

SHORTEST_PASSWORD = 8
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def web_of(findings: Findings, section: WebSection | None) -> WebSettings | None:
    """The page's settings; None when the file has no `web`. An address that others reach needs a password."""
    if section is None:
        return None
    host, _, port = section.listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        findings.wrong(("web", "listen"), "web.listen: is no address and port", "write 127.0.0.1:8080")
        return None
    password = secret_in(findings, findings.path.parent / section.password_file, ("web", "password_file")) if section.password_file else None
    if password is not None and len(password) < SHORTEST_PASSWORD:
        text = f"web.password_file: the password has fewer than {SHORTEST_PASSWORD} characters"
        findings.wrong(("web", "password_file"), text, "choose a longer one")
    if section.password_file is None and not _is_loopback(host):
        text = f"web.listen: others can reach {host}, and what a house uses and when is nobody else's business"
        findings.wrong(("web", "listen"), text, "write password_file: with the name of a file that holds a password, or listen on 127.0.0.1")
    return WebSettings(host, int(port), password, _hosts(findings, section))


def _hosts(findings: Findings, section: WebSection) -> tuple[str, ...]:
    names = tuple(name.lower().rstrip(".") for name in section.hosts)
    for index, name in enumerate(names):
        if not _HOST_NAME.fullmatch(name):
            findings.wrong(
                ("web", "hosts", index),
                f"web.hosts: {section.hosts[index]!r} is no host name",
                "write one such as energy.fritz.box, without http:// and port",
            )
    return names


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
