"""A Unix socket in the state folder: how commands ask the running agent, and the lock that says one runs.

A device may allow one client only, a serial bus one master, the database one writer: so while an agent
runs, `read` and `queue` go through it. One JSON object a line in each direction, then the connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from edge_agent.model.errors import CLOSED_HINT, AgentBusy, EdgeAgentError, StorageError

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]

log = logging.getLogger(__name__)

QUEUE_COPY = "queue-copy.db"  # in the state folder, for as long as a backup reads it
_SOCKET = "edge-agent.sock"
_LOCK = "edge-agent.lock"
_REQUEST_LIMIT = 65536


@contextlib.contextmanager
def state_lock(folder: Path) -> Iterator[None]:
    """Holds the state folder. Raises AgentBusy with the holder's pid, StorageError when the folder cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
        # A command of root's must not shut the service's own user out; through a link of that user's it would give away any file.
        if os.geteuid() == 0:
            os.fchown(handle, folder.stat().st_uid, folder.stat().st_gid)
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}; the agent keeps its queue there, so make it writable or set storage.path") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(handle, 20).decode(errors="replace").strip() or "unknown"
            raise AgentBusy(f"{folder} is in use by an agent or a command (pid {pid})") from None
        with contextlib.suppress(OSError):  # the pid is for people: a full disk must not keep the agent from starting
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """The socket's path in a form that fits: a socket's name may have 107 bytes, a folder's path more."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{_SOCKET}"
    finally:
        os.close(handle)


@contextlib.asynccontextmanager
async def listening(folder: Path, handlers: dict[str, Handler]) -> AsyncIterator[None]:
    """Answers requests while the block runs. A handler's own errors are told to the asker."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await _answer(await reader.readline(), handlers)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the asker left, or sent more than a request: there is nobody to tell
        finally:
            writer.close()

    (folder / _SOCKET).unlink(missing_ok=True)
    with _short_path(folder) as path:
        server = await asyncio.start_unix_server(serve, path, limit=_REQUEST_LIMIT)
    (folder / _SOCKET).chmod(0o660)
    try:
        yield
    finally:
        server.close()
        (folder / _SOCKET).unlink(missing_ok=True)


async def _answer(line: bytes, handlers: dict[str, Handler]) -> Answer:
    try:
        request = json.loads(line)
        handler = handlers[request["command"]]
    except (ValueError, TypeError, KeyError):
        return {"error": "the agent does not know this request; is the command of another version?"}
    try:
        return await handler(request)
    except EdgeAgentError as error:
        return {"error": str(error)}
    except Exception as error:
        log.exception("a command was answered with a fault")
        return {"error": f"a fault in the agent ({type(error).__name__}: {error}); its log has more"}


def ask(folder: Path, request: dict[str, Any], timeout_s: float = 60.0) -> Answer | None:
    """The running agent's answer; None when none runs. Raises EdgeAgentError with what the agent refused."""
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(_short_path(folder))
            line = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            line.settimeout(timeout_s)
            line.connect(path)
        except PermissionError:
            raise EdgeAgentError(f"{folder}: the agent's socket is closed to you; {CLOSED_HINT}") from None
        except OSError:
            return None
        try:
            line.sendall(json.dumps(request).encode() + b"\n")
            received = b""
            while not received.endswith(b"\n") and (part := line.recv(65536)):
                received += part
            answer: Answer = json.loads(received)
        except (OSError, ValueError):
            raise EdgeAgentError("the running agent did not answer; look at its log") from None
    if "error" in answer:
        raise EdgeAgentError(str(answer["error"]))
    return answer


def asked(folder: Path, request: dict[str, Any], work: Callable[[], Answer], timeout_s: float = 60.0) -> Answer:
    """The running agent's answer; when none runs, that of `work`, done under the agent's lock.

    A state folder that is not there is not made: it would belong to whoever typed the command.
    """
    if not folder.is_dir():
        return work()
    answer = ask(folder, request, timeout_s)
    if answer is None:
        with state_lock(folder):
            answer = work()
    return answer
