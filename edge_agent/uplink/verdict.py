"""What an answer of the cloud means for what was sent: the one place that reads status codes.

An answer counts as acceptance only with the documented status and without a web page in its body, for
hotspots, proxies and routers answer 200 to anything. Pure: knows no socket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

RETRY_AFTER_CAP_S = 3600.0
_REASON_LENGTH = 300


class Kind(Enum):
    """What becomes of what was sent."""

    ACCEPTED = auto()
    REFUSED = auto()  # for its content: another attempt with the same bytes is pointless, if the building is known
    LATER = auto()  # kept and sent again
    TOO_LARGE = auto()  # fewer at once
    UNAUTHORIZED = auto()  # the credentials are refused, although the token is new
    MISSING = auto()  # no such building
    UNWRITABLE = auto()  # nothing was sent: the events that `errors` names by their place are no JSON
    EXISTS = auto()  # the building is there already


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer. `status` is 0 when there was none; `reached`: somebody answered for the cloud; `body`: the JSON that came with it.

    `in_doubt`: the cloud may have stored what was sent, or a part of it, although it did not say so.
    """

    kind: Kind
    reason: str = ""
    status: int = 0
    errors: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    reached: bool = True
    in_doubt: bool = False
    body: object = field(default=None, repr=False)  # the token's answer holds the token

    @property
    def accepted(self) -> bool:
        """True when the cloud has taken it."""
        return self.kind is Kind.ACCEPTED


def unreached(call: str, why: str, reached: bool = False, in_doubt: bool = False) -> Verdict:
    """No answer came: `why` in words, `reached` when a connection stood, `in_doubt` when the request may have gone through it."""
    return Verdict(Kind.LATER, f"{call}: {why}", reached=reached, in_doubt=in_doubt)


def judge(
    call: str, expected: int, status: int, headers: Mapping[str, str], body: bytes, now: float, mask: Callable[[str], str], limit: int
) -> Verdict:
    """The verdict on an answer to `call` (method and path), whose documented success is `expected`; `now` dates a Retry-After.

    `mask` takes secrets out of the answer's words; of a body longer than `limit` bytes only the beginning is there.
    """
    page, whole = _is_page(headers, body), len(body) <= limit
    if status == expected and whole and not page:
        return Verdict(Kind.ACCEPTED, "", status, body=_json(body))
    said = "a web page" if page else _line(body.decode("utf-8", "replace"), mask) if whole else f"an answer of more than {limit // 1024} kB"
    words = f"{call}: {status}" + (f" {said}" if said else "")
    retry = retry_after(headers.get("retry-after", ""), now)
    if status >= 500 or status in (408, 425, 429):
        return Verdict(Kind.LATER, words, status, retry_after_s=retry, in_doubt=status >= 500 or status == 408)
    if status == 413:
        return Verdict(Kind.TOO_LARGE, words, status)
    if 300 <= status < 400:
        return Verdict(Kind.LATER, f"{words}: redirects elsewhere, which is not followed; check `base_url:` and the network's sign-in page", status)
    if page:
        return Verdict(Kind.LATER, f"{words} instead of the cloud's answer; check `base_url:`, the proxy and the network's sign-in page", status)
    if status in (401, 403):
        return Verdict(Kind.UNAUTHORIZED, f"{words}: the credentials are refused; check `client_id:`, the client secret and `customer_id:`", status)
    if status in (400, 422):
        return Verdict(Kind.REFUSED, words, status, _errors(body, mask) if whole else {})
    if status == 404:
        return Verdict(Kind.MISSING, f"{words}: not found; check `base_url:`", status)
    if status == 409:
        return Verdict(Kind.EXISTS, words, status)
    return Verdict(Kind.LATER, f"{words}: not an answer of this call, which is {expected}; check `base_url:`", status, in_doubt=status < 300)


def retry_after(text: str, now: float) -> float | None:
    """Seconds from a Retry-After header (seconds or an HTTP date), between 0 and an hour; None when there is none."""
    text = text.strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_CAP_S)
    try:
        until: datetime = parsedate_to_datetime(text)
        return min(max(0.0, until.timestamp() - now), RETRY_AFTER_CAP_S)
    except (ValueError, OverflowError):  # no date, or one at the end of all calendars
        return None


def _is_page(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("content-type", "").lower() or body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # the latter: a thousand brackets
        return None


def _line(text: str, mask: Callable[[str], str]) -> str:
    """An answer's own words in one line, without secrets, then shortened."""
    return " ".join(mask(text).split())[:_REASON_LENGTH]


def _errors(body: bytes, mask: Callable[[str], str]) -> dict[str, str]:
    """The map of a refusal, text to text; empty when there is none."""
    found = _json(body)
    return {_line(key, mask): _line(str(text), mask) for key, text in found.items()} if isinstance(found, dict) else {}
