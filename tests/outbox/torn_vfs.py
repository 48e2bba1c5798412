"""A file system of SQLite's own making under the queue, whose power can be cut at any write: what was not synced is lost, or torn.

Wraps SQLite's default VFS by way of its C interface, so unchanged code writes through it; needs no root and no kernel. At each
write and sync a power cut may be played: `images` gives what a disk could then hold, in blocks of 512 bytes.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from pathlib import Path

_BLOCK = 512
_METHODS = 19  # version 3 of sqlite3_io_methods: the version itself, then function pointers
_WRITE, _TRUNCATE, _SYNC = 3, 4, 5  # places in it, the version being 0

_Write = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_Open = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int))
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("most_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("delete", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 14),
    ]


class Disk:
    """What is surely on it, by file name, and the writes since: (place, bytes), or (length, None) for a truncation."""

    def __init__(self) -> None:
        self.synced: dict[str, bytearray] = {}
        self.pending: dict[str, list[tuple[int, bytes | None]]] = {}

    def sync(self, name: str) -> None:
        for place, data in self.pending.pop(name, []):
            _apply(self.synced.setdefault(name, bytearray()), place, data)

    def images(self, chance: random.Random) -> dict[str, bytes]:
        """The files after a power cut: of what was not synced each block is there or not."""
        after = {}
        for name in self.synced.keys() | self.pending.keys():
            content = bytearray(self.synced.get(name, b""))
            for place, data in self.pending.get(name, []):
                if data is None:
                    if chance.random() < 0.5:
                        _apply(content, place, None)
                    continue
                for at in range(0, len(data), _BLOCK):
                    if chance.random() < 0.5:
                        _apply(content, place + at, data[at : at + _BLOCK])
            after[name] = bytes(content)
        return after


def _apply(content: bytearray, place: int, data: bytes | None) -> None:
    if data is None:
        del content[place:]
        return
    content.extend(b"\0" * (place + len(data) - len(content)))
    content[place : place + len(data)] = data


class TornVfs:
    """Registers itself as SQLite's default; `on_change` is called after each write and sync, with the disk as it is then."""

    def __init__(self, on_change: Callable[[Disk], None]) -> None:
        self.disk = Disk()
        self._on_change = on_change
        self._library = ctypes.CDLL("libsqlite3.so.0")  # the one that Python's sqlite3 is linked with, when it is the system's
        self._library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        default = self._library.sqlite3_vfs_find(None).contents
        self._names: dict[int, str] = {}
        self._tables: dict[int, tuple[ctypes.Array[ctypes.c_void_p], _Write, _Truncate, _Sync]] = {}  # type: ignore[valid-type]
        self._open, self._delete = _Open(default.open), _Delete(default.delete)
        self._vfs = _Vfs.from_buffer_copy(default)
        self._vfs.name = b"torn"
        self._kept = (_Open(self._opened), _Delete(self._deleted))
        self._vfs.open, self._vfs.delete = (ctypes.cast(one, ctypes.c_void_p).value for one in self._kept)
        assert self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1) == 0

    def _opened(self, vfs: int, path: bytes | None, file: int, flags: int, out: object) -> int:
        result = int(self._open(vfs, path, file, flags, out))
        methods = ctypes.c_void_p.from_address(file)
        if result == 0 and path is not None and methods.value:
            name = self._names[file] = Path(path.decode()).name
            if name not in self.disk.synced:
                self.disk.synced[name] = bytearray(Path(path.decode()).read_bytes())
            methods.value = self._wrapped(methods.value)
        return result

    def _wrapped(self, original: int) -> int:
        """The address of a table of methods that writes through ours."""
        if original not in self._tables:
            table = (ctypes.c_void_p * _METHODS).from_buffer_copy((ctypes.c_void_p * _METHODS).from_address(original))
            write, truncate, sync = _Write(table[_WRITE] or 0), _Truncate(table[_TRUNCATE] or 0), _Sync(table[_SYNC] or 0)

            def written(file: int, data: int, length: int, place: int) -> int:
                self._note(file, place, ctypes.string_at(data, length))
                return int(write(file, data, length, place))

            def truncated(file: int, length: int) -> int:
                self._note(file, length, None)
                return int(truncate(file, length))

            def synced(file: int, flags: int) -> int:
                self._on_change(self.disk)
                self.disk.sync(self._names[file])
                return int(sync(file, flags))

            ours = (_Write(written), _Truncate(truncated), _Sync(synced))
            for place, one in zip((_WRITE, _TRUNCATE, _SYNC), ours, strict=True):
                table[place] = ctypes.cast(one, ctypes.c_void_p).value
            self._tables[original] = (table, *ours)
        return ctypes.addressof(self._tables[original][0])

    def _note(self, file: int, place: int, data: bytes | None) -> None:
        self.disk.pending.setdefault(self._names[file], []).append((place, data))
        self._on_change(self.disk)

    def _deleted(self, vfs: int, path: bytes, sync: int) -> int:
        name = Path(path.decode()).name
        self.disk.synced.pop(name, None)
        self.disk.pending.pop(name, None)
        return int(self._delete(vfs, path, sync))
