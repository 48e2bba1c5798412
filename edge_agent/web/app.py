"""The routes: which request gets which answer. Read-only, but that a session may put the dead letters back into the queue.

Knows the agent only through `Sources`. What the house uses and when is nobody else's business: with a password set,
everything but the bare word on the agent's health needs a session (or, for programs, the password in the request).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from edge_agent.model.clock import Clock
from edge_agent.model.errors import EdgeAgentError
from edge_agent.status.document import Status
from edge_agent.web.guard import Guard
from edge_agent.web.messages import Request, Response, as_json, as_text
from edge_agent.web.metrics import OPENMETRICS, PLAIN, metrics_text

LIVE_S = 2.0  # real seconds between two live values
_LIVE_END_S = 3600.0  # then the browser asks anew, and shows its session
_STREAMS = 8  # live pages at once; more ask now and then instead
_FRESH_S = 1.0  # a status that is not older serves everybody
_STATIC = Path(__file__).parent / "static"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_HOUSE_FILES = ("app.js", "charts.js", "flow.js", "words.js")
_OPEN_FILES = ("style.css", "icon.svg", "manifest.webmanifest")  # say nothing about the house


@dataclass(frozen=True, slots=True)
class Sources:
    """What the page asks the agent."""

    status: Callable[[], Awaitable[Status]]
    charts: Callable[[], dict[str, Any]]
    device: Callable[[str], dict[str, Any]]  # its last reading, point by point; raises EdgeAgentError for an unknown one
    check: Callable[[], Awaitable[dict[str, Any]]]  # the balance of a minute, as `read --balance` finds it
    dead_letters: Callable[[], Awaitable[list[Any]]]
    retry: Callable[[], Awaitable[int]]


class App:
    """The routes of one page."""

    def __init__(self, sources: Sources, guard: Guard, clock: Clock) -> None:
        self._sources, self._guard, self._clock = sources, guard, clock
        self._streams = 0
        self._status: Status | None = None
        self._status_until = 0.0
        self._asking = asyncio.Lock()
        self._checking: asyncio.Task[dict[str, Any]] | None = None
        self._files = {path.name: path.read_bytes() for path in _STATIC.iterdir() if path.suffix in _KINDS}

    async def answer(self, request: Request) -> Response:
        """The answer to a request, whatever it is."""
        if not self._guard.is_our_host(request):
            return as_text("this name is not known as the gateway's: use its address, or add the name to web.hosts in the site file", 421)
        try:
            if request.method in ("GET", "HEAD"):
                return await self._get(request, request.path)
            if request.method == "POST":
                return await self._post(request)
        except EdgeAgentError as error:
            return as_json({"error": str(error)}, 503)
        return as_text("the page only answers GET and POST", 405, {"allow": "GET, HEAD, POST"})

    # reading

    async def _get(self, request: Request, path: str) -> Response:
        if path == "/healthz":
            return _health(await self._now())
        if path == "/metrics":
            return await self._metrics(request)
        if path == "/login":
            return self._login_page("")
        if path.removeprefix("/") in _OPEN_FILES:
            return self._file(request, path.removeprefix("/"))
        if not self._guard.may_read(request, self._clock.monotonic()):
            return Response(303, headers={"location": "/login"}) if path == "/" else as_json({"error": "log in first"}, 401)
        if path == "/":
            return self._file(request, "index.html")
        if path.removeprefix("/") in _HOUSE_FILES:
            return self._file(request, path.removeprefix("/"))
        return await self._api(request, path)

    async def _api(self, request: Request, path: str) -> Response:
        if not self._guard.is_from_our_page(request):  # its answer would be hidden from another site, but the work and a live page's place cost
            return as_text("ask the page itself", 403)
        if path == "/api/status":
            return as_json(await self._now())
        if path == "/api/live":
            return self._live()
        if path == "/api/charts":
            return as_json(self._sources.charts())
        if path == "/api/check":
            return as_json(await self._check())
        if path == "/api/dead":
            return as_json(await self._sources.dead_letters())
        if path == "/api/session":
            session = self._guard.session(request, self._clock.monotonic())
            return as_json({"csrf": session.csrf if session else None, "password": self._guard.has_password})
        if path.startswith("/api/device/"):
            return self._device(unquote(path.removeprefix("/api/device/")))
        return as_text("there is no such page", 404)

    async def _check(self) -> dict[str, Any]:
        """One check at a time: whoever asks meanwhile gets the same answer."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(self._sources.check())
        return await asyncio.shield(self._checking)

    def _device(self, device: str) -> Response:
        try:
            return as_json(self._sources.device(device))
        except EdgeAgentError as error:
            return as_json({"error": str(error)}, 404)

    async def _now(self) -> Status:
        """The status, made at most once a second however many ask."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if self._status is None or loop.time() >= self._status_until:
                self._status = await self._sources.status()
                self._status_until = loop.time() + _FRESH_S
            return self._status

    def _live(self) -> Response:
        if self._streams >= _STREAMS:
            return as_text("too many live pages; ask /api/status instead", 503, {"retry-after": "30"})
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return Response(200, self._events(), "text/event-stream", headers)

    async def _events(self) -> AsyncIterator[bytes]:
        """Server-sent events: the status every two seconds, for an hour."""
        self._streams += 1
        loop = asyncio.get_running_loop()
        until = loop.time() + _LIVE_END_S
        try:
            yield b"retry: 3000\n\n"
            while loop.time() < until:
                yield b"data: " + json.dumps(await self._now(), ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
                await asyncio.sleep(LIVE_S)
        finally:
            self._streams -= 1

    async def _metrics(self, request: Request) -> Response:
        if not self._guard.may_read_by_header(request, self._clock.monotonic()):
            return as_text("give the password as HTTP Basic", 401, {"www-authenticate": 'Basic realm="edge-agent", charset="UTF-8"'})
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        body = metrics_text(await self._now(), openmetrics).encode()
        return Response(200, body, OPENMETRICS if openmetrics else PLAIN, {"cache-control": "no-store"})

    def _file(self, request: Request, name: str) -> Response:
        body = self._files[name]
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"cache-control": "no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(304, headers=headers)
        return Response(200, body, _KINDS[Path(name).suffix], headers)

    # changing

    async def _post(self, request: Request) -> Response:
        now = self._clock.monotonic()
        if not self._guard.is_from_our_page(request):
            return as_text("this request does not come from the page", 403)
        if request.path == "/login":
            return self._log_in(request, now)
        if request.path == "/logout":
            return Response(303, headers={"location": "/login", "set-cookie": self._guard.log_out(request)})
        if request.path == "/api/retry":
            if not self._guard.may_change(request, now):
                return as_json({"error": "log in first"}, 403)
            return as_json({"retried": await self._sources.retry()})
        return as_text("there is no such page", 404)

    def _log_in(self, request: Request, now: float) -> Response:
        given = parse_qs(request.body.decode(errors="replace")).get("password", [""])[0]
        found = self._guard.is_password(given, request.peer, now)
        if found is True:
            return Response(303, headers={"location": "/", "set-cookie": self._guard.log_in(now)})
        if found is False:
            return self._login_page("That was not it.", 401)
        return self._login_page(f"Too many attempts. Wait {found:.0f} s.", 429, {"retry-after": f"{found:.0f}"})

    def _login_page(self, message: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        body = self._files["login.html"].replace(b"<!-- message -->", message.encode())
        return Response(status, body, _KINDS[".html"], {"cache-control": "no-store", **(headers or {})})


def _health(status: Status) -> Response:
    return as_text(status["health"], 503 if status["health"] == "failing" else 200)
