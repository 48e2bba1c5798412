"""What is collected while a site file is checked: mistakes, which refuse it, and warnings, which do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.model.errors import Problem
from edge_agent.profiles.document import Document, Location


@dataclass
class Findings:
    """The mistakes and warnings of one file."""

    document: Document
    path: Path  # the site file: names of files count from its folder
    profiles: Path  # but those of profiles from this one
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def wrong(self, location: Location, text: str, hint: str = "") -> None:
        """Notes a mistake at a place of the file."""
        self.problems.append(self.document.problem(location, text, hint))

    def file(self, name: str | None, location: Location) -> Path | None:
        """A file named in the site file, relative to it; a mistake when it is not there."""
        if name is None:
            return None
        path = self.path.parent / name
        if not path.is_file():
            self.wrong(location, f"{'.'.join(map(str, location))}: there is no file {path}")
        return path
