"""Reads the platform's hourly statistics back, holds them against what was sent, and sends what is wholly missing once more.

Needs the platform's Intelligence Service: where the account has none (403, 404) nothing is said. A missing hour is queued again only when
it was missing in a check a day before, too, for the platform may be late, above all with a backlog that has only just arrived; and only
once. What is partly there or there too much is reported, not sent again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.cloud.statistics import HOUR_S, NAMES, Comparison, Dated, HourFinding, NoStatistics, SentValue, compare, hour_of, read_statistics
from edge_agent.model.clock import utc_text
from edge_agent.outbox.outbox import Outbox
from edge_agent.uplink.client import MoostClient

Json = dict[str, Any]
MOST_DAYS = 35  # what was sent is remembered as long
# Decision: an hour is looked at when it has been over for an hour, and queued again when it was missing in a check a day before, too.
COUNTED_AFTER_S = HOUR_S
AGAIN_AFTER_S = 86_400 - HOUR_S  # the daily check may come a little early
_MISSING_STATE = "uplink.missing"
_NO_SERVICE = (403, 404)


@dataclass(frozen=True, slots=True)
class Question:
    """Whose hours to look at: the building's time zone, which end of an interval dates its energy, and how many days back."""

    time_zone: str
    dated: Dated
    days: int


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one check. `problem`: why nothing was compared; `service`: False where the account has no statistics."""

    at: int
    first: date
    last: date
    time_zone: str
    service: bool = True
    problem: str = ""
    comparison: Comparison | None = None
    again: tuple[HourFinding, ...] = ()  # the hours that were queued again
    queued_again: int = 0  # their events

    @property
    def findings(self) -> tuple[HourFinding, ...]:
        """The hours that do not fit."""
        return self.comparison.findings if self.comparison else ()

    @property
    def fits(self) -> bool:
        """True when something was compared and nothing is wrong."""
        return self.comparison is not None and not self.comparison.findings and not self.comparison.shifted

    def summary(self) -> str:
        """The findings in one line; empty when there are none."""
        number = {what: sum(one.what == what for one in self.findings) for what in ("missing", "partly missing", "too much")}
        words = [f"{count} {what}" for what, count in number.items() if count]
        again = f" ({self.queued_again} events are queued again)" if self.queued_again else ""
        return f"of what was sent the platform counted hours wrong: {', '.join(words)}{again}; see `edge-agent verify`" if words else ""

    def to_json(self) -> Json:
        """For `--json` and the agent's socket. Instants as UTC text, hours also as the house's clock shows them."""
        zone, found = ZoneInfo(self.time_zone), asdict(self.comparison) if self.comparison else {}
        found["findings"] = [_finding_json(one, zone, one in self.again) for one in self.findings]
        head = {"at": utc_text(self.at), "time_zone": self.time_zone, "first": self.first.isoformat(), "last": self.last.isoformat()}
        return head | {"service": self.service, "problem": self.problem, "queued_again": self.queued_again, "fits": self.fits} | found


def _finding_json(one: HourFinding, zone: ZoneInfo, queued: bool) -> Json:
    return {
        "what": one.what,
        "type": one.type,
        "hour": utc_text(one.hour),
        "local": datetime.fromtimestamp(one.hour, zone).strftime("%Y-%m-%d %H:%M"),
        "sent_wh": one.sent_wh,
        "counted_wh": one.counted_wh,
        "action": _action(one, queued),
    }


def _action(one: HourFinding, queued: bool) -> str:
    if one.what != "missing":
        return "reported only"
    if one.resent:
        return "was queued again before"
    return "queued again" if queued else "queued again when it is missing for a day"


async def reconcile(client: MoostClient, outbox: Outbox, question: Question, now: float) -> Report:
    """One check at `now` (UTC epoch seconds), which also queues again what is due. Raises StorageError."""
    zone = ZoneInfo(question.time_zone)
    today = datetime.fromtimestamp(now, zone).date()
    first = today - timedelta(days=question.days)
    report = Report(int(now), first, today, question.time_zone)
    # a day more on both sides: whether `to` is included is not documented, and an hour is compared only between counted ones
    verdict = await client.get_statistics(list(NAMES), _day(first, -1), _day(today, 1))
    if verdict.status in _NO_SERVICE:
        return _changed(report, service=False, problem=f"the platform has no statistics for this account or building ({verdict.status})")
    if not verdict.accepted:
        return _changed(report, problem=verdict.reason)
    try:
        counted = read_statistics(verdict.body)
    except NoStatistics as error:
        return _changed(report, problem=f"the platform's statistics are not understood: {error}")
    since = int(datetime.combine(first, time(), zone).timestamp())
    until = hour_of(int(now) - COUNTED_AFTER_S, zone)
    sent = [SentValue(one.type, one.at, one.value, one.resent) for one in await outbox.sent(since - HOUR_S, until + 1)]
    comparison = await asyncio.to_thread(compare, sent, counted, zone, question.dated, since, until)
    since_when = await _missing_since(outbox, comparison, since, int(now))
    due = tuple(one for one in comparison.findings if since_when.get(_name(one), now) + AGAIN_AFTER_S <= now)
    again = [await outbox.send_again(one.type, one.since, one.until + 1) for one in due]
    return _changed(report, comparison=comparison, again=due, queued_again=sum(again))


async def _missing_since(outbox: Outbox, comparison: Comparison, since: int, now: int) -> dict[str, int]:
    """When a check first missed each hour that is missing and was not sent twice yet; remembered from one check to the next."""
    before = _remembered(await outbox.load_state(_MISSING_STATE))
    missing = [_name(one) for one in comparison.findings if one.what == "missing" and not one.resent]
    # this check may look at fewer days than the one before
    result = {name: at for name, at in before.items() if now - MOST_DAYS * 86_400 <= int(name.split()[1]) < since}
    result |= {name: min(now, before.get(name, now)) for name in missing}
    if result != before:
        await outbox.commit([], {_MISSING_STATE: json.dumps(result)})
    return result


def _name(one: HourFinding) -> str:
    return f"{one.type} {one.hour}"


def _remembered(text: str | None) -> Mapping[str, int]:
    """What an earlier check stored; nothing where that makes no sense, which costs a day."""
    try:
        return {f"{name.split()[0]} {int(name.split()[1])}": int(at) for name, at in json.loads(text or "{}").items()}
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError):
        return {}


def _day(start: date, days: int) -> str:
    return (start + timedelta(days=days)).isoformat()


def _changed(report: Report, **fields: Any) -> Report:
    return Report(report.at, report.first, report.last, report.time_zone, **fields)


def shift_text(report: Report) -> str:
    """That the platform means the other end of an interval by a timestamp, and what to write; empty when it does not."""
    if report.comparison is None or not report.comparison.shifted:
        return ""
    dated = report.comparison.dated
    return f"the platform takes a timestamp for its interval's {dated}: each energy counts one interval off; write reporting: {{timestamp: {dated}}}"
