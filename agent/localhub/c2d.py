"""The queues of messages that wait for devices (C2D), and what became of each.

Limits and states: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-c2d

Invariants:
1. A message leaves "queued" once, for one final state, and never changes again.
2. What is due for a device comes in the order in which it was queued.
3. A message is never given out for sending once it has expired, nor more than ten times.
4. Its sender's feedback is stored in the commit that makes its state final, or neither is.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from . import topics
from .database import Database
from .feedback import FeedbackQueue
from .records import Ack, C2dMessage, C2dState, InvalidRequest, QueueFull, UnknownDevice

MAX_PENDING = 50
MAX_DELIVERIES = 10
MAX_BYTES = 65_536
DEFAULT_TTL_S = 3600.0
MAX_TTL_S = 2 * 86_400.0
LOCK_S = 60.0
"""How long a message that was sent is kept from expiring."""

_MAX_TOPIC = 65_535


class MessageTooLarge(InvalidRequest):
    """It holds more than ``MAX_BYTES``."""


class C2dQueue:
    """Thread safety: any thread. Every change is on the disk when its method returns."""

    def __init__(
        self, database: Database, now: Callable[[], float] = time.time, feedback: FeedbackQueue | None = None
    ) -> None:
        """``feedback``: where that of this queue goes."""
        self._database = database
        self._now = now
        self._feedback = feedback or FeedbackQueue(database, now)
        # sequence -> device, when it was sent; guarded by the lock that writing takes
        self._in_flight: dict[int, tuple[str, float]] = {}

    def add(
        self,
        device_id: str,
        body: bytes,
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        expires_in_s: float = DEFAULT_TTL_S,
        ack: Ack = "none",
        properties: Mapping[str, str] | None = None,
        user_id: str | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
    ) -> C2dMessage:
        """Queue a message. Raises UnknownDevice, InvalidRequest (MessageTooLarge), QueueFull."""
        own = dict(properties or {})
        system = (message_id, correlation_id, user_id, content_type, content_encoding)
        _check(message_id, correlation_id, expires_in_s)
        _check_size(body, [text for text in system if text is not None], own)
        now = self._now()
        with self._database.write() as db:
            if not db.execute("SELECT 1 FROM device WHERE device_id = ?", (device_id,)).fetchone():
                raise UnknownDevice(f"no device {device_id!r}")
            pending = db.execute(
                "SELECT count(*) FROM c2d WHERE device_id = ? AND state = 'queued' AND expires_s > ?",
                (device_id, now),
            ).fetchone()[0]
            if pending >= MAX_PENDING:
                raise QueueFull(f"{pending} messages wait for {device_id!r}, at most {MAX_PENDING}")
            columns = {
                "device_id": device_id,
                "message_id": message_id,
                "correlation_id": correlation_id,
                "properties": json.dumps(own),
                "body": body,
                "ack": ack,
                "enqueued_s": now,
                "expires_s": now + expires_in_s,
                "delivery_count": 0,
                "state": "queued",
                "state_s": now,
                "user_id": user_id,
                "content_type": content_type,
                "content_encoding": content_encoding,
            }
            places = ", ".join("?" * len(columns))
            row = db.execute(
                f"INSERT INTO c2d ({', '.join(columns)}) VALUES ({places}) RETURNING *",  # noqa: S608
                tuple(columns.values()),
            ).fetchone()
            message = _message(row)
            if len(topics.c2d(message)) > _MAX_TOPIC:
                raise MessageTooLarge(f"properties take more than {_MAX_TOPIC} bytes in a topic of MQTT")
            return message

    def take(self, device_id: str, limit: int) -> list[C2dMessage]:
        """The next messages to send, oldest first, each counted as sent once more and now in flight."""
        now = self._now()
        with self._database.write() as db:
            rows = db.execute(
                "SELECT sequence FROM c2d WHERE device_id = ? AND state = 'queued' AND expires_s > ?"
                " AND delivery_count < ? ORDER BY sequence",
                (device_id, now, MAX_DELIVERIES),
            ).fetchall()
            numbers = [row["sequence"] for row in rows if row["sequence"] not in self._in_flight][:limit]
            taken = [_update(db, n, "delivery_count = delivery_count + 1") for n in numbers]
            self._in_flight.update((n, (device_id, now)) for n in numbers)
        return [message for message in taken if message]

    def delivered(self, sequence: int) -> C2dMessage | None:
        """The device has acknowledged it. The message as it is now, None if it had a final state already."""
        return self._answered(sequence, "delivered")

    def rejected(self, sequence: int) -> C2dMessage | None:
        """The device will not have it. As ``delivered``."""
        return self._answered(sequence, "rejected")

    def release(self, device_id: str) -> None:
        """No more acknowledgements will come from the device: what is in flight is to be sent again."""
        with self._database.write():
            for sequence in [n for n, (owner, _) in self._in_flight.items() if owner == device_id]:
                del self._in_flight[sequence]

    def purge(self, device_id: str) -> list[C2dMessage]:
        """Take out of the queue what waits for the device; returns it, oldest first."""
        now = self._now()
        with self._settling() as db:
            rows = db.execute(
                "SELECT sequence FROM c2d WHERE device_id = ? AND state = 'queued' ORDER BY sequence",
                (device_id,),
            ).fetchall()
            for row in rows:
                self._in_flight.pop(row["sequence"], None)
            purged = [self._settle(db, row["sequence"], "purged", now) for row in rows]
        return [message for message in purged if message]

    def forget(self, device_id: str | None = None) -> None:
        """Lose what waits for the device, or for all of them, without a final state."""
        with self._database.write() as db:
            db.execute(
                "DELETE FROM c2d WHERE state = 'queued' AND (?1 IS NULL OR device_id = ?1)", (device_id,)
            )

    def settle_overdue(self) -> list[C2dMessage]:
        """Give those that have expired, or were sent too often, their final state; returns them.

        One in flight has its device's answer to wait for, as long as a lock lasts.
        """
        now = self._now()
        with self._settling() as db:
            rows = db.execute(
                "SELECT sequence, expires_s FROM c2d WHERE state = 'queued'"
                " AND (expires_s <= ? OR delivery_count >= ?)",
                (now, MAX_DELIVERIES),
            ).fetchall()
            settled = [
                self._settle(db, row["sequence"], "expired", row["expires_s"])
                if row["expires_s"] <= now
                else self._settle(db, row["sequence"], "dead-lettered", now)
                for row in rows
                if row["sequence"] not in self._in_flight
                or now - self._in_flight[row["sequence"]][1] >= LOCK_S
            ]
        return [message for message in settled if message]

    def next_expiry_s(self) -> float | None:
        """When the next waiting message expires, None if none waits."""
        with self._database.read() as db:
            value = db.execute("SELECT min(expires_s) FROM c2d WHERE state = 'queued'").fetchone()[0]
        return None if value is None else float(value)

    def get(self, sequence: int) -> C2dMessage | None:
        """The message of that sequence number, whatever became of it."""
        with self._database.read() as db:
            row = db.execute("SELECT * FROM c2d WHERE sequence = ?", (sequence,)).fetchone()
        return None if row is None else _message(row)

    def find(self, message_id: str) -> C2dMessage | None:
        """The newest message with that message id, whatever became of it."""
        with self._database.read() as db:
            row = db.execute(
                "SELECT * FROM c2d WHERE message_id = ? ORDER BY sequence DESC LIMIT 1", (message_id,)
            ).fetchone()
        return None if row is None else _message(row)

    def latest(self, device_id: str | None = None, limit: int = 100) -> list[C2dMessage]:
        """The newest ``limit`` messages, whatever became of them, oldest first."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT * FROM c2d WHERE ?1 IS NULL OR device_id = ?1 ORDER BY sequence DESC LIMIT ?2",
                (device_id, limit),
            ).fetchall()
        return [_message(row) for row in reversed(rows)]

    def pending(self, device_id: str) -> int:
        """How many messages wait for the device."""
        with self._database.read() as db:
            return int(
                db.execute(
                    "SELECT count(*) FROM c2d WHERE device_id = ? AND state = 'queued'", (device_id,)
                ).fetchone()[0]
            )

    def _answered(self, sequence: int, state: C2dState) -> C2dMessage | None:
        with self._settling() as db:
            self._in_flight.pop(sequence, None)
            return self._settle(db, sequence, state, self._now())

    @contextmanager
    def _settling(self) -> Iterator[sqlite3.Connection]:
        """A transaction in which messages get their final state; whoever reads feedback hears of it."""
        with self._database.write() as db:
            yield db
        self._feedback.tell()

    def _settle(
        self, db: sqlite3.Connection, sequence: int, state: C2dState, at_s: float
    ) -> C2dMessage | None:
        message = _update(db, sequence, "state = ?, state_s = ?", state, at_s)
        if message is not None:
            self._feedback.put(db, message)
        return message


