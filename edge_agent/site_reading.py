"""Reads the site file in a process of its own, so that an agent that runs for years need not hold what reads it.

pydantic and YAML take 15 MB and are used for a moment. The other process is this same program: it checks the file,
hands over the `Site` through a pipe and ends. At a start it works while this one loads what polling needs.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.model.errors import ConfigError, Problem

if TYPE_CHECKING:
    from edge_agent.config import Site

_PROGRAM = "import sys; sys.path[:] = {path!r}; from edge_agent.site_reading import hand_over; hand_over()"


class SiteReading:
    """A site file that is being read from now on. `copy`: see `load_site`."""

    def __init__(self, path: Path, copy: Path | None = None) -> None:
        self._path = path
        program = _PROGRAM.format(path=sys.path)
        files = [str(file) for file in (path, copy) if file is not None]
        self._process = subprocess.Popen(
            [sys.executable, "-IS", "-c", program, *files],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for the agent
        )

    def site(self) -> Site:
        """Waits for the site. Raises ConfigError with every mistake at once."""
        answer, last_words = self._process.communicate()
        if code := self._process.returncode:
            why = f"signal {-code}" if code < 0 else (last_words.decode(errors="replace").splitlines() or [f"exit code {code}"])[-1]
            raise ConfigError([Problem(str(self._path), 0, f"could not be read: the process that reads it failed ({why})")])
        found: Site | list[Problem] = pickle.loads(answer)
        if isinstance(found, list):
            raise ConfigError(found)
        return found


def read_site(path: Path, copy: Path | None = None) -> Site:
    """`load_site` in a process of its own."""
    return SiteReading(path, copy).site()


def hand_over() -> None:
    """The other process: writes the site, or the mistakes in its file, to where the agent reads them."""
    from edge_agent.config import load_site

    found: Site | list[Problem]
    try:
        found = load_site(*map(Path, sys.argv[1:]))
    except ConfigError as error:
        found = error.problems
    pickle.dump(found, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
    sys.stdout.flush()
    os._exit(0)  # to take apart what it has loaded would be a fifth of its work
