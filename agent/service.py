"""The service manager and the log, as far as the agent talks to them.

Where python3-systemd is installed it does the talking; elsewhere sd_notify(3) is one datagram, and the log
is lines on standard error, prefixed with a priority where journald reads them (sd-daemon(3)).
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import sys
import threading
import time

from .redact import redact

_MOST_RECORDS = 1000
_FLUSH_S = 0.5
_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def notify(state: str) -> bool:
    """Tell the service manager (``READY=1``, ``STATUS=…``, ``WATCHDOG=1``); False if there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with contextlib.suppress(ImportError):
        from systemd.daemon import notify as systemd_notify

        return bool(systemd_notify(state))
    if not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.sendall(state.encode())
    except OSError:
        return False
    return True


def watchdog_interval_s() -> float | None:
    """How often to say WATCHDOG=1: half of what systemd allows (sd_watchdog_enabled(3)), or None."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        allowed_s = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return allowed_s / 2 if allowed_s > 0 else None


class LineFormatter(logging.Formatter):
    """One line a record, secrets masked; a traceback follows only where one was asked for."""

    def __init__(self, under_journald: bool) -> None:
        super().__init__("%(message)s" if under_journald else "%(asctime)s %(levelname)-7s %(message)s")
        self.datefmt = "%Y-%m-%d %H:%M:%S"
        self._under_journald = under_journald

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        """The line itself: a message of several lines is joined to one."""
        record.message = " | ".join(line.strip() for line in record.message.splitlines() if line.strip())
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one, each with its priority where journald reads it."""
        text = redact(super().format(record))
        if not self._under_journald:
            return text
        prefix = f"<{_PRIORITY.get(record.levelname, 6)}>"
        return "\n".join(prefix + line for line in text.splitlines())


def under_journald() -> bool:
    """Whether standard error goes to journald (sd-daemon(3)): other programs inherit the variable too."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _Forwarder(logging.Handler):
    """Leaves the writing to a thread of its own: a terminal or a journal that stands still holds up nobody.

    What does not fit into the queue meanwhile is not logged. (logging.handlers has the same and brings pickle
    with it, half a megabyte.)
    """

    def __init__(self, target: logging.Handler) -> None:
        super().__init__()
        self.queue: queue.Queue[logging.LogRecord] = queue.Queue(_MOST_RECORDS)
        self._target = target
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)

    def _write(self) -> None:
        while True:
            self._target.handle(self.queue.get())
            self.queue.task_done()

    def flush(self) -> None:
        """Wait a moment for what is queued to be written."""
        deadline = time.monotonic() + _FLUSH_S
        while self.queue.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)


def flush_logging() -> None:
    """Wait a moment for the log to be written, before the process ends."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def setup_logging(*, verbose: bool = False, sdk: bool = False) -> None:
    """Log to standard error. ``sdk``: the Azure SDK's log too, which is otherwise silent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(under_journald()))
    root = logging.getLogger()
    root.handlers = [_Forwarder(handler)]
    root.setLevel(logging.INFO)
    logging.getLogger("agent").setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in ("azure", "paho"):
        logging.getLogger(name).setLevel(logging.DEBUG if sdk else logging.CRITICAL + 1)
