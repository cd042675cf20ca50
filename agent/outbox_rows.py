"""The table of rows under the outbox: what is stored, what is confirmed, and how many there are of each.

Everything that changes it happens within ``transaction``. Which rows must go is decided elsewhere
(agent/outbox_limits.py). Thread safety: one thread at a time, the outbox writer's.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from .outbox_file import (
    NOT_SENT,
    PAGE_BYTES,
    SCHEMA_VERSION,
    StoreDamaged,
    StoreVanished,
    connect,
    garbled_is_damaged,
    identity,
    is_read_only,
    upgrade,
)
from .reading import Entry, Row, StoredBody, json_text, object_id, sound
from .timekeeping import BootClock

_NUMBER = "integer real"
_TYPES = {
    "sequence": "integer", "run": "text", "boot_id": "text", "boot_time_s": _NUMBER, "kind": "text",
    "body": "text", "simulated": "integer", "calibration": "text null", "correlation_id": "text null",
    "key": "text null", "urgent": "integer",
}  # fmt: skip
"""What a sound row holds, in SQLite's words: a flipped bit can make any value another type."""
_PYTHON = {"integer": int, "real": float, "text": str, "null": type(None)}
_CLASSES = tuple(tuple(_PYTHON[name] for name in types.split()) for types in _TYPES.values())

COLUMNS = ", ".join(_TYPES)
READ = f"{COLUMNS}, json_valid(body)"
"""What ``row_of`` wants: SQLite checks a body faster than it is parsed here, and beside the other threads."""
READ_CLOCKS = "SELECT boot_id, offset_s, synchronised FROM clocks"

CONFIRMATION_PAGES = 40  # of a commit's share of the log

_MANY_CONFIRMATIONS = 150
_ROW_BYTES = 150  # of a row, besides its body
_MOST_ROWS = 1 << 53  # no store comes to such a number

Confirmation = tuple[int, str, float]
"""(sequence, run, Unix time) of a row that the hub has."""


