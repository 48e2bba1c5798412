"""Reads the site file in a process of its own, so that an agent that runs for years need not hold what reads it.

pydantic and YAML take 15 MB and are used for a moment. The other process is this same program: it checks the file,
hands over the `Site` through a pipe and ends. At a start it works while this one loads what polling needs. Whatever becomes
of it is a mistake of the file for whoever asked, never a fault of the agent.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import __version__
from edge_agent.model.errors import ConfigError, Problem

if TYPE_CHECKING:
    from edge_agent.config import Site

READ_S = 60  # seconds after which it ends itself; a small gateway at its start takes five
_PROGRAM = "import signal, sys; signal.alarm({read_s}); sys.path[:] = {path!r}; from edge_agent.site_reading import hand_over; hand_over()"


class SiteReading:
    """A site file that is being read from now on. `copy`: see `load_site`."""

    def __init__(self, path: Path, copy: Path | None = None) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = _begun([str(file) for file in (path, copy) if file is not None])
        except OSError as error:  # no memory or no process left
            self._no_process = error.strerror

    def site(self) -> Site:
        """Waits for the site. Raises ConfigError with every mistake at once."""
        if self._process is None:
            raise self._failed(f"the process that reads it cannot begin ({self._no_process})")
        answer, last_words = self._process.communicate()
        if (code := self._process.returncode) == -signal.SIGALRM:
            raise self._failed(f"the process that reads it came to no end in {READ_S} s")
        if code:
            why = f"signal {-code}" if code < 0 else (last_words.decode(errors="replace").splitlines() or [f"exit code {code}"])[-1]
            raise self._failed(f"the process that reads it failed ({why})")
        return self._taken(io.BytesIO(answer))

    def _taken(self, answer: io.BytesIO) -> Site:
        version = pickle.load(answer)
        if version != __version__:  # what another version calls a site may be taken for something else here
            raise self._failed(f"version {version} is installed, and {__version__} runs; restart the agent")
        found: Site | list[Problem] = pickle.load(answer)
        if isinstance(found, list):
            raise ConfigError(found)
        return found

    def _failed(self, why: str) -> ConfigError:
        return ConfigError([Problem(str(self._path), 0, f"could not be read: {why}")])


def _begun(files: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-IS", "-c", _PROGRAM.format(read_s=READ_S, path=sys.path), *files],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,  # Ctrl-C is for the agent
    )


def read_site(path: Path, copy: Path | None = None) -> Site:
    """`load_site` in a process of its own."""
    return SiteReading(path, copy).site()


def hand_over() -> None:
    """The other process: writes its version and the site, or the mistakes in its file, to where the agent reads them."""
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # what a library prints is no part of the answer
        from edge_agent.config import load_site

        found: Site | list[Problem]
        try:
            found = load_site(*map(Path, sys.argv[1:]))
        except ConfigError as error:
            found = error.problems
        for part in (__version__, found):
            pickle.dump(part, answer, pickle.HIGHEST_PROTOCOL)
    os._exit(0)  # to take apart what it has loaded would be a fifth of its work
