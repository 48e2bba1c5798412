"""What systemd tells a service by its environment, and what it is told through its socket. On a bare terminal: nothing."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Service:
    """The folders and the socket that systemd gives to a service."""

    state: Path  # kept for ever
    runtime: Path | None  # kept until the machine's next boot
    socket: str

    @classmethod
    def from_environment(cls) -> Service | None:
        """The service that this process is; None when nothing but a person started it."""
        state, runtime = os.environ.get("STATE_DIRECTORY"), os.environ.get("RUNTIME_DIRECTORY")
        if not state:
            return None
        return cls(Path(state), Path(runtime) if runtime else None, os.environ.get("NOTIFY_SOCKET", ""))

    def tell(self, **words: str) -> None:
        """Sends a state such as READY="1" or STATUS="..."; raises OSError when systemd does not take it."""
        if not self.socket:
            return
        address = "\0" + self.socket[1:] if self.socket.startswith("@") else self.socket
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.connect(address)
            line.send("".join(f"{word}={value.replace(chr(10), ' ')}\n" for word, value in words.items()).encode())
