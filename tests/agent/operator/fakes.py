"""A hub's three services without a wire, for what is built on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from agent.operator.errors import HubUnavailable, OperatorError
from agent.operator.events import Event
from agent.operator.messages import C2dMessage, Feedback, FeedbackRecord
from agent.operator.monitor import Position

GONE = HubUnavailable("nobody listens")


class FakeEvents:
    """The log of a hub with two partitions, and its readers. ``failures``: what the next connects raise."""

    def __init__(self) -> None:
        self.log: dict[str, list[Event]] = {"0": [], "1": []}
        self.failures: list[OperatorError] = []
        self.readers: list[FakeReader] = []

    def connect(self) -> FakeReader:
        if self.failures:
            raise self.failures.pop(0)
        self.readers.append(FakeReader(self))
        return self.readers[-1]

    def arrive(self, body: object, partition: str = "0", device: str = "mast-1") -> None:
        events = self.log[partition]
        content = json.dumps(body).encode()
        events.append(
            Event(device, partition, len(events), str(len(events)), datetime(2026, 1, 1, tzinfo=UTC), content)
        )
        for reader in self.readers:
            reader.told(events[-1])

    def fail(self, error: OperatorError) -> None:
        """The connection of every reader breaks."""
        for reader in self.readers:
            reader.broken(error)


class FakeReader:
    def __init__(self, hub: FakeEvents) -> None:
        self.hub = hub
        self.positions: Mapping[str, Position] = {}
        self.closed = False
        self._on_event: Callable[[Event], None] | None = None
        self._on_error: Callable[[OperatorError], None] | None = None

    def partitions(self) -> list[str]:
        return list(self.hub.log)

    def last_sequence(self, partition: str) -> int:
        return len(self.hub.log[partition]) - 1

    def start(
        self,
        positions: Mapping[str, Position],
        on_event: Callable[[Event], None],
        on_error: Callable[[OperatorError], None],
    ) -> None:
        self.positions = dict(positions)
        self._on_event, self._on_error = on_event, on_error
        for partition, position in positions.items():
            for event in self.hub.log[partition]:
                if not isinstance(position, int) or event.sequence > position:
                    on_event(event)

    def told(self, event: Event) -> None:
        if self._on_event is not None and not self.closed and event.partition in self.positions:
            self._on_event(event)

    def broken(self, error: OperatorError) -> None:
        if self._on_error is not None:
            self._on_error(error)

    def close(self) -> None:
        self.closed = True


class FakeFeedback:
    """A queue of feedback messages that links share: each is with one link until it is settled."""

    def __init__(self) -> None:
        self.waiting: list[Feedback] = []
        self.taken: list[Feedback] = []
        self.released: list[Feedback] = []
        self.given: Counter[FeedbackRecord] = Counter()
        self.links: list[FakeLink] = []
        self.failures: list[OperatorError] = []
        self._told = 0

    def connect(self) -> FakeLink:
        self.links.append(FakeLink(self))
        return self.links[-1]

    def tell(self, *records: tuple[str, str, str]) -> None:
        """A message of (message id, device, status code)."""
        self._told += 1
        number = self._told
        made = tuple(FeedbackRecord(m, device, code, code, "", "") for m, device, code in records)
        self.waiting.append(Feedback(made, number, b"%d" % number))


class FakeLink:
    def __init__(self, hub: FakeFeedback) -> None:
        self.hub = hub
        self.locked: list[Feedback] = []
        self.error: OperatorError | None = None

    def open(self) -> None:
        if self.hub.failures:
            raise self.hub.failures.pop(0)

    def read(self) -> Sequence[Feedback]:
        if self.error is not None:
            raise self.error
        found, self.hub.waiting = self.hub.waiting, []
        self.locked += found
        self.hub.given.update(record for feedback in found for record in feedback.records)
        return found

    def settle(self, feedback: Feedback, *, taken: bool) -> None:
        self.locked.remove(feedback)
        (self.hub.taken if taken else self.hub.released).append(feedback)
        if not taken:
            self.hub.waiting.append(feedback)

    def close(self) -> None:
        self.hub.waiting += self.locked
        self.locked = []


class FakeSender:
    """``on_send`` is what the world does about it."""

    def __init__(self, on_send: Callable[[C2dMessage], None]) -> None:
        self._on_send = on_send
        self.closed = False

    def open(self) -> None:
        pass

    def send(self, message: C2dMessage) -> None:
        self._on_send(message)

    def close(self) -> None:
        self.closed = True
