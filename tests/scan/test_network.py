"""Where a scan may go."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network

import pytest

from edge_agent.model.errors import EdgeAgentError
from edge_agent.scan.network import hosts_of, named_network, own_interfaces, private_networks


@pytest.mark.parametrize(
    ("text", "network"),
    [("192.168.1.0/24", "192.168.1.0/24"), ("192.168.1.7/24", "192.168.1.0/24"), ("10.1.2.3", "10.1.2.3/32"), ("localhost", "127.0.0.1/32")],
)
def test_private_networks_and_hosts_may_be_named(text: str, network: str) -> None:
    assert named_network(text) == IPv4Network(network)


@pytest.mark.parametrize("text", ["8.8.8.8", "0.0.0.0/0", "192.0.0.0/8", "100.64.0.0/24", "172.32.0.0/24", "224.0.0.0/24", "192.168.0.0/15"])
def test_public_network_is_refused(text: str) -> None:
    with pytest.raises(EdgeAgentError, match="not a private network"):
        named_network(text)


@pytest.mark.parametrize("text", ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/20"])
def test_large_network_is_refused_with_a_part_to_name(text: str) -> None:
    with pytest.raises(EdgeAgentError, match=r"name a part of at most 2048, such as .*/22"):
        named_network(text)


@pytest.mark.parametrize("text", ["", "fd00::1", "192.168.1.0/99", "no such host.invalid"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(EdgeAgentError, match="write a network such as"):
        named_network(text)


def test_own_networks_are_private_and_of_a_large_one_the_part_around_the_machine() -> None:
    interfaces = [IPv4Interface(text) for text in ("192.168.1.9/24", "10.20.30.40/8", "81.2.3.4/24", "192.168.1.10/24")]
    assert private_networks(interfaces) == [IPv4Network("192.168.1.0/24"), IPv4Network("10.20.28.0/22")]


def test_interfaces_of_this_machine_are_read_without_loopback() -> None:
    assert all(not interface.is_loopback for interface in own_interfaces())


def test_hosts_are_listed_once_without_the_networks_own_addresses() -> None:
    hosts = hosts_of([IPv4Network("192.168.1.0/30"), IPv4Network("192.168.1.0/29")])
    assert hosts == [f"192.168.1.{number}" for number in range(1, 7)]
