"""How far work of a known length is: shown on a terminal, and only there. A thread tells, since the work may wait on a socket."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator


@contextlib.contextmanager
def progress(seconds: float) -> Iterator[None]:
    """Shows each second how many of `seconds` have passed, while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(1.0):
            print(f"\r{min(time.monotonic() - began, seconds):.0f} of {seconds:.0f} s ", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
