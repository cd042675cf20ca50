"""An end to what has none: the vendors' libraries wait for a silent host without a limit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

CLOSING_S = 5.0

_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)


def within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """What ``work`` returns or raises. Raises TimeoutError after ``seconds``, and leaves it to a daemon
    thread, which ends with the process. Thread safety: any thread."""
    done: Future[_Result] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  (carried to the caller)
            done.set_exception(error)

    threading.Thread(target=run, name="operator-call", daemon=True).start()
    return done.result(seconds)


def opened(client: Any, timeout_s: float) -> None:
    """Returns when an AMQP client has its link. Raises what it raises, and TimeoutError."""
    deadline = time.monotonic() + timeout_s

    def run() -> None:
        client.open()
        while not client.client_ready():
            if time.monotonic() > deadline:
                raise TimeoutError

    within(timeout_s, run)


def closed(client: Any) -> None:
    """However the client is: what cannot be closed in time ends with the process."""
    try:
        within(CLOSING_S, client.close)
    except Exception as error:  # noqa: BLE001  (the connection is given up)
        logger.debug("close: %r", error)
