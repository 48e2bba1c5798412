"""Half a megabyte beside the queue that is given back when the disk is full: SQLite needs space even to delete."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SIZE = 512 * 1024
_LEFT_FREE = 1024 * 1024  # for others on the file system, before the reserve is made


class Reserve:
    """The file of `size` bytes beside `path`; `there` is False from its release until it can be made again."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self.path = path.with_name(path.name + ".reserve")
        self._size = size
        self.there = self.path.exists()

    def keep(self) -> bool:
        """Makes the file where it is missing and the file system has the space to spare; True when it was made."""
        if self.there or self.free() < self._size + _LEFT_FREE:
            return False
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(handle, 0, self._size)
            finally:
                os.close(handle)
        except OSError:  # somebody was faster
            self._remove()
            return False
        self.there = True
        return True

    def release(self) -> bool:
        """Gives the space back; False when it was given back before."""
        released, self.there = self.there, False
        self._remove()
        return released

    def free(self) -> int:
        """Bytes that are left on the file system; 0 where nobody can say."""
        try:
            disk = os.statvfs(self.path.parent)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def _remove(self) -> None:
        with contextlib.suppress(OSError):  # then there is nothing to give back
            self.path.unlink()
