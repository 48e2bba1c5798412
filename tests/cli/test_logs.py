"""What a log line looks like: on a terminal, in the journal, as JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from edge_agent.logs import journal_lines, json_line

Make = Callable[..., logging.LogRecord]


@pytest.fixture
def made() -> Make:
    def make(level: int, message: str, *values: object) -> logging.LogRecord:
        return logging.LogRecord("edge_agent.uplink.gate", level, __file__, 1, message, values, None)

    return make


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7)]
)
def test_journal_gets_the_level_as_a_syslog_priority(made: Make, level: int, priority: int) -> None:
    assert journal_lines(made(level, "%s: answers again", "meter")) == f"<{priority}>meter: answers again"


def test_each_line_of_a_traceback_keeps_its_priority(made: Make) -> None:
    record = made(logging.ERROR, "a fault")
    try:
        raise ValueError("bad")
    except ValueError:
        record.exc_info = sys.exc_info()
    lines = journal_lines(record).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_json_line_keeps_the_words_and_their_values(made: Make) -> None:
    record = made(logging.WARNING, "%s: stopped: %s after %d", "uploads", ValueError("no\nnetwork"), 3)
    record.created = 1_772_610_000.25
    line = json_line(record)
    assert "\n" not in line
    assert json.loads(line) == {
        "at": "2026-03-04T07:40:00.250Z",
        "level": "warning",
        "priority": 4,
        "part": "uplink.gate",
        "message": "uploads: stopped: no\nnetwork after 3",
        "template": "%s: stopped: %s after %d",
        "values": ["uploads", "no\nnetwork", 3],
    }


def test_journal_is_recognised_by_its_stream_and_not_by_an_inherited_variable() -> None:
    code = (
        "import logging, os, sys; from edge_agent.logs import log_to_stderr; found = os.fstat(2);"
        "os.environ['JOURNAL_STREAM'] = f'{found.st_dev}:{found.st_ino + int(sys.argv[1])}';"
        "log_to_stderr(logging.INFO, logging.INFO); logging.getLogger('edge_agent').warning('words')"
    )
    said = [
        subprocess.run([sys.executable, "-c", code, other], capture_output=True, text=True, check=True, env=dict(os.environ)).stderr
        for other in ("0", "1")
    ]
    assert said[0] == "<4>words\n"
    assert said[1].endswith(" WARNING words\n")
