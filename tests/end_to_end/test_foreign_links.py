"""Root's commands and the links that a member of the group could lay in the folders of the agent."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from edge_agent.outbox.queue import Queue
from tests.end_to_end.gateway import Gateway

METER = '{id: meter, name: Meter, profile: abb-b23, connection: "tcp://127.0.0.1:1", role: grid}'
NOBODY = 65534


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of root's, outside the gateway's folder."""
    file = tmp_path_factory.mktemp("outside") / "shadow"
    file.write_text("of root's\n")
    return file


def lay(link: Path, to: Path) -> None:
    """A link that another user has laid; skips the test where nobody can be another user."""
    if os.geteuid():
        pytest.skip("only root can act as another user")
    link.symlink_to(to)
    os.lchown(link, NOBODY, NOBODY)


def followed(secret: Path) -> bool:
    """Whether anything became of root's file."""
    return secret.is_symlink() or secret.read_text() != "of root's\n"


async def test_temporary_file_of_a_backup_follows_no_link(gateway: Gateway, secret: Path) -> None:
    gateway.write_site([METER])
    file = gateway.folder / "a.tar.gz"
    file.with_name(f".{file.name}.new").symlink_to(secret)
    code, _, errors = await gateway.command("backup", str(file))
    assert code == 0, errors
    assert not followed(secret)


@pytest.mark.parametrize("name", ["x.recording.yaml", "agent.yaml", "state/edge-agent.db"])
async def test_backup_takes_nothing_that_a_foreign_link_leads_to(gateway: Gateway, secret: Path, name: str) -> None:
    gateway.write_site([METER])
    link = gateway.folder / name
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    lay(link, secret)
    code, _, errors = await gateway.command("backup", str(gateway.folder / "a.tar.gz"))
    assert code == 3
    assert f"{link}: is a link that another user has laid" in errors
    assert not (gateway.folder / "a.tar.gz").exists()
    assert not followed(secret)


@pytest.mark.parametrize("name", ["agent.yaml", "own", "state/edge-agent.db"])
async def test_restore_replaces_nothing_that_a_foreign_link_leads_to(gateway: Gateway, secret: Path, name: str) -> None:
    (gateway.folder / "own").mkdir()
    (gateway.folder / "own/mine.yaml").write_text((Path(__file__).parents[2] / "device_profiles" / "abb-b23.yaml").read_text())
    gateway.write_site([METER.replace("abb-b23", "own/mine.yaml")])
    (gateway.folder / "state").mkdir()
    with Queue.opened(gateway.folder / "state/edge-agent.db"):
        pass
    backup, folder = secret.parent / "a.tar.gz", secret.parent / "etc"
    assert (await gateway.command("backup", str(backup)))[0] == 0
    folder.mkdir()
    link = gateway.folder / name
    moved = link.rename(secret.parent / "moved")
    lay(link, folder if moved.is_dir() else secret)
    code, _, errors = await gateway.command("restore", str(backup), "--sent-until", "backup", "--replace")
    assert code == 3
    assert f"{link}: is a link that another user has laid" in errors
    assert not followed(secret)
    assert not list(folder.iterdir())


async def test_bundle_has_nothing_from_outside_the_sites_folder(gateway: Gateway, secret: Path) -> None:
    lay(gateway.folder / "linked.yaml", secret)
    profiles = ("./linked.yaml", os.path.relpath(secret, gateway.folder))
    gateway.write_site([METER.replace("abb-b23", profile).replace("id: meter", f"id: meter-{n}") for n, profile in enumerate(profiles)])
    code, _, errors = await gateway.command("support-bundle", str(secret.parent / "b.tar.gz"))
    assert code == 0, errors
    with tarfile.open(secret.parent / "b.tar.gz") as tar:
        parts = {name.partition("/")[2]: tar.extractfile(name).read().decode() for name in tar.getnames()}  # type: ignore[union-attr]
    assert "is not in the folder of the site file" in parts["profiles/shadow"]
    assert not any("of root's" in text for name, text in parts.items() if name.startswith("profiles/"))


async def test_roots_own_link_is_followed(gateway: Gateway, secret: Path) -> None:
    gateway.write_site([METER])
    kept = gateway.site.rename(secret.parent / "kept.yaml")
    gateway.site.symlink_to(kept)
    code, _, errors = await gateway.command("support-bundle", str(secret.parent / "b.tar.gz"))
    assert code == 0, errors
