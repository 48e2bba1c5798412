"""`edge-agent backup`: from the running agent, or by itself under its lock."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edge_agent.backup.archive import Manifest, write
from edge_agent.config import Site, load_site
from edge_agent.control import QUEUE_COPY, ask, state_lock
from edge_agent.foreign_links import refuse_foreign_links
from edge_agent.handover import MOVED, is_written, moved_state, moved_text
from edge_agent.model.errors import AgentBusy, EdgeAgentError
from edge_agent.outbox.outbox import Queue
from edge_agent.profiles.document import Document, read_document
from edge_agent.progress import progress

_SECRETS = ("client_secret_file", "password_file")
_OTHER_FILES = ("ca_file",)


def run(options: argparse.Namespace) -> int:
    """Writes the backup and says what is in it and what is not."""
    refuse_foreign_links(options.config)
    site = load_site(options.config)
    now = time.time()
    day = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
    path: Path = options.file or Path(f"edge-agent-{site.account.building_id.replace(':', '-')}-{day}.tar.gz")
    if path.exists():
        raise EdgeAgentError(f"{path} exists and is not overwritten; name another file")
    files, left = _site_files(site, read_document(options.config), options.with_secrets)
    refuse_foreign_links(path, site.database, *files.values())
    with progress(doing="writing the backup"), _queue_copy(site, options.move) as queue:
        manifest = Manifest(site.account.building_id, site.file.name, now, options.move, options.with_secrets, queue is not None)
        with _moving(site, now, path) if options.move else contextlib.nullcontext():
            write(path, manifest, files, queue)
    if options.json:
        answer = {"file": str(path), "contains": list(files), "queue": manifest.queue, "moved": manifest.moved, "left_out": left}
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    print(f"{path}: written with {', '.join(files)}{' and the queue' if queue is not None else '; the agent has not run yet, so there is no queue'}")
    for name in left:
        print(f"left out: {name}")
    if options.move:
        print("This gateway does not send any more. Now: edge-agent restore FILE on the new one; here it would bring the house back, with --replace.")
    return 0


def _site_files(site: Site, document: Document, with_secrets: bool) -> tuple[dict[str, Path], list[str]]:
    """The site file, profiles and recordings beside it, by name; and what is left out, with the reason."""
    folder = site.file.parent
    files, left = {site.file.name: site.file}, []
    for name, is_secret in _named_files(document):
        path = folder / name
        if is_secret and not with_secrets:
            left.append(f"{name} (a secret; --with-secrets takes it along)")
        elif not path.resolve().is_relative_to(folder):
            left.append(f"{name} (not in the folder of the site file: copy it by hand)")
        elif path.is_file():
            files[str(path.relative_to(folder))] = path
    files |= {recording.name: recording for recording in sorted(folder.glob("*.recording.yaml"))}
    return files, left


def _named_files(document: Document) -> Iterator[tuple[str, bool]]:
    """Files that the site file names, and whether they hold a secret."""
    sections = [section for section in document.data.values() if isinstance(section, dict)]
    for key in (*_SECRETS, *_OTHER_FILES):
        yield from ((section[key], key in _SECRETS) for section in sections if section.get(key))
    yield from ((device["profile"], False) for device in document.data.get("devices") or [] if "/" in str(device.get("profile")))


@contextlib.contextmanager
def _queue_copy(site: Site, move: bool) -> Iterator[Path | None]:
    """A copy of the queue while the block runs, None when there is none. For a move the lock is held on until its end."""
    folder = site.database.parent
    if not site.database.exists():
        if move:
            raise EdgeAgentError(f"{site.database}: there is no queue, since no agent has run here, so no house can move; leave --move out")
        yield None
        return
    if not move and ask(folder, {"command": "backup", "action": "copy"}) is not None:
        try:
            yield folder / QUEUE_COPY
        finally:
            ask(folder, {"command": "backup", "action": "forget"})
        return
    with _lock(folder, move):
        copy = folder / QUEUE_COPY
        copy.unlink(missing_ok=True)
        try:
            with Queue.opened(site.database, site.max_size) as queue:
                moved = queue.state(MOVED)
                if moved and (is_written(moved) or not move):
                    raise EdgeAgentError(moved_text(site.database, moved))
                queue.copy_to(copy)
            yield copy
        finally:
            copy.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock(folder: Path, move: bool) -> Iterator[None]:
    try:
        with state_lock(folder):
            yield
    except AgentBusy as error:
        hint = "; the house moves only while it is stopped: sudo systemctl stop edge-agent" if move else ""
        raise EdgeAgentError(f"{error}{hint}") from None


@contextlib.contextmanager
def _moving(site: Site, at: float, path: Path) -> Iterator[None]:
    """Nothing is sent from this queue any more, from before the block on: two gateways never do. When the block fails it is as it was."""
    with Queue.opened(site.database, site.max_size) as queue:
        before = queue.state(MOVED)
        queue.put([], {MOVED: moved_state(at, path.name, written=False)})
    try:
        yield
    except BaseException:
        if before is None:
            with Queue.opened(site.database, site.max_size) as queue:
                queue.forget(MOVED)
        raise
    with Queue.opened(site.database, site.max_size) as queue:
        queue.put([], {MOVED: moved_state(at, path.name, written=True)})
