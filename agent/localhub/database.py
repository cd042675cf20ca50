"""The hub's SQLite file.

Invariants:
1. What a ``write`` block did is on the disk when the block ends (WAL, synchronous=FULL), or did not happen.
2. Readers see whole transactions only and never wait for a writer.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .records import StoreFailed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS policy (name TEXT PRIMARY KEY, key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS device (
    device_id TEXT PRIMARY KEY, primary_key TEXT NOT NULL, secondary_key TEXT NOT NULL,
    enabled INTEGER NOT NULL, generation_id TEXT NOT NULL, created_s REAL NOT NULL, last_activity_s REAL);
CREATE TABLE IF NOT EXISTS session (device_id TEXT PRIMARY KEY REFERENCES device ON DELETE CASCADE);
CREATE TABLE IF NOT EXISTS subscription (
    device_id TEXT NOT NULL REFERENCES session ON DELETE CASCADE, filter TEXT NOT NULL, qos INTEGER NOT NULL,
    PRIMARY KEY (device_id, filter));
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, enqueued_s REAL NOT NULL,
    system TEXT NOT NULL, properties TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS event_of_device ON event (device_id, sequence);
CREATE TABLE IF NOT EXISTS c2d (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, device_id TEXT NOT NULL, message_id TEXT, correlation_id TEXT,
    properties TEXT NOT NULL, body BLOB NOT NULL, ack TEXT NOT NULL, enqueued_s REAL NOT NULL,
    expires_s REAL NOT NULL, delivery_count INTEGER NOT NULL, state TEXT NOT NULL, state_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS c2d_waiting ON c2d (device_id, sequence) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS c2d_by_id ON c2d (message_id);
"""


class Database:
    """Thread safety: any thread; one writer and one reader at a time."""

    def __init__(self, path: Path) -> None:
        """Raises StoreFailed if the file cannot be used."""
        with _told():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it will hold keys
            self._writer = _connect(path, _SCHEMA)
            self._reader = _connect(path)
        self._writing, self._reading = threading.Lock(), threading.Lock()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction, committed and synced at the end of the block, rolled back if it raises.

        Raises StoreFailed.
        """
        with self._writing, _told(), self._writer as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees what is committed. Raises StoreFailed."""
        with self._reading, _told():
            yield self._reader

    def close(self) -> None:
        """Close the file. Nobody may use it afterwards."""
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreFailed(f"the store failed: {error}") from error


def _connect(path: Path, script: str = "") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
    try:
        connection.executescript(pragmas + script)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
