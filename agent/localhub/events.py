"""The log of what devices sent (D2C)."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .database import Database, partition_of
from .records import Arrival, Event

_READ_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Span:
    """The events of a partition: the numbers of the first and the last, and when that was stored."""

    first: int
    last: int
    last_enqueued_s: float


class EventLog:
    """Thread safety: any thread."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now

    def append(self, arrivals: Sequence[Arrival]) -> list[Event]:
        """Store all in this order with one commit; on the disk when it returns."""
        now = self._now()
        with self._database.write() as db:
            events = [_insert(db, now, arrival) for arrival in arrivals]
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

    def read(self, partition: int, number: int, limit: int = 100) -> list[Event]:
        """The events of a partition from ``number`` on, oldest first: at most ``limit``, and only so many as
        it takes to hold 262,144 bytes."""
        events: list[Event] = []
        size = 0
        with self._database.read() as db:
            rows = db.execute(
                "SELECT * FROM event WHERE partition = ? AND number >= ? ORDER BY number LIMIT ?",
                (partition, number, limit),
            )
            for row in rows:
                events.append(_event(row))
                size += len(row["body"]) + len(row["properties"]) + len(row["system"])
                if size >= _READ_BYTES:
                    break
            rows.close()
        return events

    def span(self, partition: int) -> Span | None:
        """What a partition holds, None if nothing."""
        with self._database.read() as db:
            select = "SELECT number, enqueued_s FROM event WHERE partition = ? ORDER BY number"
            first = db.execute(f"{select} LIMIT 1", (partition,)).fetchone()
            last = db.execute(f"{select} DESC LIMIT 1", (partition,)).fetchone()
        return None if first is None else Span(first["number"], last["number"], last["enqueued_s"])

    def number_since(self, partition: int, at_s: float) -> int | None:
        """The number of the partition's first event that was stored later than ``at_s``, None if none was."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT number FROM event WHERE partition = ? AND enqueued_s > ?"
                " ORDER BY enqueued_s, number LIMIT 1",
                (partition, at_s),
            ).fetchone()
        return None if row is None else int(row["number"])

    def object_ids(self, device_id: str, run: str | None = None) -> set[str]:
        """The ids ``<run>-<sequence>`` of all stored objects that have both keys, one by one or in arrays.

        ``run``: of this run of the sender only.
        """
        found: set[str] = set()
        with self._database.read() as db:
            for row in db.execute("SELECT body FROM event WHERE device_id = ?", (device_id,)):
                found.update(_ids(row["body"], run))
        return found


def _insert(db: sqlite3.Connection, now: float, arrival: Arrival) -> Event:
    partition = partition_of(arrival.device_id)
    row = db.execute(
        "INSERT INTO event (device_id, enqueued_s, system, properties, body, partition, number) VALUES"
        " (?1, ?2, ?3, ?4, ?5, ?6, (SELECT coalesce(max(number), -1) + 1 FROM event WHERE partition = ?6))"
        " RETURNING *",
        (
            arrival.device_id,
            now,
            json.dumps(arrival.system),
            json.dumps(arrival.properties),
            arrival.body,
            partition,
        ),
    ).fetchone()
    return _event(row)


def _event(row: sqlite3.Row) -> Event:
    return Event(
        row["sequence"],
        row["device_id"],
        row["enqueued_s"],
        json.loads(row["system"]),
        json.loads(row["properties"]),
        row["body"],
        row["partition"],
        row["number"],
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
