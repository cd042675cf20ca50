"""The command journal: every command is on disk before anything moves.

Invariants, each with a test of its name in tests/agent/commands/test_journal.py:

 1. journalled    an arrival that ``add`` returned is there after a crash.
 2. once          an arrival whose id came before is known by ``earlier``, for as long as that one is kept.
 3. answered      every arrival has exactly one outcome, and ``unposted`` lists it until it is in the outbox.
 4. interrupted   an arrival without an outcome at the start was cut off; ``unfinished`` lists it.
 5. bounded       at least the newest ``keep`` arrivals are kept, by count: a clock can be wrong.

Kept apart from the outbox, so that a damaged outbox cannot make an old command look new.
Thread safety: any thread (one lock, one connection).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cloud import CloudMessage
from ..outbox_file import StoreDamaged

SCHEMA_VERSION = 1
_TRIM_EVERY = 1000

_SCHEMA = """
CREATE TABLE arrivals (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    token TEXT NOT NULL, command_id TEXT, digest TEXT NOT NULL,
    body BLOB, message_id TEXT, expires TEXT, boot_id TEXT NOT NULL, received_boot_s REAL NOT NULL,
    outcome TEXT, posted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX by_id ON arrivals (command_id, number) WHERE command_id IS NOT NULL;
CREATE INDEX open ON arrivals (number) WHERE posted = 0;
"""

_COLUMNS = "number, token, command_id, digest, body, received_boot_s, message_id, expires, boot_id, outcome"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as journalled. ``token`` names it beyond this journal; ``outcome`` is None until then."""

    number: int
    token: str
    command_id: str | None
    digest: str
    message: CloudMessage
    boot_id: str
    outcome: Mapping[str, Any] | None = None


class Journal:
    """See the head of this file."""

    def __init__(self, path: Path, boot_id: str, keep: int = 300_000) -> None:
        """Open or create the journal. Raises sqlite3.Error."""
        self.is_new = False
        """Whether there was none before: nobody knows the ids of earlier commands."""
        self._boot_id = boot_id
        self._keep = keep
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self.is_new = True
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            elif version > SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"{path} was written by a newer masthead (schema {version})")
        except BaseException:
            self._db.close()
            raise

    def add(self, command_id: str | None, digest: str, message: CloudMessage) -> Arrival:
        """Journal an arrival; durable on return. Raises sqlite3.Error."""
        token = secrets.token_hex(8)
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            cursor = self._db.execute(
                "INSERT INTO arrivals (token, command_id, digest, body, message_id, expires, boot_id, "
                "received_boot_s) VALUES (?,?,?,?,?,?,?,?)",
                (token, command_id, digest, message.body, message.message_id, message.expires, self._boot_id,
                 message.received_boot_s),
            )  # fmt: skip
            number = int(cursor.lastrowid or 0)
            if number % _TRIM_EVERY == 0:
                self._db.execute("DELETE FROM arrivals WHERE number <= ? AND posted", (number - self._keep,))
        return Arrival(number, token, command_id, digest, message, self._boot_id)

    def earlier(self, arrival: Arrival) -> Arrival | None:
        """What came before ``arrival`` with its id: the first with the same body, else the first of all."""
        found = self._select(
            "command_id = ? AND number < ? ORDER BY digest <> ?, number LIMIT 1",
            arrival.command_id, arrival.number, arrival.digest,
        )  # fmt: skip
        return found[0] if found else None

    def finish(self, number: int, outcome: Mapping[str, Any]) -> None:
        """Record the one outcome of an arrival; its body is no longer needed. Raises sqlite3.Error."""
        with self._lock:
            self._db.execute(
                "UPDATE arrivals SET outcome = ?, body = NULL WHERE number = ? AND outcome IS NULL",
                (json.dumps(outcome), number),
            )

    def mark_posted(self, number: int) -> None:
        """The outcome of this arrival is in the outbox. Raises sqlite3.Error."""
        with self._lock:
            self._db.execute("UPDATE arrivals SET posted = 1 WHERE number = ?", (number,))

    def unfinished(self) -> list[Arrival]:
        """Arrivals without an outcome, in order. Raises sqlite3.Error."""
        return self._select("posted = 0 AND outcome IS NULL ORDER BY number")

    def unposted(self) -> list[Arrival]:
        """Arrivals whose outcome is not known to be in the outbox, in order. Raises sqlite3.Error."""
        return self._select("posted = 0 AND outcome IS NOT NULL ORDER BY number")

    def close(self, timeout_s: float = -1) -> None:
        """Let go of the file. A stalled card is waited for ``timeout_s`` at most (-1: as long as it takes);
        the end of the process then does it. May be called twice."""
        if self._lock.acquire(timeout=timeout_s):
            self._db.close()
            self._lock.release()

    def _select(self, where: str, *values: object) -> list[Arrival]:
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM arrivals WHERE {where}", values)  # noqa: S608  (constants)
            found = rows.fetchall()
        return [
            Arrival(
                number, token, command_id, digest,
                CloudMessage(body or b"", received, message_id, expires=expires),
                boot, _outcome(outcome),
            )
            for number, token, command_id, digest, body, received, message_id, expires, boot, outcome in found
        ]  # fmt: skip


def _outcome(text: str | None) -> dict[str, Any] | None:
    """A stored outcome. Raises StoreDamaged."""
    try:
        outcome = json.loads(text) if text else None
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreDamaged(f"a stored outcome is no JSON: {error}") from error
    if not isinstance(outcome, dict | None):
        raise StoreDamaged("a stored outcome is no JSON object")
    return outcome
