"""One message to its end: taken by the hub, delivered to the device, done by it.

Invariants:
1. Nothing is missed: feedback and events are read before the message is sent.
2. Other people's feedback is not taken from them: a feedback message is settled only if all its records are
   of this message; any other is held, so that it does not come again at once, and released at the end.
3. A link that breaks on the way is made again while there is time; the message is sent once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from .again import Again
from .errors import HubUnavailable, OperatorError
from .feedback import FeedbackWatch, Link
from .messages import C2dMessage, Fate, Feedback
from .monitor import Monitor, Reader


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
        self._feedback = FeedbackWatch(hub.feedback, Again(notice, self._wait))
        self._monitor = Monitor(hub.events, "now", Again(notice, self._wait))
        self._held: list[Feedback] = []

    def run(self, message: C2dMessage, timeout_s: float) -> Fate:
        """What is known of it ``timeout_s`` after the hub has taken it, or as soon as all is.

        Raises HubRejected, HubUnavailable if it was not taken, HubRejected also later.
        """
        try:
            self._feedback.open()
            self._monitor.open()
            self._held += self._feedback.poll()  # of another message with this id, at the worst
            self._send(message)
            self._deadline = self._clock() + timeout_s
            return self._follow(message)
        finally:
            with suppress(OperatorError):
                for feedback in self._held:
                    self._feedback.settle(feedback, taken=False)
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
        with suppress(_OutOfTime):
            while not fate.settled and self._clock() < self._deadline:
                before = fate
                for feedback in self._feedback.poll():
                    fate = self._read(feedback, fate, message)
                while (event := self._monitor.poll(0.0)) is not None:
                    fate = fate.with_event(event, message)
                if fate != before:
                    self._changed(fate)
        return fate

    def _read(self, feedback: Feedback, fate: Fate, message: C2dMessage) -> Fate:
        for record in feedback.records:
            fate = fate.with_feedback(record, message)
        if all(record.is_of(message) for record in feedback.records):
            self._feedback.settle(feedback, taken=True)
        else:
            self._held.append(feedback)
        return fate

    def _wait(self, seconds: float) -> None:
        left = self._deadline - self._clock()
        self._sleep(min(seconds, max(left, 0.0)))
        if seconds >= left:
            raise _OutOfTime("no time left to try again")
