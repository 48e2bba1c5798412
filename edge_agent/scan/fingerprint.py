"""Which profiles fit what a device says. Pure.

A profile fits when all marks of its fingerprint hold; one without marks fits nothing. A profile that extends
another and asks for something else of its own goes before it, and every profile before the general SunSpec
one. What is left over after that is not decided here: the user chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge_agent.codec.values import key_of
from edge_agent.model.measurements import Reading
from edge_agent.profiles.library import DeviceProfile
from edge_agent.profiles.profile import UNITS, DirectionFrom, FingerprintSpec, ProfileSpec
from edge_agent.scan.found import GENERAL, LIKELY, SURE

Library = Mapping[str, DeviceProfile]
_FEW_MODELS = 2


def holds(mark: FingerprintSpec, spec: ProfileSpec, reading: Reading | None) -> bool:
    """Whether a point reads as the mark wants. Text without a character is no value."""
    if reading is None or reading.value is None:
        return False
    text = ("on" if reading.value else "off") if isinstance(reading.value, bool) else key_of(reading.value)
    if not text.strip() or (mark.values and text not in mark.values):
        return False
    if mark.between is None:
        return True
    factor = UNITS[spec.points[mark.point].unit][1]
    return reading.number is not None and mark.between[0] * factor <= reading.number <= mark.between[1] * factor


def fits(spec: ProfileSpec, readings: Mapping[str, Reading]) -> bool:
    """Whether all marks hold."""
    return bool(spec.fingerprint) and all(holds(mark, spec, readings.get(mark.point)) for mark in spec.fingerprint)


def sources_of(spec: ProfileSpec, names: Iterable[str]) -> list[str]:
    """These points and those that they are made of."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found[name] = None
        point = spec.points[name]
        waiting += [part.lstrip("-").rstrip("?") for part in point.sum or point.first or []]
        waiting += [point.positive.by] if isinstance(point.positive, DirectionFrom) else []
    return list(found)


def chosen(fitting: Iterable[str], library: Library) -> tuple[str, ...]:
    """Of the profiles that fit one device, those that remain to choose from."""
    names = list(fitting)
    names = [name for name in names if not any(_goes_before(other, name, library) for other in names)]
    special = [name for name in names if name != GENERAL]
    return tuple(special or names)


def _goes_before(child: str, name: str, library: Library) -> bool:
    """Whether one extends the other, and is known by more or by something else."""
    if child == name or library[child].spec.fingerprint == library[name].spec.fingerprint:
        return False
    ancestor = library[child].spec.extends
    while ancestor and ancestor != name:
        ancestor = library[ancestor].spec.extends if ancestor in library else None
    return ancestor == name


def confidence(spec: ProfileSpec) -> str:
    """How much a fingerprint says: words and codes of its own, or only values that are plausible."""
    return SURE if any(mark.values or spec.points[mark.point].sunspec for mark in spec.fingerprint) else LIKELY


def maker(spec: ProfileSpec) -> str:
    """Vendor and models in few words."""
    more = ", ..." if len(spec.models) > _FEW_MODELS else ""
    return f"{spec.vendor} {', '.join(spec.models[:_FEW_MODELS])}{more}".strip()
