"""What the site file says of the broker. Apart from the code that uses it, so that to read a site file is not to load that code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Where the broker is and who we are there. The password is in no text made of this."""

    host: str = "localhost"
    port: int = 1883
    tls: bool = False
    ca_file: Path | None = None  # a private authority; None: the system's
    username: str = ""
    password: str = field(default="", repr=False)
    client_id: str = ""  # empty: a random one, so that two agents never throw each other out

    @property
    def url(self) -> str:
        """`mqtt://host:1883`, for people and logs."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"
