"""What an installer is told when a Modbus device cannot be read: what happened, where, what to check. Pure."""

from __future__ import annotations

import errno
import socket

from edge_agent.codec.frames import Question
from edge_agent.profiles.setup import Connection

_EXCEPTIONS = {
    1: "it does not know this function",
    2: "it has no such register",
    3: "it does not allow this number of registers",
    4: "it failed inside",
    5: "it needs more time",
    6: "it is busy",
    10: "the gateway has no path to it",
    11: "the gateway got no answer from it",
}


def cannot_connect(connection: Connection, error: OSError, timeout: float) -> str:
    """For a connection that could not be opened."""
    where = connection.line
    if connection.scheme == "serial":
        return f"cannot open {where}: {error}; check that the adapter is plugged in and that the agent may use it (group dialout)"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer within {timeout:g} s; check the address, the power and the cable"
    if isinstance(error, socket.gaierror):
        return f"the name {connection.host!r} is not known in this network; check `connection:` or write the IP address"
    if error.errno == errno.ECONNREFUSED:
        return f"nothing listens at {where}; check the port, and that Modbus TCP is switched on in the device"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"{where} cannot be reached; check the network, the address and the power of the device"
    return f"cannot connect to {where}: {error}; check the address and the network"


def hung_up(where: str) -> str:
    """For a device that closes the connection when it is asked."""
    return f"{where} closed the connection instead of answering; check `unit:`, and whether another program holds the only connection it allows"


def silent(where: str, question: Question, timeout: float, noise_bytes: int = 0) -> str:
    """For a question without an answer; on a bus, other bytes may have come."""
    text = f"no answer from {where} unit {question.unit} in {timeout:g} s"
    if noise_bytes:
        return f"{text}, but {noise_bytes} bytes that are none; check baud rate and parity, the termination, and the polarity of A and B"
    return f"{text}; check the wiring and `unit:`"


def refused(where: str, question: Question, code: int) -> str:
    """For a Modbus exception."""
    last = f"-{question.address + question.count - 1}" if question.count > 1 else ""
    words = _EXCEPTIONS.get(code, "of a kind of its own")
    return f"{where} unit {question.unit} refuses {question.table} {question.address}{last} with exception {code}: {words}"
