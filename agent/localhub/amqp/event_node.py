"""Reading events: one reader of one partition on behalf of one consumer group.

https://learn.microsoft.com/azure/event-hubs/event-hubs-amqp-protocol-guide

Invariants:
1. A reader gets every event of its partition from its start on, in their order, each once.
2. Of the readers of a group and partition, one with an epoch is alone: a newer one with the same or a higher
   epoch ends it, and no other comes in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..database import PARTITIONS
from ..events import EventLog
from ..notices import EventStored, Missed, NoticeBoard, Subscription
from ..records import Event, StoreFailed
from . import filters
from .node import Attach, Delivery, LinkError, Message, Outcome, Symbol, Timestamp

ENTITY = "masthead"
"""The name of the event hub that the hub's events are in."""

GROUPS = ("$Default", "masthead")
"""The consumer groups that there are."""

MAX_READERS = 5
"""Of one group and partition, as Event Hubs has it."""

_EPOCH = "com.microsoft:epoch"


def offset(number: int) -> str:
    """Where the event of that number is in its partition."""
    return str(number)


def timestamp(at_s: float) -> Timestamp:
    """Unix seconds as AMQP has them."""
    return Timestamp(round(at_s * 1000))


class EventNode:
    """Thread safety: the hub's event loop only; the disk is waited for in threads."""

    def __init__(self, events: EventLog, board: NoticeBoard) -> None:
        self._events = events
        self._board = board
        self._readers: dict[tuple[str, int], set[EventSpring]] = {}

    async def spring(self, group: str, partition: str, attach: Attach) -> EventSpring:
        """A new reader. Raises LinkError."""
        place = (_group(group), _partition(partition))
        epoch = _epoch(attach.properties)
        begin = filters.start(attach.filters)
        try:
            number = await asyncio.to_thread(self._number, place[1], begin)
        except StoreFailed as error:
            raise LinkError("amqp:internal-error", str(error)) from error
        readers = self._readers.setdefault(place, set())
        self._make_room(place, epoch)
        spring = EventSpring(
            events=self._events,
            notices=self._board.subscribe(1),
            place=place,
            number=number,
            epoch=epoch,
            leave=self.leave,
        )
        readers.add(spring)
        return spring

    def leave(self, spring: EventSpring) -> None:
        """The reader is over."""
        self._readers[spring.place].discard(spring)

    def _make_room(self, place: tuple[str, int], epoch: int | None) -> None:
        epochs = [reader.epoch for reader in self._readers[place] if reader.epoch is not None]
        if epochs and (epoch is None or epoch < max(epochs)):
            mine = "none" if epoch is None else str(epoch)
            raise _stolen(
                f"a reader of group {place[0]!r}, partition {place[1]}, has epoch {max(epochs)}, not {mine}"
            )
        if epoch is None and len(self._readers[place]) >= MAX_READERS:
            raise LinkError(
                "amqp:resource-limit-exceeded",
                f"{MAX_READERS} readers of group {place[0]!r}, partition {place[1]}, are there already:"
                " close one, or read with another group",
            )
        if epoch is not None:
            for reader in list(self._readers[place]):
                reader.steal(f"a reader of group {place[0]!r}, partition {place[1]}, came with epoch {epoch}")

    def _number(self, partition: int, begin: filters.Start) -> int:
        """The number of the first event to read. Raises LinkError for one that can be no event's for long."""
        span = self._events.span(partition)
        end = 0 if span is None else span.last + 1
        if begin.kind == "number":
            if begin.value > end:
                raise LinkError(
                    "com.microsoft:argument-error",
                    f"partition {partition} has no sequence number or offset {begin.value - 1} to go on from:"
                    f" its last is {end - 1}",
                )
            return begin.value
        if begin.kind == "latest":
            return end
        # what a client sees of a time is rounded to milliseconds
        since = self._events.number_since(partition, (begin.value + 0.5) / 1000)
        return end if since is None else since


