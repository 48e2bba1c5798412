"""A cloud of one's own on loopback that holds the MOOST API's schema strictly and keeps what it receives.

For the demo, the tests and the benchmarks. It is stricter than the schema where the guide is (unknown
properties, unknown building, foreign customer, expired token), so that what passes here passes there.
Faults are put in with `fault`, a function that sees each request first and may answer in the cloud's place.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo

from edge_agent.demo.building_rules import COMPUTED, building_complaint
from edge_agent.demo.statistics import hourly

Json = dict[str, Any]
CUSTOMER_ID = "656730be2bc9719e6e5ed51d"
BUILDING_ID = "99900000C048ADA6"
CLIENT_ID = "demo"
CLIENT_SECRET = "local-secret"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived; `at` by the cloud's clock."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. As a fault: `stored` events of the request are kept first, as if the cloud had failed halfway."""

    status: int
    body: bytes | object = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """A fault: the connection is closed without an answer, before or after the request took effect."""

    after_storing: bool = False


@dataclass(frozen=True, slots=True)
class Slow:
    """A fault: the true answer, but only after that many real seconds."""

    seconds: float


Fault = Answer | Drop | Slow


@dataclass(frozen=True, slots=True)
class Received:
    """An event that was accepted: through which call (`live` or `historical`), and when by the cloud's clock."""

    event: Json
    call: str
    at: float


Check = Callable[[Any], str | None]


@cache
def event_checks() -> tuple[dict[str, Check], frozenset[str]]:
    """What the schema asks of each property of an event (gives the complaint or None), and the required ones."""
    schema = json.loads(files("edge_agent.demo").joinpath("openapi.json").read_text())["components"]["schemas"]["Event"]
    return {name: _check(rule) for name, rule in schema["properties"].items()}, frozenset(schema["required"])


def _check(rule: Json) -> Check:
    if rule["type"] == "string" and "enum" in rule:
        allowed = frozenset(rule["enum"])
        return lambda value: None if isinstance(value, str) and value in allowed else "is none of the enum"
    if rule["type"] == "string":
        fits = re.compile(rule["pattern"]).fullmatch
        return lambda value: None if isinstance(value, str) and fits(value) else f"does not match {rule['pattern']}"
    if rule["type"] == "integer":
        return lambda value: None if type(value) is int and -(2**63) <= value < 2**63 else "is no int64"
    return lambda value: None if type(value) in (int, float) and math.isfinite(value) else "is no number"


def complaint(event: object) -> str | None:
    """What is wrong with an event by the schema, or None."""
    if not isinstance(event, dict):
        return "is no object"
    checks, required = event_checks()
    for name, value in event.items():
        if name not in checks:
            return f"{name}: unknown property"
        if wrong := checks[name](value):
            return f"{name}: {wrong}"
    missing = required - event.keys()
    return f"{sorted(missing)[0]}: is missing" if missing else None


