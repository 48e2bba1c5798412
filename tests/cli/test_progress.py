"""Work of a minute or more shows a terminal how far it is, and a program nothing."""

from __future__ import annotations

import os
import pty
import sys
import time
from pathlib import Path

import pytest

from edge_agent.progress import progress


def test_terminal_sees_the_seconds_and_then_a_clean_line(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stderr", file)
        said = ""
        with progress(120.0):
            deadline = time.monotonic() + 30
            while " of 120 s" not in said and time.monotonic() < deadline:
                said += os.read(ours, 100).decode()
        assert " of 120 s" in said
        assert os.read(ours, 100).decode().endswith("\r\x1b[K")
    os.close(ours)


def test_work_of_unknown_length_says_what_it_does_and_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stderr", file)
        with progress(doing="asking the platform"):
            assert os.read(ours, 100).decode() == "\rasking the platform, 1 s "
    os.close(ours)


def test_file_sees_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        with progress(0.0):
            pass
    assert (tmp_path / "log").read_text() == ""
