"""`edge-agent support-bundle`: what an operator needs to help from afar, in one file, and nothing that he must not see.

Each part is gathered by itself: one that fails is in the file with its error, and does not cost the others. Every part
goes through `masked` as a whole, whatever it is, so that a secret that found its way anywhere does not leave the house.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_agent import __version__
from edge_agent.config import database_of, load_site
from edge_agent.config.credentials import CREDENTIAL, VARIABLE
from edge_agent.control import ask, state_lock
from edge_agent.foreign_links import refuse_foreign_links
from edge_agent.inspection import queue_answer
from edge_agent.model.errors import ConfigError, EdgeAgentError
from edge_agent.outbox.outbox import Queue
from edge_agent.profiles.document import read_document
from edge_agent.uplink.masking import masked

_LIBRARIES = ("httpx", "paho-mqtt", "pydantic", "pymodbus", "ruamel.yaml")
_LOG_LINES = 3000
_LETTERS = 200
_UPDATER = Path("/var/lib/edge-agent-updater")
_WRITTEN_SECRET = re.compile(
    r"([\w.-]*(?:secret|password|token)(?![\w.-]*_file)[\w.-]*[\"']?\s*:\s*)"
    r"""([|>][^\n]*(?:\n[ \t]+[^\n]*)+|"(?:\\.|[^"\\])*"|'[^']*'|[^,}\n]+)""",  # a block (with what follows it), in quotes, plain
    re.IGNORECASE,
)
_SECRET_FILE = re.compile(r"(?:secret|password)\w*[\"']?\s*:\s*[\"']?([^\"',}\s]+)")  # also in a file that is no YAML
_URL_LOGIN = re.compile(r"(\w+://)[^/\s@\"']+@")


def run(options: argparse.Namespace) -> int:
    """Gathers and writes the file; says what is in it."""
    day = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%d-%H%M%S")
    path: Path = options.file or Path(f"edge-agent-support-{day}.tar.gz")
    if path.exists():
        raise EdgeAgentError(f"{path} exists and is not overwritten; name another file")
    refuse_foreign_links(path, options.config)
    secrets = _secrets(options.config)
    parts = {name: _clean(name, text, secrets) for name, text in _gathered(options.config)}
    _write(path, parts)
    if options.json:
        print(_as_json({"file": str(path), "contains": list(parts)}), end="")
        return 0
    print(f"{path}: written with {', '.join(parts)}")
    print("Secrets are taken out; addresses in the house's network, ids and serial numbers are in it. Look through it before you pass it on.")
    return 0


# what goes in


def _gathered(config: Path) -> Iterator[tuple[str, str]]:
    yield "about.json", _part(lambda: _as_json(_about(config)))
    yield "agent.yaml", _part(lambda: config.read_text(encoding="utf-8"))
    yield "check.txt", _part(lambda: _check(config))
    yield "status.json", _part(lambda: _as_json(_status(config)))
    yield "queue.json", _part(lambda: _as_json(_queue(config)))
    yield "log.txt", _part(_log)
    if _UPDATER.is_dir():
        yield "updater.txt", _part(lambda: "\n".join(_files_of(_UPDATER)))
    for profile in _own_profiles(config):
        yield f"profiles/{profile.name}", _part(partial(_own_profile, config, profile))


def _part(gather: Callable[[], str]) -> str:
    """What `gather` gives, else its error in words."""
    try:
        return gather()
    except (EdgeAgentError, OSError, UnicodeDecodeError, subprocess.SubprocessError) as error:
        return f"not available: {error}\n"


def _about(config: Path) -> dict[str, Any]:
    """Versions, machine, clock and space."""
    folder = database_of(config).parent
    usage = shutil.disk_usage(folder) if folder.is_dir() else None
    release = platform.freedesktop_os_release() if os.path.exists("/etc/os-release") else {}
    return {
        "edge_agent": __version__,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "system": release.get("PRETTY_NAME", platform.system()),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "clock_is_synchronised": Path("/run/systemd/timesync/synchronized").exists(),
        "up_s": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "state_folder": str(folder),
        "disk_free_bytes": usage.free if usage else None,
        "disk_bytes": usage.total if usage else None,
        "load": os.getloadavg(),
    }


