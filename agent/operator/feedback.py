"""The hub's feedback on messages to devices, which all who read it share.

Invariants:
1. Feedback is settled on the link that brought it; what is not settled when a link ends comes again.
2. Who waits for one message settles a feedback message only if all its records are of that one, and keeps
   no other for longer than ``HOLD_S``: then all is given back and the link let go of, for others to have it.
3. What nobody wants is not worn out by that (a hub gives it out ten times): the same record sends its reader
   away for longer each time, and in the hour that a hub keeps it, it is looked at six times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from .again import Again
from .errors import HubUnavailable, OperatorError
from .messages import C2dMessage, Feedback, FeedbackRecord

HOLD_S = 2.0
"""Long enough for all that a hub has to come."""

_AWAY_S = 3.0
_LONGER = 5  # times, whenever the same record comes again


class Link(Protocol):
    """What ``amqp.FeedbackReader`` is."""

    def open(self) -> None: ...

    def read(self) -> Sequence[Feedback]: ...

    def settle(self, feedback: Feedback, *, taken: bool) -> None: ...

    def close(self) -> None: ...


class FeedbackWatch:
    """Reads on where a link breaks: what was not settled comes again. Thread safety: one thread."""

    def __init__(self, connect: Callable[[], Link], again: Again) -> None:
        self._connect = connect
        self._again = again
        self._link: Link | None = None
        self._unsettled: list[Feedback] = []

    def open(self) -> None:
        """Raises HubRejected, HubUnavailable."""
        self._unsettled.clear()
        self.close()
        self._link = self._connect()
        self._link.open()

    def reopen(self) -> None:
        """As ``open``, again and again while the hub cannot be reached. Raises HubRejected."""
        try:
            self.open()
        except HubUnavailable as error:
            self._again.until_open(error, self.open)

    def poll(self) -> Sequence[Feedback]:
        """What has come, after a fraction of a second at most. Raises HubRejected."""
        if self._link is None:
            return ()
        try:
            found = self._link.read()
        except HubUnavailable as error:
            self._again.until_open(error, self.open)
            return ()
        self._unsettled += found
        return found

    def take(self, feedback: Feedback) -> None:
        """It is gone. Of a link that broke nothing is: it comes again."""
        if self._link is None or feedback not in self._unsettled:
            return
        self._unsettled.remove(feedback)
        try:
            self._link.settle(feedback, taken=True)
        except HubUnavailable as error:
            self._again.until_open(error, self.open)

    def close(self) -> None:
        """Give back what was not taken. May be called twice."""
        unsettled, self._unsettled = self._unsettled, []
        if self._link is not None:
            link, self._link = self._link, None
            with suppress(OperatorError):
                for feedback in unsettled:
                    link.settle(feedback, taken=False)
            link.close()


class OwnFeedback:
    """What becomes of one message. Thread safety: one thread."""

    def __init__(self, watch: FeedbackWatch, clock: Callable[[], float]) -> None:
        self._watch = watch
        self._clock = clock
        self._message: C2dMessage | None = None
        self._before: set[FeedbackRecord] = set()
        self._seen: Counter[FeedbackRecord] = Counter()
        self._hold_until_s = float("inf")
        self._away_until_s: float | None = None

    def open(self, message: C2dMessage) -> None:
        """Before it is sent: what is there by then is of another with its id, at the worst. Raises
        HubRejected, HubUnavailable."""
        self._watch.open()
        for feedback in self._watch.poll():
            self._before.update(feedback.records)
            self._leave(feedback)
        self._message = message

    @property
    def is_reading(self) -> bool:
        """Whether ``poll`` waits for something, if only for a fraction of a second."""
        return self._away_until_s is None

    def poll(self) -> FeedbackRecord | None:
        """The record of the message, once: its feedback is left to others then. Raises HubRejected."""
        if self._away_until_s is not None:
            if self._clock() < self._away_until_s:
                return None
            self._watch.reopen()
            self._away_until_s = None
        own = [record for feedback in self._watch.poll() for record in self._read(feedback)]
        if own:
            self._step_back(float("inf"))
            self._message = None
            return own[0]
        if self._clock() >= self._hold_until_s:
            self._step_back(_AWAY_S * _LONGER ** (max(self._seen.values(), default=1) - 1))
        return None

    def hurry(self) -> None:
        """It is to be expected now: look at once, and often for a while."""
        self._seen.clear()
        if self._away_until_s is not None and self._message is not None:
            self._away_until_s = self._clock()

    def close(self) -> None:
        """May be called twice."""
        self._watch.close()

    def _read(self, feedback: Feedback) -> list[FeedbackRecord]:
        own = [record for record in feedback.records if self._is_own(record)]
        if len(own) == len(feedback.records):
            self._watch.take(feedback)
        else:
            self._leave(feedback)
        return own

    def _is_own(self, record: FeedbackRecord) -> bool:
        return self._message is not None and record.is_of(self._message) and record not in self._before

    def _leave(self, feedback: Feedback) -> None:
        self._seen.update(feedback.records)
        self._hold_until_s = min(self._hold_until_s, self._clock() + HOLD_S)

    def _step_back(self, for_s: float) -> None:
        self._watch.close()
        self._hold_until_s = float("inf")
        self._away_until_s = self._clock() + for_s
