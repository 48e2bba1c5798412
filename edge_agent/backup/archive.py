"""The backup's file: a gzipped tar of a manifest, the site file with what belongs to it, and a copy of the queue."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent import __version__
from edge_agent.model.errors import EdgeAgentError
from edge_agent.outbox.aside import sync_folder

FORMAT = 1
_MANIFEST, _QUEUE, _SITE = "manifest.json", "queue.db", "site/"
_LARGEST = 4 * 1024**3  # bytes of a member: more than any queue may have


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the file is: whose, from when (UTC epoch seconds), and whether the gateway it comes from has stopped for good."""

    building_id: str
    site_file: str  # its name
    made_at: float
    moved: bool
    secrets: bool
    queue: bool  # False when the agent has never run
    format: int = FORMAT
    program: str = __version__


def write(path: Path, manifest: Manifest, files: Mapping[str, Path], queue: Path | None) -> None:
    """Writes the backup, readable by its owner alone; `files` by their name relative to the site file. Raises EdgeAgentError."""
    made = path.with_name(f".{path.name}.new")
    try:
        made.unlink(missing_ok=True)
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w:gz", compresslevel=6) as tar:
            text = json.dumps(asdict(manifest), indent=2).encode()
            head = tarfile.TarInfo(_MANIFEST)
            head.size, head.mode, head.mtime = len(text), 0o600, int(manifest.made_at)
            tar.addfile(head, io.BytesIO(text))
            for name, file in files.items():
                tar.add(file.resolve(), _SITE + name)
            if queue is not None:
                tar.add(queue, _QUEUE)
            out.flush()
        with made.open("rb") as written:
            os.fsync(written.fileno())
        made.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise EdgeAgentError(f"{path}: {error.strerror}; the backup was not written") from None


class Backup:
    """An open backup."""

    def __init__(self, path: Path) -> None:
        """Raises EdgeAgentError when the file cannot be read, is none, or is of a newer program."""
        self.path = path
        try:
            self._tar = tarfile.open(path, "r:gz")  # noqa: SIM115  # closed by `close`
            self.manifest = _manifest(path, self._read(_MANIFEST))
        except (OSError, EOFError, tarfile.TarError, KeyError, ValueError, TypeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged, or no backup of edge-agent"
            raise EdgeAgentError(f"{path}: {why}") from None

    def close(self) -> None:
        """Lets go of the file."""
        self._tar.close()

    @property
    def site_files(self) -> list[str]:
        """The names of the site's files, relative to the site file; nothing that would lead out of its folder."""
        names = [member.name.removeprefix(_SITE) for member in self._tar.getmembers() if member.isfile() and member.name.startswith(_SITE)]
        return [name for name in names if not name.startswith("/") and ".." not in Path(name).parts]

    def site(self, name: str) -> bytes:
        """One of the site's files. Raises EdgeAgentError when it is damaged."""
        try:
            return self._read(_SITE + name)
        except (OSError, EOFError, tarfile.TarError, KeyError):
            raise EdgeAgentError(f"{self.path}: {name} in it is damaged") from None

    def unpack_queue(self, to: Path) -> None:
        """Writes the queue to a new file. Raises EdgeAgentError when it is damaged or cannot be written."""
        try:
            source = self._tar.extractfile(_QUEUE)
            assert source is not None
            with source, os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as out:
                while piece := source.read(1 << 20):
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
        except (OSError, EOFError, tarfile.TarError, KeyError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "the queue in the backup is damaged"
            raise EdgeAgentError(f"{to}: {why}") from None

    def _read(self, name: str) -> bytes:
        member = self._tar.getmember(name)
        source = self._tar.extractfile(member)
        if source is None or member.size > _LARGEST:
            raise KeyError(name)
        with source:
            return source.read()


def _manifest(path: Path, text: bytes) -> Manifest:
    found = json.loads(text)
    if found["format"] > FORMAT:
        raise EdgeAgentError(f"{path}: was made by edge-agent {found['program']}; update this one ({__version__}) first")
    return Manifest(**found)
