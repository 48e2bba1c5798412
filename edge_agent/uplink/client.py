"""The cloud's HTTP API: token, events, buildings. The one importer of httpx.

Every call gives a Verdict, never an exception of httpx: their texts carry the URL, and the token's URL
carries the client secret. For the same reason httpx's own log lines are silenced. Every call ends in time
and reads a bounded answer, whatever the other side does. httpx is loaded with the first call, in a thread:
the first reading does not wait for it.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import logging
import re
import ssl
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from edge_agent import __version__
from edge_agent.model.clock import Clock
from edge_agent.model.events import Event
from edge_agent.outbox.rows import Queued
from edge_agent.uplink.masking import masked
from edge_agent.uplink.settings import MoostAccount
from edge_agent.uplink.unanswered import no_answer, unprepared
from edge_agent.uplink.verdict import Kind, Verdict, judge
from edge_agent.uplink.wire import EventWriter, Unwritable

if TYPE_CHECKING:
    import httpx

_LOOPBACK = ("localhost", "127.0.0.1", "::1")  # never through a proxy: it would look for the cloud on its own machine
# The limits of the client, with `Patience` below.
CONNECTIONS = 4  # more make httpx slower
_KEEP_ALIVE_S = 20.0  # less than the idle time after which load balancers hang up, and no more than an answer may take: see `Patience`
_TOKEN_S = 86400.0  # the guide's lifetime, where the answer does not state one
_TOKEN_CAP_S = 366 * 86400.0  # JSON has numbers that no float holds
_ANSWER_BYTES = 64 * 1024  # of an answer; the cloud's are some hundred
_BUILDING_BYTES = 1024 * 1024  # a building comes with its devices and what the platform computed


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the client waits, in real seconds whatever the clock: for a connection, for an answer, for a batch's answer.

    An answer counts from its request to its last byte. When a half-open connection makes a call run out of time,
    the other idle connections have been let go by then, so that no outage costs more than one such time.
    """

    connect_s: float = 5.0
    answer_s: float = 20.0
    batch_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Call:
    """One call: what is asked, which status is its success, and how long and how large its answer may be."""

    method: str
    path: str
    expected: int
    body: bytes | None = None
    answer_s: float | None = None
    limit: int = _ANSWER_BYTES
    query: Mapping[str, str] | None = field(default=None, repr=False)