def _check(message_id: str | None, correlation_id: str | None, expires_in_s: float) -> None:
    for name, value in (("message id", message_id), ("correlation id", correlation_id)):
        if value is not None and not (0 < len(value) <= 128 and value.isascii() and value.isprintable()):
            raise InvalidRequest(f"{name} {value!r}: expected 1 to 128 printable ASCII characters")
    if not 0 < expires_in_s <= MAX_TTL_S:
        raise InvalidRequest(f"expiry {expires_in_s:g} s: expected above 0, at most {MAX_TTL_S:g}")


def _check_size(body: bytes, system: Iterable[str], properties: Mapping[str, str]) -> None:
    """As IoT Hub counts: the body, the values of system properties, names and values of the sender's own."""
    texts = (*system, *properties, *properties.values())
    size = len(body) + sum(len(text.encode()) for text in texts)
    if size > MAX_BYTES:
        raise MessageTooLarge(f"body and properties are {size} bytes, at most {MAX_BYTES}")


def _update(db: sqlite3.Connection, sequence: int, change: str, *values: str | float) -> C2dMessage | None:
    """The message after the change, None if it had a final state already."""
    row = db.execute(
        f"UPDATE c2d SET {change} WHERE sequence = ? AND state = 'queued' RETURNING *",  # noqa: S608  (see callers)
        (*values, sequence),
    ).fetchone()
    return None if row is None else _message(row)


def _message(row: sqlite3.Row) -> C2dMessage:
    return C2dMessage(**{**dict(row), "properties": json.loads(row["properties"])})
