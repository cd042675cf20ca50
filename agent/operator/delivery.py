"""One message to its end: taken by the hub, delivered to the device, done by it.

Invariants:
1. Nothing is missed: feedback and events are read before the message is sent.
2. Other people's feedback is not taken from them, nor kept: feedback.py. Where its own link is let go of for
   that, it is back when feedback is to be expected: at the outcome, and shortly before the time is up.
3. A link that breaks on the way is made again while there is time; the message is sent once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from .again import Again
from .errors import HubUnavailable
from .feedback import FeedbackWatch, Link, OwnFeedback
from .messages import C2dMessage, Fate
from .monitor import Monitor, Reader

_LAST_LOOK_S = 5.0
_PAUSE_S = 0.2


class Sender(Protocol):
    """What ``amqp.Sender`` is."""

    def open(self) -> None: ...

    def send(self, message: C2dMessage) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Hub:
    """What is made of a hub's three services; each raises HubRejected, HubUnavailable."""

    sender: Callable[[], Sender]
    feedback: Callable[[], Link]
    events: Callable[[], Reader]


class _OutOfTime(HubUnavailable):
    """While it was tried again."""


class Delivery:
    """Thread safety: one thread; ``changed`` and ``notice`` are called on it."""

    def __init__(
        self,
        hub: Hub,
        changed: Callable[[Fate], None],
        notice: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``changed``: told of each stage; ``notice``: of links that break."""
        self._hub = hub
        self._changed = changed
        self._clock = clock
        self._sleep = sleep
        self._deadline = float("inf")
        self._feedback = OwnFeedback(FeedbackWatch(hub.feedback, Again(notice, self._wait)), clock)
        self._monitor = Monitor(hub.events, "now", Again(notice, self._wait))

    def run(self, message: C2dMessage, timeout_s: float) -> Fate:
        """What is known of it ``timeout_s`` after the hub has taken it, or as soon as all is.

        Raises HubRejected, HubUnavailable if it was not taken, HubRejected also later.
        """
        try:
            self._feedback.open(message)
            self._monitor.open()
            self._send(message)
            self._deadline = self._clock() + timeout_s
            return self._follow(message)
        finally:
            self._feedback.close()
            self._monitor.close()

    def _send(self, message: C2dMessage) -> None:
        sender = self._hub.sender()
        try:
            sender.open()
            sender.send(message)
        finally:
            sender.close()

    def _follow(self, message: C2dMessage) -> Fate:
        fate = Fate(taken=True)
        self._changed(fate)
        last_look_s = self._deadline - _LAST_LOOK_S
        with suppress(_OutOfTime):
            while not fate.settled and (now_s := self._clock()) < self._deadline:
                if now_s >= last_look_s:
                    self._feedback.hurry()
                    last_look_s = self._deadline
                before = fate
                if (record := self._feedback.poll()) is not None:
                    fate = fate.with_feedback(record, message)
                if not self._feedback.is_reading:
                    self._sleep(_PAUSE_S)
                while (event := self._monitor.poll(0.0)) is not None:
                    fate = fate.with_event(event, message)
                if fate != before:
                    self._changed(fate)
                if fate.outcome is not before.outcome:
                    self._feedback.hurry()
        return fate

    def _wait(self, seconds: float) -> None:
        left = self._deadline - self._clock()
        self._sleep(min(seconds, max(left, 0.0)))
        if seconds >= left:
            raise _OutOfTime("no time left to try again")
