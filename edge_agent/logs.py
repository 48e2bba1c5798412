"""How log lines leave the program: for people on a terminal, with priorities for the journal, or as JSON for machines.

The journal adds time and unit by itself, and takes a line's syslog priority from `<3>` before it (sd-daemon(3)). A JSON
line keeps the message's template and its values apart, so that a collector can group lines without parsing words.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

FORMATS = ("text", "json")
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))  # syslog(3)


def log_to_stderr(level: int, own_level: int, shape: str = "text") -> None:
    """Sets up logging for a command: libraries from warnings on, our own from `own_level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(json_line if shape == "json" else journal_lines if _stderr_is_the_journal() else _text))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("edge_agent").setLevel(own_level)
    logging.getLogger().setLevel(logging.WARNING)


class _Lines(logging.Formatter):
    """A formatter made of a function."""

    def __init__(self, write: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        return self._write(record)


def journal_lines(record: logging.LogRecord) -> str:
    """The message, each of its lines with its priority: a traceback's lines are entries of their own."""
    priority = _priority(record)
    return "\n".join(f"<{priority}>{line}" for line in _with_traceback(record, record.getMessage()).splitlines() or [""])


def json_line(record: logging.LogRecord) -> str:
    """One JSON object: when, how grave, which part, the words, and template and values of the words apart."""
    line: dict[str, Any] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "priority": _priority(record),
        "part": record.name.removeprefix("edge_agent."),
        "message": record.getMessage(),
        "template": str(record.msg),
        "values": [value if isinstance(value, int | float | None) else str(value) for value in _values(record)],
    }
    if trace := _with_traceback(record, "").strip():
        line["traceback"] = trace
    return json.dumps(line, ensure_ascii=False, default=str)


_plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")


def _text(record: logging.LogRecord) -> str:
    return _plain.format(record)


def _values(record: logging.LogRecord) -> list[Any]:
    if isinstance(record.args, tuple):
        return list(record.args)
    return [record.args] if record.args else []


def _with_traceback(record: logging.LogRecord, message: str) -> str:
    return f"{message}\n{_plain.formatException(record.exc_info)}" if record.exc_info and record.exc_info[0] else message


def _priority(record: logging.LogRecord) -> int:
    return next(priority for level, priority in _PRIORITIES if record.levelno >= level)


def _stderr_is_the_journal() -> bool:
    """Whether stderr itself goes there (systemd.exec(5), $JOURNAL_STREAM): a shell inside a service inherits the variable, too."""
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
