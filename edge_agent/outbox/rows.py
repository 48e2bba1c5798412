"""What the queue hands out: events with their place, and rows for people."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

from edge_agent.model.events import Event

Key = tuple[str, str]  # device id and event type: what must stay in order
Kind = Literal["refused", "failing"]


class Queued(NamedTuple):
    """An event with its place in the queue, flat, since a backlog makes half a million of them.

    `names` is what it shares with its series: device id, device name, source, type. `promoted`: old, but the newest of its device and type.
    """

    seq: int
    names: tuple[str, str, str, str]
    value: float
    at: int
    promoted: bool = False

    @property
    def event(self) -> Event:
        """The event that was put in."""
        return Event(*self.names, self.value, self.at)

    @property
    def key(self) -> Key:
        """What must stay in order with it."""
        return self.names[0], self.names[3]


class Troubled(NamedTuple):
    """An event that waits apart: refused (a suspect until another one is accepted) or failing (answered by 500s)."""

    queued: Queued
    kind: Kind
    attempts: int
    status: int
    reason: str
    last_at: int


class Sent(NamedTuple):
    """What the cloud has accepted of a remembered series; `resent`: it was put back once."""

    device_id: str
    type: str
    at: int
    value: float
    resent: bool


class Stats(TypedDict):
    """The queue in numbers; instants in UTC epoch seconds."""

    waiting: int
    refused: int  # of these: suspects, until another event of the building is accepted
    failing: int  # of these: stepped behind, because the cloud keeps answering 500
    dead: int
    oldest_at: int | None
    newest_at: int | None
    accepted_live: int
    accepted_historical: int
    buried: int
    possibly_doubled: int  # copies that the cloud may have, after answers that were lost or told of a failure halfway, or when the agent died
    requeued: int
    sent_again: int  # put back, because the platform lacked their hour
    merged: int  # for want of space, into another one of their hour
    dropped: int  # for want of space
    dropped_letters: int  # dead letters, for want of space or because there were too many
    salvages: int  # how often the file was found damaged
    size_bytes: int


class Waiting(TypedDict):
    """A waiting event for people."""

    seq: int
    device_id: str
    device_name: str
    source: str
    type: str
    value: float
    at: int
    state: str  # waiting, refused or failing
    attempts: int
    reason: str


class DeadLetter(TypedDict):
    """An event that the cloud refused for good, and why."""

    seq: int
    device_id: str
    device_name: str
    source: str
    type: str
    value: float
    at: int
    status: int
    reason: str
    buried_at: int
