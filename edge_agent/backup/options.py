"""The options of `edge-agent backup` and `restore`. Apart, since they are read whenever any command starts."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_backup_options(backup: argparse.ArgumentParser) -> None:
    """What to put where."""
    backup.add_argument("file", nargs="?", type=Path, metavar="FILE", help="where to write it (default: edge-agent-BUILDING-DATE.tar.gz)")
    backup.add_argument("--move", action="store_true", help="the house moves to another gateway: this one never sends again (stop its agent first)")
    backup.add_argument("--with-secrets", action="store_true", help="also the client secret and the broker's password")
    backup.add_argument("--json", action="store_true", help="print JSON")


def add_restore_options(restore: argparse.ArgumentParser) -> None:
    """From where, and what the other gateway has done since."""
    restore.add_argument("file", type=Path, metavar="FILE", help="the backup")
    restore.add_argument(
        "--sent-until",
        metavar="TIME",
        help="for a backup without --move: the newest event that the cloud has from the old gateway, such as 2026-03-01T10:15Z; "
        "or `backup` when it sent nothing after the backup",
    )
    restore.add_argument("--replace", action="store_true", help="set a site file and queue that are here aside under dated names")
    restore.add_argument("--json", action="store_true", help="print JSON")
