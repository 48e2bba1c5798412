"""How updates go, as the updater's two report files say. It is another package: where it is not installed nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_agent.status.document import Advice, Updates

FOLDER = Path("/var/lib/edge-agent-updater")


def read_updates(folder: Path = FOLDER) -> Updates | None:
    """What stands in the reports; None without an updater, or one that has not looked yet."""
    check, report = _fields(folder / "check"), _fields(folder / "report")
    if not check and not report:
        return None
    return Updates(
        checked_at=_instant(check),
        check=check.get("result", ""),
        check_reason=check.get("reason", ""),
        changed_at=_instant(report),
        state=report.get("state", ""),
        version_from=report.get("from", ""),
        version_to=report.get("to", ""),
        reason=report.get("reason", ""),
    )


def _fields(file: Path) -> dict[str, str]:
    """`key=value` lines."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value for name, mark, value in (line.partition("=") for line in lines) if mark}


def _instant(fields: dict[str, str]) -> float | None:
    return float(fields["at"]) if fields.get("at", "").isdigit() else None


def update_text(updates: Updates) -> str:
    """The newest of it in a few words."""
    words = {"judging": "proves itself", "confirmed": "has proved itself", "rolled-back": "was taken back", "stuck": "does not work"}
    if updates["state"] in words:
        return f"{updates['version_to']} {words[updates['state']]}"
    return "looked for, none was due" if updates["check"] == "ok" else "could not be looked for"


def update_advice(updates: Updates | None) -> Iterator[Advice]:
    """What of it needs a look."""
    if updates is None:
        return
    if updates["state"] == "stuck":
        yield Advice(problem=True, subject="updates", text=f"version {updates['version_to']} does not work: {updates['reason']}")
    elif updates["state"] == "rolled-back":
        yield Advice(problem=False, subject="updates", text=f"version {updates['version_to']} was taken back: {updates['reason']}")
    if updates["check"] == "failed":
        yield Advice(problem=False, subject="updates", text=f"could not be looked for: {updates['check_reason']}")