class OutboxRows:
    """The open file, with counters that are always those of the last commit or of the transaction in hand."""

    @garbled_is_damaged()
    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises as ``connect`` does."""
        self.path = path
        self.read_only = is_read_only(path)
        self.db = connect(path)
        self.confirmed: dict[str, Confirmation] = {}  # by object id; not written yet
        self.dropped = 0
        try:
            self._file = identity(path)
            self._version = self.value("PRAGMA user_version")
            self._check_tables_apart()
            count = self._count_sound("rows", {"sent_at_s": _NUMBER}, numbers="sequence")
            self._count_sound("drops", {"reason": "text"}, numbers="first last")
            self.rejected = 0
            if self._version > 1:
                types = {"reason": "text", "rejected_boot_id": "text", "rejected_boot_time_s": _NUMBER}
                self.rejected = self._count_sound("rejected", {**_TYPES, **types}, numbers="number")
            self.next_sequence = self.value("SELECT COALESCE(MAX(sequence), 0) + 1 FROM rows")
            self.unsent = self._count_waiting()
            self.sent = count - self.unsent
        except BaseException:
            self.db.close()
            raise

    @property
    def vanished(self) -> bool:
        """Whether the file at ``path`` is no longer the open one."""
        return identity(self.path) != self._file

    @property
    def newest(self) -> int:
        """The number that was given last. Its row carries the count over a restart and is not deleted."""
        return self.next_sequence - 1

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """All or nothing, in the file and in the counters; the first one brings the schema up to date.

        Raises StoreVanished, sqlite3.Error and OSError.
        Not ``durable``: a power cut before the next durable one may undo it, a crash of the process may not;
        it spares the card an fsync (sqlite.org/pragma.html#pragma_synchronous).
        """
        if self.vanished:
            raise StoreVanished("the file was removed or replaced")
        before = (self.next_sequence, self.unsent, self.sent, self.dropped, self.rejected, self.confirmed)
        self.db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self.db.execute("BEGIN IMMEDIATE")
        try:
            if self._version < SCHEMA_VERSION:
                upgrade(self.db, self._version)
            yield
            self.db.execute("COMMIT")
            self._version = SCHEMA_VERSION
        except BaseException:
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            self.next_sequence, self.unsent, self.sent, self.dropped, self.rejected, self.confirmed = before
            raise

    # --- storing

    def insert(self, row: Row, *, keyed: bool = True) -> bool:
        """Store ``row``; False if its key is stored already. Not ``keyed``: without it."""
        e = row.entry
        inserted = self.db.execute(
            f"INSERT INTO rows ({COLUMNS}, sent_at_s) VALUES (?,?,?,?,?,?,?,?,?,?,?,?) "  # noqa: S608  (constant)
            "ON CONFLICT (key) WHERE key IS NOT NULL DO NOTHING",
            (
                row.sequence, row.run, row.boot_id, e.boot_time_s, e.kind, json_text(e.body), e.simulated,
                sound(e.calibration), sound(e.correlation_id), sound(e.key) if keyed else None, e.urgent,
                NOT_SENT,
            ),
        ).rowcount  # fmt: skip
        if inserted:
            self.skip_to(row.sequence + 1)
            self.unsent += 1
        return bool(inserted)

    def skip_to(self, sequence: int) -> None:
        """Give no sequence number below this one."""
        self.next_sequence = max(self.next_sequence, sequence)

    # --- reading

    def waiting(self, limit: int, skip: Collection[str] = ()) -> list[Row]:
        """Up to ``limit`` rows to send next, urgent ones first, then by age; none of the ids in ``skip``."""
        found = self.db.execute(
            f"SELECT {READ} FROM rows WHERE sent_at_s < 0 "  # noqa: S608  (constant)
            "AND run || '-' || sequence NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY urgent DESC, sequence LIMIT ?",
            (json.dumps([*skip, *self.confirmed]), limit),
        )
        return [row_of(values) for values in found]

    def backlog(self) -> Iterator[Row]:
        """All rows that are not confirmed, oldest first. Nothing else may be called until it is read."""
        found = self.db.execute(f"SELECT {READ} FROM rows WHERE sent_at_s < 0 ORDER BY sequence")  # noqa: S608
        return (row_of(values) for values in found if object_id(values[1], values[0]) not in self.confirmed)

    def by_age(self) -> Iterator[tuple[int, str, str, float]]:
        """(sequence, run, boot id, boot time) of what is not confirmed, oldest first."""
        query = (
            "SELECT sequence, run, boot_id, boot_time_s FROM rows "
            "WHERE sent_at_s < 0 AND urgent = ? ORDER BY sequence"
        )
        cursors = [self.db.execute(query, (urgent,)) for urgent in (0, 1)]
        try:
            for found in heapq.merge(*cursors, key=itemgetter(0)):
                check_types(found)
                if object_id(found[1], found[0]) not in self.confirmed:
                    yield found
        finally:
            for cursor in cursors:  # one left open would keep the log from being moved into the file
                cursor.close()

    # --- confirming

    def confirm(self, rows: Collection[Row], at_s: float) -> None:
        """The hub has these rows (at Unix time ``at_s``); see ``write_confirmations``."""
        at_s = max(at_s, 0.0)
        self.confirmed.update({row.object_id: (row.sequence, row.run, at_s) for row in rows})

    def write_confirmations(self) -> bool:
        """Mark as sent what is confirmed, as much of it as one commit may; False if there was none.

        Rows that follow each other share their pages: a backlog is confirmed by the hundred.
        """
        chosen = sorted(self.confirmed.values())[:_MANY_CONFIRMATIONS]
        while len(chosen) > 1 and self._pages(chosen) > CONFIRMATION_PAGES:
            del chosen[len(chosen) // 2 :]
        for first, last in _stretches(chosen):
            done = self.db.execute(
                "UPDATE rows SET sent_at_s = ? WHERE sequence BETWEEN ? AND ? AND run = ? AND sent_at_s < 0",
                (last[2], first[0], last[0], last[1]),
            ).rowcount
            self.unsent -= done
            self.sent += done
        written = set(chosen)
        self.confirmed = {name: how for name, how in self.confirmed.items() if how not in written}
        return bool(chosen)

    def _pages(self, chosen: Sequence[Confirmation]) -> int:
        """At most so many pages are touched by confirming these rows.

        Each takes a page of the table, those its body runs over to (they are written anew, half as many more
        for the file's lists of pages), and one of the index. But rows that follow each other stand in leaves
        that are a third full or more (SQLite joins those that are not): these, two at the ends, and two in
        each part of the index.
        """
        together = total = 0
        for first, last in _stretches(chosen):
            (bodies,) = self.db.execute(
                "SELECT TOTAL(LENGTH(CAST(body AS BLOB))) FROM rows WHERE sequence BETWEEN ? AND ?",
                (first[0], last[0]),
            ).fetchone()
            size = int(bodies) + _ROW_BYTES * (last[0] - first[0] + 1)
            together += 6 + 3 * size // PAGE_BYTES
            total += size
        return min(together, 2 * len(chosen) + 3 * total // (2 * PAGE_BYTES))

    # --- deleting

    def oldest_sent(self, limit: int) -> list[int]:
        """Numbers of sent rows that may be deleted, oldest first."""
        if self.sent == 0:
            return []
        query = "SELECT sequence FROM rows WHERE sent_at_s >= 0 AND sequence < ? ORDER BY sequence LIMIT ?"
        return [sequence for (sequence,) in self.db.execute(query, (self.newest, limit))]

    def delete_sent(self, sequences: Collection[int]) -> None:
        self._delete(sequences)
        self.sent -= len(sequences)

    def delete_unsent(self, sequence: int) -> None:
        """The newest row carries the count and stays: as one that is sent."""
        if sequence == self.newest:
            done = self.db.execute("UPDATE rows SET sent_at_s = 0 WHERE sequence = ?", (sequence,)).rowcount
            _check_found(done, 1)
            self.sent += 1
        else:
            self._delete([sequence])
        self.unsent -= 1

    def _delete(self, sequences: Collection[int]) -> None:
        these = [(sequence,) for sequence in sequences]
        if these:
            deleted = self.db.executemany("DELETE FROM rows WHERE sequence = ?", these).rowcount
            _check_found(deleted, len(these))

    # --- looking

    def used_pages(self) -> int:
        return self.value("PRAGMA page_count") - self.value("PRAGMA freelist_count")

    def value(self, sql: str) -> int:
        """A whole number that is there in any sound store. Raises StoreDamaged."""
        (found,) = self.db.execute(sql).fetchone()
        if not isinstance(found, int):
            raise StoreDamaged(f"a count is no number: {_short(found)}")
        return found

    def _count_waiting(self) -> int:
        """Raises StoreDamaged if the index tells of other rows than the table."""
        by_index, by_table = (
            self.db.execute(
                f"SELECT COUNT(*), SUM(sequence), SUM(urgent) FROM rows {how} WHERE sent_at_s < 0"  # noqa: S608
            ).fetchone()
            for how in ("INDEXED BY unsent", "NOT INDEXED")
        )
        if by_index != by_table:
            raise StoreDamaged("the index of what waits tells of other rows than the table")
        return int(by_table[0])

    def _check_tables_apart(self) -> None:
        """Raises StoreDamaged if two tables stand in the same pages: each would write into the other."""
        shared = "SELECT COUNT(*) - COUNT(DISTINCT rootpage) FROM sqlite_master WHERE rootpage > 0"
        if self.value(shared):
            raise StoreDamaged("two tables stand in the same pages")

    def _count_sound(self, table: str, types: Mapping[str, str], *, numbers: str) -> int:
        """How many rows the table has, by a scan. Raises StoreDamaged if one is not of these types.

        ``numbers``: the columns that number something. The rest of a row is looked at when it is read.
        """
        tests = [
            f"typeof({column}) IN ({', '.join(map(repr, names.split()))})" for column, names in types.items()
        ]
        tests += [
            f"typeof({column}) = 'integer' AND {column} BETWEEN 0 AND {_MOST_ROWS}"
            for column in numbers.split()
        ]
        count, sound = self.db.execute(
            f"SELECT COUNT(*), COALESCE(SUM({' AND '.join(tests)}), 0) FROM {table}"  # noqa: S608  (constants)
        ).fetchone()
        if count != sound:
            raise StoreDamaged(f"{count - sound} of {count} rows of the table {table} are none of ours")
        return int(count)


def row_of(values: Sequence[Any]) -> Row:
    """The row in ``COLUMNS``, and whether its body is sound JSON. Raises StoreDamaged."""
    check_types(values)
    sequence, run, boot_id, at_s, kind, text, simulated, calibration, cause, key, urgent, is_json = values
    body = parsed(text, is_json)
    entry = Entry(kind, at_s, body, bool(simulated), calibration, cause, key, bool(urgent))
    return Row(sequence, run, boot_id, entry)


def parsed(text: Any, is_json: int) -> StoredBody:
    """A stored body; ``is_json``: what SQLite says of it. Raises StoreDamaged."""
    if not (is_json and isinstance(text, str) and text.startswith("{")):
        raise StoreDamaged(f"a stored body is no JSON object: {_short(text)}")
    return StoredBody(text)


def check_types(values: Sequence[Any]) -> None:
    """Raises StoreDamaged if ``values``, of the first few of ``COLUMNS``, cannot be those of a row of ours.

    A letter that is no text any more costs that letter, but in ``run``: nobody could confirm such a row.
    """
    if not all(map(isinstance, values, _CLASSES)) or "\N{REPLACEMENT CHARACTER}" in values[1]:
        raise StoreDamaged(f"a stored row is none of ours: {_short(values)}")


def clock_of(offset_s: Any, synchronised: Any) -> BootClock:
    """A stored clock. Raises StoreDamaged."""
    if not isinstance(offset_s, (int, float)):
        raise StoreDamaged(f"the offset of a stored clock is no number: {_short(offset_s)}")
    return BootClock(offset_s, bool(synchronised))


def _check_found(done: int, expected: int) -> None:
    """Raises StoreDamaged if a row that was read a moment ago is not found by its number."""
    if done != expected:
        raise StoreDamaged(f"of {expected} rows that are there {done} are found")


def _short(value: Any) -> str:
    return f"{value!r:.60}"


def _stretches(chosen: Iterable[Confirmation]) -> list[tuple[Confirmation, Confirmation]]:
    """The first and the last of those that follow each other without a gap, in one run."""
    stretches: list[tuple[Confirmation, Confirmation]] = []
    for one in chosen:
        last = stretches[-1][1] if stretches else None
        if last is not None and (one[0], one[1]) == (last[0] + 1, last[1]):
            stretches[-1] = (stretches[-1][0], one)
        else:
            stretches.append((one, one))
    return stretches
