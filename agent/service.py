"""The service manager and the log, as far as the agent talks to them.

Where python3-systemd is installed it does the talking; elsewhere sd_notify(3) is one datagram, and the log
is lines on standard error, prefixed with a priority where journald reads them (sd-daemon(3)).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys

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


class _OneLine(logging.Formatter):
    """One line a record; a traceback follows only where one was asked for (a worker that died)."""

    def __init__(self, under_journald: bool) -> None:
        super().__init__("%(message)s" if under_journald else "%(asctime)s %(levelname)-7s %(message)s")
        self.datefmt = "%Y-%m-%d %H:%M:%S"
        self._under_journald = under_journald

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._under_journald:
            return text
        prefix = f"<{_PRIORITY.get(record.levelname, 6)}>"
        return "\n".join(prefix + line for line in text.splitlines())


class _Redact(logging.Filter):
    """Masks what is secret in the SDK's own log."""

    def filter(self, record: logging.LogRecord) -> bool:
        from .redact import redact

        record.msg, record.args = redact(record.getMessage()), None
        return True


def setup_logging(*, verbose: bool = False, sdk: bool = False) -> None:
    """Log to standard error. ``sdk``: the Azure SDK's log too, which is otherwise silent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("JOURNAL_STREAM" in os.environ))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("agent").setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in ("azure", "paho"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG if sdk else logging.CRITICAL + 1)
    if sdk:
        handler.addFilter(_Redact())
