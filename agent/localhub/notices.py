"""What happens in the hub, told to whoever listens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from .records import C2dMessage, Event, MethodCall


@dataclass(frozen=True, slots=True)
class DeviceConnected:
    """The device has connected."""

    device_id: str


@dataclass(frozen=True, slots=True)
class DeviceDisconnected:
    """The device has gone, and why."""

    device_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeviceChanged:
    """The device was created, changed or deleted: ask the registry."""

    device_id: str


@dataclass(frozen=True, slots=True)
class TwinChanged:
    """The device's twin is another than before, by the back end or the device: ask for it."""

    device_id: str


@dataclass(frozen=True, slots=True)
class EventStored:
    """A device's message is on the disk."""

    event: Event


@dataclass(frozen=True, slots=True)
class C2dChanged:
    """A message to a device was queued, sent (its count rose), or got its final state."""

    message: C2dMessage


@dataclass(frozen=True, slots=True)
class MethodChanged:
    """A direct method was called, answered or given up."""

    call: MethodCall


@dataclass(frozen=True, slots=True)
class FaultsChanged:
    """The hub misbehaves otherwise than before: ask it how."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The listener was slow: so many notices were dropped before the next one. Look at the store."""

    count: int


Notice = (
    DeviceConnected
    | DeviceDisconnected
    | DeviceChanged
    | TwinChanged
    | EventStored
    | C2dChanged
    | MethodChanged
    | FaultsChanged
    | Missed
)


class Subscription:
    """An endless stream of notices; the oldest go first when ``capacity`` are unread.

    Thread safety: the hub's event loop only.
    """

    def __init__(self, board: NoticeBoard, capacity: int) -> None:
        self._board = board
        self._unread: deque[Notice] = deque(maxlen=capacity)
        self._missed = 0
        self._arrived = asyncio.Event()

    def put(self, notice: Notice) -> None:
        """Add a notice; never waits."""
        self._missed += len(self._unread) == self._unread.maxlen
        self._unread.append(notice)
        self._arrived.set()

    async def get(self) -> Notice:
        """The next notice, or first a ``Missed`` if some were dropped before it."""
        while not self._unread:
            self._arrived.clear()
            await self._arrived.wait()
        if self._missed:
            missed, self._missed = Missed(self._missed), 0
            return missed
        return self._unread.popleft()

    async def __aiter__(self) -> AsyncIterator[Notice]:
        while True:
            yield await self.get()

    def close(self) -> None:
        """Stop listening. May be called twice."""
        self._board.remove(self)


class NoticeBoard:
    """Thread safety: the hub's event loop only."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def subscribe(self, capacity: int = 1000) -> Subscription:
        """A stream of what happens from now on. Close it."""
        subscription = Subscription(self, capacity)
        self._subscriptions.add(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        self._subscriptions.discard(subscription)

    def post(self, notice: Notice) -> None:
        """Tell everyone who listens; never waits."""
        for subscription in self._subscriptions:
            subscription.put(notice)
