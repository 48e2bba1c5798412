"""How far long work is: shown on a terminal, and only there. A thread tells, since the work may wait on a socket."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator


@contextlib.contextmanager
def progress(seconds: float | None = None, doing: str = "") -> Iterator[None]:
    """Shows each second what is done and how many of `seconds` have passed (None: nobody knows how many it takes), while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(1.0):
            print(f"\r{_said(time.monotonic() - began, seconds, doing)} ", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _said(passed: float, seconds: float | None, doing: str) -> str:
    how_far = f"{passed:.0f} s" if seconds is None else f"{min(passed, seconds):.0f} of {seconds:.0f} s"
    return f"{doing}, {how_far}" if doing else how_far
