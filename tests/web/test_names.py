"""By which names the page may be asked for, both ways: those of a household's router, and those of a stranger who lays a trap."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.web.names import HOUSE_DOMAINS, is_our_name, is_own_name, network_domains

LABELS = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)


@pytest.mark.parametrize(
    "name",
    ["gateway", "gateway.local", "gateway.fritz.box", "gateway.lan", "gateway.home.arpa", "gateway.speedport.ip", "gateway.cellar.example.org"],
)
def test_host_name_is_ours_in_every_domain_of_the_house(name: str) -> None:
    assert is_own_name(name, "Gateway", ["cellar.example.org"])


def test_host_name_with_a_domain_is_ours_with_and_without_it() -> None:
    assert is_own_name("gateway.example.org", "gateway.example.org", [])
    assert is_own_name("gateway", "gateway.example.org", [])
    assert is_own_name("gateway.local", "gateway.example.org", [])


@pytest.mark.parametrize(
    "name",
    [
        "gateway.evil.example",
        "gateway.com",
        "gateway.box",
        "gateway.fritz.box.evil.example",
        "gateway.evil.fritz.box",
        "gateway.evil.local",
        "evil.cellar.example.org",
        "cellar.example.org",
        "fritz.box",
        "evil.fritz.box",
        "evil",
        "gatewayevil",
        ".gateway",
        "local",
        "",
    ],
)
def test_name_that_a_stranger_can_have_is_not_ours(name: str) -> None:
    assert not is_own_name(name, "gateway", ["cellar.example.org"])


@given(st.lists(LABELS, min_size=1, max_size=4).map(".".join))
def test_no_domain_of_strangers_makes_our_name_ours(domain: str) -> None:
    assert is_own_name(f"gateway.{domain}", "gateway", []) == (domain in HOUSE_DOMAINS)


def test_name_of_the_site_file_is_ours_as_it_stands_and_no_other() -> None:
    hosts = ("energy.example.org",)
    assert is_our_name("Energy.example.org:8080", hosts)
    assert not is_our_name("evil.energy.example.org", hosts)
    assert not is_our_name("energy.example.org.evil.example", hosts)


def test_domains_come_from_the_resolvers_file_without_those_that_anybody_can_have(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# made by the router\nnameserver 192.168.1.1\nsearch Cellar.example.org. haus .\ndomain fritz.box\noptions edns0\n")
    assert network_domains(file) == ["cellar.example.org", "fritz.box"]
    assert network_domains(tmp_path / "none") == []
