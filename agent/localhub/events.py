"""The log of what devices sent (D2C)."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence

from .database import Database
from .records import Arrival, Event


class EventLog:
    """Thread safety: any thread."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def append(self, arrivals: Sequence[Arrival]) -> list[Event]:
        """Store all in this order with one commit; on the disk when it returns."""
        now = self._now()
        with self._database.write() as db:
            events = [
                Event(_insert(db, now, a), a.device_id, now, a.system, a.properties, a.body) for a in arrivals
            ]
            db.executemany(
                "UPDATE device SET last_activity_s = ? WHERE device_id = ?",
                [(now, device_id) for device_id in {a.device_id for a in arrivals}],
            )
        return events

    def after(self, sequence: int = 0, device_id: str | None = None, limit: int = 1000) -> list[Event]:
        """The oldest ``limit`` events whose sequence number is greater, oldest first."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT * FROM event WHERE sequence > ?1 AND (?2 IS NULL OR device_id = ?2)"
                " ORDER BY sequence LIMIT ?3",
                (sequence, device_id, limit),
            ).fetchall()
        return [_event(row) for row in rows]

    def latest(self, device_id: str | None = None, limit: int = 1000) -> list[Event]:
        """The newest ``limit`` events, oldest first."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT * FROM event WHERE ?1 IS NULL OR device_id = ?1 ORDER BY sequence DESC LIMIT ?2",
                (device_id, limit),
            ).fetchall()
        return [_event(row) for row in reversed(rows)]

    def object_ids(self, device_id: str, run: str | None = None) -> set[str]:
        """The ids ``<run>-<sequence>`` of all stored objects that have both keys, one by one or in arrays.

        ``run``: of this run of the sender only.
        """
        found: set[str] = set()
        with self._database.read() as db:
            for row in db.execute("SELECT body FROM event WHERE device_id = ?", (device_id,)):
                found.update(_ids(row["body"], run))
        return found


def _insert(db: sqlite3.Connection, now: float, arrival: Arrival) -> int:
    cursor = db.execute(
        "INSERT INTO event (device_id, enqueued_s, system, properties, body) VALUES (?, ?, ?, ?, ?)",
        (arrival.device_id, now, json.dumps(arrival.system), json.dumps(arrival.properties), arrival.body),
    )
    sequence = cursor.lastrowid
    assert sequence is not None  # noqa: S101  (an INSERT always sets it; for the type checker)
    return sequence


def _event(row: sqlite3.Row) -> Event:
    return Event(
        row["sequence"],
        row["device_id"],
        row["enqueued_s"],
        json.loads(row["system"]),
        json.loads(row["properties"]),
        row["body"],
    )


def _ids(body: bytes, run: str | None) -> list[str]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return []
    objects = content if isinstance(content, list) else [content]
    return [
        f"{o['run']}-{o['sequence']}"
        for o in objects
        if isinstance(o, dict) and "run" in o and "sequence" in o and run in (None, o["run"])
    ]
