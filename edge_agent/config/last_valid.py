"""The last site file that was right, kept in the state folder: the agent goes on with it where the real one has a mistake.

The copy is the site file and every other YAML file beside or below it, for that is where profiles of one's own stand.
Secrets are in files of another kind, and stay where they are: names of such files count from the real site file.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edge_agent.model.errors import ConfigError

_FOLDER = "last-valid-site"


def keep(site_file: Path, state: Path) -> None:
    """Copies a site file that was found right. Writes only what is new; raises OSError when it cannot."""
    texts = _texts(site_file.parent)
    folder, made = state / _FOLDER, state / f"{_FOLDER}.new"
    if folder.is_dir() and _texts(folder) == texts:
        return
    shutil.rmtree(made, ignore_errors=True)
    for name, text in texts.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        with (made / name).open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def last_valid(site_file: Path, state: Path) -> Path | None:
    """The copy; None when there is none."""
    copy = state / _FOLDER / site_file.name
    return copy if copy.is_file() else None


def remark_on(mistakes: ConfigError) -> str:
    """Why the copy is in force."""
    more = f" and {len(mistakes.problems) - 1} more" if len(mistakes.problems) > 1 else ""
    return f"the site file has mistakes ({mistakes.problems[0]}{more}); the last one that was right is in force"


def _texts(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml") and path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}
