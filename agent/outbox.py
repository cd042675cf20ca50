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

import heapq
import json
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .outbox_file import (
    FRAME_BYTES,
    LOG_PAGES,
    NOT_SENT,
    PAGE_BYTES,
    StoreDamaged,
    StoreUnreadable,
    StoreVanished,
    connect,
    identity,
)
from .reading import Entry, Row, json_text, object_id, sound
from .timekeeping import BootClock

__all__ = ["MayDrop", "Outbox", "OutboxStats", "StoreUnreadable", "anything", "commits", "dropped_event"]

_COMMIT_ENTRIES = 32
_COMMIT_BYTES = 32 * 1024
_COMMIT_CONFIRMATIONS = 20
_COMMIT_PAGES = 80  # what a commit touches besides the pages of its entries; each row may take two
_SMALLEST_PAGES = 256  # a store may grow to 1 MiB even on a card that is nearly full
_DELETE_BATCH = 16
_EXPIRE_BATCH = 500
_MANY_CLOCKS = 100
_DECLARED_RANGES = 50

_COLUMNS = (
    "sequence, run, boot_id, boot_time_s, kind, body, simulated, calibration, correlation_id, key, urgent"
)

T = TypeVar("T")

MayDrop = Callable[[str], bool]
"""Asked before a row (by its object id) is dropped; False while it is in flight."""


