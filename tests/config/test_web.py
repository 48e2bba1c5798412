"""`web:` in the site file: who may reach the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import load_site
from edge_agent.config.site import WebSettings
from edge_agent.model.errors import ConfigError

SITE = """\
moost: {customer_id: 656730be2bc9719e6e5ed51d, building_id: B1, client_id: 6cUo, client_secret_file: secret}
devices:
  - {id: meter, name: Meter, profile: eastron-sdm630, connection: "tcp://127.0.0.1:1", role: grid}
"""


def web(folder: Path, section: str, password: str = "a long password") -> WebSettings | None:
    for name, secret in (("secret", "s3cret"), ("password", password)):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    (folder / "agent.yaml").write_text(f"{section}\n{SITE}")
    return load_site(folder / "agent.yaml").web


def test_without_the_section_there_is_no_page(tmp_path: Path) -> None:
    assert web(tmp_path, "") is None


def test_default_is_this_machine_only(tmp_path: Path) -> None:
    assert web(tmp_path, "web: {}") == WebSettings("127.0.0.1", 8080)


def test_password_comes_from_its_file_and_is_not_shown(tmp_path: Path) -> None:
    found = web(tmp_path, 'web: {listen: "0.0.0.0:80", password_file: password}')
    assert found == WebSettings("0.0.0.0", 80, "a long password")
    assert "long password" not in repr(found)


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "192.168.1.20:8080", "[::]:8080", "gateway:8080"])
def test_address_that_others_reach_needs_a_password(tmp_path: Path, listen: str) -> None:
    with pytest.raises(ConfigError, match="others can reach .* write password_file:"):
        web(tmp_path, f'web: {{listen: "{listen}"}}')


@pytest.mark.parametrize("listen", ["127.0.0.2:1", "localhost:8080", "[::1]:8080"])
def test_loopback_needs_none(tmp_path: Path, listen: str) -> None:
    assert web(tmp_path, f'web: {{listen: "{listen}"}}') is not None


@pytest.mark.parametrize("listen", ["8080", "localhost", "localhost:x", "localhost:99999", ":8080"])
def test_no_address_is_refused_with_an_example(tmp_path: Path, listen: str) -> None:
    with pytest.raises(ConfigError, match="web.listen: is no address and port; write 127.0.0.1:8080"):
        web(tmp_path, f'web: {{listen: "{listen}"}}')


def test_short_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fewer than 8 characters"):
        web(tmp_path, "web: {password_file: password}", "short")


def test_more_names_of_the_page_are_taken_as_a_browser_writes_them(tmp_path: Path) -> None:
    found = web(tmp_path, "web: {hosts: [Energie.fritz.box, energy.example.org.]}")
    assert found is not None
    assert found.hosts == ("energie.fritz.box", "energy.example.org")


@pytest.mark.parametrize("name", ["http://gateway", "gateway:8080", "*", "*.example.org", "", "a b", "a..b"])
def test_what_is_no_host_name_is_refused_with_an_example(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="web.hosts: .* is no host name; write one such as energy.fritz.box"):
        web(tmp_path, f'web: {{hosts: [good.fritz.box, "{name}"]}}')
