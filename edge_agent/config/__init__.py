"""Floor 8: the site file, checked as a whole and turned into the settings that each floor declares.

What reads it is loaded when it is read, since a running agent has that done by another process: see `site_reading`.
"""

from __future__ import annotations

from pathlib import Path

from edge_agent.config.site import Site

__all__ = ["Site", "database_of", "load_site"]


def load_site(path: Path, copy: Path | None = None) -> Site:
    """The site file, checked with the profiles it names. Raises ConfigError with every mistake at once, each with its line.

    From a `copy` only its text and the profiles beside it are taken; other files that it names count from `path`.
    """
    from edge_agent.config import loading

    return loading.load_site(path, copy)


def database_of(path: Path) -> Path:
    """Where a site file puts its queue, also while the rest of the file has mistakes. Raises ConfigError for a file that is no YAML."""
    from edge_agent.config import loading

    return loading.database_of(path)
