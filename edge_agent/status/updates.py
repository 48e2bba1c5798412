"""How updates go, as the updater's two report files say. It is another package: where it is not installed nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_agent.status.document import Advice, Updates

FOLDER = Path("/var/lib/edge-agent-updater")
UNTIL_BOOT = Path("/run/edge-agent-updater")  # where it reports when its folder is read-only


def read_updates(folder: Path = FOLDER, until_boot: Path = UNTIL_BOOT) -> Updates | None:
    """What stands in the reports; None without an updater, or one that has not looked yet."""
    check = max(_fields(folder / "check"), _fields(until_boot / "check"), key=lambda fields: _instant(fields) or 0.0)
    report = _fields(folder / "report")
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


_WORDS = {
    "judging": "proves itself",
    "confirmed": "has proved itself",
    "rolled-back": "was taken back",
    "refused": "cannot be installed",
    "stuck": "does not work",
}


def update_text(updates: Updates) -> str:
    """The newest of it in a few words."""
    if updates["state"] in _WORDS:
        return f"{updates['version_to']} {_WORDS[updates['state']]}"
    return "looked for, none was due" if updates["check"] == "ok" else "could not be looked for"


def update_advice(updates: Updates | None, all_answer: bool) -> Iterator[Advice]:
    """What of it needs a look. `all_answer`: every device is read, so that what was silent during the update is no news."""
    if updates is None:
        return
    state, version, reason = updates["state"], updates["version_to"], updates["reason"]
    if state in ("stuck", "rolled-back", "refused"):
        yield Advice(problem=state == "stuck", subject="updates", text=f"version {version} {_WORDS[state]}: {reason}")
    elif state == "confirmed" and reason and not all_answer:
        yield Advice(problem=False, subject="updates", text=f"version {version} has proved itself, but {reason}")
    if updates["check"] == "failed":
        yield Advice(problem=False, subject="updater", text=f"no updates: {updates['check_reason']}")
