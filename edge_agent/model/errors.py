"""Every error the agent raises on purpose, split by who must act.

    EdgeAgentError
    ├── ConfigError        the user: the site file or a profile is wrong; carries every Problem found
    ├── DeviceError        the installer: a device cannot be read
    │   ├── NoConnection       nothing listens there, or the port cannot be opened
    │   ├── NoAnswer           connected, but silent until the time-out
    │   ├── DeviceRefused      a Modbus exception; carries its code
    │   ├── GarbledAnswer      an answer that does not fit the question
    │   └── WrongDevice        another serial number than the one known at this address
    ├── StorageError       the operator: the queue's file or folder cannot be used
    │   ├── StorageFull        the disk has no space left
    │   └── StorageDamaged     the file's content is broken
    ├── HouseMoved         the operator: the house went to another gateway
    └── AgentBusy          the operator: another agent holds the state folder

What the cloud says to an event is no error but a verdict: see `edge_agent.uplink.client`.
"""

from __future__ import annotations

from dataclasses import dataclass

CLOSED_HINT = "use sudo, or join the group edge-agent"  # where a file or socket belongs to the service


class EdgeAgentError(Exception):
    """The root: its text can be shown to a user as it is."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: where it is, what is wrong, what to write instead."""

    file: str
    line: int
    text: str
    hint: str = ""

    def __str__(self) -> str:
        """`agent.yaml:12: unknown key 'conection'; did you mean 'connection'?`"""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.text}" + (f"; {self.hint}" if self.hint else "")


class ConfigError(EdgeAgentError):
    """The site file or a profile cannot be used; `problems` holds all mistakes at once."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class DeviceError(EdgeAgentError):
    """A device cannot be read; the text names the device's address and what to check."""


class NoConnection(DeviceError):
    """Nothing listens at the address, or the serial port cannot be opened."""


class NoAnswer(DeviceError):
    """The device did not answer within its time-out."""


class DeviceRefused(DeviceError):
    """The device answered with a Modbus exception (2: illegal address, 6: busy, 11: target silent)."""

    def __init__(self, text: str, code: int) -> None:
        self.code = code
        super().__init__(text)


class GarbledAnswer(DeviceError):
    """The answer has another function, unit or length than the question asked for."""


class WrongDevice(DeviceError):
    """Another device answers at this address: its serial number is not the known one."""


class StorageError(EdgeAgentError):
    """The queue's file or folder cannot be read or written."""


class StorageFull(StorageError):
    """The file system has no space left for what is to be written."""


class StorageDamaged(StorageError):
    """The queue's file is broken: parts of it cannot be read, or it is no queue at all."""


class HouseMoved(EdgeAgentError):
    """The house of this queue went to another gateway, or is half restored: nothing is sent from here."""


class AgentBusy(EdgeAgentError):
    """Another agent or command holds the lock of the state folder."""
