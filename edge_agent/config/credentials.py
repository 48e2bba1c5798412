"""Secrets: never in the site file, but in a file beside it, a systemd credential or the environment.

A credential of the service is in its credstore, plain or encrypted. There nobody but the service sees it: a command from
a shell takes its being there for good.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from edge_agent.config.findings import Findings
from edge_agent.config.schema import MoostSection
from edge_agent.model.errors import CLOSED_HINT, Problem
from edge_agent.profiles.document import Document, Location

CREDENTIAL = "moost-client-secret"  # its name for systemd's LoadCredential=; encrypted ones have names that end in -encrypted
MQTT_CREDENTIAL = "mqtt-password"
PACKAGED = Path("/etc/edge-agent")  # the folder of a packaged installation's site file
VARIABLE = "MOOST_CLIENT_SECRET"


def written_secrets(document: Document) -> list[Problem]:
    """A secret or password that stands in the file itself: refused before anything else could print it."""
    problems = []
    sections: dict[str, Any] = document.data if isinstance(document.data, dict) else {}
    for name, section in sections.items():
        for key in section if isinstance(section, dict) else ():
            if re.search("secret|password", key) and not key.endswith("_file"):
                hint = f"put it into a file of its own, readable by the agent only, and write {key}_file: with its name"
                problems.append(document.problem((name, key), f"{name}.{key}: a secret does not belong into this file", hint))
    return problems


def client_secret(findings: Findings, moost: MoostSection) -> str | None:
    """The client secret: its file, else systemd's credential, else the environment."""
    at: Location = ("moost", "client_secret_file")
    if moost.client_secret_file:
        secret = secret_in(findings, findings.path.parent / moost.client_secret_file, at)
    elif (credential := credential_file(CREDENTIAL)) is not None:
        secret = secret_in(findings, credential, at)
    else:
        secret = os.environ.get(VARIABLE, "").strip() or None
        if secret is None and findings.path.parent == PACKAGED and _kept_by_systemd(CREDENTIAL):
            findings.warnings.append("moost: the client secret is a systemd credential, which only the service can read")
            return ""
        if secret is None:
            findings.wrong(("moost",), "moost: there is no client secret", "write client_secret_file: client-secret, with the secret in that file")
    if secret and not re.fullmatch(r"[a-zA-Z0-9_-]{1,100}", secret):  # the API's pattern; the secret itself is not shown
        findings.wrong(at, "the client secret has characters that none has", "only letters, digits, _ and -: look for a line break or quotes")
    return secret


def credential_file(name: str) -> Path | None:
    """The file in which systemd gives a credential to this service; None when it gives none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    files = [Path(folder) / name, Path(folder) / f"{name}-encrypted"] if folder else []
    return next((file for file in files if file.exists()), None)


def _kept_by_systemd(name: str) -> bool:
    """True when the machine keeps the credential for the service, which this process is not, or may do so out of its sight."""
    files = Path("/etc/credstore", name), Path("/etc/credstore.encrypted", f"{name}-encrypted")
    hidden = any(file.parent.is_dir() and not os.access(file.parent, os.X_OK) for file in files)
    return "CREDENTIALS_DIRECTORY" not in os.environ and (hidden or any(os.path.lexists(file) for file in files))


def secret_in(findings: Findings, path: Path, at: Location) -> str | None:
    """The secret in a file of its own; a warning when others may read it."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
        mode = path.stat().st_mode
    except PermissionError:
        findings.wrong(at, f"{path}: you may not read it", CLOSED_HINT)
        return None
    except OSError as error:
        findings.wrong(at, f"{path}: {error.strerror}", "the file holds the secret and nothing else")
        return None
    except UnicodeDecodeError:
        findings.wrong(at, f"{path}: is no text", "the file holds the secret and nothing else")
        return None
    if mode & 0o777 & ~secret_mode(path.parent) and path.parent != Path(os.environ.get("CREDENTIALS_DIRECTORY") or "/nowhere"):
        findings.warnings.append(f"{path} can be read by others; make it private: chmod {secret_mode(path.parent):o} {path}")
    if not secret:
        findings.wrong(at, f"{path} is empty", "the file holds the secret and nothing else")
    return secret or None


def secret_mode(folder: Path) -> int:
    """The widest mode of a file with a secret: its owner's alone, or also the service's group, in a folder that hands its group on."""
    return 0o640 if folder.stat().st_mode & stat.S_ISGID else 0o600
