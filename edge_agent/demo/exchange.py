"""What goes between a client and the local cloud: requests, answers, and the faults that a test may put in their place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
