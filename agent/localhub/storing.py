"""Many messages, one commit: what arrives while the disk is busy is stored together next time.

Invariant: a sender hears of its messages in the order in which it sent them, after their commit; those of
which nothing is stored keep their place in that order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .events import EventLog
from .notices import EventStored, NoticeBoard
from .records import Arrival, StoreFailed

_MAX_BATCH = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A message among its sender's; ``packet_id`` is None if it wants no confirmation, ``due`` is when it may
    have it (of the event loop's clock; 0: at once)."""

    packet_id: int | None
    size_bytes: int
    due: float = 0.0


class Sender(Protocol):
    """Who wants to know that its messages are stored."""

    def stored(self, tickets: list[Ticket]) -> None:
        """These are on the disk."""
        ...

    def not_stored(self, tickets: list[Ticket], reason: str) -> None:
        """These are not and never will be: do not confirm them."""
        ...


_Entry = tuple[Arrival | None, Sender, Ticket]


class Storing:
    """Thread safety: the hub's event loop only; the commits run in a thread."""

    def __init__(self, events: EventLog, board: NoticeBoard) -> None:
        self._events = events
        self._board = board
        self._waiting: list[_Entry] = []
        self._arrived = asyncio.Event()
        self._closing = False

    def put(self, arrival: Arrival | None, sender: Sender, ticket: Ticket) -> None:
        """Queue a message, None if there is nothing to store of it; never waits. The sender bounds how much
        it has here."""
        self._waiting.append((arrival, sender, ticket))
        self._arrived.set()

    def close(self) -> None:
        """``run`` returns when all that was put is stored."""
        self._closing = True
        self._arrived.set()

    async def run(self) -> None:
        """Store what arrives, until closed."""
        while self._waiting or not self._closing:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                await self._store(batch)

    async def _store(self, batch: list[_Entry]) -> None:
        arrivals = [arrival for arrival, _, _ in batch if arrival is not None]
        try:
            events = await asyncio.to_thread(self._events.append, arrivals) if arrivals else []
        except StoreFailed as error:
            reason = str(error)
            logger.error("%s", reason)
            _each(batch, lambda sender, tickets: sender.not_stored(tickets, reason))
            return
        _each(batch, lambda sender, tickets: sender.stored(tickets))
        for event in events:
            self._board.post(EventStored(event))


def _each(batch: list[_Entry], tell: Callable[[Sender, list[Ticket]], None]) -> None:
    tickets: dict[Sender, list[Ticket]] = {}
    for _, sender, ticket in batch:
        tickets.setdefault(sender, []).append(ticket)
    for sender, own in tickets.items():
        tell(sender, own)
