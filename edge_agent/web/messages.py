"""A request and a response, as the routes see them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are in lower case, of repeated ones the last; `path` is as it came, without the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: str  # the client's address


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; a body that is an iterator is sent as it comes."""

    status: int
    body: bytes | AsyncIterator[bytes] = b""
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(value: Any, status: int = 200) -> Response:
    """A JSON answer that nobody keeps."""
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(status, body, "application/json", {"cache-control": "no-store"})


def as_text(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A line of text that nobody keeps."""
    return Response(status, text.encode() + b"\n", headers={"cache-control": "no-store", **(headers or {})})
