"""How the process is asked to end.

A threading.Event may not be set in a signal handler: its lock is not reentrant, and the main thread may hold
it just then. SimpleQueue is documented to be reentrant.
"""

from __future__ import annotations

import contextlib
import queue
import signal
from collections.abc import Iterator

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class StopRequest:
    """Set once, by anybody; waited for by the main thread.

    Thread safety: ``set`` from any thread and from signal handlers; ``wait`` on one thread.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._set = False

    def set(self) -> None:
        """May be called twice."""
        self._set = True
        self._queue.put(None)

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, for ``timeout_s`` at most; whether it is."""
        if not self._set:
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=max(0.0, timeout_s))
        return self._set

    @contextlib.contextmanager
    def instead_of_signals(self) -> Iterator[None]:
        """``on_signals``, and in the end as it was before."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.on_signals()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_signals(self) -> None:
        """Have Ctrl-C, Ctrl-\\, SIGTERM and a terminal that hangs up set it. On the main thread only."""
        for number in _SIGNALS:
            signal.signal(number, lambda *_: self.set())