class LocalCloud:
    """The cloud: `with LocalCloud() as cloud:` serves on `cloud.url` until the block ends.

    `events` holds what was accepted in order, `requests` every request, `buildings` what is registered.
    """

    def __init__(
        self,
        *,
        customer_id: str = CUSTOMER_ID,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
        buildings: Iterable[str] = (BUILDING_ID,),
        now: Callable[[], float] = time.time,
        port: int = 0,
        expires_in: int | None = 86400,
        max_batch: int | None = None,
        error_keys: str = "index",
    ) -> None:
        """`expires_in` None leaves it out of the token's answer; `error_keys`: a refused batch names `index`, `field` or `none`."""
        self.customer_id, self._client = customer_id, (client_id, client_secret)
        self.now, self.expires_in, self.max_batch, self.error_keys = now, expires_in, max_batch, error_keys
        self.buildings: dict[str, Json] = {building: self._computed({"customerBuildingId": building}) for building in buildings}
        self.events: list[Received] = []
        self.requests: list[Request] = []
        self.fault: Callable[[Request], Fault | None] = lambda request: None
        self.statistics_dated: Literal["end", "start"] = "end"  # what timestamps are taken for
        self.tokens: dict[str, float] = {}
        self._changed = threading.Condition()
        self._port = port
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where it listens, e.g. `http://127.0.0.1:41234`."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Begins to listen; on the same port again after a `stop`."""
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="local cloud", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Closes every connection and no longer listens; what was received stays."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.close_connections()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def revoke_tokens(self) -> None:
        """Every token given out so far is refused from now on."""
        self.tokens.clear()

    def received(self, call: str | None = None) -> list[Json]:
        """The accepted events in order, of one call (`live`, `historical`) or of both."""
        return [one.event for one in list(self.events) if call in (None, one.call)]

    def wait_for(self, condition: Callable[[LocalCloud], bool], timeout_s: float = 10.0) -> bool:
        """Waits until the condition holds, looking again after each request; False when time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), timeout_s)

    # what the handler asks

    def note(self, request: Request) -> None:
        """Keeps a request."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def keep(self, events: Iterable[Json], call: str) -> None:
        """Keeps accepted events."""
        at = self.now()
        with self._changed:
            self.events += [Received(event, call, at) for event in events]
            self._changed.notify_all()

    def answer(self, request: Request) -> Answer:
        """The true answer to a request."""
        parts = request.path.strip("/").split("/")
        route = (request.method, *parts)
        if route == ("GET", "auth", "token", "v1"):
            return self._token(request.query)
        if parts[0] not in ("events", "buildings") or parts[-1] != "v1":
            return Answer(404, {"error": "no such resource"})
        if not self._authorized(request.headers):
            return Answer(401, {"error": "token missing, unknown or expired"})
        match route:
            case ("POST", "events", "v1"):
                return self._event(request)
            case ("POST", "events", "historical", "v1"):
                return self._batch(request)
            case ("POST", "buildings", "v1"):
                return self._create(request)
            case ("PUT", "buildings", "v1"):
                return self._update(request)
            case ("GET", "buildings", building, "v1"):
                return self._building(unquote(building))
            case ("GET", "buildings", building, "energy-statistics", "hourly", "v1"):
                return self._statistics(unquote(building), request.query)
            case ("PUT", "buildings", building, "devices", "v1"):
                return self._attach(unquote(building), request)
        return Answer(405, {"error": "method not allowed"}) if len(parts) in (2, 3, 4, 5) else Answer(404, {"error": "no such resource"})

    def _token(self, query: Mapping[str, str]) -> Answer:
        if (query.get("clientId"), query.get("clientSecret")) != self._client:
            return Answer(401, {"error": "client id or secret is invalid"})
        token = f"eyJ.{secrets.token_urlsafe(90)}.-_"  # like a JWT: longer than the schema's pattern says, with dots and hyphens
        lifetime = 86400 if self.expires_in is None else self.expires_in
        self.tokens[token] = self.now() + lifetime
        stated = {} if self.expires_in is None else {"expires_in": self.expires_in}
        return Answer(200, {"access_token": token, **stated, "scope": "write:events", "token_type": "Bearer"})

    def _authorized(self, headers: Mapping[str, str]) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind == "Bearer" and self.tokens.get(token, 0.0) > self.now()

    def refusal(self, event: object) -> str | None:
        """Why the cloud refuses this event, or None."""
        if wrong := complaint(event):
            return wrong
        assert isinstance(event, dict)
        if event["customerId"] != self.customer_id:
            return "customerId: is not the token's customer"
        if event["customerBuildingId"] not in self.buildings:
            return f"customerBuildingId: unknown building {event['customerBuildingId']}"
        return None

    def _event(self, request: Request) -> Answer:
        event = parse(request)
        if wrong := self.refusal(event):
            return Answer(400, {"message": wrong})
        self.keep([event], "live")
        return Answer(201)

    def _batch(self, request: Request) -> Answer:
        events = parse(request)
        if not isinstance(events, list):
            return Answer(400, {"message": "body: is no array"})
        if self.max_batch is not None and len(events) > self.max_batch:
            return Answer(413)
        wrong = {place: text for place, event in enumerate(events) if (text := self.refusal(event))}
        if wrong:
            return Answer(400, self._named(wrong))
        self.keep(events, "historical")
        return Answer(200)

    def _named(self, wrong: Mapping[int, str]) -> Json:
        if self.error_keys == "index":
            return {str(place): text for place, text in wrong.items()}
        if self.error_keys == "field":
            return dict(text.split(": ", 1) for text in wrong.values())
        return {}

    def _computed(self, building: Json) -> Json:
        return building | {
            "id": secrets.token_hex(12),
            "customerId": self.customer_id,
            "activationTimestamp": int(self.now()),
            "geolocation": {"lat": 47.07, "lon": 15.44},
            "profile": {"type": "computed"},
        }

    def _create(self, request: Request) -> Answer:
        building = parse(request)
        if wrong := building_complaint(building):
            return Answer(400, {"message": wrong})
        if building["customerBuildingId"] in self.buildings:
            return Answer(409, {"message": "the building exists"})
        self.buildings[building["customerBuildingId"]] = self._computed(building)
        return Answer(201, self.buildings[building["customerBuildingId"]])

    def _update(self, request: Request) -> Answer:
        building = parse(request)
        if wrong := building_complaint(building):
            return Answer(400, {"message": wrong})
        old = self.buildings.get(building["customerBuildingId"])
        if old is None:
            return Answer(404, {"message": "unknown building"})
        kept = {name: old[name] for name in COMPUTED if name in old}
        self.buildings[building["customerBuildingId"]] = building | kept  # replaces the whole, as a PUT may
        return Answer(200, self.buildings[building["customerBuildingId"]])

    def _building(self, building: str) -> Answer:
        known = self.buildings.get(building)
        return Answer(404, {"message": "unknown building"}) if known is None else Answer(200, known)

    def _statistics(self, building: str, query: Mapping[str, str]) -> Answer:
        if building not in self.buildings:
            return Answer(404, {"message": "unknown building"})
        zone = ZoneInfo(self.buildings[building].get("timeZoneId", "UTC"))
        found = hourly(self.received(), query, zone, self.statistics_dated)
        return Answer(400, {"message": found}) if isinstance(found, str) else Answer(200, found)

    def _attach(self, building: str, request: Request) -> Answer:
        devices = parse(request)
        if building not in self.buildings:
            return Answer(404, {"message": "unknown building"})
        if not isinstance(devices, list) or not all(isinstance(one, dict) and one.keys() >= {"id", "type"} for one in devices):
            return Answer(400, {"message": "body: is no array of devices"})
        if strange := {name for one in devices for name in one.keys() - {"id", "type", "name", "product_name"}}:
            return Answer(400, {"message": f"{sorted(strange)[0]}: cannot be set"})
        now = int(self.now())
        self.buildings[building]["devices"] = [one | {"createdAt": now, "updatedAt": now} for one in devices]
        return Answer(200)


