"""What others ask of the guard: queued from any thread, answered on the guard's, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, TypeVar

from hw.errors import HardwareError

from .actuation import Ending, Refusal

_ANSWER_S = 1.5
T = TypeVar("T")


class Asked(Future[T]):
    """What was asked for. ``standing``: it cannot be withdrawn. Thread safety: any thread."""

    def __init__(self, *, standing: bool) -> None:
        super().__init__()
        self.standing = standing
        self._lock = threading.Lock()  # either it was done in time or given up, for both sides
        self._abandoned = self._settled = False

    def cancel(self) -> bool:
        return not self.standing and super().cancel()

    def abandon(self) -> bool:
        """Give it up: whoever asked is told that it has failed. False if it is done."""
        with self._lock:
            self._abandoned = not self._settled
            return self._abandoned

    def settle(self) -> bool:
        """It is done. False if it was given up."""
        with self._lock:
            self._settled = not self._abandoned
            return self._settled


@dataclass(slots=True)
class Request:
    """Work for the guard's thread, given the time when its turn has come; ``undo``: what to do if it comes to
    its end when nobody believes in it any more."""

    work: Callable[[float], Any]
    future: Asked[Any]
    undo: Callable[[float], None]

    def answer(self, now: float) -> None:
        """Do it, unless it was withdrawn: late is not obeyed. An error that is neither Refusal nor
        HardwareError goes on to the caller, when whoever waits has been told."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            taken = self.work(now)
            if not self.future.settle():
                self.undo(now)
            self.future.set_result(taken)
        except (Refusal, HardwareError) as error:
            self.future.set_exception(error)
        except BaseException as error:
            self.future.set_exception(HardwareError(f"the guard failed: {error!r}"))
            raise


class Requests:
    """Thread safety: any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Request] = []
        self._ended = False

    def add(
        self, work: Callable[[float], T], undo: Callable[[float], None] | None = None, *, towards_safe: bool
    ) -> Asked[T]:
        """Queue ``work``. What was asked for fails with Ending once there is an end.

        Cancelling it before its turn withdraws it, but for what goes ``towards_safe``: late is better than
        never. What is done although it was abandoned is undone.
        """
        future: Asked[T] = Asked(standing=towards_safe)
        with self._lock:
            if self._ended:
                future.set_exception(_stopping())
            else:
                self._waiting.append(Request(work, future, undo or (lambda _: None)))
        return future

    def take(self) -> list[Request]:
        """What waits, oldest first."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return waiting

    def end(self) -> None:
        """Refuse what waits, and whatever comes."""
        with self._lock:
            self._ended = True
        for request in self.take():
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(_stopping())


def result(future: Asked[T]) -> T:
    """What was asked for, when it is done. Raises Refusal and HardwareError, the latter also if the guard
    does not answer: the request is then withdrawn, or undone when it comes to its end."""
    try:
        return future.result(_ANSWER_S)
    except FutureTimeout:
        if future.cancel():
            raise HardwareError("the guard did not answer in time") from None
    try:
        return future.result(_ANSWER_S)  # it was looking at the request just then
    except FutureTimeout:
        if not future.abandon() or future.done():
            return future.result()
        raise HardwareError("the guard hangs in the driver") from None


def _stopping() -> Refusal:
    return Ending("stopping: the agent is ending")
