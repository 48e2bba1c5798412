"""The one list of libraries with their hashes, and the part of it that the agent needs when it runs.

`make lock` writes `requirements.lock` for every platform and Python at once; developers install all of it, the Debian
package carries what `runtime_part` leaves.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

LOCK = Path(__file__).parent / "requirements.lock"


def runtime_part(python: str) -> str:
    """The lock's lines, with hashes, of what the agent needs under one Python, such as "3.13".

    They lose their markers: pip would hold those against the Python it runs under, not the one it installs for.
    """
    blocks = re.findall(r"^[a-z0-9].*\n(?: .*\n)*", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    locked = {_normal(block.split("==")[0]): block for block in blocks}
    names = _needed(python)
    if missing := names - locked.keys():
        raise SystemExit(f"packaging/requirements.lock lacks {', '.join(sorted(missing))}: run `make lock`")
    return "".join(re.sub(r" ;[^\\\n]*", " ", locked[name], count=1) for name in sorted(names))


def _needed(python: str) -> set[str]:
    """The agent's libraries and theirs, as the installed ones declare them."""
    found: set[tuple[str, str]] = set()
    todo = {("edge-agent", "")}  # name and extra
    while todo:
        name, extra = one = todo.pop()
        found.add(one)
        environment = {"extra": extra, "python_version": python, "python_full_version": f"{python}.0"}
        for requirement in map(Requirement, requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                todo |= {(_normal(requirement.name), each) for each in {"", *requirement.extras}} - found
    return {name for name, _ in found} - {"edge-agent"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).strip().lower()


if __name__ == "__main__":
    print(runtime_part(f"{sys.version_info.major}.{sys.version_info.minor}"), end="")