class EventSpring:
    """A Spring: the events of one partition."""

    def __init__(
        self,
        *,
        events: EventLog,
        notices: Subscription,
        place: tuple[str, int],
        number: int,
        epoch: int | None,
        leave: Callable[[EventSpring], None],
    ) -> None:
        """``notices``: room for one is enough, what is missed is read from the disk; ``place``: group and
        partition; ``number``: of the first event to read; ``leave``: called when this is over."""
        self.place = place
        self.epoch = epoch
        self._events = events
        self._notices = notices
        self._leave = leave
        self._next = number
        self._read: deque[Event] = deque()
        self._stolen: LinkError | None = None

    async def next(self) -> Delivery:
        """Spring: the next event. It is settled: the log keeps it whatever becomes of it."""
        while True:
            if self._stolen is not None:
                raise self._stolen
            if self._read:
                event = self._read.popleft()
                return Delivery(event.number, message(event), settled=True)
            try:
                events = await asyncio.to_thread(self._events.read, self.place[1], self._next)
            except StoreFailed as error:
                raise LinkError("amqp:internal-error", str(error)) from error
            if events:
                self._read.extend(events)
                self._next = events[-1].number + 1
            else:
                await self._stored()

    async def settled(self, key: int, outcome: Outcome) -> None:
        """Spring: nothing to do."""

    def steal(self, reason: str) -> None:
        """Another takes this one's place."""
        self._stolen = _stolen(reason)
        self._notices.put(Missed(1))
        self._leave(self)

    def close(self) -> None:
        """Spring: read no more."""
        self._notices.close()
        self._leave(self)
        self._read.clear()

    async def _stored(self) -> None:
        """Wait until there may be something to read."""
        while self._stolen is None:
            match await self._notices.get():
                case Missed():
                    return
                case EventStored(event) if event.partition == self.place[1]:
                    return


def message(event: Event) -> Message:
    """An event as a service reads it."""
    system = dict(event.system)
    properties: dict[str, Any] = {"to": f"/devices/{event.device_id}/messages/events"}
    for name in ("message-id", "correlation-id"):
        if name in system:
            properties[name] = system.pop(name)
    for name in ("content-type", "content-encoding"):
        if name in system:
            properties[name] = Symbol(system.pop(name).encode("ascii", "replace").decode())
    if "user-id" in system:
        properties["user-id"] = system.pop("user-id").encode()
    if (expiry := _milliseconds(system.pop("absolute-expiry-time", ""))) is not None:
        properties["absolute-expiry-time"] = expiry
    annotations = {
        **system,
        "iothub-connection-device-id": event.device_id,
        "iothub-enqueuedtime": timestamp(event.enqueued_s),
        "x-opt-sequence-number": event.number,
        "x-opt-offset": offset(event.number),
        "x-opt-enqueued-time": timestamp(event.enqueued_s),
    }
    return Message(
        event.body,
        properties=properties,
        application_properties=dict(event.properties),
        annotations=annotations,
    )


def _milliseconds(text: str) -> Timestamp | None:
    try:
        at = datetime.fromisoformat(text)
        return timestamp((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None


def _group(name: str) -> str:
    for group in GROUPS:
        if group.casefold() == name.casefold():
            return group
    raise LinkError("amqp:not-found", f"no consumer group {name[:80]!r}: there are {' and '.join(GROUPS)}")


def _partition(name: str) -> int:
    if name not in {str(number) for number in range(PARTITIONS)}:
        raise LinkError("amqp:not-found", f"no partition {name[:80]!r}: there are 0 to {PARTITIONS - 1}")
    return int(name)


def _epoch(properties: Mapping[str, Any]) -> int | None:
    epoch = properties.get(_EPOCH)
    if epoch is None:
        return None
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        raise LinkError("amqp:invalid-field", f"{_EPOCH} {epoch!r:.80}: expected a whole number from 0")
    return epoch


def _stolen(reason: str) -> LinkError:
    return LinkError("amqp:link:stolen", reason)
