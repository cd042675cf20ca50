"""Stand-ins for time, pins and faults. Each passes the contract suite of what it stands for."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from agent.cloud import CloudMessage, Failure, HubError, MethodCall
from agent.reading import Entry, Message, Row
from agent.timekeeping import BootClock


class FakeHub:
    """A hub that confirms at once, or when told to, or never. Makes clients by ``client``.

    By object id: ``poison`` ends the connection when it is published; ``unconfirmed`` is stored and never
    confirmed; ``unsendable`` is not taken by the client. ``full``: every message ends the connection.
    ``ended``: how many connections a message ended. ``takes_reports``: else one ends the connection.
    """

    def __init__(self) -> None:
        self.stored: list[Message] = []
        self.clients: list[FakeHubClient] = []
        self.refusal: Exception | None = None
        self.answers_connect = True
        self.confirms = True
        self.closes = True
        self.queued: list[CloudMessage] = []
        self.poison: set[str] = set()
        self.unconfirmed: set[str] = set()
        self.unsendable: set[str] = set()
        self.reported: list[dict[str, Any]] = []
        self.takes_reports = True
        self.full = False
        self.ended = 0

    def client(
        self,
        on_message: Callable[[CloudMessage], None] = lambda message: None,
        on_method: Callable[[MethodCall], None] = lambda call: None,
    ) -> FakeHubClient:
        client = FakeHubClient(self, on_message, on_method)
        self.clients.append(client)
        return client

    @property
    def newest(self) -> FakeHubClient:
        return self.clients[-1]

    def ids(self) -> list[str]:
        return [message.message_id for message in self.stored]


class FakeHubClient:
    """Satisfies agent.cloud.HubClient without a network."""

    def __init__(
        self,
        hub: FakeHub,
        on_message: Callable[[CloudMessage], None],
        on_method: Callable[[MethodCall], None],
    ) -> None:
        self._hub = hub
        self._on_message = on_message
        self._on_method = on_method
        self._connected = False
        self._closed = False
        self.lost: HubError | None = None
        self.connecting: Future[None] = Future()
        self.in_flight: list[tuple[Message, Future[None]]] = []
        self._unanswered: set[Future[tuple[int, bytes]]] = set()

    @property
    def connected(self) -> bool:
        return self._connected

    def connect(self) -> Future[None]:
        if self._hub.refusal is not None:
            self.connecting.set_exception(self._hub.refusal)
        elif self._hub.answers_connect:
            self._connected = True
            self.connecting.set_result(None)
            for message in self._hub.queued:
                self._on_message(message)
            self._hub.queued = []
        return self.connecting

    def send(self, message: Message) -> Future[None]:
        future: Future[None] = Future()
        if not self._connected:
            future.set_exception(HubError(Failure.LOST, "not connected"))
            return future
        if self._hub.unsendable & object_ids(message):
            future.set_exception(HubError(Failure.LOST, "the SDK does not take it"))
            return future
        self.in_flight.append((message, future))
        if self._hub.confirms:
            self.confirm_all()
        return future

    def report(self, properties: Mapping[str, Any]) -> Future[None]:
        future: Future[None] = Future()
        if not self._connected:
            future.set_exception(HubError(Failure.LOST, "not connected"))
        elif not self._hub.takes_reports:
            future.set_exception(HubError(Failure.LOST, "connection lost"))
            self._hub.ended += 1
            self.lose()
        else:
            self._hub.reported.append(dict(properties))
            future.set_result(None)
        return future

    def confirm_all(self) -> None:
        """The hub gets everything in flight, stores and confirms it; up to what it cannot bear."""
        came, self.in_flight = self.in_flight, []
        while came:
            message, future = came.pop(0)
            if self._hub.full or self._hub.poison & object_ids(message):
                self._hub.ended += 1
                self.in_flight += [(message, future), *came]
                self.lose()
                return
            self._hub.stored.append(message)
            if self._hub.unconfirmed & object_ids(message):
                self.in_flight.append((message, future))
            else:
                future.set_result(None)

    def confirm_those(self, which: Callable[[Future[None]], bool]) -> None:
        """The hub stores and confirms some of what is in flight."""
        those = [sending for sending in self.in_flight if which(sending[1])]
        self.in_flight = [sending for sending in self.in_flight if sending not in those]
        for message, future in those:
            self._hub.stored.append(message)
            future.set_result(None)

    def call_method(self, name: str, payload: bytes = b"{}") -> Future[tuple[int, bytes]]:
        """The hub calls a direct method. The future is its answer, or fails if there can be none."""
        future: Future[tuple[int, bytes]] = Future()
        if not self._connected:
            future.set_exception(HubError(Failure.LOST, "not connected"))
            return future
        self._unanswered.add(future)

        def answer(status: int, payload: bytes) -> None:
            if future in self._unanswered:
                self._unanswered.remove(future)
                future.set_result((status, payload))

        self._on_method(MethodCall(name, payload, 0.0, answer))
        return future

    def lose(self) -> None:
        """The connection breaks: what is in flight fails, as the SDK does it, and calls find no answer."""
        self._connected = False
        unanswered, self._unanswered = self._unanswered, set()
        for call in unanswered:
            call.set_exception(HubError(Failure.LOST, "connection lost"))
        for _, future in self.in_flight:
            future.set_exception(HubError(Failure.LOST, "connection lost"))
        self.in_flight = []

    def close(self) -> Future[None]:
        self.lose()
        self.closing: Future[None] = Future()
        if self._hub.closes:
            self.closing.set_result(None)
        return self.closing


def object_ids(message: Message) -> set[str]:
    """Of the rows in it, be it an object or an array."""
    body = json.loads(message.body)
    return {f"{row.get('run')}-{row.get('sequence')}" for row in (body if isinstance(body, list) else [body])}


class FakeRows:
    """Satisfies agent.window.RowSource from a list. A row that was not taken cannot come back."""

    def __init__(self, count: int = 0) -> None:
        self.waiting: deque[Row] = deque()
        self.taken: dict[str, Row] = {}
        self.confirmed: list[Row] = []
        self.rejected: list[tuple[Row, str]] = []
        self.clock = BootClock(1_790_000_000.0 - 1000.0, True)
        self.added = 0
        self.add(count)

    def add(self, count: int, **body: object) -> None:
        for number in range(self.added + 1, self.added + count + 1):
            entry = Entry("reading", 1000.0 + number, {"sensor": "top", "windSpeed": 5.0, **body})
            self.waiting.append(Row(number, "0badcafe", "boot", entry))
        self.added += count

    def take(self, limit: int) -> list[Row]:
        rows = [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]
        self.taken.update({row.object_id: row for row in rows})
        return rows

    def confirm(self, rows: list[Row]) -> None:
        self._back(rows)
        self.confirmed += rows

    def give_back(self, rows: list[Row]) -> None:
        self._back(rows)
        self.waiting = deque(sorted((*rows, *self.waiting), key=lambda row: row.sequence))

    def reject(self, rows: list[Row], reason: str) -> None:
        self._back(rows)
        self.rejected += [(row, reason) for row in rows]

    def boot_clock(self, boot_id: str) -> BootClock:
        return self.clock

    def _back(self, rows: list[Row]) -> None:
        for row in rows:
            del self.taken[row.object_id]
