"""Who may see and do what: the name by which the page was asked for, the password, sessions, forged requests.

Pure but for chance; times are monotonic and passed in. The password is kept as a salted digest only. Whoever
guesses is slowed down: a few attempts a minute for each address, and a bounded number for all together.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from edge_agent.web.messages import Request
from edge_agent.web.names import is_our_name

COOKIE = "edge-agent"
SESSION_S = 12 * 3600.0
_SESSIONS = 50  # kept; the oldest makes room
_WINDOW_S = 60.0
_ATTEMPTS = 5  # wrong passwords of one address in a window
_ATTEMPTS_OF_ALL = 30


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who gave the password. `csrf` must come with whatever changes something."""

    csrf: str
    until: float


class Guard:
    """One server's password and sessions; without a password everybody may read, and nobody may change anything."""

    def __init__(self, password: str | None, hosts: Collection[str] = ()) -> None:
        """`hosts`: names of the page besides this machine's own."""
        self._salt = secrets.token_bytes(16)
        self._digest = self._digested(password) if password else None
        self._sessions: dict[str, Session] = {}
        self._failures: deque[tuple[float, str]] = deque(maxlen=_ATTEMPTS_OF_ALL)
        self._hosts = hosts

    @property
    def has_password(self) -> bool:
        """Whether anybody can log in at all."""
        return self._digest is not None

    def is_our_host(self, request: Request) -> bool:
        """Whether the page was asked for by a name of this machine."""
        return is_our_name(request.headers.get("host", ""), self._hosts)

    def is_from_our_page(self, request: Request) -> bool:
        """Whether a request comes from the page itself (or no browser), as far as a browser says."""
        origin = request.headers.get("origin")
        same = origin is None or origin.partition("://")[2] == request.headers.get("host")
        return same and request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")

    def session(self, request: Request, now: float) -> Session | None:
        """The session whose cookie the request brings."""
        token = _cookie(request.headers)
        found = self._sessions.get(token) if token else None
        if found is not None and found.until <= now:
            del self._sessions[token]
            return None
        return found

    def may_read(self, request: Request, now: float) -> bool:
        """Whether the request may see the house: there is no password, or it was given."""
        return not self.has_password or self.session(request, now) is not None

    def may_read_by_header(self, request: Request, now: float) -> bool:
        """The same for programs, which may give the password with each request (HTTP Basic, any user name)."""
        given = _basic_password(request.headers.get("authorization", ""))
        return self.may_read(request, now) or (given is not None and self.is_password(given, request.peer, now) is True)

    def is_password(self, given: str, peer: str, now: float) -> bool | float:
        """True or False; after too many wrong ones the seconds to wait, without looking at it."""
        if wait_s := self._wait_s(peer, now):
            return wait_s
        if self._digest is not None and hmac.compare_digest(self._digested(given), self._digest):
            return True
        self._failures.append((now, peer))
        return False

    def log_in(self, now: float) -> str:
        """A new session; gives the cookie's header."""
        while len(self._sessions) >= _SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_urlsafe(32)
        self._sessions[token] = Session(secrets.token_urlsafe(32), now + SESSION_S)
        return f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age={SESSION_S:.0f}"

    def log_out(self, request: Request) -> str:
        """Ends the session; gives the cookie's header."""
        self._sessions.pop(_cookie(request.headers), None)
        return f"{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"

    def may_change(self, request: Request, now: float) -> bool:
        """Whether the request comes from a session, and from its page."""
        session = self.session(request, now)
        given = request.headers.get("x-csrf-token", "")
        return session is not None and hmac.compare_digest(session.csrf.encode(), given.encode()) and self.is_from_our_page(request)

    def _wait_s(self, peer: str, now: float) -> float:
        """Seconds until this address may try again; 0: now."""
        recent = [(at, other) for at, other in self._failures if now - at < _WINDOW_S]
        own = [at for at, other in recent if other == peer]
        if len(own) >= _ATTEMPTS:
            return _WINDOW_S - (now - own[-_ATTEMPTS])
        return _WINDOW_S - (now - recent[0][0]) if len(recent) >= _ATTEMPTS_OF_ALL else 0.0

    def _digested(self, password: str) -> bytes:
        return hashlib.sha256(self._salt + password.encode()).digest()


def _cookie(headers: Mapping[str, str]) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _basic_password(header: str) -> str | None:
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except ValueError:  # not Base64, or no text in it
        return None
