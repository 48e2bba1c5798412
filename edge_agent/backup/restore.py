"""`edge-agent restore`: a backup's house on this machine, without a unit of energy sent twice."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_agent.backup.archive import Backup
from edge_agent.config import database_of, load_site
from edge_agent.config.credentials import secret_mode
from edge_agent.control import state_lock
from edge_agent.foreign_links import refuse_foreign_links
from edge_agent.handover import MOVED, RESTORED, restored_state
from edge_agent.model.clock import utc_text
from edge_agent.model.errors import ConfigError, EdgeAgentError
from edge_agent.outbox.aside import set_aside
from edge_agent.outbox.outbox import Queue
from edge_agent.progress import progress


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of the queue."""

    waiting: int
    settled: int  # waited in the backup, but the old gateway has sent them since


def run(options: argparse.Namespace) -> int:
    """Restores, checks, and says what is still missing. 1 when the site file is not complete here."""
    with contextlib.closing(Backup(options.file)) as backup:
        sent = _sent_until(backup, options.sent_until)
        refuse_foreign_links(options.config)
        folder = options.config.resolve().parent
        if not folder.is_dir():
            raise EdgeAgentError(f"{options.config}: there is no folder {folder}")
        _refuse_beside_agent(options.config)
        targets = {name: options.config.resolve() if name == backup.manifest.site_file else folder / name for name in backup.site_files}
        refuse_foreign_links(*targets.values())
        _make_way([path for path in targets.values() if path.exists()], options.replace)
        for name, path in targets.items():
            _write(path, backup.site(name), secret=not name.endswith((".yaml", ".yml", ".pem", ".crt")))
        database = database_of(options.config)
        with progress(doing="restoring the queue"):
            restored = _queue(backup, database, sent, options.replace) if backup.manifest.queue else None
    if options.json:
        return _as_json(options.config, backup, database, restored)
    print(f"{options.config}: restored for building {backup.manifest.building_id}, as of {utc_text(backup.manifest.made_at)}")
    if restored is not None:
        known = f"; {restored.settled} more were sent by the old gateway" if restored.settled else ""
        print(f"{database}: {restored.waiting} events wait for the cloud{known}")
    return _checked(options.config)


def _as_json(path: Path, backup: Backup, database: Path, restored: Restored | None) -> int:
    """The same for programs."""
    answer: dict[str, Any] = {"site_file": str(path), "building_id": backup.manifest.building_id, "made_at": backup.manifest.made_at}
    if restored is not None:
        answer |= {"queue": str(database), **asdict(restored)}
    try:
        load_site(path)
        answer["problems"] = []
    except ConfigError as error:
        answer["problems"] = [asdict(problem) for problem in error.problems]
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return 1 if answer["problems"] else 0


def _sent_until(backup: Backup, given: str | None) -> float | None:
    """Until when the old gateway has sent; None when it sent nothing that is in the backup. Raises EdgeAgentError where nobody said so."""
    if backup.manifest.moved or not backup.manifest.queue or given == "backup":
        return None
    if given is None:
        raise EdgeAgentError(
            f"{backup.path}: was made while its gateway went on sending, and what both send is counted twice. Give --sent-until with the time of the "
            "newest event that the cloud has from it (such as 2026-03-01T10:15Z), or --sent-until backup when it sent nothing afterwards"
        )
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise EdgeAgentError(f"--sent-until: {given!r} is no time: write 2026-03-01T10:15Z, or `backup`") from None
    if at.timestamp() > time.time():
        raise EdgeAgentError(f"--sent-until: {given} is in the future")
    return at.timestamp()  # without an offset it is this machine's local time


def _refuse_beside_agent(path: Path) -> None:
    """Raises AgentBusy, before anything is changed, when an agent runs on the site file that is here."""
    with contextlib.suppress(ConfigError):
        folder = database_of(path).parent
        if folder.is_dir():
            with state_lock(folder):
                pass


def _make_way(there: list[Path], replace: bool) -> None:
    """Sets what is here aside under a dated name. Raises EdgeAgentError when that was not asked for."""
    if there and not replace:
        raise EdgeAgentError(f"{there[0]} is here already; --replace sets it aside and restores the backup in its place")
    day = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for path in there:
        path.rename(path.with_name(f"{path.name}.before-{day}"))


def _write(path: Path, content: bytes, secret: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o640), "wb") as file:
            _give_to_owner_of(path.parent, file.fileno())
            if secret:
                os.fchmod(file.fileno(), secret_mode(path.parent))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise EdgeAgentError(f"{path}: {error.strerror}; restore what is missing once that is mended, with --replace") from None


def _give_to_owner_of(folder: Path, handle: int) -> None:
    """What root restores belongs to whom the folder belongs, so that the service can use it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)


def _queue(backup: Backup, database: Path, sent: float | None, replace: bool) -> Restored:
    """The queue under its name, told until when the other gateway sent; whole or not at all."""
    refuse_foreign_links(database)
    with state_lock(database.parent):
        if database.exists() and replace:
            set_aside(database, f"before-{datetime.now(UTC):%Y%m%d-%H%M%S}")  # with its log
        _make_way([database] if database.exists() else [], replace)
        made = database.with_name(f".{database.name}.restored")
        made.unlink(missing_ok=True)
        backup.unpack_queue(made)
        with Queue.opened(made) as queue:
            settled = queue.settle_until(sent) if sent is not None else 0
            queue.put([], {RESTORED: restored_state(sent)})
            queue.forget(MOVED)
            waiting = queue.stats()["waiting"]
        handle = os.open(made, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            _give_to_owner_of(database.parent, handle)
        finally:
            os.close(handle)
        made.rename(database)
    return Restored(waiting, settled)


def _checked(path: Path) -> int:
    try:
        site = load_site(path)
    except ConfigError as error:
        for problem in error.problems:
            print(problem)
        print(f"Mend this before the agent runs; a client secret is not in a backup: edge-agent setup --config {path} asks for it.")
        return 1
    print(f"{path}: ok: {len(site.devices)} devices. Now start the agent; the old gateway must not run any more.")
    return 0
