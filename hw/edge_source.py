"""What a source of edges is, and what all of them need: a queue between threads, and one clock."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Generic, Protocol, TypeVar

from .clock import Clock
from .pulse import Edge

QUEUED = 65_536
"""Edges that wait to be taken; the oldest give way."""

_STEADY_S = 0.05

T = TypeVar("T")


class EdgeSource(Protocol):
    """The edges of one line.

    Thread safety: one thread calls ``take``; ``close`` may follow from any thread.
    """

    name: str
    """What delivers the edges: gpiod or gpiozero."""

    lost: int
    """How many edges are known to be lost among those taken, running."""

    def take(self) -> list[Edge]:
        """The edges since the last call, in order, stamped in CLOCK_BOOTTIME seconds. Never waits.

        Raises DeviceUnavailable if no more will come.
        """
        ...

    def close(self) -> None:
        """Let go of the line. May be called twice."""
        ...


class EdgeQueue(Generic[T]):
    """Thread safety: one thread puts, another takes. ``put`` neither waits nor fails."""

    def __init__(self) -> None:
        self._items: deque[T] = deque(maxlen=QUEUED)
        self._put = self._taken = self._dropped = 0

    def put(self, item: T) -> None:
        self._items.append(item)
        self._put += 1

    def take(self) -> tuple[int, list[T]]:
        """(how many gave way before the first of these, what is there)."""
        put, taken = self._put, []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._items.popleft())
        self._taken += len(taken)
        dropped = max(0, put - self._taken - self._dropped)
        self._dropped += dropped
        return dropped, taken


class ClockShift:
    """From another clock of this machine to ours, steadily.

    The two cannot be read at the same instant. So the difference is kept until it has changed by more than
    that can explain: CLOCK_MONOTONIC stands still in a suspend.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shift_s: float | None = None

    def seconds(self, other_s: float) -> float:
        """What to add to the other clock, which stands at ``other_s`` now."""
        shift_s = self._clock.monotonic() - other_s
        if self._shift_s is None or abs(shift_s - self._shift_s) > _STEADY_S:
            self._shift_s = shift_s
        return self._shift_s
