"""Builds the Debian package for each architecture, on any of them: compiled wheels are fetched, nothing is emulated.

One package serves Python 3.11 and 3.13: the wheels of both are laid over each other, for their compiled files carry
the version in their names. The same checkout gives the same bytes: times come from the changelog, order from the names.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path

from command_line import completion, man_page
from lock import runtime_part

ROOT = Path(__file__).parents[1]
HERE = ROOT / "packaging"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
PYTHONS = ("3.11", "3.13")
GLIBCS = ("manylinux_2_17", "manylinux2014", "manylinux_2_28", "manylinux_2_31", "manylinux_2_34", "manylinux_2_35", "manylinux_2_36")
# What nobody needs on a gateway. Rich loads the last three only for source code and Markdown.
USELESS = ("bin", "**/__pycache__", "**/tests", "**/*.pyi", "**/*.c", "**/*.h", "pygments*", "markdown_it*", "mdurl*")


def version() -> str:
    """The agent's version, from the one place that names it."""
    return str(runpy.run_path(str(ROOT / "edge_agent" / "__init__.py"))["__version__"])


def build(architecture: str, output: Path) -> Path:
    """Builds one package and gives its file."""
    with tempfile.TemporaryDirectory(prefix="edge-agent-deb-") as name:
        root = Path(name) / "root"
        libraries = root / "usr/lib/edge-agent"
        install_libraries(MACHINES[architecture], libraries, Path(name))
        remove(libraries, USELESS)
        copyright_text = licences(libraries)
        remove(libraries, ["*.dist-info"])
        lay_out(root, copyright_text)
        output.mkdir(parents=True, exist_ok=True)
        return pack(root, architecture, output)


# what it carries


def install_libraries(machine: str, target: Path, work: Path) -> None:
    """The agent's wheel and the locked libraries for one machine, both Pythons in one folder."""
    platforms = [word for glibc in GLIBCS for word in ("--platform", f"{glibc}_{machine}")]
    for python in PYTHONS:
        requirements, folder = work / f"{python}.txt", work / python
        requirements.write_text(runtime_part(python), encoding="utf-8")
        _pip(folder, "--require-hashes", "--requirement", requirements, *platforms, "--python-version", python, "--implementation", "cp")
        shutil.copytree(folder, target, dirs_exist_ok=True)
    wheels = work / "wheel"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _pip(target, *wheels.glob("*.whl"))


def _pip(target: Path, *arguments: str | Path) -> None:
    options = ("--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps", "--only-binary=:all:", "--upgrade", "--target", target)
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *arguments], check=True)


def remove(libraries: Path, patterns: Iterable[str]) -> None:
    """Takes files and folders out."""
    for path in [path for pattern in patterns for path in libraries.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def licences(libraries: Path) -> str:
    """The copyright file: ours, then each carried library with its licence as it gives it."""
    own = (HERE / "debian" / "copyright").read_text(encoding="utf-8")
    return own + "".join(_licence(info) for info in sorted(libraries.glob("*.dist-info")) if not info.name.startswith("edge_agent-"))


def _licence(info: Path) -> str:
    name = info.name.removesuffix(".dist-info").replace("-", " ")
    texts = sorted(path for path in info.rglob("*") if re.match(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS|about)", path.name, re.IGNORECASE))
    declared = [
        line for line in (info / "METADATA").read_text(encoding="utf-8").splitlines() if line.startswith(("License", "Author", "Classifier: License"))
    ]
    parts = ["\n".join(declared), *(path.read_text(encoding="utf-8").strip() for path in texts if path.is_file())]
    return f"\n\n{'=' * 78}\n{name}\n{'=' * 78}\n\n" + "\n\n".join(part for part in parts if part) + "\n"


# the package


def lay_out(root: Path, copyright_text: str) -> None:
    """Puts everything but the libraries into its place."""
    doc = root / "usr/share/doc/edge-agent"
    _put(root / "usr/bin/edge-agent", (HERE / "edge-agent").read_text(encoding="utf-8"))
    _put(root / "usr/lib/systemd/system/edge-agent.service", (ROOT / "systemd/edge-agent.service").read_text(encoding="utf-8"))
    _put(root / "usr/lib/sysusers.d/edge-agent.conf", (HERE / "debian/edge-agent.sysusers").read_text(encoding="utf-8"))
    _put(doc / "copyright", copyright_text)
    _put(doc / "agent.yaml.example", site_example())
    _compress(root / "usr/share/man/man1/edge-agent.1.gz", man_page(changelog_time()))
    _put(root / "usr/share/bash-completion/completions/edge-agent", completion("bash"))
    _put(root / "usr/share/zsh/vendor-completions/_edge-agent", completion("zsh"))
    _compress(doc / "changelog.gz", (HERE / "debian/changelog").read_text(encoding="utf-8"))


def site_example() -> str:
    """The README's house: the one example that the tests hold right."""
    found = re.search(r"```yaml\n(# yaml-language-server.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise SystemExit("README.md has no site file to make an example of")
    return found[1]


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _compress(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def pack(root: Path, architecture: str, output: Path) -> Path:
    """Adds what dpkg wants to know, sets all times and modes, and packs."""
    name = f"edge-agent_{version()}_{architecture}.deb"
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) // 1024
    control = (HERE / "debian/control").read_text(encoding="utf-8").format(version=version(), architecture=architecture, installed_kib=size)
    sums = [_sum(root, path) for path in _files(root)]
    _put(root / "DEBIAN/control", control)
    _put(root / "DEBIAN/md5sums", "".join(sums))
    for script in SCRIPTS:
        _put(root / "DEBIAN" / script, (HERE / "debian" / script).read_text(encoding="utf-8"))
    at = changelog_time()
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" or path.name in SCRIPTS else 0o644)
        os.utime(path, (at, at))
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(at)}
    subprocess.run(["dpkg-deb", "-Zxz", "--root-owner-group", "--build", root, output / name], env=environment, check=True, stdout=subprocess.DEVNULL)
    return output / name


def _files(root: Path) -> Iterable[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _sum(root: Path, path: Path) -> str:
    return f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n"


def changelog_time() -> int:
    """When the newest entry of the changelog was signed: epoch seconds."""
    for line in (HERE / "debian/changelog").read_text(encoding="utf-8").splitlines():
        if line.startswith(" -- "):
            return int(parsedate_to_datetime(line.split("  ", 1)[1]).timestamp())
    raise SystemExit("packaging/debian/changelog: no entry is signed with a date")


def main() -> None:
    """Builds the packages that are asked for, and prints their names and sizes."""
    parser = argparse.ArgumentParser(description="Builds the Debian packages.")
    parser.add_argument("architectures", nargs="*", default=list(MACHINES), metavar="ARCHITECTURE", help=f"of {', '.join(MACHINES)} (default: all)")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", metavar="FOLDER", help="where to put them (default: dist)")
    options = parser.parse_args()
    for architecture in options.architectures:
        file = build(architecture, options.output)
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