def anything(object_id: str) -> bool:  # noqa: ARG001  (a MayDrop)
    """No row is in flight."""
    return True


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """The store in figures. ``oldest_unsent``: (boot id, seconds since that boot) of the oldest row to go."""

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
        simulated: bool = False,
    ) -> None:
        """Open or create the store at ``path``; new rows are stamped with ``run`` and ``boot_id``.

        ``simulated``: stamped on the events of its own. Raises StoreUnreadable for a newer schema, and
        sqlite3.Error and OSError as they come (agent/storage.py decides).
        """
        self.path = path
        self.run = run
        self.boot_id = boot_id
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._free_bytes = free_bytes
        self._simulated = simulated
        self._confirmed: dict[str, tuple[float, int, str]] = {}
        self._dropped = 0
        self._db = connect(path)
        try:
            self._file = identity(path)
            self._load()
        except BaseException:
            self._db.close()
            raise

    def _load(self) -> None:
        self.next_sequence = self._value("SELECT COALESCE(MAX(sequence), 0) + 1 FROM rows")
        self.created = self.next_sequence == 1  # nothing was ever stored: the newest row always stays
        self._unsent = self._value("SELECT COUNT(*) FROM rows WHERE sent_at_s < 0")
        self._sent = self._value("SELECT COUNT(*) FROM rows") - self._unsent
        self.clocks = self._read_clocks()

    # --- storing

    def append(self, entries: Sequence[Entry], may_drop: MayDrop = anything) -> list[Row]:
        """Store ``entries`` (see ``commits``), and confirmations, in one commit; the new rows.

        An entry whose key is stored already yields no row. Raises sqlite3.Error or OSError, and then
        nothing was stored.
        """
        rows: list[Row] = []
        with self._transaction():
            if self._write_confirmations():  # else nothing gets through: declaring would displace readings
                rows += self._declare_drops(may_drop)
            self._make_room(_pages(entries), may_drop)
            for entry in entries:
                row = Row(self.next_sequence, self.run, self.boot_id, entry)
                if self._insert(row):
                    rows.append(row)
        return rows

    def adopt(self, rows: Sequence[Row], may_drop: MayDrop = anything) -> None:
        """Store rows (see ``commits``) under the numbers they have, none below ``next_sequence``.

        A row whose key is stored already goes without: its number has been seen and must not be missing.
        """
        with self._transaction():
            self._make_room(_pages([row.entry for row in rows]), may_drop)
            for row in rows:
                self._insert(row) or self._insert(row, keyed=False)

    def skip_to(self, sequence: int) -> None:
        """Give no sequence number below this one: they were given while there was no disk."""
        self.next_sequence = max(self.next_sequence, sequence)

    def _insert(self, row: Row, *, keyed: bool = True) -> bool:
        e = row.entry
        inserted = self._db.execute(
            f"INSERT INTO rows ({_COLUMNS}, sent_at_s) VALUES (?,?,?,?,?,?,?,?,?,?,?,?) "  # noqa: S608  (constant)
            "ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING",
            (
                row.sequence, row.run, row.boot_id, e.boot_time_s, e.kind, json_text(e.body), e.simulated,
                sound(e.calibration), sound(e.correlation_id), sound(e.key) if keyed else None, e.urgent,
                NOT_SENT,
            ),
        ).rowcount  # fmt: skip
        if inserted:
            self.skip_to(row.sequence + 1)
            self._unsent += 1
        return bool(inserted)

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

    def unsent(self, limit: int, skip: Collection[str] = ()) -> list[Row]:
        """Up to ``limit`` rows to send next, urgent ones first, then by age; none of the ids in ``skip``."""
        found = self._db.execute(
            f"SELECT {_COLUMNS} FROM rows WHERE sent_at_s < 0 ORDER BY urgent DESC, sequence LIMIT ?",  # noqa: S608
            (limit + len(skip) + len(self._confirmed),),
        )
        rows = (_row(values) for values in found if not self._skips(object_id(values[1], values[0]), skip))
        return [row for row, _ in zip(rows, range(limit), strict=False)]

    def backlog(self) -> Iterator[Row]:
        """All rows that are not confirmed, oldest first. Nothing else may be called until it is read."""
        found = self._db.execute(f"SELECT {_COLUMNS} FROM rows WHERE sent_at_s < 0 ORDER BY sequence")  # noqa: S608
        return (_row(values) for values in found if object_id(values[1], values[0]) not in self._confirmed)

    def _skips(self, name: str, skip: Collection[str]) -> bool:
        return name in skip or name in self._confirmed

    def confirm(self, rows: Collection[Row], at_s: float) -> None:
        """The hub has these rows (at Unix time ``at_s``). Written with the next commits."""
        for row in rows:
            self._confirmed[row.object_id] = (max(at_s, 0.0), row.sequence, row.run)

    @property
    def unwritten_confirmations(self) -> int:
        return len(self._confirmed)

    def flush(self, may_drop: MayDrop = anything) -> list[Row]:
        """Write the confirmations now, and declare what was dropped; the rows of such declarations."""
        while len(self._confirmed) > _COMMIT_CONFIRMATIONS:
            with self._transaction():
                self._write_confirmations()
        with self._transaction():
            self._write_confirmations()
            return self._declare_drops(may_drop)

    def _write_confirmations(self) -> bool:
        ids = list(self._confirmed)[:_COMMIT_CONFIRMATIONS]
        for name in ids:
            done = self._db.execute(
                "UPDATE rows SET sent_at_s = ? WHERE sequence = ? AND run = ? AND sent_at_s < 0",
                self._confirmed[name],
            ).rowcount
            self._unsent -= done
            self._sent += done
        self._confirmed = {name: how for name, how in self._confirmed.items() if name not in ids}
        return bool(ids)

    # --- limits

    def expire(
        self, now_s: float, keep_sent_s: float, max_age_s: float | None, may_drop: MayDrop = anything
    ) -> bool:
        """Delete sent rows older than ``keep_sent_s`` and drop unsent ones older than ``max_age_s``.

        ``now_s``: trusted Unix time. Looks at the oldest few hundred rows only; True if it is worth calling
        again soon. Unsent rows of a boot whose clock was never synchronised have no age.
        """
        oldest = self._db.execute(
            "SELECT sequence, run, sent_at_s, offset_s + boot_time_s FROM rows LEFT JOIN clocks "
            "ON rows.boot_id = clocks.boot_id AND synchronised WHERE sequence < ? ORDER BY sequence LIMIT ?",
            (self.next_sequence - 1, _EXPIRE_BATCH),
        ).fetchall()
        stale = [sequence for sequence, _, sent, _ in oldest if 0 <= sent < now_s - keep_sent_s]
        old = [
            sequence
            for sequence, run, sent, made in oldest
            if max_age_s is not None and sent < 0 and made is not None and made < now_s - max_age_s
            and (name := object_id(run, sequence)) not in self._confirmed and may_drop(name)
        ]  # fmt: skip
        for first in range(0, max(len(stale), len(old)), _DELETE_BATCH):
            with self._transaction():
                self._delete_sent(stale[first : first + _DELETE_BATCH])
                for sequence in old[first : first + _DELETE_BATCH]:
                    self._drop(sequence, "age")
        self._forget_clocks()
        return bool(stale or old) and len(oldest) == _EXPIRE_BATCH

    def _read_clocks(self) -> Mapping[str, BootClock]:
        return {
            boot: BootClock(offset, bool(synchronised))
            for boot, offset, synchronised in self._db.execute("SELECT * FROM clocks")
        }

    def _forget_clocks(self) -> None:
        """Boots of which no row is left need no clock: a mast may start many times a day. Scans the store."""
        if len(self.clocks) <= _MANY_CLOCKS:
            return
        with self._transaction():
            self._db.execute(
                "DELETE FROM clocks WHERE boot_id <> ? AND boot_id NOT IN (SELECT boot_id FROM rows)",
                (self.boot_id,),
            )
        self.clocks = self._read_clocks()

    def _make_room(self, pages: int, may_drop: MayDrop) -> None:
        """Free what must go so that ``pages`` more fit: they then come out of the file's own free pages."""
        size = self._value("PRAGMA page_count")
        log_bytes = (LOG_PAGES + _COMMIT_PAGES + 2 * pages) * FRAME_BYTES
        budget = (self._max_bytes - log_bytes) // PAGE_BYTES
        if self._free_bytes(self.path.parent) < self._min_free_bytes:
            budget = min(budget, max(size, _SMALLEST_PAGES))
        # a limit that was lowered is reached over several commits, each short enough for the log
        goal = max(budget - pages, self._used_pages() - 2 * pages)
        while self._used_pages() > goal and (self._free_sent() or self._drop_oldest(may_drop)):
            pass
        for _ in range(min(size - budget, _COMMIT_PAGES // 2)):
            self._db.execute("PRAGMA incremental_vacuum(1)")  # more than one would be stepped by one as well

    def _free_sent(self) -> bool:
        if self._sent == 0:
            return False
        found = self._db.execute(
            "SELECT sequence FROM rows WHERE sent_at_s >= 0 AND sequence < ? ORDER BY sequence LIMIT ?",
            (self.next_sequence - 1, _DELETE_BATCH),  # the newest row carries the count
        )
        return self._delete_sent([sequence for (sequence,) in found])

    def _delete_sent(self, sequences: Sequence[int]) -> bool:
        self._db.executemany("DELETE FROM rows WHERE sequence = ?", [(sequence,) for sequence in sequences])
        self._sent -= len(sequences)
        return bool(sequences)

    def _drop_oldest(self, may_drop: MayDrop) -> bool:
        newest = self.next_sequence - 1  # it carries the count
        oldest = next(
            (s for s, run, *_ in self._by_age() if s != newest and may_drop(object_id(run, s))), None
        )
        if oldest is None:
            return False
        self._drop(oldest, "full")
        return True

    def _by_age(self) -> Iterator[tuple[int, str, str, float]]:
        """(sequence, run, boot id, boot time) of what is not confirmed, oldest first."""
        query = (
            "SELECT sequence, run, boot_id, boot_time_s FROM rows "
            "WHERE sent_at_s < 0 AND urgent = ? ORDER BY sequence"
        )
        cursors = [self._db.execute(query, (urgent,)) for urgent in (0, 1)]
        try:
            for found in heapq.merge(*cursors):
                if object_id(found[1], found[0]) not in self._confirmed:
                    yield found
        finally:
            for cursor in cursors:  # one left open would keep the log from being moved into the file
                cursor.close()

    def _drop(self, sequence: int, reason: str) -> None:
        found = self._db.execute("SELECT kind, body FROM rows WHERE sequence = ?", (sequence,))
        kind, text = found.fetchone()
        if kind == "event" and (body := _parsed(text)).get("event") == "dropped":
            for first, last, why in body["ranges"]:  # a lost declaration is declared again
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

    def _declare_drops(self, may_drop: MayDrop) -> list[Row]:
        ranges = self._db.execute(
            "SELECT first, last, reason FROM drops ORDER BY first LIMIT ?", (_DECLARED_RANGES,)
        ).fetchall()
        if not ranges:
            return []
        self._db.executemany("DELETE FROM drops WHERE first = ? AND last = ? AND reason = ?", ranges)
        boot_id, boot_time_s = self._db.execute(
            "SELECT boot_id, boot_time_s FROM rows ORDER BY sequence DESC LIMIT 1"
        ).fetchone()  # there is one: the newest is never deleted
        entry = dropped_event(boot_time_s, ranges, self._simulated)
        self._make_room(_pages([entry]), may_drop)
        row = Row(self.next_sequence, self.run, boot_id, entry)
        self._insert(row)
        return [row]

    # --- looking

    def stats(self) -> OutboxStats:
        """The store in figures, without a scan. What was confirmed counts as sent."""
        oldest = next(self._by_age(), None)
        return OutboxStats(
            unsent=max(0, self._unsent - len(self._confirmed)),
            sent=self._sent + len(self._confirmed),
            next_sequence=self.next_sequence,
            used_bytes=self._used_pages() * PAGE_BYTES,
            max_bytes=self._max_bytes,
            dropped=self._dropped,
            oldest_unsent=oldest and (oldest[2], oldest[3]),
        )

    @property
    def vanished(self) -> bool:
        """Whether the file at ``path`` is no longer the open one."""
        return identity(self.path) != self._file

    def close(self) -> None:
        """Write what is confirmed and let go of the file. May be called twice."""
        with suppress(sqlite3.Error, OSError):
            self.flush()
        self._db.close()

    def _used_pages(self) -> int:
        return self._value("PRAGMA page_count") - self._value("PRAGMA freelist_count")

    def _value(self, sql: str) -> int:
        return int(self._db.execute(sql).fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, in the file and in our own counters."""
        if self.vanished:
            raise StoreVanished("the file was removed or replaced")
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


def commits(items: Iterable[T], entry_of: Callable[[T], Entry]) -> Iterator[list[T]]:
    """``items`` in parts for one commit each, short enough for the log to stay within its reserve."""
    part: list[T] = []
    size = 0
    for item in items:
        more = _bytes(entry_of(item))
        if part and (size + more > _COMMIT_BYTES or len(part) == _COMMIT_ENTRIES):
            yield part
            part, size = [], 0
        part.append(item)
        size += more
    if part:
        yield part


def dropped_event(boot_time_s: float, ranges: Sequence[Sequence[Any]], simulated: bool) -> Entry:
    """The declaration that the rows in ``ranges`` (first, last, reason) are lost."""
    count = sum(last - first + 1 for first, last, _ in ranges)
    body = {"event": "dropped", "count": count, "ranges": [list(r) for r in ranges]}
    return Entry("event", boot_time_s, body, simulated=simulated, urgent=True)


def _pages(entries: Collection[Entry]) -> int:
    """At most so many pages are touched anew by storing ``entries``: their text (a row of more than half a
    page wastes the rest of it), and a split in each tree."""
    return 6 + 2 * sum(_bytes(entry) for entry in entries) // PAGE_BYTES


def _bytes(entry: Entry) -> int:
    return 200 + len(json_text(entry.body).encode())


def _row(values: tuple[Any, ...]) -> Row:
    sequence, run, boot_id, at_s, kind, body, simulated, calibration, correlation_id, key, urgent = values
    entry = Entry(kind, at_s, _parsed(body), bool(simulated), calibration, correlation_id, key, bool(urgent))
    return Row(sequence, run, boot_id, entry)


def _parsed(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise StoreDamaged(f"a stored body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise StoreDamaged("a stored body is no JSON object")
    return body