class MoostClient:
    """One account's connection to the cloud. Calls may run side by side; the token is fetched once for all."""

    def __init__(
        self, account: MoostAccount, clock: Clock, patience: Patience = Patience(), transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """`transport` stands in for the network, to answer by table."""
        self.account = account
        self._clock = clock
        self._patience = patience
        self._transport = transport
        self._writer = EventWriter(account.customer_id, account.building_id)
        self._http: httpx.AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._token: str | None = None
        self._renew_at = 0.0  # monotonic
        self._fetching = asyncio.Lock()
        self._tokens: deque[str] = deque(maxlen=2)  # this one and the one before, which a late answer may repeat
        self._free = asyncio.Semaphore(CONNECTIONS)  # to wait for a free connection costs nothing of a call's time

    @property
    def token_left_s(self) -> float | None:
        """Seconds until the token is renewed; None while there is none."""
        return None if self._token is None else max(0.0, self._renew_at - self._clock.monotonic())

    async def close(self) -> None:
        """Lets go of the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    # the calls

    async def log_in(self) -> Verdict | None:
        """Fetches the token where there is none; what keeps from it, if anything."""
        token = await self._valid_token(None)
        return token if isinstance(token, Verdict) else None

    async def send_live(self, event: Event | Queued) -> Verdict:
        """One event, for the rules to see."""
        try:
            return await self._call(_Call("POST", "/events/v1", 201, self._writer.one(event)))
        except Unwritable as error:
            return Verdict(Kind.UNWRITABLE, str(error), errors=error.places)

    async def send_batch(self, events: Sequence[Event | Queued]) -> Verdict:
        """Old events, stored but not seen by the rules."""
        try:
            return await self._call(_Call("POST", "/events/historical/v1", 200, self._writer.many(events), self._patience.batch_s))
        except Unwritable as error:
            return Verdict(Kind.UNWRITABLE, str(error), errors=error.places)

    async def get_building(self) -> Verdict:
        """The building as the cloud has it, in `body`; MISSING when it is not there."""
        return await self._call(_Call("GET", f"/buildings/{self._building}/v1", 200, limit=_BUILDING_BYTES))

    async def create_building(self, building: Mapping[str, object]) -> Verdict:
        """Adds the building; EXISTS when it is there already."""
        return await self._call(_Call("POST", "/buildings/v1", 201, _body(building), limit=_BUILDING_BYTES))

    async def update_building(self, building: Mapping[str, object]) -> Verdict:
        """Writes the building's attributes, all of those that the customer may set."""
        return await self._call(_Call("PUT", "/buildings/v1", 200, _body(building), limit=_BUILDING_BYTES))

    async def attach_devices(self, devices: Sequence[Mapping[str, object]]) -> Verdict:
        """Sets the building's devices, all of them."""
        return await self._call(_Call("PUT", f"/buildings/{self._building}/devices/v1", 200, _body(devices), limit=_BUILDING_BYTES))

    async def get_statistics(self, types: Sequence[str], first: str, last: str) -> Verdict:
        """What the cloud counted by hour of these event types, in `body`; dates as YYYY-MM-DD in the building's time zone."""
        query = {"eventTypes": ",".join(types), "from": first, "to": last}
        path = f"/buildings/{self._building}/energy-statistics/hourly/v1"
        return await self._call(_Call("GET", path, 200, limit=_BUILDING_BYTES, query=query))

    @property
    def _building(self) -> str:
        return quote(self.account.building_id, safe="")

    # token and transport

    async def _call(self, call: _Call) -> Verdict:
        """The call with a token; with a new one when the first is refused."""
        token = await self._valid_token(None)
        if isinstance(token, Verdict):
            return token
        verdict = await self._send(call, token)
        if verdict.status != 401:
            return verdict
        token = await self._valid_token(token)
        if isinstance(token, Verdict):
            return token
        return await self._send(call, token)

    async def _valid_token(self, refused: str | None) -> str | Verdict:
        """The token, fetched when there is none, it is about to expire or it is the `refused` one."""
        async with self._fetching:
            if self._token is None or self._token == refused or self._clock.monotonic() >= self._renew_at:
                verdict = await self._fetch_token()
                if verdict is not None:
                    return replace(verdict, in_doubt=False)  # nothing but the credentials was sent
            assert self._token is not None
            return self._token

    async def _fetch_token(self) -> Verdict | None:
        self._token = None
        asked = self._clock.monotonic()
        query = {"clientId": self.account.client_id, "clientSecret": self.account.client_secret}
        verdict = await self._send(_Call("GET", "/auth/token/v1", 200, query=query), None)
        if verdict.kind in (Kind.REFUSED, Kind.MISSING):
            kind = Kind.UNAUTHORIZED if verdict.kind is Kind.REFUSED else Kind.LATER
            return Verdict(kind, f"{verdict.reason}: no token; check `base_url:`, `client_id:` and the client secret", verdict.status)
        if not verdict.accepted:
            return verdict
        answer = verdict.body if isinstance(verdict.body, dict) else {}
        token, lifetime = answer.get("access_token"), answer.get("expires_in")
        # opaque, but it must fit into a header: nothing else of it is looked at
        if not isinstance(token, str) or not token or not all("!" <= letter <= "~" for letter in token):
            return Verdict(Kind.LATER, "GET /auth/token/v1: 200 without a usable access_token; check `base_url:`", 200)
        lifetime_s = float(min(lifetime, _TOKEN_CAP_S)) if isinstance(lifetime, int | float) and lifetime > 0 else _TOKEN_S
        self._tokens.append(token)
        self._token, self._renew_at = token, asked + lifetime_s - min(300.0, lifetime_s / 10)
        return None

    async def _send(self, call: _Call, token: str | None) -> Verdict:
        name = f"{call.method} {call.path}"
        headers = {"content-type": "application/json"} if call.body is not None else {}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        try:
            http = self._http or await self._open()
        except Exception as error:
            return unprepared(name, error)
        try:
            async with self._free:
                status, answered, body = await self._exchange(http, call, headers)
        except Exception as error:  # whatever it is, its text may hold the URL or the token: only words of ours go on
            return no_answer(name, error, self._clock.now())
        return judge(name, call.expected, status, answered, body, self._clock.now(), self._masked, call.limit)

    async def _exchange(self, http: httpx.AsyncClient, call: _Call, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; the body is not read on once it is longer than the call's limit."""
        connect_s, answer_s = self._patience.connect_s, call.answer_s or self._patience.answer_s
        timeout = (connect_s, answer_s, answer_s, None)  # connect, each read, each write; so a deadline for all of them as well
        body = b""
        async with (
            asyncio.timeout(connect_s + answer_s),
            http.stream(call.method, call.path, content=call.body, headers=headers, params=call.query, timeout=timeout) as response,
        ):
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > call.limit:
                    break
        return response.status_code, response.headers, body

    def _masked(self, text: str) -> str:
        """Takes the secrets out of an answer's words, should the cloud or a proxy repeat them."""
        return masked(text, (self.account.client_secret, *self._tokens, *_proxy_secrets()))

    async def _open(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._http is None:
                self._http = await asyncio.get_running_loop().run_in_executor(None, self._make_http)
            return self._http

    def _make_http(self) -> httpx.AsyncClient:
        load_httpx()
        import httpx

        return httpx.AsyncClient(
            base_url=self.account.base_url,
            verify=_trust(self.account),
            follow_redirects=False,
            trust_env=urlsplit(self.account.base_url).hostname not in _LOOPBACK,  # the environment names proxies, and whom to reach without
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=_KEEP_ALIVE_S),
            headers={"user-agent": f"edge-agent/{__version__}", "accept": "application/json", "accept-encoding": "identity"},
            transport=self._transport,
        )


def load_httpx() -> None:
    """Imports httpx without its command line (click, rich, pygments: 6 MB) and silences its log of URLs."""
    if "httpx" not in sys.modules:
        absent = {"click", "rich", "pygments"} - sys.modules.keys()
        sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: not importable, for the moment
        try:
            importlib.import_module("httpx")
        finally:
            for name in absent:
                del sys.modules[name]
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if _quiet not in logger.filters:
            logger.addFilter(_quiet)


def _quiet(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _trust(account: MoostAccount) -> ssl.SSLContext:
    """The system's and the private authorities; over plain http nobody is trusted and nothing is loaded."""
    if account.base_url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if not _system_has_authorities():
        import certifi

        context.load_verify_locations(certifi.where())
    if account.ca_file is not None:
        context.load_verify_locations(account.ca_file)
    return context


def _system_has_authorities() -> bool:
    """True where a file or folder of authorities is installed; a folder is read as needed, which saves 3 MB beside httpx's bundle."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or (paths.capath is not None and any(Path(paths.capath).iterdir()))


def _proxy_secrets() -> list[str]:
    """The passwords in the environment's proxies, plain and as their header has them: a proxy's error page may repeat either."""
    from urllib.request import getproxies  # comes with httpx, and not before it

    logins = [unquote(found[1]) for url in getproxies().values() if (found := re.search(r"//([^/]*)@", url))]
    return [secret for login in logins for secret in (login.partition(":")[2], base64.b64encode(login.encode()).decode())]


def _body(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
