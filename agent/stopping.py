"""How the process is asked to end, or to take its configuration anew.

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

    Thread safety: ``set`` and ``ask_reload`` from any thread and from signal handlers; the rest on one.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._set = False
        self._reload = False

    def set(self) -> None:
        """May be called twice."""
        self._set = True
        self._queue.put(None)

    def is_set(self) -> bool:
        return self._set

    def ask_reload(self) -> None:
        """Have the configuration read again. Asked twice before it began, it is done once."""
        self._reload = True
        self._queue.put(None)

    def take_reload(self) -> bool:
        """Whether that was asked since the last call."""
        if not self._reload:
            return False
        self._reload = False  # only here: what a signal asks for meanwhile must not be wiped out
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set or a reload is asked, for ``timeout_s`` at most; whether it is set."""
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

    def on_signals(self, *, hangup_reloads: bool = False) -> None:
        """Have Ctrl-C, Ctrl-\\, SIGTERM and a terminal that hangs up set it. On the main thread only.

        ``hangup_reloads``: SIGHUP asks for a reload instead, for whoever runs without a terminal.
        """
        for number in _SIGNALS:
            signal.signal(number, lambda *_: self.set())
        if hangup_reloads and hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: self.ask_reload())
