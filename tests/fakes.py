"""Stand-ins for time, pins and faults. Each passes the contract suite of what it stands for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from agent.cloud import CloudMessage, HubUnavailable
from agent.reading import Entry, Message, Row
from agent.timekeeping import BootClock


class FakeHub:
    """A hub that confirms at once, or when told to, or never. Makes clients by ``client``."""

    def __init__(self) -> None:
        self.stored: list[Message] = []
        self.clients: list[FakeHubClient] = []
        self.refusal: Exception | None = None
        self.answers_connect = True
        self.confirms = True
        self.closes = True
        self.queued: list[CloudMessage] = []

    def client(self, on_message: Callable[[CloudMessage], None] = lambda message: None) -> FakeHubClient:
        client = FakeHubClient(self, on_message)
        self.clients.append(client)
        return client

    @property
    def newest(self) -> FakeHubClient:
        return self.clients[-1]

    def ids(self) -> list[str]:
        return [message.message_id for message in self.stored]


class FakeHubClient:
    """Satisfies agent.cloud.HubClient without a network."""

    def __init__(self, hub: FakeHub, on_message: Callable[[CloudMessage], None]) -> None:
        self._hub = hub
        self._on_message = on_message
        self._connected = False
        self._closed = False
        self.connecting: Future[None] = Future()
        self.in_flight: list[tuple[Message, Future[None]]] = []

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
            future.set_exception(HubUnavailable("not connected"))
            return future
        self.in_flight.append((message, future))
        if self._hub.confirms:
            self.confirm_all()
        return future

    def confirm_all(self) -> None:
        """The hub stores and confirms everything in flight."""
        for message, future in self.in_flight:
            self._hub.stored.append(message)
            future.set_result(None)
        self.in_flight = []

    def lose(self) -> None:
        """The connection breaks: what is in flight fails, as the SDK does it."""
        self._connected = False
        for _, future in self.in_flight:
            future.set_exception(HubUnavailable("connection lost"))
        self.in_flight = []

    def close(self) -> Future[None]:
        self.lose()
        self.closing: Future[None] = Future()
        if self._hub.closes:
            self.closing.set_result(None)
        return self.closing


class FakeRows:
    """Satisfies agent.uplink.RowSource from a list."""

    def __init__(self, count: int = 0) -> None:
        self.waiting: deque[Row] = deque()
        self.confirmed: list[Row] = []
        self.clock = BootClock(1_790_000_000.0 - 1000.0, True)
        self.add(count)

    def add(self, count: int) -> None:
        first = len(self.waiting) + len(self.confirmed) + 1
        for number in range(first, first + count):
            entry = Entry("reading", 1000.0 + number, {"sensor": "top", "windSpeed": 5.0})
            self.waiting.append(Row(number, "0badcafe", "boot", entry))

    def take(self, limit: int) -> list[Row]:
        return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]

    def confirm(self, rows: list[Row]) -> None:
        self.confirmed += rows

    def give_back(self, rows: list[Row]) -> None:
        self.waiting = deque(sorted((*rows, *self.waiting), key=lambda row: row.sequence))

    def boot_clock(self, boot_id: str) -> BootClock:
        return self.clock
