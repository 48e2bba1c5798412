#!/usr/bin/env python3
"""Makes a signed apt repository of plain files from a folder of debs, for gateways that update by themselves.

    repository.py key KEY                      makes the signing key in the folder KEY, once
    repository.py publish DEBS REPOSITORY KEY  writes REPOSITORY, which any web server can serve

Every version stays available, and no published version ever changes. The file DEBS/phases says which share of the gateways
may take a version; a version that is new there reaches nobody. OPERATOR.md beside this file tells the whole way of a release.

Needs Python 3.11 alone, and the programs apt-ftparchive (Debian's apt-utils), dpkg-deb and gpg.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = ("amd64", "arm64", "armhf")
PUBLIC_KEY = "repository.gpg"
_PHASES_HEAD = "# package version percent: the share of the gateways that may take the version; publish again after a change\n"


class RepositoryError(Exception):
    """What is wrong and what to do, for the operator."""


@dataclass(frozen=True, slots=True)
class Deb:
    """One package file; `name` is the one it is published under."""

    path: Path
    package: str
    version: str
    architecture: str

    @property
    def name(self) -> str:
        """The file name that apt expects; the colon of an epoch is not safe in a URL."""
        return f"{self.package}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


def make_key(folder: Path, owner: str) -> Path:
    """Makes a signing key without passphrase in an empty folder; gives the public half, which the gateways get."""
    if folder.exists() and any(folder.iterdir()):
        raise RepositoryError(f"{folder}: is not empty; a key that gateways trust is never replaced, name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _gpg(folder, "--passphrase", "", "--quick-generate-key", owner, "ed25519", "sign", "never")
    public = folder / PUBLIC_KEY
    public.write_bytes(_gpg(folder, "--export"))
    return public


def publish(debs: Path, repository: Path, key: Path, valid_days: int = 30) -> dict[tuple[str, str], int]:
    """Writes or renews the repository; gives the percentage of every (package, version). Its signature expires after `valid_days`."""
    if not (key / PUBLIC_KEY).is_file():
        raise RepositoryError(f"{key}: holds no signing key; make one with: repository.py key {key}")
    found = [_read_deb(path) for path in sorted(debs.glob("*.deb"))]
    if not found:
        raise RepositoryError(f"{debs}: holds no .deb")
    for deb in found:
        _add_to_pool(deb, repository / "pool")
    phases = _phases(debs / "phases", [_read_deb(path) for path in (repository / "pool").glob("*.deb")])
    for architecture in ARCHITECTURES:
        _write_index(repository, architecture, phases)
    _forget_old_indexes(repository, valid_days)
    shutil.copy(key / PUBLIC_KEY, repository / PUBLIC_KEY)
    _sign(repository / "dists" / "stable", key, valid_days)
    return phases


def _read_deb(path: Path) -> Deb:
    shown = subprocess.run(["dpkg-deb", "--show", "--showformat=${Package} ${Version} ${Architecture}", path], text=True, capture_output=True)
    if shown.returncode:
        raise RepositoryError(f"{path}: is no package ({shown.stderr.strip()})")
    package, version, architecture = shown.stdout.split()
    if architecture not in (*ARCHITECTURES, "all"):
        raise RepositoryError(f"{path}: is for {architecture}; the repository serves {', '.join(ARCHITECTURES)}")
    return Deb(path, package, version, architecture)


def _phases(file: Path, debs: list[Deb]) -> dict[tuple[str, str], int]:
    """Reads the percentages, and adds what is new to the file with 0 %."""
    phases = _read_phases(file) if file.exists() else {}
    known = {(deb.package, deb.version) for deb in debs}
    if unknown := sorted(set(phases) - known):
        raise RepositoryError(f"{file}: there is no deb of {' '.join(unknown[0])}; a typing error?")
    new = sorted(known - set(phases))
    text = file.read_text(encoding="utf-8") if file.exists() else _PHASES_HEAD
    if new:
        file.write_text(text.rstrip("\n") + "\n" + "".join(f"{package} {version} 0\n" for package, version in new), encoding="utf-8")
    return phases | dict.fromkeys(new, 0)


def _read_phases(file: Path) -> dict[tuple[str, str], int]:
    phases = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or not words[2].isdecimal() or int(words[2]) > 100:
            raise RepositoryError(f"{file}:{number}: {line.strip()!r} is not `package version percent` with 0 to 100")
        if (words[0], words[1]) in phases:
            raise RepositoryError(f"{file}:{number}: {words[0]} {words[1]} stands here twice")
        phases[words[0], words[1]] = int(words[2])
    return phases


def _add_to_pool(deb: Deb, pool: Path) -> None:
    target = pool / deb.name
    if not target.exists():
        pool.mkdir(parents=True, exist_ok=True)
        unfinished = pool / f".{deb.name}"
        shutil.copy(deb.path, unfinished)
        unfinished.chmod(0o644)
        unfinished.rename(target)
    elif target.read_bytes() != deb.path.read_bytes():
        raise RepositoryError(f"{deb.path}: {deb.package} {deb.version} was published with other contents; give the new build a new version")


def _write_index(repository: Path, architecture: str, phases: dict[tuple[str, str], int]) -> None:
    folder = repository / "dists" / "stable" / "main" / f"binary-{architecture}"
    folder.mkdir(parents=True, exist_ok=True)
    listed = _apt_ftparchive(repository, "--arch", architecture, "packages", "pool")
    packages = "".join(_with_phase(stanza, phases) for stanza in listed.split("\n\n") if stanza.strip()).encode()
    for name, data in (("Packages", packages), ("Packages.xz", lzma.compress(packages))):
        by_hash = folder / "by-hash" / "SHA256" / hashlib.sha256(data).hexdigest()
        by_hash.parent.mkdir(parents=True, exist_ok=True)
        by_hash.write_bytes(data)  # a gateway that reads the former index meanwhile finds all its files
        (folder / name).write_bytes(data)


def _with_phase(stanza: str, phases: dict[tuple[str, str], int]) -> str:
    fields = dict(line.split(": ", 1) for line in stanza.strip().splitlines() if ": " in line and not line.startswith(" "))
    percent = phases[fields["Package"], fields["Version"]]
    if percent == 0:  # not listed at all: apt draws 0 to 100, and lets the one gateway of a hundred that drew 0 pass at 0 percent
        return ""
    return stanza.strip() + ("" if percent == 100 else f"\nPhased-Update-Percentage: {percent}") + "\n\n"


def _forget_old_indexes(repository: Path, valid_days: int) -> None:
    oldest = time.time() - valid_days * 86400
    for index in repository.glob("dists/stable/main/binary-*/by-hash/SHA256/*"):
        if index.stat().st_mtime < oldest:
            index.unlink()


def _sign(suite: Path, key: Path, valid_days: int) -> None:
    """Writes InRelease, last of all and at once: until then the former repository is whole."""
    settings = {
        "Origin": "edge-agent",
        "Label": "edge-agent",
        "Suite": "stable",
        "Codename": "stable",
        "Architectures": " ".join(ARCHITECTURES),
        "Components": "main",
        "Acquire-By-Hash": "yes",
        "ValidTime": str(valid_days * 86400),
    }
    options = [part for name, value in settings.items() for part in ("-o", f"APT::FTPArchive::Release::{name}={value}")]
    release = _apt_ftparchive(suite, *options, "release", ".")
    unsigned, signed = suite / ".Release", suite / ".InRelease"
    unsigned.write_text(release, encoding="utf-8")
    _gpg(key, "--yes", "--clearsign", "--output", str(signed), str(unsigned))
    unsigned.unlink()
    signed.rename(suite / "InRelease")


def _apt_ftparchive(folder: Path, *arguments: str) -> str:
    others = [part for name in ("MD5", "SHA1", "SHA512") for part in ("-o", f"APT::FTPArchive::{name}=false")]
    return _run(["apt-ftparchive", *others, *arguments], folder).decode()


def _gpg(home: Path, *arguments: str) -> bytes:
    try:
        return _run(["gpg", "--homedir", str(home.resolve()), "--batch", "--quiet", *arguments], None)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home.resolve()), "--kill", "gpg-agent"], capture_output=True)


def _run(command: list[str], folder: Path | None) -> bytes:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        raise RepositoryError(f"{command[0]} is not installed (on Debian: sudo apt install apt-utils dpkg gpg)") from None
    if done.returncode:
        raise RepositoryError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="repository.py", description="Makes a signed apt repository from a folder of debs.")
    commands = parser.add_subparsers(dest="command", required=True)
    key = commands.add_parser("key", help="make the signing key")
    key.add_argument("key", type=Path, help="an empty or new folder; keep it safe and backed up")
    key.add_argument("--owner", default="edge-agent repository", help="the name that the key carries")
    issue = commands.add_parser("publish", help="write or renew the repository")
    issue.add_argument("debs", type=Path, help="the folder of all .deb files, and of the file phases")
    issue.add_argument("repository", type=Path, help="the folder that the web server serves")
    issue.add_argument("key", type=Path, help="the folder of the signing key")
    issue.add_argument("--valid-days", type=int, default=30, help="gateways refuse the repository when it was not published anew for so long (30)")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """The command line."""
    given = _arguments(words)
    try:
        if given.command == "key":
            print(f"{make_key(given.key, given.owner)}: the public key, for the gateways. {given.key} signs: keep it secret and backed up.")
        else:
            phases = publish(given.debs, given.repository, given.key, given.valid_days)
            print("".join(f"{package} {version}: {percent} %\n" for (package, version), percent in phases.items()), end="")
    except (RepositoryError, OSError) as error:
        print(f"repository.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
