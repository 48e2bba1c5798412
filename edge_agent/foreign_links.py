"""Links that somebody else has laid. The group may write the site's folder and the state folder: through a link there it could
make a command of root's read or replace any file. Links of root's own, and of the user who types the command, are followed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_agent.model.errors import EdgeAgentError


def refuse_foreign_links(*paths: Path) -> None:
    """Raises EdgeAgentError when somebody else's link stands on the way to one of these paths, or in its place."""
    for path in paths:
        for part in (*reversed(path.absolute().parents), path.absolute()):
            if _is_foreign_link(part):
                raise EdgeAgentError(f"{part}: is a link that another user has laid, and is not followed; look where it leads, then remove it")


def _is_foreign_link(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False  # nothing is there, or whoever opens it learns why not
    return stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid())
