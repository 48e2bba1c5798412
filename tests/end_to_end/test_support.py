"""The support bundle tells an operator enough, and never a secret."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path

from edge_agent.demo.cloud import BUILDING_ID, CLIENT_SECRET
from tests.conftest import until
from tests.end_to_end.gateway import Gateway, energies, meter, running
from tests.simulators import RegisterServer


def parts_of(file: Path) -> dict[str, str]:
    with tarfile.open(file) as tar:
        return {name.partition("/")[2]: tar.extractfile(name).read().decode() for name in tar.getnames()}  # type: ignore[union-attr]


async def test_bundle_of_a_running_house_has_its_state_and_no_secret(gateway: Gateway, meter_server: RegisterServer, tmp_path: Path) -> None:
    gateway.write_site([meter(meter_server), '{id: dead-one, name: Dead one, profile: sungrow-sh, connection: "tcp://127.0.0.1:1", roles: [pv]}'])
    async with running(gateway):
        await until(lambda: energies(gateway.cloud, "grid-meter"), 30)
        code, out, errors = await gateway.command("support-bundle", str(tmp_path / "b.tar.gz"))
        assert code == 0, errors
        await gateway.stop()
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600
    parts = parts_of(tmp_path / "b.tar.gz")
    assert {"about.json", "agent.yaml", "check.txt", "status.json", "queue.json", "log.txt"} <= set(parts)
    assert json.loads(parts["status.json"])["building_id"] == BUILDING_ID
    assert "127.0.0.1:1" in parts["status.json"]  # the dead device, with its error
    assert json.loads(parts["queue.json"])["stats"]["accepted_live"] > 0
    assert CLIENT_SECRET not in "".join(parts.values()) + out


async def test_faulty_site_without_an_agent_still_gives_a_bundle_without_secrets(gateway: Gateway, tmp_path: Path) -> None:
    gateway.write_site(["{id: meter, name: Meter, profile: no-such}"], mqtt="{broker: 'mqtt://me:hunter2@broker', password_file: broker-password}")
    (gateway.folder / "broker-password").write_text("swordfish\n")
    with gateway.site.open("a") as site:
        site.write(
            f"# the old secret was {CLIENT_SECRET}, the broker's is swordfish\nmore: {{client_secret: abc123, api_token: 'xyz'}}\npassword: zzz\n"
        )
    code, _, errors = await gateway.command("support-bundle", str(tmp_path / "b.tar.gz"))
    assert code == 0, errors
    parts = parts_of(tmp_path / "b.tar.gz")
    assert "no-such" in parts["agent.yaml"]
    assert parts["check.txt"].count("\n") >= 1
    assert "not running" in parts["status.json"]
    for secret in (CLIENT_SECRET, "swordfish", "hunter2", "abc123", "xyz", "zzz"):
        assert secret not in "".join(parts.values()), secret


async def test_secrets_are_taken_out_of_a_file_that_is_no_yaml_and_in_every_way_of_writing(gateway: Gateway, tmp_path: Path) -> None:
    (gateway.folder / "page").write_text("in-a-file\n")
    gateway.site.write_text("""\
moost:
  client_secret: |
    in-a-block
    and-more
web: {listen: [, password_file: page}   # in-a-file
mqtt: {password: "before, in-quotes", broker: x}
""")
    code, _, errors = await gateway.command("support-bundle", str(tmp_path / "b.tar.gz"))
    assert code == 0, errors
    parts = parts_of(tmp_path / "b.tar.gz")
    assert "broker: x" in parts["agent.yaml"]
    for secret in ("in-a-file", "in-a-block", "and-more", "in-quotes"):
        assert secret not in "".join(parts.values()), secret


async def test_check_tells_programs_every_mistake_with_its_line(gateway: Gateway) -> None:
    gateway.write_site(["{id: meter, name: Meter, profile: no-such}"])
    code, out, _ = await gateway.command("check", "--json")
    assert code == 1
    (problem,) = json.loads(out)["problems"]
    assert (problem["file"], problem["line"]) == (str(gateway.site), 5)
