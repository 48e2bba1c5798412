"""Moves a queue's files out of the way, so that another one can take their place, and never loses both to a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

_KEPT = 2  # damaged files, for whoever wants to look: a card that fails again and again must not fill itself


def set_aside(path: Path, name: str) -> Path:
    """Renames a queue and its log to `path.name`, without overwriting an earlier one; gives the new path."""
    target = free_name(path.with_name(f"{path.name}.{name}"))
    log = path.with_name(path.name + "-wal")
    if log.exists():  # first: a log must never stand beside a file that it does not belong to
        log.rename(target.with_name(target.name + "-wal"))
    path.rename(target)
    sync_folder(path.parent)
    if name.startswith("damaged-"):
        _forget_older(path)
    return target


def replace(fresh: Path, path: Path) -> None:
    """The closed queue `fresh` takes the place of `path`."""
    fresh.rename(path)
    sync_folder(path.parent)


def finish_replacing(path: Path) -> None:
    """After a power cut between setting aside and replacing: the complete new file is still under its other name."""
    fresh = path.with_name(path.name + ".salvage")
    if not path.exists() and fresh.exists() and not fresh.with_name(fresh.name + "-wal").exists():
        replace(fresh, path)


def sync_folder(folder: Path) -> None:
    """What was renamed in it is so on the disk, too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing, as some memory sticks have
            raise
    finally:
        os.close(handle)


def free_name(path: Path) -> Path:
    """The path, or the next one that is not taken."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def _forget_older(path: Path) -> None:
    found = [file for file in path.parent.glob(f"{path.name}.damaged-*") if not file.name.endswith("-wal")]
    for file in sorted(found, key=lambda file: file.stat().st_mtime)[:-_KEPT]:
        for part in (file, file.with_name(file.name + "-wal")):
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
