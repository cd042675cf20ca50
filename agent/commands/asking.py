"""What others ask of the guard: queued from any thread, answered on the guard's, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, TypeVar

from hw.errors import HardwareError

from .actuation import Refusal

_ANSWER_S = 1.5
T = TypeVar("T")


@dataclass(slots=True)
class Request:
    """Work for the guard's thread, given the time when its turn has come."""

    work: Callable[[float], Any]
    future: Future[Any]

    def answer(self, now: float) -> None:
        """Do it, unless it was withdrawn: late is not obeyed. An error that is neither Refusal nor
        HardwareError goes on to the caller, when whoever waits has been told."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.work(now))
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

    def add(self, work: Callable[[float], T], *, towards_safe: bool) -> Future[T]:
        """Queue ``work``. Its future fails with Refusal once there is an end.

        Cancelling it before its turn withdraws it, but for what goes ``towards_safe``: late is better than
        never.
        """
        future: Future[T] = _Standing() if towards_safe else Future()
        with self._lock:
            if self._ended:
                future.set_exception(_stopping())
            else:
                self._waiting.append(Request(work, future))
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


class _Standing(Future[T]):
    def cancel(self) -> bool:
        return False


def result(future: Future[T]) -> T:
    """What was asked for, when it is done. Raises Refusal and HardwareError, the latter also if the guard
    does not answer: the request is then withdrawn, if it can be."""
    try:
        return future.result(_ANSWER_S)
    except FutureTimeout:
        if future.cancel():
            raise HardwareError("the guard did not answer in time") from None
    try:
        return future.result(_ANSWER_S)  # it was looking at the request just then
    except FutureTimeout:
        raise HardwareError("the guard hangs in the driver") from None


def _stopping() -> Refusal:
    return Refusal("stopping: the agent is ending")
