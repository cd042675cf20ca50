"""The outbox on disk: everything that leaves the agent stands here until the hub has confirmed it.

Invariants, each with a test of its name in tests/agent/test_outbox.py:

 1. durable      what ``append`` returned is there after a crash at any later moment.
 2. gapless      sequence numbers of a store count up by one, whatever was sent, dropped or crashed between.
 3. once         an entry with a key is stored once.
 4. kept         an unsent row leaves by a confirmation, a declared drop or a declared rejection alone.
 5. declared     every dropped sequence number is in exactly one range that is, or will be, an event row; and
                 so is what was declared by a ``rejected`` event that is dropped.
 6. oldest first drops take sent rows, then rejected ones, then unsent ones, each kind in order of age.
 7. bounded      the file and its log never exceed ``max_bytes``; with the disk nearly full they stop growing.
 8. confirmed    a confirmation is written with the next append, by ``flush``, or repeated after a crash.
 9. rejected     a row is set aside in the commit that stores the event which says so; such an event, if it
                 is rejected itself, without another. The ranges of a ``dropped`` event that is rejected are
                 declared once more, with the next confirmations or at a clean stop, and not a third time: a
                 hub that takes no such event would cost connections for ever.

SQLite in WAL mode with synchronous=FULL: one fsync a commit, and a commit survives a power cut. Confirmations
alone are not worth an fsync (synchronous=NORMAL: only where the log is begun anew or moved into the file): a
power cut repeats messages, and loses none. For the log counts up to its first frame that is not whole, by a
checksum over all before it (sqlite.org/fileformat2.html, 4.1), and an fsync takes all of it to the card: a
cut undoes commits since the last durable one, the last first, and nothing else.
A store of an older schema is brought to this one by the first commit; until then, as on a card that cannot be
written, it is read as it is.
Thread safety: one thread at a time, the outbox writer's.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .outbox_file import PAGE_BYTES, StoreUnreadable
from .outbox_limits import MayDrop, OutboxLimits, anything, commits, declared_again, dropped_event
from .outbox_rows import READ_CLOCKS, Confirmation, OutboxRows, clock_of
from .reading import Entry, Row
from .rejections import Rejected, Rejections, bounded, is_rejection, rejected_event
from .timekeeping import BootClock

__all__ = ["MayDrop", "Outbox", "OutboxStats", "StoreUnreadable", "anything", "commits"]

_MANY_CLOCKS = 100


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """The store in figures. ``oldest_unsent``: (boot id, seconds since that boot) of the oldest row to go.

    ``rejected``: how many of the rows that the hub will never have are still kept to be looked at.
    """

    unsent: int
    sent: int
    next_sequence: int
    used_bytes: int
    max_bytes: int
    dropped: int
    oldest_unsent: tuple[str, float] | None
    rejected: int = 0


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
        self.run = run
        self.boot_id = boot_id
        self._simulated = simulated
        self._rows = OutboxRows(path)
        self._rejections = Rejections(self._rows)
        self._limits = OutboxLimits(
            self._rows,
            self._rejections,
            max_bytes=max_bytes,
            min_free_bytes=min_free_bytes,
            free_bytes=free_bytes,
        )
        self.created = self._rows.newest == 0  # nothing was ever stored: the newest row always stays
        try:
            self.clocks = self._read_clocks()
        except BaseException:
            self._rows.db.close()
            raise

    # --- storing

    def append(self, entries: Sequence[Entry], may_drop: MayDrop = anything) -> list[Row]:
        """Store ``entries`` (see ``commits``), and confirmations, in one commit; the new rows.

        An entry whose key is stored already yields no row. Raises sqlite3.Error or OSError, and then
        nothing was stored.
        """
        rows: list[Row] = []
        with self._rows.transaction():
            if (
                self._rows.write_confirmations()
            ):  # else nothing gets through: declaring would displace readings
                rows += self._declare_drops(may_drop)
            self._limits.make_room(entries, may_drop)
            for entry in entries:
                rows += self._insert(self.boot_id, entry)
        return rows

    def adopt(self, rows: Sequence[Row], may_drop: MayDrop = anything) -> None:
        """Store rows (see ``commits``) under the numbers they have, none below ``next_sequence``.

        A row whose key is stored already goes without: its number has been seen and must not be missing.
        """
        with self._rows.transaction():
            self._limits.make_room([row.entry for row in rows], may_drop)
            for row in rows:
                self._rows.insert(row) or self._rows.insert(row, keyed=False)

    @property
    def next_sequence(self) -> int:
        """The number of the next row."""
        return self._rows.next_sequence

    def skip_to(self, sequence: int) -> None:
        """Give no sequence number below this one: they were given while there was no disk."""
        self._rows.skip_to(sequence)

    def set_clock(self, boot_id: str, clock: BootClock) -> None:
        """Correct what time it was in a boot, for all its rows at once (one commit)."""
        with self._rows.transaction():
            self._rows.db.execute(
                "INSERT INTO clocks VALUES (?,?,?) ON CONFLICT (boot_id) DO UPDATE SET "
                "offset_s = excluded.offset_s, synchronised = excluded.synchronised",
                (boot_id, clock.offset_s, clock.synchronised),
            )
        self.clocks = {**self.clocks, boot_id: clock}

    def _insert(self, boot_id: str, entry: Entry) -> list[Row]:
        row = Row(self._rows.next_sequence, self.run, boot_id, entry)
        return [row] if self._rows.insert(row) else []

    # --- sending

    def unsent(self, limit: int, skip: Collection[str] = ()) -> list[Row]:
        """Up to ``limit`` rows to send next, urgent ones first, then by age; none of the ids in ``skip``."""
        return self._rows.waiting(limit, skip)

    def backlog(self) -> Iterator[Row]:
        """All rows that are not confirmed, oldest first. Nothing else may be called until it is read."""
        return self._rows.backlog()

    def confirm(self, rows: Collection[Row], at_s: float) -> None:
        """The hub has these rows (at Unix time ``at_s``). Written with the next commits."""
        self._rows.confirm(rows, at_s)

    @property
    def unwritten_confirmations(self) -> int:
        return len(self._rows.confirmed)

    def flush(self, may_drop: MayDrop = anything) -> list[Row]:
        """Write the confirmations now, and declare what was dropped; the rows of such declarations.

        Confirmations survive a crash of the process at once, and a power cut with the next ``append``: what
        is lost of them is sent again.
        """
        declaring = self._limits.owing
        while True:
            with self._rows.transaction(durable=declaring):
                self._rows.write_confirmations()
                if not self._rows.confirmed:
                    return self._declare_drops(may_drop)

    def reject(
        self, rows: Sequence[Row], reason: str, boot_time_s: float, may_drop: MayDrop = anything
    ) -> list[Row]:
        """Set ``rows`` (at most ``REJECTED_A_COMMIT``) aside, in one commit; the rows of the events.

        ``boot_time_s``: now, in seconds of this boot. What does not wait here is passed over, so this may be
        called again. Raises sqlite3.Error or OSError, and then nothing has changed.
        """
        events = [rejected_event(row, reason, boot_time_s, self._simulated) for row in rows]
        said: list[Row] = []
        with self._rows.transaction():
            self._limits.make_room([*(row.entry for row in rows), *events], may_drop)
            for row, event in zip(rows, events, strict=True):
                if self._rejections.add(Rejected(row, bounded(reason), self.boot_id, boot_time_s)):
                    said += [] if is_rejection(row.entry) else self._insert(self.boot_id, event)
                    self._limits.note(declared_again(row.entry))
                    self._rows.delete_unsent(row.sequence)
        return said

    # --- limits

    def expire(
        self, now_s: float, keep_sent_s: float, max_age_s: float | None, may_drop: MayDrop = anything
    ) -> bool:
        """See ``OutboxLimits.expire``; clocks that no row needs are forgotten as well."""
        more = self._limits.expire(now_s, keep_sent_s, max_age_s, may_drop)
        self._forget_clocks()
        return more

    def _declare_drops(self, may_drop: MayDrop) -> list[Row]:
        ranges = self._limits.undeclared()
        if not ranges:
            return []
        boot_id, boot_time_s = self._rows.db.execute(
            "SELECT boot_id, boot_time_s FROM rows ORDER BY sequence DESC LIMIT 1"
        ).fetchone()  # there is one: the newest is never deleted
        entry = dropped_event(boot_time_s, ranges, self._simulated)
        self._limits.make_room([entry], may_drop)
        return self._insert(boot_id, entry)

    def _read_clocks(self) -> Mapping[str, BootClock]:
        return {
            boot: clock_of(offset_s, synchronised)
            for boot, offset_s, synchronised in self._rows.db.execute(READ_CLOCKS)
        }

    def _forget_clocks(self) -> None:
        """Boots of which no row is left need no clock: a mast may start many times a day. Scans the store."""
        if len(self.clocks) <= _MANY_CLOCKS:
            return
        with self._rows.transaction():
            self._rows.db.execute(
                "DELETE FROM clocks WHERE boot_id <> ? AND boot_id NOT IN (SELECT boot_id FROM rows UNION "
                "SELECT boot_id FROM rejected UNION SELECT rejected_boot_id FROM rejected)",
                (self.boot_id,),
            )
        self.clocks = self._read_clocks()

    # --- looking

    def rejected(self, limit: int) -> list[Rejected]:
        """Up to ``limit`` rows that the hub will never have, the latest first."""
        return self._rejections.newest(limit)

    def stats(self) -> OutboxStats:
        """The store in figures, without a scan. What was confirmed counts as sent."""
        rows = self._rows
        oldest = next(rows.by_age(), None)
        return OutboxStats(
            unsent=max(0, rows.unsent - len(rows.confirmed)),
            sent=rows.sent + len(rows.confirmed),
            next_sequence=rows.next_sequence,
            used_bytes=rows.used_pages() * PAGE_BYTES,
            max_bytes=self._limits.max_bytes,
            dropped=rows.dropped,
            oldest_unsent=oldest and (oldest[2], oldest[3]),
            rejected=rows.rejected,
        )

    @property
    def vanished(self) -> bool:
        """Whether the file is no longer the one at its path."""
        return self._rows.vanished

    @property
    def read_only(self) -> bool:
        """Whether it was opened on a read-only file system: it can be read, and never written."""
        return self._rows.read_only

    def let_go(self) -> Mapping[str, Confirmation]:
        """Close a read-only store; the confirmations that could not be written."""
        self._rows.db.close()
        return self._rows.confirmed

    def take_confirmations(self, confirmed: Mapping[str, Confirmation]) -> None:
        """Those that ``let_go`` gave for this store; written with the next commits."""
        self._rows.confirmed |= confirmed

    def close(self) -> None:
        """Write what is confirmed and let go of the file. May be called twice."""
        with suppress(sqlite3.Error, OSError):
            self.flush()
        self._rows.db.close()
