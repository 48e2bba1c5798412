"""One device of the house: its profile and where it is, ready for a driver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from edge_agent.codec.human import nearest
from edge_agent.model.measurements import Role
from edge_agent.profiles.library import DeviceProfile

_SCHEMES = ("tcp", "rtu+tcp", "serial")
_BAUDRATES = (300, 600, 1200, 1800, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 76800, 115200, 230400, 460800, 921600)


@dataclass(frozen=True, slots=True)
class Connection:
    """A Modbus line. Devices with equal `line` share one connection and take turns."""

    scheme: str  # tcp, rtu+tcp, serial
    host: str = ""
    port: int = 0
    path: str = ""  # of the serial device
    baudrate: int = 9600
    parity: str = "N"
    stopbits: int = 1

    @property
    def line(self) -> str:
        """What is physically shared: a serial port, or a host's TCP port."""
        return self.path or f"{self.host}:{self.port}"

    def __str__(self) -> str:
        if self.scheme == "serial":
            return f"serial://{self.path}?baudrate={self.baudrate}&parity={self.parity}&stopbits={self.stopbits}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_connection(text: str, profile: DeviceProfile) -> Connection:
    """`rtu+tcp://host:port` or `serial:///dev/ttyUSB0?baudrate=9600`; what is missing comes from the profile.

    Raises ValueError with what to write instead.
    """
    defaults = profile.spec.modbus
    shape = "write tcp://host:port, rtu+tcp://host:port or serial:///dev/ttyUSB0?baudrate=9600&parity=N"
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets that hold no address
        parts = urlsplit("")
    if not parts.scheme or "://" not in text:
        raise ValueError(f"{text!r} is no connection: {shape}")
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{parts.scheme!r} is no kind of connection; {nearest(parts.scheme, _SCHEMES)}")
    if parts.scheme == "serial":
        path = parts.netloc + parts.path
        if not path.startswith("/"):
            raise ValueError(f"{text!r} names no serial port: write three slashes, serial:///dev/ttyUSB0")
        options = dict(parse_qsl(parts.query))
        if unknown := set(options) - {"baudrate", "parity", "stopbits"}:
            raise ValueError(f"unknown option {sorted(unknown)[0]!r}; {nearest(sorted(unknown)[0], ['baudrate', 'parity', 'stopbits'])}")
        parity = options.get("parity", defaults.serial.parity).upper()
        if parity not in ("N", "E", "O"):
            raise ValueError(f"parity {parity!r}: write N, E or O")
        baudrate, stopbits = options.get("baudrate", str(defaults.serial.baudrate)), options.get("stopbits", str(defaults.serial.stopbits))
        if baudrate not in map(str, _BAUDRATES) or stopbits not in ("1", "2"):
            raise ValueError(f"baudrate is one of {', '.join(map(str, _BAUDRATES))}, stopbits 1 or 2")
        return Connection("serial", path=path, baudrate=int(baudrate), parity=parity, stopbits=int(stopbits))
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535") from None
    if not host or not re.fullmatch(r"[A-Za-z0-9._:%-]+", host) or parts.path not in ("", "/") or parts.query:
        raise ValueError(f"{text!r} names no host and port: {shape}")
    return Connection(parts.scheme, host=host, port=port or defaults.port)


@dataclass(frozen=True, slots=True)
class DeviceSetup:
    """A device as the site file describes it, with its profile found and checked."""

    id: str
    name: str
    profile: DeviceProfile
    connection: Connection | None = None  # Modbus
    unit: int = 1
    topic: str = ""  # MQTT
    parameters: Mapping[str, str] = field(default_factory=dict)  # the profile's, with defaults filled in
    role: Role | None = None  # for a profile with one measuring point
    roles: frozenset[Role] | None = None  # of a profile with several: those to use; None: all
    device_type: str = ""
    invert: bool = False
    scale: float = 1.0
    serial: str = ""
    poll_interval_s: float = 10.0
