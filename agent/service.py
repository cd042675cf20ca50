"""The service manager and the log, as far as the agent talks to them.

Where python3-systemd is installed it does the talking, and what happened has a field MASTHEAD_EVENT in the
journal; elsewhere sd_notify(3) is one datagram, and the log is lines on standard error, prefixed with a
priority where journald reads them (sd-daemon(3)).
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
from collections.abc import Callable
from typing import Any

from .redact import redact

_MOST_RECORDS = 1000
_FLUSH_S = 0.5
_LONGEST_STATUS = 900  # of up to four bytes each (src/core/manager.c: NOTIFY_BUFFER_MAX is PIPE_BUF)
_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


def notify(state: str) -> bool:
    """Tell the service manager (``READY=1``, ``STATUS=…``, ``WATCHDOG=1``); False if there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with contextlib.suppress(ImportError):
        from systemd.daemon import notify as systemd_notify

        try:
            return bool(systemd_notify(state))
        except OSError:  # it is being started anew itself, or we are out of descriptors
            return False
    if not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.sendall(state.encode(errors="replace"))
    except OSError:
        return False
    return True


def notify_reloading() -> bool:
    """Tell the service manager that a reload begins; READY=1 ends it (sd_notify(3))."""
    return notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def status_assignment(line: str) -> str:
    """``STATUS=`` with ``line``, as one line of Unicode, short enough for a message that has more to say:
    systemd takes no notice of one of more than 4096 bytes, whatever else is in it."""
    text = " ".join(line.split())
    if len(text) > _LONGEST_STATUS:
        text = text[: _LONGEST_STATUS - 1] + "…"
    return "STATUS=" + text.encode(errors="replace").decode()


def is_managed() -> bool:
    """Whether a service manager started us, and no terminal can hang up."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def watchdog_interval_s() -> float | None:
    """How often to say WATCHDOG=1: half of what systemd allows (sd_watchdog_enabled(3)), or None."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        allowed_s = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return allowed_s / 2 if allowed_s > 0 else None


def event(name: str) -> dict[str, str]:
    """For a record's ``extra``: what happened, in a word that `journalctl MASTHEAD_EVENT=…` finds."""
    return {"event": name}


class LineFormatter(logging.Formatter):
    """One line a record, secrets masked; a traceback follows only where one was asked for."""

    def __init__(self, under_journald: bool, *, prefixed: bool | None = None) -> None:
        """``prefixed``: whether each line begins with its priority; as ``under_journald`` if not given."""
        super().__init__("%(message)s" if under_journald else "%(asctime)s %(levelname)-7s %(message)s")
        self.datefmt = "%Y-%m-%d %H:%M:%S"
        self._prefixed = under_journald if prefixed is None else prefixed

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        """The line itself: a message of several lines is joined to one."""
        record.message = " | ".join(line.strip() for line in record.message.splitlines() if line.strip())
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one, each with its priority where journald reads it."""
        text = redact(super().format(record))
        if not self._prefixed:
            return text
        prefix = f"<{_PRIORITY.get(record.levelname, 6)}>"
        return "\n".join(prefix + line for line in text.splitlines())


def under_journald() -> bool:
    """Whether standard error goes to journald (sd-daemon(3)): other programs inherit the variable too."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, and then Python has none
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _JournalHandler(logging.Handler):
    """One entry a record, with its event if it has one. ``send``: systemd.journal.send."""

    def __init__(self, send: Callable[..., Any]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"PRIORITY": _PRIORITY.get(record.levelname, 6), "LOGGER": record.name}
        name = getattr(record, "event", None)
        if name is not None:
            fields["MASTHEAD_EVENT"] = name
        try:
            self._send(self.format(record), SYSLOG_IDENTIFIER="masthead", **fields)
        except Exception:  # noqa: BLE001  (logging's own way)
            self.handleError(record)


def _handler() -> logging.Handler:
    """To the journal where standard error goes there anyway and python3-systemd is; else lines."""
    journald = under_journald()
    if journald:
        with contextlib.suppress(ImportError):
            from systemd import journal

            entries = _JournalHandler(journal.send)
            entries.setFormatter(LineFormatter(under_journald=True, prefixed=False))
            return entries
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(LineFormatter(journald))
    return lines


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
    root = logging.getLogger()
    root.handlers = [_Forwarder(_handler())]
    root.setLevel(logging.INFO)
    logging.getLogger("agent").setLevel(logging.DEBUG if verbose else logging.INFO)
    show_sdk(sdk)


def show_sdk(shown: bool) -> None:
    """Whether the Azure SDK's log is shown."""
    for name in ("azure", "paho"):
        logging.getLogger(name).setLevel(logging.DEBUG if shown else logging.CRITICAL + 1)
