"""From one house to another on this machine, so that a power cut at any moment leaves the old gateway, the new one, or one that waits.

All that is new is first written beside what it replaces. Then a mark keeps the agent from starting (see `handover`), each file takes its
place, the site file last, and the mark goes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.config.credentials import secret_mode
from edge_agent.handover import restoring_mark
from edge_agent.model.errors import EdgeAgentError
from edge_agent.outbox.aside import free_name, set_aside, sync_folder

_OPEN_TO_ALL = (".yaml", ".yml", ".pem", ".crt")


@contextlib.contextmanager
def written_beside(contents: Mapping[Path, bytes]) -> Iterator[dict[Path, Path]]:
    """Each file's new content on the disk, under another name beside it, as long as the block runs. Raises EdgeAgentError."""
    made = {path: path.with_name(f".{path.name}.restored") for path in contents}
    try:
        for path, content in contents.items():
            _write(made[path], content, secret=not path.name.endswith(_OPEN_TO_ALL))
        yield made
    except OSError as error:
        raise EdgeAgentError(f"{error.filename or path}: {error.strerror}; nothing was restored") from None
    finally:
        for file in made.values():
            file.unlink(missing_ok=True)


def switch(site_file: Path, backup: Path, made: Mapping[Path, Path], queue: tuple[Path, Path] | None) -> None:
    """Puts what was made in its place, what was there aside under a dated name. `queue`: its place and the new one. Raises EdgeAgentError."""
    mark, day = restoring_mark(site_file), f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    try:
        mark.write_text(str(backup.resolve()), encoding="utf-8")
        sync_folder(mark.parent)
        if queue is not None:
            place, new = queue
            if place.exists():
                set_aside(place, f"before-{day}")  # with its log
            new.rename(place)
            sync_folder(place.parent)
        for path in sorted(made, key=lambda path: path == site_file):
            if path.exists():
                os.link(path, free_name(path.with_name(f"{path.name}.before-{day}")))
            made[path].replace(path)
            sync_folder(path.parent)
        mark.unlink()
        sync_folder(mark.parent)
    except OSError as error:
        raise EdgeAgentError(
            f"{error.filename}: {error.strerror}; mend that and restore again, with --replace: until then no agent runs here"
        ) from None


def give_to_owner_of(folder: Path, handle: int) -> None:
    """What root restores belongs to whom the folder belongs, so that the service can use it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)


def _write(path: Path, content: bytes, secret: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o640), "wb") as file:
        give_to_owner_of(path.parent, file.fileno())
        if secret:
            os.fchmod(file.fileno(), secret_mode(path.parent))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
