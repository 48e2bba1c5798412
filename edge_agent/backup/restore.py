"""`edge-agent restore`: a backup's house on this machine, without a unit of energy sent twice."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_agent.backup.archive import Backup
from edge_agent.backup.switch import give_to_owner_of, switch, written_beside
from edge_agent.config import database_of, load_site
from edge_agent.control import state_lock
from edge_agent.foreign_links import refuse_foreign_links
from edge_agent.handover import MOVED, RESTORED, restored_state, restoring_mark
from edge_agent.model.clock import utc_text
from edge_agent.model.errors import ConfigError, EdgeAgentError, StorageDamaged
from edge_agent.outbox.outbox import Queue
from edge_agent.progress import progress


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of the queue."""

    waiting: int
    settled: int  # waited in the backup, but the old gateway has sent them since


def run(options: argparse.Namespace) -> int:
    """Restores, checks, and says what is still missing. 1 when the site file is not complete here."""
    site_file = options.config.resolve()
    with contextlib.closing(Backup(options.file)) as backup, contextlib.ExitStack() as held:
        sent = _sent_until(backup, options.sent_until)
        refuse_foreign_links(options.config)
        folder = site_file.parent
        if not folder.is_dir():
            raise EdgeAgentError(f"{options.config}: there is no folder {folder}")
        contents = {site_file if name == backup.manifest.site_file else folder / name: backup.site(name) for name in backup.site_files}
        if site_file not in contents:
            raise EdgeAgentError(f"{options.file}: there is no site file in it")
        refuse_foreign_links(*contents, restoring_mark(site_file))
        made = held.enter_context(written_beside(contents))
        database = database_of(made[site_file])
        refuse_foreign_links(database)
        _lock(held, {database.parent, *_state_folder(site_file)})
        _refuse_what_is_here([*contents, *([database] if backup.manifest.queue else [])], options.replace)
        held.enter_context(progress(doing="restoring the queue"))
        queue, restored = _queue(backup, database, sent, held) if backup.manifest.queue else (None, None)
        switch(site_file, options.file, made, (database, queue) if queue else None)
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


def _state_folder(site_file: Path) -> list[Path]:
    """Where the agent keeps its queue by the site file that is here; none where there is no such folder."""
    with contextlib.suppress(ConfigError):
        return [folder for folder in [database_of(site_file).parent] if folder.is_dir()]
    return []


def _lock(held: contextlib.ExitStack, folders: set[Path]) -> None:
    """No agent runs from here on. Raises AgentBusy where one does."""
    for folder in {folder.resolve() for folder in folders}:
        held.enter_context(state_lock(folder))


def _refuse_what_is_here(paths: list[Path], replace: bool) -> None:
    """Raises EdgeAgentError for what would be replaced, when that was not asked for."""
    there = [path for path in paths if path.exists()]
    if there and not replace:
        raise EdgeAgentError(f"{there[0]} is here already; --replace sets it aside and restores the backup in its place")


def _queue(backup: Backup, database: Path, sent: float | None, held: contextlib.ExitStack) -> tuple[Path, Restored]:
    """The queue beside its place, told until when the other gateway sent, and proven whole."""
    made = database.with_name(f".{database.name}.restored")
    for part in (made, made.with_name(f"{made.name}.reserve"), made.with_name(f"{made.name}-wal")):
        part.unlink(missing_ok=True)  # of a restore that was cut short
        held.callback(part.unlink, missing_ok=True)
    backup.unpack_queue(made)
    try:
        with Queue.opened(made) as queue:
            queue.check()
            settled = queue.settle_until(sent) if sent is not None else 0
            queue.put([], {RESTORED: restored_state(sent)})
            queue.forget(MOVED)
            waiting = queue.stats()["waiting"]
        with made.open("rb") as file:
            give_to_owner_of(database.parent, file.fileno())
            os.fsync(file.fileno())
    except StorageDamaged:
        raise EdgeAgentError(f"{backup.path}: the queue in it is damaged; nothing was restored") from None
    return made, Restored(waiting, settled)


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
