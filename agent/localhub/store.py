"""The hub's data directory: one hub at a time, everything in it private to its user."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from .c2d import C2dQueue
from .database import Database
from .events import EventLog
from .feedback import FeedbackQueue
from .records import HubUnavailable, StoreFailed
from .registry import Registry
from .twins import TwinStore


class Store:
    """What a hub knows, kept in ``directory`` (made with 0700).

    ``registry``: devices, policies, sessions; ``events``: D2C; ``c2d``: C2D, ``feedback``: on those;
    ``twins``. Each survives kill -9 once its method has returned. Raises HubUnavailable if another process
    holds the directory.

    Thread safety: any thread. Each call may wait for the disk, so an event loop calls it in a thread.
    """

    def __init__(self, directory: Path, now: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self._lock = _lock(directory)
        try:
            self._database = Database(directory / "hub.db")
        except StoreFailed as error:
            self._lock.close()
            raise HubUnavailable(f"{directory / 'hub.db'}: {error}") from error
        self.registry = Registry(self._database, now)
        self.events = EventLog(self._database, now)
        self.feedback = FeedbackQueue(self._database, now)
        self.c2d = C2dQueue(self._database, now, self.feedback)
        self.twins = TwinStore(self._database, now)

    def close(self) -> None:
        """Close the files and let another hub use the directory. May be called twice."""
        self._database.close()
        self._lock.close()


def _lock(directory: Path) -> FileIO:
    import fcntl

    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = FileIO(os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), "r+")
    except OSError as error:
        raise HubUnavailable(f"cannot use {directory}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise HubUnavailable(f"another hub uses {directory}") from error
    return file