def parse(request: Request) -> Any:
    """The body as JSON; None when it is none, names no JSON as its type, or holds NaN."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return None

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        return json.loads(request.body, parse_constant=refuse)
    except ValueError:
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        self._serving: list[threading.Thread] = []
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._serving = [thread for thread in self._serving if thread.is_alive()]
        self._open.add(request)
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), name="local cloud connection", daemon=True)
        self._serving.append(thread)
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of the cloud's business; anything else is a fault of ours and is printed."""
        import sys

        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        for one in list(self._open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it went by itself meanwhile
        for thread in self._serving:
            thread.join(2)


def _handler(cloud: LocalCloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 65536

        def log_message(self, format: str, *args: Any) -> None:
            """Silent: a request line holds the client secret."""

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            address = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, address.path, dict(parse_qsl(address.query)), headers, body, cloud.now())
            cloud.note(request)
            self._respond(request, cloud.fault(request))

        def _respond(self, request: Request, fault: Fault | None) -> None:
            if isinstance(fault, Drop):
                if fault.after_storing:
                    cloud.answer(request)
                self.close_connection = True
                return
            if isinstance(fault, Slow):
                time.sleep(fault.seconds)
            if isinstance(fault, Answer):
                if fault.stored:
                    cloud.keep(parse(request)[: fault.stored], "historical")
                self._send(fault)
            else:
                self._send(cloud.answer(request))

        def _send(self, answer: Answer) -> None:
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", **answer.headers} if body else answer.headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    return Handler
