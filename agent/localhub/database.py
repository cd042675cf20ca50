"""The hub's SQLite file.

Invariants:
1. What a ``write`` block did is on the disk when the block ends (WAL, synchronous=FULL), or did not happen.
2. Readers see whole transactions only and never wait for a writer.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import zlib
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


_VERSION = 2
_CHANGES = {
    1: """
ALTER TABLE device ADD COLUMN etag TEXT NOT NULL DEFAULT 'AAAAAAAAAAE=';
ALTER TABLE device ADD COLUMN status_reason TEXT;
ALTER TABLE device ADD COLUMN status_s REAL NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN primary_thumbprint TEXT;
ALTER TABLE device ADD COLUMN secondary_thumbprint TEXT;
ALTER TABLE event ADD COLUMN partition INTEGER NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE event SET partition = partition_of(device_id);
UPDATE event SET number = (
    SELECT n FROM (SELECT sequence AS s, row_number() OVER (PARTITION BY partition ORDER BY sequence) - 1 AS n
    FROM event) WHERE s = sequence);
CREATE UNIQUE INDEX event_of_partition ON event (partition, number);
CREATE INDEX event_by_time ON event (partition, enqueued_s, number);
ALTER TABLE c2d ADD COLUMN user_id TEXT;
ALTER TABLE c2d ADD COLUMN content_type TEXT;
ALTER TABLE c2d ADD COLUMN content_encoding TEXT;
CREATE TABLE twin (
    device_id TEXT PRIMARY KEY REFERENCES device ON DELETE CASCADE, etag TEXT NOT NULL,
    version INTEGER NOT NULL, tags TEXT NOT NULL, desired TEXT NOT NULL, reported TEXT NOT NULL);
CREATE TABLE feedback (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, record TEXT NOT NULL, enqueued_s REAL NOT NULL,
    delivery_count INTEGER NOT NULL DEFAULT 0);
""",
}
"""What makes a file of the version that is the key one of the next."""


PARTITIONS = 4
"""Of events, as IoT Hub has by default."""


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
    connection.create_function("partition_of", 1, partition_of, deterministic=True)
    pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
    try:
        connection.executescript(pragmas + script)
        if script:
            _migrate(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0] or 1
    if version > _VERSION:
        raise sqlite3.DatabaseError(
            f"written by a newer masthead (schema {version}, this one knows {_VERSION})"
        )
    for old in range(version, _VERSION):
        connection.executescript(f"BEGIN IMMEDIATE; {_CHANGES[old]} PRAGMA user_version = {old + 1}; COMMIT;")


def partition_of(device_id: str) -> int:
    """Where a device's events are: all of one device in one place, for ever."""
    return zlib.crc32(device_id.encode()) % PARTITIONS
