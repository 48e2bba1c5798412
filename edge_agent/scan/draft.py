"""A site file of what a scan found, which `check` accepts: with the account that the user gave, and nothing guessed.

What is not certain (several profiles fit, a parameter is missing) stands in it as a comment. A file that
exists is never touched.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.config import load_site
from edge_agent.model.errors import ConfigError, EdgeAgentError, Problem
from edge_agent.model.measurements import Role
from edge_agent.profiles.document import Document
from edge_agent.profiles.library import DeviceProfile
from edge_agent.scan.fingerprint import Library
from edge_agent.scan.found import RUNNING, Found
from edge_agent.scan.options import ACCOUNT

_FILES = ("client_secret_file", "ca_file", "password_file")  # keys that name a file, relative to the site file
_LONGEST_ID = 50  # of 64 characters: the role of a measuring point comes behind it


@dataclass(frozen=True, slots=True)
class Account:
    """The `moost:` section as it will be written."""

    section: Mapping[str, Any]


def check_target(path: Path) -> None:
    """Raises EdgeAgentError when the file may not be written."""
    if path.exists() or path.is_symlink():
        raise EdgeAgentError(f"{path} exists and is not overwritten; give --write a new file, and take over what you need")
    if not path.parent.is_dir():
        raise EdgeAgentError(f"{path}: there is no folder {path.parent}")


def account_of(options: argparse.Namespace, document: Document | None) -> Account:
    """The account from the options, else from the site file. Raises EdgeAgentError with the options that are missing."""
    section = dict(_section(document, "moost"))
    for key in ACCOUNT:
        given = getattr(options, key)
        if given is not None:
            section[key] = str(Path(given).resolve()) if key in _FILES else given
    missing = [key for key in ("customer_id", "building_id", "client_id") if not section.get(key)]
    if missing:
        wanted = ", ".join(f"--{key.replace('_', '-')}" for key in missing)
        raise EdgeAgentError(f"--write needs the account: give {wanted}, or --config with a site file that has it")
    return Account(section)


def _section(document: Document | None, name: str) -> dict[str, Any]:
    """A section of the site file, its files with their whole path, since the new file may stand elsewhere."""
    if document is None or not isinstance(document.data.get(name), dict):
        return {}
    folder = Path(document.file).resolve().parent
    return {key: str(folder / value) if key in _FILES and value else value for key, value in document.data[name].items()}


def write_site(path: Path, found: Sequence[Found], account: Account, broker: str, document: Document | None, library: Library) -> Iterator[str]:
    """Writes the file and has it checked; gives the lines to tell. Raises ConfigError, with no file left, when `check` refuses it."""
    text = site_text(found, account, broker, document, library)
    if "\n  - " not in text:
        raise EdgeAgentError(f"{path} was not written: no device is certain; choose a profile and write the file by hand")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except FileExistsError:
        raise EdgeAgentError(f"{path} exists and is not overwritten; give --write a new file") from None
    except OSError as error:
        raise EdgeAgentError(f"{path}: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        site = load_site(path)
    except ConfigError as error:
        path.unlink()
        problems = [Problem(problem.file, 0, problem.text, problem.hint) for problem in error.problems]  # its lines are gone
        raise ConfigError([Problem(str(path), 0, "was not written, since `check` would refuse it"), *problems]) from None
    yield f"{path}: written with {len(site.devices)} devices; look at roles, names and comments, then run: edge-agent check --config {path}"
    for warning in site.warnings:
        yield f"{path}: warning: {warning}"


def site_text(found: Sequence[Found], account: Account, broker: str, document: Document | None, library: Library) -> str:
    """The site file as text."""
    mqtt = _section(document, "mqtt")
    if broker and mqtt.get("broker") != broker:
        mqtt = {"broker": broker}
    head = [
        "# Written by `edge-agent scan`. Look at each name and role before the agent runs for the first time:",
        "# the cloud knows a device by its id for ever. `edge-agent check` tells what is wrong.",
        "moost:",
        *(f"  {key}: {_scalar(value)}" for key, value in account.section.items()),
    ]
    if any(one.topic for one in found):
        head += ["mqtt:", *(f"  {key}: {_scalar(value)}" for key, value in mqtt.items())]
    return "\n".join([*head, "devices:", *_devices(found, document, library)]) + "\n"


def _devices(found: Sequence[Found], document: Document | None, library: Library) -> Iterator[str]:
    configured = {str(one.get("id")): one for one in (document.data.get("devices") or [] if document is not None else []) if isinstance(one, dict)}
    certain = [library[one.profiles[0]] for one in found if len(one.profiles) == 1 and one.profiles[0] in library]
    grid = any(measures_grid(profile) for profile in certain) or any(_has_grid(configured.get(one.device_id, {})) for one in found)
    ids: set[str] = set(configured)
    for one in found:
        if one.confidence == RUNNING:
            yield from _entry(configured[one.device_id]) if one.device_id in configured else ()
            continue
        if not one.profiles:
            yield f"  # {one.address} unit {one.unit} answers, but no profile fits it: {one.what or 'unknown'}"
            continue
        if len(one.profiles) > 1:
            yield f"  # {' and '.join(one.profiles)} fit {one.address}{where(one)}: choose one, and take the # away"
        profile = library[one.profiles[0]]
        entry = entry_of(one, profile, ids, Role.CONSUMER if grid else Role.GRID)
        missing = [name for name, more in profile.spec.parameters.items() if more.default is None and name not in one.parameters]
        if missing:
            yield f"  # {one.address}{where(one)}: write the parameters {', '.join(missing)}, and take the # away"
        if len(one.profiles) > 1 or missing:
            yield from (f"  # {line.removeprefix('  ')}" for line in _entry(entry))
            continue
        if profile.spec.role == "any":
            grid = True
            yield "  # the profile cannot tell where this one measures: check its role"
        yield from _entry(entry)


def where(one: Found) -> str:
    """Where its bus has it, to stand behind an address."""
    return "" if one.unit is None else f" unit {one.unit}"


def entry_of(one: Found, profile: DeviceProfile, ids: set[str], role: Role) -> dict[str, Any]:
    """One device's section; `ids` are those taken, and its own is added."""
    entry: dict[str, Any] = {
        "id": _id(one, ids),
        "name": _name(one, profile),
        "profile": one.profiles[0] if len(one.profiles) == 1 else "|".join(one.profiles),
    }
    if one.unit is not None:
        entry |= {"connection": one.address, "unit": one.unit}
    else:
        entry["topic"] = one.topic
    if one.variant:
        entry["variant"] = one.variant
    if one.parameters:
        entry["parameters"] = dict(one.parameters)
    if profile.spec.role == "any":
        entry["role"] = role.value
    return entry


