"""The only threads of the agent's logic.

A worker is told the time and says when it wants to be called next; it never sleeps and never blocks for
long. The daemon gives each worker a WorkerThread; tests step the same workers by hand with a fake clock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from hw.clock import Clock

from .service import event

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 2.0  # the wait stands still in a suspend, the clock does not: look at it again


class Worker(Protocol):
    """Something with work to do now and then. Thread safety: ``step`` runs on one thread only."""

    name: str

    step_bound_s: float
    """A step that takes longer than this is stuck, and the watchdog is no longer fed."""

    def step(self, now: float) -> float:
        """Do what is due at ``now`` (CLOCK_BOOTTIME seconds); return when to be called next.

        An exception ends the worker, and with it the process.
        """
        ...


class WorkerThread:
    """Runs one worker until ``stop``. Thread safety: any thread may call ``wake``, ``stop``, ``healthy``."""

    def __init__(self, worker: Worker, clock: Clock, on_death: Callable[[str], None]) -> None:
        self.worker = worker
        self._clock = clock
        self._on_death = on_death
        self._condition = threading.Condition()
        self._woken = False
        self._stopping = False
        self._step_began: float | None = None
        self._thread = threading.Thread(target=self._run, name=worker.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Have the worker stepped as soon as possible. Never blocks for longer than a lock is held."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def ask_to_stop(self) -> None:
        """End the thread after the step it is in."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def stop(self, timeout_s: float) -> bool:
        """``ask_to_stop``, and wait; True if it ended within ``timeout_s``."""
        self.ask_to_stop()
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def healthy(self, now: float) -> bool:
        """True while the thread lives and its present step keeps the worker's bound."""
        began = self._step_began
        return self._thread.is_alive() and (began is None or now - began <= self.worker.step_bound_s)

    def _run(self) -> None:
        try:
            while not self._stopping:
                began = self._step_began = self._clock.monotonic()
                due = self.worker.step(began)
                self._step_began = None
                self._wait(due)
        except BaseException:
            log.critical(
                "%s failed; the process ends so that it can be started afresh",
                self.worker.name,
                exc_info=True,
                extra=event("failed"),
            )
            self._on_death(self.worker.name)

    def _wait(self, due: float) -> None:
        with self._condition:
            while not (self._woken or self._stopping):
                left = due - self._clock.monotonic()
                if left <= 0:
                    break
                self._condition.wait(min(left, _LONGEST_WAIT_S))
            self._woken = False
