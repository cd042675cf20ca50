"""What became of messages to devices, for senders that want to know.

Records and their limits: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-c2d#message-feedback

Invariants:
1. Records are given out oldest first, at most 64 at a time, and a record to one reader at a time.
2. A record that was given out and not completed within ``LOCK_S`` is given out again, at most ten times in
   all; a restart of the hub gives back all of them.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .database import Database
from .records import C2dMessage
from .twins import iso_time

MAX_RECORDS = 64
"""In one batch, as IoT Hub has it."""

MAX_DELIVERIES = 10
LOCK_S = 60.0
"""How long records are their reader's: what a new IoT Hub is set to."""

TTL_S = 3600.0
"""How long a record that nobody reads is kept: what a new IoT Hub is set to."""

CONTENT_TYPE = "application/vnd.microsoft.iothub.feedback.json"

_STATUS = {
    "delivered": ("Success", frozenset({"positive", "full"})),
    "expired": ("Expired", frozenset({"negative", "full"})),
    "dead-lettered": ("DeliveryCountExceeded", frozenset({"negative", "full"})),
    "rejected": ("Rejected", frozenset({"negative", "full"})),
    "purged": ("Purged", frozenset({"negative", "full"})),
}
"""By the final state of a message: what its sender is told, and if it asked for which acknowledgements."""


@dataclass(frozen=True, slots=True)
class FeedbackBatch:
    """Records that are locked by ``token``. ``body``: a JSON array of them. ``enqueued_s``: of the newest;
    ``delivery_count``: how often the one that was given out most often was."""

    token: str
    body: bytes
    count: int
    enqueued_s: float
    delivery_count: int


class FeedbackQueue:
    """Thread safety: any thread; ``abandon``, ``subscribe``, ``unsubscribe`` and ``tell`` hardly wait."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._lock = threading.Lock()  # for what follows; taken after any lock of the database's
        self._locked: dict[int, tuple[str, float]] = {}  # sequence -> token, until when
        self._told: set[Callable[[], None]] = set()

    def put(self, db: sqlite3.Connection, message: C2dMessage) -> None:
        """Store the record of a message that has got its final state, if its sender wants one, in the
        transaction of the caller, who calls ``tell`` afterwards."""
        status, acks = _STATUS[message.state]
        if message.ack not in acks:
            return
        device = db.execute(
            "SELECT generation_id FROM device WHERE device_id = ?", (message.device_id,)
        ).fetchone()
        record = {
            "originalMessageId": message.message_id or "",
            "description": status,
            "deviceGenerationId": "" if device is None else device["generation_id"],
            "deviceId": message.device_id,
            "enqueuedTimeUtc": iso_time(message.state_s),
            "statusCode": status,
        }
        now = self._now()
        db.execute("INSERT INTO feedback (record, enqueued_s) VALUES (?, ?)", (json.dumps(record), now))
        db.execute("DELETE FROM feedback WHERE enqueued_s <= ?", (now - TTL_S,))

    def take(self) -> FeedbackBatch | None:
        """The oldest records that nobody has; None if there are none.

        They are the caller's until it completes or abandons them, or for ``LOCK_S``.
        """
        token = secrets.token_hex(16)
        if not (chosen := self._choose(token)):
            return None
        try:
            rows = self._count(chosen)
        except BaseException:
            self.abandon(token)
            raise
        if not rows:
            self.abandon(token)
            return None
        return FeedbackBatch(
            token,
            f"[{','.join(row['record'] for row in rows)}]".encode(),
            len(rows),
            max(row["enqueued_s"] for row in rows),
            max(row["delivery_count"] for row in rows),
        )

    def complete(self, token: str) -> bool:
        """The records have been read and are of no more use. False if the lock is over."""
        now = self._now()
        with self._database.write() as db:
            with self._lock:
                held = [n for n, (owner, until_s) in self._locked.items() if owner == token and until_s > now]
            db.executemany("DELETE FROM feedback WHERE sequence = ?", [(n,) for n in held])
        self._unlock(token)
        return bool(held)

    def abandon(self, token: str) -> bool:
        """Give the records back, to be read again. False if the lock is over."""
        held = self._unlock(token)
        self.tell()
        return held

    def subscribe(self, told: Callable[[], None]) -> None:
        """Call ``told``, in any thread, when there may be something to take. It must not wait."""
        with self._lock:
            self._told.add(told)

    def unsubscribe(self, told: Callable[[], None]) -> None:
        """No more."""
        with self._lock:
            self._told.discard(told)

    def tell(self) -> None:
        """There may be something to take."""
        with self._lock:
            told = list(self._told)
        for callback in told:
            callback()

    def _choose(self, token: str) -> list[int]:
        now = self._now()
        chosen: list[int] = []
        with self._database.read() as db, self._lock:
            self._locked = {n: lock for n, lock in self._locked.items() if lock[1] > now}
            for row in db.execute("SELECT sequence FROM feedback ORDER BY sequence"):
                if row["sequence"] not in self._locked:
                    chosen.append(row["sequence"])
                if len(chosen) == MAX_RECORDS:
                    break
            self._locked.update((n, (token, now + LOCK_S)) for n in chosen)
        return chosen

    def _count(self, chosen: list[int]) -> list[sqlite3.Row]:
        """The records, each counted as given out once more; without those whose time or number is up."""
        oldest_s = self._now() - TTL_S
        with self._database.write() as db:
            db.executemany(
                "DELETE FROM feedback WHERE sequence = ? AND (delivery_count >= ? OR enqueued_s <= ?)",
                [(n, MAX_DELIVERIES, oldest_s) for n in chosen],
            )
            update = "UPDATE feedback SET delivery_count = delivery_count + 1 WHERE sequence = ? RETURNING *"
            found = [db.execute(update, (n,)).fetchone() for n in chosen]
        return [row for row in found if row is not None]

    def _unlock(self, token: str) -> bool:
        now = self._now()
        with self._lock:
            held = {n: until_s for n, (owner, until_s) in self._locked.items() if owner == token}
            for n in held:
                del self._locked[n]
        return any(until_s > now for until_s in held.values())
