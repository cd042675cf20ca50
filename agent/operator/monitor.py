"""Events without a gap: what breaks is joined again where it broke.

Invariants:
1. No event is given twice, and none left out that the hub still has: each partition is read on from the last
   sequence number seen. "From now" is turned into sequence numbers before anything is read.
2. A failure of the first attempt ends it, and so does at any time what trying again does not mend (a right,
   the name of a consumer group). Else it is tried again, and that is said.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Protocol

from .again import Again
from .errors import OperatorError
from .events import Event, Start

Position = str | int | datetime
"""Events after it: "-1" for all, a sequence number, or a time."""


class Reader(Protocol):
    """What ``amqp.EventReader`` is."""

    def partitions(self) -> list[str]: ...

    def last_sequence(self, partition: str) -> int: ...

    def start(
        self,
        positions: Mapping[str, Position],
        on_event: Callable[[Event], None],
        on_error: Callable[[OperatorError], None],
    ) -> None: ...

    def close(self) -> None: ...


class Monitor:
    """Thread safety: one thread."""

    def __init__(self, connect: Callable[[], Reader], start: Start, again: Again) -> None:
        """``connect`` raises HubRejected, HubUnavailable."""
        self._connect = connect
        self._start = start
        self._again = again
        self._positions: dict[str, Position] = {}
        self._reader: Reader | None = None
        self._arrived: queue.SimpleQueue[Event | OperatorError] = queue.SimpleQueue()

    def open(self) -> None:
        """Returns when it is known where to begin. Raises HubRejected, HubUnavailable."""
        self.close()
        reader = self._reader = self._connect()
        new = [partition for partition in reader.partitions() if partition not in self._positions]
        if self._positions:
            self._positions.update(dict.fromkeys(new, "-1"))  # all in it came since
        else:
            with ThreadPoolExecutor(8, "positions") as pool:
                firsts = pool.map(lambda partition: self._first(reader, partition), new)
                self._positions.update(zip(new, firsts, strict=True))
        arrived = self._arrived = queue.SimpleQueue()  # what the last reader may still say goes nowhere
        reader.start(self._positions, arrived.put, arrived.put)

    def poll(self, timeout_s: float) -> Event | None:
        """The next event, or None when there is none in time. Raises HubRejected."""
        try:
            item = self._arrived.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(item, Event):
            self._positions[item.partition] = item.sequence
            self._again.backoff.forget()
            return item
        self._again.until_open(item, self.open)
        return None

    def close(self) -> None:
        """May be called twice."""
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close()

    def _first(self, reader: Reader, partition: str) -> Position:
        if self._start == "now":
            last = reader.last_sequence(partition)
            return last if last >= 0 else "-1"
        return "-1" if self._start == "start" else self._start
