"""From what a scan found to devices of the site file: what is certain is proposed, what is not is asked or left as a comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edge_agent.cloud.identity import device_name_problem
from edge_agent.model.measurements import Role
from edge_agent.profiles.document import Document
from edge_agent.profiles.library import DeviceProfile
from edge_agent.scan.draft import entry_of, measures_grid, where
from edge_agent.scan.fingerprint import Library
from edge_agent.scan.found import Found
from edge_agent.setup.questions import Questions
from edge_agent.setup.site_text import Drafted


def new_devices(found: Iterable[Found], document: Document | None, library: Library, questions: Questions) -> Iterator[Drafted]:
    """Those of `found` that the file does not have yet, as the user wants them."""
    configured = _configured(document)
    places = {place for section in configured for place in _places(section)}
    ids = {str(section.get("id")) for section in configured}
    grid = any(_is_grid(section, library) for section in configured)
    for one in found:
        if one.device_id in ids or _place(one) in places:
            continue
        if not one.profiles:
            questions.tell(f"  {one.address}{where(one)} answers, but no profile fits it: {one.what or 'unknown'}")
            continue
        drafted = _drafted(one, library, ids, Role.CONSUMER if grid else Role.GRID, questions)
        if drafted is not None:
            grid |= drafted.certain and _is_grid(drafted.entry, library)
            yield drafted


def _configured(document: Document | None) -> list[Mapping[str, Any]]:
    devices = document.data.get("devices") if document is not None and isinstance(document.data, dict) else None
    return [section for section in devices if isinstance(section, dict)] if isinstance(devices, list) else []


def _places(section: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    """Where a device of the file is: address and unit, or topic and parameters."""
    if section.get("topic"):
        yield section["topic"], tuple(sorted((section.get("parameters") or {}).items()))
    else:
        yield section.get("connection"), str(section.get("unit") or 1)


def _place(one: Found) -> tuple[object, ...]:
    return (one.address, str(one.unit)) if one.unit is not None else (one.topic, tuple(sorted(one.parameters.items())))


def _is_grid(section: Mapping[str, Any], library: Library) -> bool:
    profile = library.get(str(section.get("profile")))
    named = section.get("role") or section.get("roles")
    return Role.GRID.value in str(named) if named else profile is not None and measures_grid(profile)


def _drafted(one: Found, library: Library, ids: set[str], role: Role, questions: Questions) -> Drafted | None:
    """One device as the user wants it; None when not at all."""
    at = f"{one.address}{where(one)}"
    questions.tell(f"  {at}: {one.what or 'a device'}{f', serial {one.serial}' if one.serial else ''}")
    name = one.profiles[0] if len(one.profiles) == 1 else questions.choice("which profile", one.profiles)
    if name is None:
        return Drafted(entry_of(one, library[one.profiles[0]], ids, role), f"{at}: {' and '.join(one.profiles)} fit: choose one", certain=False)
    if not questions.yes(f"  read it as {name}?", default=True):
        return None
    profile = library[name]
    entry = {**entry_of(one, profile, ids, role), "profile": name}
    entry["name"] = questions.text("  its name", "name", None, str(entry["name"]), device_name_problem)
    missing = _missing_parameters(profile, one)
    if missing and not questions.interactive:
        return Drafted(entry, f"{at}: write the parameters {', '.join(missing)}", certain=False)
    if missing:
        asked = {key: questions.text(f"  {key}", key, None) for key in missing}
        entry["parameters"] = {**one.parameters, **asked}
    if profile.spec.role != "any":
        return Drafted(entry)
    remark = "" if questions.interactive else "the profile cannot tell where this one measures: check its role"
    entry["role"] = questions.text(f"  where it measures ({', '.join(Role)})", "role", None, str(entry["role"]), _role_problem)
    return Drafted(entry, remark)


def _missing_parameters(profile: DeviceProfile, one: Found) -> list[str]:
    return [name for name, more in profile.spec.parameters.items() if more.default is None and name not in one.parameters]


def _role_problem(text: str) -> str | None:
    return None if text in set(Role) else f"{text!r} is none of {', '.join(Role)}"
