"""A cloud of one's own on loopback that holds the MOOST API's schema strictly and keeps what it receives.

For the demo, the tests and the benchmarks. It is stricter than the schema where the guide is (unknown
properties, unknown building, foreign customer, expired token), so that what passes here passes there.
Faults are put in with `fault`, a function that sees each request first and may answer in the cloud's place.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from edge_agent.demo.building_rules import COMPUTED, building_complaint
from edge_agent.demo.cloud_server import CloudServer, handler_of
from edge_agent.demo.event_rules import complaint
from edge_agent.demo.exchange import Answer, Drop, Fault, Request, Slow, parse
from edge_agent.demo.statistics import hourly

__all__ = [
    "BUILDING_ID",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "CUSTOMER_ID",
    "Answer",
    "Drop",
    "Fault",
    "LocalCloud",
    "Received",
    "Request",
    "Slow",
    "parse",
]

Json = dict[str, Any]
CUSTOMER_ID = "656730be2bc9719e6e5ed51d"
BUILDING_ID = "99900000C048ADA6"
CLIENT_ID = "demo"
CLIENT_SECRET = "local-secret"


@dataclass(frozen=True, slots=True)
class Received:
    """An event that was accepted: through which call (`live` or `historical`), and when by the cloud's clock."""

    event: Json
    call: str
    at: float


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
        self._server: CloudServer | None = None

    @property
    def url(self) -> str:
        """Where it listens, e.g. `http://127.0.0.1:41234`."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Begins to listen; on the same port again after a `stop`."""
        self._server = CloudServer(("127.0.0.1", self._port), handler_of(self))
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