def _id(one: Found, taken: set[str]) -> str:
    """An id of the profile's name and the serial number, else the address; each only once."""
    own = one.serial or (f"{one.host}-{one.unit}" if one.unit is not None else "-".join((one.topic.rpartition("/")[2], *one.parameters.values())))
    text = re.sub(r"[^a-zA-Z0-9._-]+", "-", f"{one.profiles[0]}-{own}").strip("-")[-_LONGEST_ID:].lstrip("-")
    number, id_ = 1, text
    while id_ in taken:
        number += 1
        id_ = f"{text}-{number}"
    taken.add(id_)
    return id_


def _name(one: Found, profile: DeviceProfile) -> str:
    text = one.what if one.what and len(one.what) <= 60 else f"{profile.spec.vendor} {next(iter(profile.spec.models), '')}"
    return re.sub(r"\s+", " ", "".join(char for char in text if char.isprintable())).strip()[:100] or one.profiles[0]


def measures_grid(profile: DeviceProfile) -> bool:
    """Whether a device of this profile is the meter at the grid's connection."""
    return profile.spec.role == Role.GRID or Role.GRID in profile.roles


def _has_grid(section: Mapping[str, Any]) -> bool:
    return section.get("role") == Role.GRID.value


def _entry(section: Mapping[str, Any]) -> Iterable[str]:
    lines = [f"{key}: {_scalar(value)}" for key, value in section.items()]
    return [f"  - {lines[0]}", *(f"    {line}" for line in lines[1:])]


def _scalar(value: object) -> str:
    """A value as YAML on one line; text without quotes where that is safe."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9./][A-Za-z0-9 ._/@-]*[A-Za-z0-9._/@-]|[A-Za-z0-9]", value) and value != "null":
        return value
    return str(value) if isinstance(value, int) else "~" if value is None else json.dumps(value, ensure_ascii=False)
