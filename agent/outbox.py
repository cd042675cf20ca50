"""The outbox on disk: everything that leaves the agent stands here until the hub has confirmed it.

Invariants, each with a test of its name in tests/agent/test_outbox.py:

 1. durable      what ``append`` returned is there after a crash at any later moment.
 2. gapless      sequence numbers of a store count up by one, whatever was sent, dropped or crashed between.
 3. once         an entry with a key is stored once.
 4. kept         an unsent row leaves the store only by a confirmation or by a declared drop.
 5. declared     every dropped sequence number is in exactly one range that is, or will be, an event row.
 6. oldest first drops take sent rows before unsent ones, and each kind in order of age.
 7. bounded      the file and its log never exceed ``max_bytes``; with the disk nearly full they stop growing.
 8. confirmed    a confirmation is written with the next append, by ``flush``, or repeated after a crash.

SQLite in WAL mode with synchronous=FULL: one fsync a commit, and a commit survives a power cut.
Thread safety: one thread at a time, the outbox writer's.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .reading import Entry, Row
from .timekeeping import BootClock

SCHEMA_VERSION = 1
_PAGE_BYTES = 4096
_LOG_PAGES = 64  # checkpoint the write-ahead log at 256 KiB
_LOG_RESERVE_BYTES = 2 * (_LOG_PAGES + 1) * (_PAGE_BYTES + 24)  # one commit may overshoot the checkpoint
_SMALLEST_PAGES = 256  # a store may grow to 1 MiB even on a card that is nearly full
_DELETE_BATCH = 64
_EXPIRE_BATCH = 500

_SCHEMA = """
CREATE TABLE rows (
    sequence INTEGER PRIMARY KEY,
    run TEXT NOT NULL, boot_id TEXT NOT NULL, boot_time_s REAL NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, simulated INTEGER NOT NULL, calibration TEXT,
    correlation_id TEXT, key TEXT, urgent INTEGER NOT NULL,
    sent_at_s REAL
);
CREATE INDEX unsent ON rows (urgent DESC, sequence) WHERE sent_at_s IS NULL;
CREATE UNIQUE INDEX keyed ON rows (key) WHERE key IS NOT NULL;
CREATE TABLE clocks (boot_id TEXT PRIMARY KEY, offset_s REAL NOT NULL, synchronised INTEGER NOT NULL);
CREATE TABLE drops (first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL);
"""

_COLUMNS = "sequence, run, boot_id, boot_time_s, kind, body, simulated, calibration, correlation_id, key, urgent"


class StoreUnreadable(Exception):
    """The store was written by a newer version of the agent: it is left untouched."""


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """The store in figures. ``oldest_unsent``: (boot id, seconds since that boot) of the first row to go."""

    unsent: int
    sent: int
    next_sequence: int
    used_bytes: int
    max_bytes: int
    dropped: int
    oldest_unsent: tuple[str, float] | None


class Outbox:
    """See the head of this file."""

    def __init__(
        self,
        path: Path,
        *,
        run: str,
        boot_id: str,
        max_bytes: int,
        min_free_bytes: int = 0,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        """Open or create the store at ``path``; new rows are stamped with ``run`` and ``boot_id``.

        Raises StoreUnreadable for a newer schema, and sqlite3.Error as it comes (agent/writer.py decides).
        """
        self.created = not path.exists()
        self.path = path
        self.run = run
        self.boot_id = boot_id
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._free_bytes = free_bytes
        self._confirmed: dict[int, float] = {}
        self.next_sequence, self._unsent, self._sent, self._dropped = 1, 0, 0, 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._prepare()
            self._load()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        version = self._value("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            raise StoreUnreadable(
                f"{self.path}: written by a newer masthead (schema {version}, this one knows {SCHEMA_VERSION}): "
                "install that version again, or move the file away"
            )
        self._db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        self._db.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * _PAGE_BYTES}")
        if version == 0:
            with self._transaction():
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _load(self) -> None:
        self.next_sequence = self._value("SELECT COALESCE(MAX(sequence), 0) + 1 FROM rows")
        self._unsent = self._value("SELECT COUNT(*) FROM rows WHERE sent_at_s IS NULL")
        self._sent = self._value("SELECT COUNT(*) FROM rows") - self._unsent
        self.clocks = {
            boot: BootClock(offset, bool(synchronised))
            for boot, offset, synchronised in self._db.execute("SELECT * FROM clocks")
        }

    # --- storing

    def append(self, entries: Sequence[Entry], leased: Collection[int] = ()) -> list[Row]:
        """Store ``entries`` and what was confirmed so far, in one commit; the new rows.

        An entry whose key is stored already yields no row. ``leased`` rows are in flight and are not
        dropped. Raises sqlite3.Error, and then nothing was stored.
        """
        rows: list[Row] = []
        with self._transaction():
            if self._write_confirmations():
                rows += self._declare_drops(leased)
            self._make_room(sum(_pages(entry) for entry in entries), leased)
            for entry in entries:
                rows += self._insert(Row(self.next_sequence, self.run, self.boot_id, entry))
        return rows

    def adopt(self, rows: Sequence[Row], next_sequence: int) -> None:
        """Store rows that stood in memory, under their own sequence numbers (none of them given here yet);
        give none below ``next_sequence`` from now on."""
        with self._transaction():
            self._make_room(sum(_pages(row.entry) for row in rows))
            for row in rows:
                self._insert(row)
            self.skip_to(next_sequence)

    def _insert(self, row: Row) -> list[Row]:
        e = row.entry
        cursor = self._db.execute(
            f"INSERT OR IGNORE INTO rows ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608  (constant)
            (
                row.sequence, row.run, row.boot_id, e.boot_time_s, e.kind,
                json.dumps(dict(e.body), ensure_ascii=False, separators=(",", ":")),
                e.simulated, e.calibration, e.correlation_id, e.key, e.urgent,
            ),
        )  # fmt: skip
        if cursor.rowcount == 0:
            return []
        self.next_sequence = row.sequence + 1
        self._unsent += 1
        return [row]

    def skip_to(self, sequence: int) -> None:
        """Give no sequence number below this one: they were given while there was no disk."""
        self.next_sequence = max(self.next_sequence, sequence)

    def set_clock(self, boot_id: str, clock: BootClock) -> None:
        """Correct what time it was in a boot, for all its rows at once (one commit)."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO clocks VALUES (?,?,?) ON CONFLICT (boot_id) DO UPDATE SET "
                "offset_s = excluded.offset_s, synchronised = excluded.synchronised",
                (boot_id, clock.offset_s, clock.synchronised),
            )
        self.clocks = {**self.clocks, boot_id: clock}

    # --- sending

    def unsent(self, limit: int, leased: Collection[int] = ()) -> list[Row]:
        """Up to ``limit`` rows to send next, urgent ones first, then by age, but for ``leased`` ones."""
        skip = set(leased) | self._confirmed.keys()
        found = self._db.execute(
            f"SELECT {_COLUMNS} FROM rows WHERE sent_at_s IS NULL ORDER BY urgent DESC, sequence LIMIT ?",  # noqa: S608
            (limit + len(skip),),
        )
        return [_row(values) for values in found if values[0] not in skip][:limit]

    def confirm(self, sequences: Collection[int], at_s: float) -> None:
        """The hub has these rows (at Unix time ``at_s``). Written with the next commit."""
        self._confirmed.update(dict.fromkeys(sequences, at_s))

    @property
    def unwritten_confirmations(self) -> int:
        return len(self._confirmed)

    def flush(self, leased: Collection[int] = ()) -> list[Row]:
        """Write the confirmations now, and declare what was dropped; the rows of such declarations."""
        with self._transaction():
            self._write_confirmations()
            return self._declare_drops(leased)

    def _write_confirmations(self) -> bool:
        any_written = bool(self._confirmed)
        for sequence, at_s in self._confirmed.items():
            done = self._db.execute(
                "UPDATE rows SET sent_at_s = ? WHERE sequence = ? AND sent_at_s IS NULL", (at_s, sequence)
            ).rowcount
            self._unsent -= done
            self._sent += done
        self._confirmed = {}
        return any_written

    # --- limits

    def expire(self, now_s: float, keep_sent_s: float, max_age_s: float | None, leased: Collection[int]) -> None:
        """Delete sent rows older than ``keep_sent_s`` and drop unsent ones older than ``max_age_s``.

        ``now_s``: trusted Unix time. Looks at the oldest few hundred rows only; call it now and then.
        Unsent rows of a boot whose clock was never synchronised have no age.
        """
        oldest = self._db.execute(
            "SELECT sequence, sent_at_s, offset_s + boot_time_s FROM rows LEFT JOIN clocks "
            "ON rows.boot_id = clocks.boot_id AND synchronised ORDER BY sequence LIMIT ?",
            (_EXPIRE_BATCH,),
        ).fetchall()
        stale = [s for s, sent, _ in oldest if sent is not None and sent < now_s - keep_sent_s]
        old = [
            s for s, sent, made in oldest
            if max_age_s is not None and sent is None and made is not None and made < now_s - max_age_s
            and s not in leased and s not in self._confirmed
        ]  # fmt: skip
        if stale or old:
            with self._transaction():
                self._delete_sent(stale)
                for sequence in old:
                    self._drop(sequence, "age")

    def _make_room(self, pages: int, leased: Collection[int] = ()) -> None:
        """Free what must go so that ``pages`` more fit: they then come out of the file's own free pages."""
        budget = (self._max_bytes - _LOG_RESERVE_BYTES) // _PAGE_BYTES
        if self._free_bytes(self.path.parent) < self._min_free_bytes:
            budget = min(budget, max(self._value("PRAGMA page_count"), _SMALLEST_PAGES))
        keep = set(leased) | self._confirmed.keys() | {self.next_sequence - 1}
        while self._used_pages() + pages > budget:
            if not (self._free_sent() or self._drop_oldest(keep)):
                return

    def _free_sent(self) -> bool:
        if self._sent == 0:
            return False
        found = self._db.execute(
            "SELECT sequence FROM rows WHERE sent_at_s IS NOT NULL AND sequence <> ? ORDER BY sequence LIMIT ?",
            (self.next_sequence - 1, _DELETE_BATCH),
        )
        return self._delete_sent([s for (s,) in found])

    def _delete_sent(self, sequences: Sequence[int]) -> bool:
        gone = 0
        for sequence in sequences:
            if sequence != self.next_sequence - 1:  # the newest row carries the count
                gone += self._db.execute("DELETE FROM rows WHERE sequence = ?", (sequence,)).rowcount
        self._sent -= gone
        return gone > 0

    def _drop_oldest(self, keep: Collection[int]) -> bool:
        found = self._db.execute(
            "SELECT sequence FROM rows WHERE sent_at_s IS NULL ORDER BY sequence LIMIT ?", (len(keep) + 1,)
        )
        for (sequence,) in found:
            if sequence not in keep:
                self._drop(sequence, "full")
                return True
        return False

    def _drop(self, sequence: int, reason: str) -> None:
        if sequence == self.next_sequence - 1:
            return
        kind, body = self._db.execute("SELECT kind, body FROM rows WHERE sequence = ?", (sequence,)).fetchone()
        if kind == "event" and (declared := json.loads(body)).get("event") == "dropped":
            for first, last, why in declared["ranges"]:  # a lost declaration is declared again
                self._note_drop(first, last, why)
        self._note_drop(sequence, sequence, reason)
        self._db.execute("DELETE FROM rows WHERE sequence = ?", (sequence,))
        self._unsent -= 1
        self._dropped += 1

    def _note_drop(self, first: int, last: int, reason: str) -> None:
        extended = self._db.execute(
            "UPDATE drops SET last = ? WHERE last = ? AND reason = ?", (last, first - 1, reason)
        ).rowcount
        if not extended:
            self._db.execute("INSERT INTO drops VALUES (?,?,?)", (first, last, reason))

    def _declare_drops(self, leased: Collection[int]) -> list[Row]:
        ranges = self._db.execute("SELECT first, last, reason FROM drops ORDER BY first LIMIT 50").fetchall()
        if not ranges:
            return []
        count = sum(last - first + 1 for first, last, _ in ranges)
        newest = self._db.execute("SELECT boot_id, boot_time_s FROM rows ORDER BY sequence DESC LIMIT 1").fetchone()
        body = {"event": "dropped", "count": count, "ranges": [list(r) for r in ranges]}
        for first, last, reason in ranges:
            self._db.execute("DELETE FROM drops WHERE (first, last, reason) = (?,?,?)", (first, last, reason))
        boot_id, boot_time_s = newest or (self.boot_id, 0.0)
        entry = Entry("event", boot_time_s, body, urgent=True)
        self._make_room(_pages(entry), leased)
        return self._insert(Row(self.next_sequence, self.run, boot_id, entry))

    # --- looking

    def stats(self) -> OutboxStats:
        """The store in figures, without a scan."""
        oldest = self._db.execute(
            "SELECT boot_id, boot_time_s FROM rows WHERE sent_at_s IS NULL ORDER BY sequence LIMIT 1"
        ).fetchone()
        return OutboxStats(
            unsent=self._unsent - len(self._confirmed),
            sent=self._sent + len(self._confirmed),
            next_sequence=self.next_sequence,
            used_bytes=self._used_pages() * _PAGE_BYTES,
            max_bytes=self._max_bytes,
            dropped=self._dropped,
            oldest_unsent=tuple(oldest) if oldest else None,
        )

    def close(self) -> None:
        """Write what is confirmed and let go of the file. May be called twice."""
        with suppress(sqlite3.Error):
            self.flush()
        self._db.close()

    def _used_pages(self) -> int:
        return self._value("PRAGMA page_count") - self._value("PRAGMA freelist_count")

    def _value(self, sql: str) -> int:
        return int(self._db.execute(sql).fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, in the file and in our own counters."""
        before = (self.next_sequence, self._unsent, self._sent, self._dropped, self._confirmed)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            self.next_sequence, self._unsent, self._sent, self._dropped, self._confirmed = before
            raise


def _pages(entry: Entry) -> int:
    """At most so many pages are touched anew by storing ``entry``: its text, and a split in each tree."""
    return 4 + 2 * len(repr(entry.body)) // _PAGE_BYTES


def _row(values: tuple[Any, ...]) -> Row:
    sequence, run, boot_id, boot_time_s, kind, body, simulated, calibration, correlation_id, key, urgent = values
    entry = Entry(
        kind, boot_time_s, json.loads(body), bool(simulated), calibration, correlation_id, key, bool(urgent)
    )
    return Row(sequence, run, boot_id, entry)