def _version(name: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(name)
    return None


def _check(config: Path) -> str:
    try:
        site = load_site(config)
    except ConfigError as error:
        return "".join(f"{problem}\n" for problem in error.problems)
    return "".join([f"ok: {len(site.devices)} devices\n", *(f"warning: {warning}\n" for warning in site.warnings)])


def _status(config: Path) -> dict[str, Any]:
    folder = database_of(config).parent
    answer = ask(folder, {"command": "status"}) if folder.is_dir() else None
    if answer is None:
        raise EdgeAgentError("the agent is not running")
    return answer


def _queue(config: Path) -> dict[str, Any]:
    """The queue's figures and its dead letters, from the agent, else from the file under the agent's lock."""
    database = database_of(config)
    refuse_foreign_links(database)
    requests: list[dict[str, Any]] = [{"command": "queue", "action": "stats"}, {"command": "queue", "action": "dead", "limit": _LETTERS}]
    if database.parent.is_dir() and (first := ask(database.parent, requests[0])) is not None:
        return first | (ask(database.parent, requests[1]) or {})
    if not database.exists():
        raise EdgeAgentError(f"there is no queue yet: {database} does not exist")
    with state_lock(database.parent), Queue.opened(database) as queue:
        return queue_answer(queue, requests[0]) | queue_answer(queue, requests[1])


def _log() -> str:
    """The last lines that the agent and its updater have logged."""
    command = [
        "journalctl",
        "--unit=edge-agent",
        "--unit=edge-agent-gate",
        "--unit=edge-agent-update",
        f"--lines={_LOG_LINES}",
        "--output=short-iso",
        "--no-pager",
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    return done.stdout or f"not available: {done.stderr}"


def _files_of(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".deb" and path.stat().st_size < 100_000:
            yield f"--- {path.name}\n{path.read_text(encoding='utf-8', errors='replace')}"


def _own_profiles(config: Path) -> list[Path]:
    """Profiles of the installer's own, beside the site file."""
    with contextlib.suppress(ConfigError, AttributeError):
        named = [str(device.get("profile")) for device in read_document(config).data.get("devices") or ()]
        return sorted({config.parent / name for name in named if "/" in name})
    return []


def _own_profile(config: Path, profile: Path) -> str:
    """Its text. Whoever may edit the site file may name any file there: only what lies beside it goes into the bundle."""
    if not profile.resolve().is_relative_to(config.resolve().parent):
        raise EdgeAgentError(f"{profile} is not in the folder of the site file")
    refuse_foreign_links(profile)
    return profile.read_text(encoding="utf-8")


# what stays out


def _secrets(config: Path) -> list[str]:
    """Every secret that this machine has for the agent, also when the site file is faulty."""
    found = [os.environ.get(VARIABLE, "")]
    paths = [Path(os.environ.get("CREDENTIALS_DIRECTORY") or config.parent / "credentials") / CREDENTIAL]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        paths += [config.parent / name for name in _SECRET_FILE.findall(config.read_text(encoding="utf-8"))]
    with contextlib.suppress(ConfigError, AttributeError):
        sections = [section for section in read_document(config).data.values() if isinstance(section, dict)]
        paths += [config.parent / str(value) for section in sections for key, value in section.items() if re.search("secret|password", key)]
    for path in paths:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found.append(path.read_text(encoding="utf-8").strip())
    return [secret for secret in found if secret]


def _clean(name: str, text: str, secrets: list[str]) -> str:
    """Without secrets: known ones wherever they are, in YAML whatever stands behind such a key, in URLs what stands before the host."""
    if name.endswith(".yaml"):
        text = _WRITTEN_SECRET.sub(r"\g<1>***", text)
    return _URL_LOGIN.sub(r"\g<1>***@", masked(text, secrets))


def _as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, parts: dict[str, str]) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, text in parts.items():
                content = text.encode()
                head = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
                head.size, head.mode, head.mtime = len(content), 0o600, int(time.time())
                tar.addfile(head, io.BytesIO(content))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise EdgeAgentError(f"{path}: {error.strerror}; name another FILE") from None
