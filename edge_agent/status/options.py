"""The options of `edge-agent status`, apart from what the command loads."""

from __future__ import annotations

import argparse

WATCH_S = 2.0  # between two looks


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--watch", action="store_true", help=f"show it anew every {WATCH_S:g} seconds until Ctrl-C")
