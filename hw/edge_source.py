"""What a source of edges is, and what all of them need: a queue between threads, and one clock."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from .clock import Clock
from .pulse import Edge

QUEUED = 65_536
"""Edges that wait to be taken; the oldest give way."""

_STEADY_S = 0.05
_TOGETHER_S = 0.005
_TRIES = 5

T = TypeVar("T")


class EdgeSource(Protocol):
    """The edges of one line.

    Thread safety: one thread calls ``take``; ``close`` may follow from any thread.
    """

    name: str
    """What delivers the edges: gpiod or gpiozero."""

    lost: int
    """How many edges are known to be lost among those taken, running."""

    @property
    def since_s(self) -> float:
        """All edges since then are told of, or known to be lost (CLOCK_BOOTTIME, as of the last ``take``).

        It is later than the opening where this machine slept, or this process was stopped and what came
        meanwhile is not known: silence up to then is no calm, and earlier edges are not all there were.
        """
        ...

    def take(self) -> list[Edge]:
        """The edges since the last call, in order, stamped in CLOCK_BOOTTIME seconds. Never waits.

        Raises DeviceUnavailable if no more will come.
        """
        ...

    def close(self) -> None:
        """Let go of the line. May be called twice."""
        ...


class EdgeQueue(Generic[T]):
    """Thread safety: one thread at a time puts, one takes. ``put`` neither waits nor fails."""

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

    The two cannot be read at the same instant: ours is read between two looks at the other, and unless those
    are close together this thread was held up and looks again. The difference is kept until it has changed
    by more than that leaves open: CLOCK_MONOTONIC stands still in a suspend.

    Thread safety: one thread at a time.
    """

    def __init__(self, clock: Clock, other: Callable[[], float]) -> None:
        """``other`` tells the seconds of the other clock."""
        self._clock = clock
        self._other = other
        self.since_s = clock.monotonic()
        """By our clock: the other has not stood still since."""
        self._shift_s = self._latest_s = self.since_s - other()

    def seconds(self) -> float:
        """What to add to the other clock."""
        for _ in range(_TRIES):
            before_s, now_s, after_s = self._other(), self._clock.monotonic(), self._other()
            if after_s - before_s < _TOGETHER_S:
                self._compared(now_s, now_s - (before_s + after_s) / 2)
                break
        return self._shift_s

    def _compared(self, now_s: float, shift_s: float) -> None:
        if shift_s - self._latest_s > _STEADY_S:
            self.since_s = now_s
        if abs(shift_s - self._shift_s) > _STEADY_S:
            self._shift_s = shift_s
        self._latest_s = shift_s
