"""The hub's feedback on messages to devices, read without an end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .again import Again
from .errors import HubUnavailable
from .messages import Feedback


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

    def open(self) -> None:
        """Raises HubRejected, HubUnavailable."""
        self.close()
        self._link = self._connect()
        self._link.open()

    def poll(self) -> Sequence[Feedback]:
        """What has come, after a fraction of a second at most. Raises HubRejected."""
        if self._link is None:
            return ()
        try:
            return self._link.read()
        except HubUnavailable as error:
            self._again.until_open(error, self.open)
            return ()

    def settle(self, feedback: Feedback, *, taken: bool) -> None:
        """``taken``: it is gone; else other readers get it. After a break it comes again anyway."""
        try:
            if self._link is not None:
                self._link.settle(feedback, taken=taken)
        except HubUnavailable as error:
            self._again.until_open(error, self.open)

    def close(self) -> None:
        """May be called twice."""
        if self._link is not None:
            link, self._link = self._link, None
            link.close()
