"""Small real file systems for tests: one that can be filled, one whose power can be cut. Need root; without it a test is skipped, in CI it fails."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
_NOLOGFLUSH = 2  # what is not on the disk is lost, the file system's own journal included


def needs_root() -> None:
    """Skips the test, in CI fails it, where file systems cannot be mounted."""
    if os.geteuid() == 0 and shutil.which("mkfs.ext4"):
        return
    reason = "mounting a file system needs root and mkfs.ext4 (apt-get install e2fsprogs)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system in memory of `size` bytes."""
    needs_root()
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all space but `leave` bytes."""
    path = folder / "of-somebody-else"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for part in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while os.write(handle, b"x" * part) == part:
                    pass
        os.ftruncate(handle, max(0, os.fstat(handle).st_size - leave))
    finally:
        os.close(handle)
    return path


class CutDisk:
    """An ext4 on a loop device. `cut` is a power cut: nothing more reaches the disk, then it is mounted again."""

    def __init__(self, folder: Path, size: int = 24 << 20) -> None:
        needs_root()
        self.folder = folder / "disk"
        self._image = folder / "disk.img"
        self._size = size
        self.folder.mkdir(parents=True)

    def __enter__(self) -> CutDisk:
        with self._image.open("wb") as image:
            image.truncate(self._size)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^resize_inode", str(self._image)], check=True)
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def power_off(self) -> None:
        """From now on nothing is written any more, and every write fails."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
                pytest.fail("this kernel's ext4 cannot be shut down")
            raise
        finally:
            os.close(handle)

    def power_on(self) -> None:
        """The disk as it was left. It is a copy: whoever still has the old one open has a file system that was shut down."""
        self.unmount()
        left = self._image.rename(self._image.with_suffix(".left"))
        subprocess.run(["cp", "--sparse=always", str(left), str(self._image)], check=True)
        left.unlink()
        self.mount()
