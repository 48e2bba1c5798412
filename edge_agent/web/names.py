"""By which names the page may be asked for: an address, this machine's own names, and those that the site file adds.

Any other name may be a trap (DNS rebinding): whoever opens a stranger's page in the house has its name pointed at the gateway
a moment later, and the browser hands the gateway's answers to that page. A stranger's name is one of the public DNS. So this
machine's host name counts alone, or in a domain where no stranger can have a name: the network's own, or one that never leaves
a house. In any other domain it does not: `gateway.stranger.example` can be had by anybody.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from pathlib import Path

# RFC 6762, RFC 8375, ICANN's resolution 2024.07.29.06; then what routers call a house, none of which the public DNS has for a stranger
HOUSE_DOMAINS = ("local", "home.arpa", "internal", "home", "lan", "localdomain", "fritz.box", "speedport.ip")
_RESOLVER = Path("/etc/resolv.conf")


def is_our_name(host: str, more: Collection[str] = ()) -> bool:
    """Whether a Host header names this machine. `more`: names that the site file adds."""
    name = _name_in(host)
    return _is_address(name) or name == "localhost" or name in more or is_own_name(name, socket.gethostname(), network_domains())


def is_own_name(name: str, hostname: str, domains: Collection[str]) -> bool:
    """Whether `name` is the machine's host name, whole, alone or in one of the network's or a house's domains."""
    own, (label, _, domain) = hostname.lower(), name.partition(".")
    return name == own or (label == own.partition(".")[0] and (not domain or domain in (*HOUSE_DOMAINS, *domains)))


def network_domains(resolver: Path = _RESOLVER) -> list[str]:
    """The domains of the network that this machine is in, as its router told. One without a dot is left out: `haus` can be anybody's."""
    try:
        lines = [line.split() for line in resolver.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return []
    named = [domain.lower().strip(".") for words in lines if words and words[0] in ("search", "domain") for domain in words[1:]]
    return [domain for domain in named if "." in domain]


def _name_in(host: str) -> str:
    """The name in a Host header, without its port and an address's brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
