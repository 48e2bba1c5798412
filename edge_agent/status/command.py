"""`edge-agent status`: the running agent's status on the terminal, and an exit code that monitoring can use.

0 healthy, 1 degraded (it works, but something needs a look), 3 failing or not running.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from edge_agent.config import database_of
from edge_agent.config.credentials import PACKAGED
from edge_agent.control import ask
from edge_agent.health import reasons_in
from edge_agent.model.errors import ConfigError, EdgeAgentError
from edge_agent.status.document import Status
from edge_agent.status.options import WATCH_S
from edge_agent.status.text import status_text

_EXIT = {"healthy": 0, "degraded": 1}
_NOT_RUNNING = 3  # and failing
_HEALTH = Path("/run/edge-agent/health.json")  # of the packaged service; gone when it is stopped
_CLEAR = "\x1b[H\x1b[2J"


def run(options: argparse.Namespace) -> int:
    """Shows the status. Returns the exit code."""
    code, show = _look(options)
    show()
    if not options.watch:
        return code
    try:
        while True:
            time.sleep(WATCH_S)
            code, show = _look(options)  # the code before the words: whoever sees them may end this at once
            show()
    except KeyboardInterrupt:
        return code


def _look(options: argparse.Namespace) -> tuple[int, Callable[[], None]]:
    """One look at the agent: the exit code, and what shows it."""
    try:
        answer = _asked(options.config)
    except EdgeAgentError as error:
        text = _as_json({"health": "not running", "reason": str(error)}, options.watch) if options.json else f"edge-agent: {error}"
        stream = sys.stdout if options.json else sys.stderr
        return 1 if isinstance(error, ConfigError) else _NOT_RUNNING, partial(print, text, file=stream, flush=True)
    text = _as_json(answer, options.watch) if options.json else status_text(cast(Status, answer))
    clear = _CLEAR if options.watch and sys.stdout.isatty() else ""
    return _EXIT.get(answer["health"], _NOT_RUNNING), partial(print, clear + text, flush=True)


def _asked(config: Path) -> dict[str, Any]:
    """The running agent's status. Raises EdgeAgentError with what to do when there is none."""
    folder = database_of(config).parent
    answer = ask(folder, {"command": "status"}) if folder.is_dir() else None
    if answer is None:
        raise EdgeAgentError(_not_running(config, folder))
    return answer


def _as_json(answer: dict[str, Any], one_line: bool) -> str:
    return json.dumps(answer, ensure_ascii=False, indent=None if one_line else 2)


def _not_running(config: Path, folder: Path) -> str:
    """What to do when nobody answers."""
    packaged = "`systemctl status edge-agent` and `journalctl -u edge-agent -n 50` say why, `sudo systemctl start edge-agent` starts it"
    by_hand = f"`edge-agent run --config {config}` starts it"
    is_packaged = config.parent == PACKAGED
    if is_packaged and (reasons := reasons_in(_text(_HEALTH))):
        return f"the service runs, but waits: {'; '.join(reasons)}"
    how = packaged if is_packaged else by_hand
    return f"the agent is not running (nobody answers in {folder}); {how}. `edge-agent check --config {config}` looks for mistakes in the site file"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
