"""Where a scan may go: the machine's own private IPv4 networks, or a private one that was named. Nowhere else."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from edge_agent.model.errors import EdgeAgentError

_PRIVATE = [IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8")]
_OWN_PREFIX = 22  # of a larger network of its own, the machine's part of this size is scanned
_LARGEST_PREFIX = 21  # of a network that is named: 2,048 addresses take some four minutes
_SIOCGIFFLAGS, _SIOCGIFADDR, _SIOCGIFNETMASK = 0x8913, 0x8915, 0x891B
_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING = 0x1, 0x8, 0x10, 0x40


def named_network(text: str) -> IPv4Network:
    """`192.168.1.0/24`, an address, or the name of a host. Raises EdgeAgentError for what is public, too large or unknown."""
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        network = IPv4Network(_address_of(text))
    if not _is_private(network):
        raise EdgeAgentError(f"{text} is not a private network: only 10.x, 172.16.x to 172.31.x, 192.168.x, 169.254.x and 127.x are scanned")
    if network.prefixlen < _LARGEST_PREFIX:
        raise EdgeAgentError(
            f"{text} has {network.num_addresses} addresses; name a part of at most {2 ** (32 - _LARGEST_PREFIX)}, such as {_part(network)}"
        )
    return network


def _address_of(host: str) -> str:
    shape = "write a network such as 192.168.1.0/24, an address, or the name of a host"
    if "/" in host or ":" in host or not host:
        raise EdgeAgentError(f"{host!r} is no IPv4 network: {shape}")
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError):
        raise EdgeAgentError(f"{host!r} is not known in this network: {shape}") from None


def _part(network: IPv4Network) -> IPv4Network:
    return IPv4Network((network.network_address, _OWN_PREFIX))


def _is_private(network: IPv4Network) -> bool:
    return any(network.subnet_of(private) for private in _PRIVATE)


def private_networks(interfaces: Iterable[IPv4Interface]) -> list[IPv4Network]:
    """The private networks of a machine's interfaces; of a large one the part around the machine."""
    found = [one.network for one in interfaces if _is_private(one.network)]
    narrowed = [
        network if network.prefixlen >= _OWN_PREFIX else IPv4Network((one.ip, _OWN_PREFIX), strict=False)
        for one, network in ((one, one.network) for one in interfaces)
        if network in found
    ]
    return list(dict.fromkeys(narrowed))


def own_interfaces() -> Iterator[IPv4Interface]:
    """The machine's addresses with their networks; without loopback, tunnels, and what is not up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            flags = struct.unpack_from("H", _ask(probe, name, _SIOCGIFFLAGS), 16)[0]
            if flags & (_LOOPBACK | _POINT_TO_POINT) or not (flags & _UP and flags & _RUNNING):
                continue
            try:
                address, mask = (_ask(probe, name, request)[20:24] for request in (_SIOCGIFADDR, _SIOCGIFNETMASK))
            except OSError:  # an interface without an IPv4 address
                continue
            yield IPv4Interface(f"{IPv4Address(address)}/{IPv4Address(mask)}")


def _ask(probe: socket.socket, name: str, request: int) -> bytes:
    return fcntl.ioctl(probe.fileno(), request, struct.pack("256s", name.encode()[:15]))


def own_networks() -> list[IPv4Network]:
    """The networks to scan when none is named. Raises EdgeAgentError when the machine has none."""
    networks = private_networks(list(own_interfaces()))
    if not networks:
        raise EdgeAgentError("this machine is in no private IPv4 network; name one, such as edge-agent scan 192.168.1.0/24")
    return networks


def hosts_of(networks: Sequence[IPv4Network]) -> list[str]:
    """All addresses of these networks, each once."""
    return list(dict.fromkeys(str(host) for network in networks for host in network.hosts()))
