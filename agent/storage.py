"""The outbox as the agent uses it: on disk, and on whatever is left when the disk fails.

A full or read-only card: a bounded ring in memory takes over, said once in the log and once as an event, and
what the card has is sent; when it can be written again, what the ring holds moves there. A store that is
damaged is set aside and a new one begun, its numbers following on; one whose file was removed is written anew
from what can still be read of it. Nothing here raises sqlite3.Error or OSError.
Thread safety: one thread at a time, the outbox writer's.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from .memory_outbox import MemoryOutbox
from .outbox import MayDrop, Outbox, OutboxStats, anything, commits
from .outbox_file import StoreVanished, is_damaged, is_read_only, set_aside
from .reading import Entry, Row
from .rejections import Rejected
from .service import event
from .timekeeping import BootClock

__all__ = ["Storage", "is_damaged", "set_aside"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_RETRY_DISK_S = 30.0


class Storage:
    """``Outbox`` with its failures handled; see there for what the methods mean."""

    def __init__(
        self,
        path: Path,
        open_outbox: Callable[[Path], Outbox],
        run: str,
        boot_id: str,
        *,
        simulated: bool = False,
    ) -> None:
        """``simulated``: stamped on the announcements."""
        self.run = run
        self._path = path
        self._open_outbox = open_outbox
        self._simulated = simulated
        self._memory = MemoryOutbox(run=run, boot_id=boot_id, simulated=simulated)
        self._disk: Outbox | None = None
        self._announcements: list[Entry] = []
        self._retry_at = 0.0
        self._stats = OutboxStats(0, 0, 1, 0, 0, 0, None)
        self.degraded: str | None = None
        """Why new rows stand in memory only."""
        self.stored = 0
        """Rows stored in this run, of whatever kind and wherever."""

    def open(self, now: float) -> None:
        """Open the disk store; if that fails, begin in memory. Raises StoreUnreadable."""
        try:
            self._disk = self._open(now)
        except (sqlite3.Error, OSError) as error:
            self._failed(error, now)
        else:
            if self._disk.read_only:
                self._degrade(sqlite3.OperationalError("the file system is read-only"), now)

    def maintain(self, now: float, may_drop: MayDrop = anything) -> None:
        """Try a failed disk again when it is time."""
        if now >= self.due:
            self._retry_at = now + _RETRY_DISK_S
            self._return_to_disk(now, may_drop)

    @property
    def due(self) -> float:
        """When a failed disk is tried again; whenever this changes, ``unsent`` may have rows not told of."""
        return self._retry_at if self.degraded is not None else float("inf")

    @property
    def announcements(self) -> bool:
        """Whether the next ``append`` has something of its own to say."""
        return bool(self._announcements)

    def append(self, entries: Sequence[Entry], may_drop: MayDrop, now: float) -> list[Row]:
        """Store ``entries``, durably unless ``degraded`` says why not."""
        rows: list[Row] = []
        for part in commits(entries, lambda entry: entry) if entries else [[]]:
            rows += self._append(part, may_drop, now)
        self.stored += len(rows)
        return rows

    def _append(self, entries: Sequence[Entry], may_drop: MayDrop, now: float) -> list[Row]:
        rows: list[Row] | None = None
        for _ in range(2):  # a damaged store has been replaced after the first failure
            batch = [*self._announcements, *entries]
            rows = self._try(now, partial(Outbox.append, entries=batch, may_drop=may_drop))
            if rows is not None:
                break
        if rows is None:
            # damaged again at once: whatever holds rows in memory is degraded, and numbers on from the disk
            self._degrade(sqlite3.OperationalError("the new store is damaged too"), now)
            rows = self._memory.append([*self._announcements, *entries], may_drop)
        self._announcements = []
        return rows

    def unsent(self, limit: int, skip: Collection[str], now: float) -> list[Row]:
        """What to send next: from disk even while it cannot be written, then from memory."""
        rows = self._try(now, lambda disk: disk.unsent(limit, skip), even_degraded=True) or []
        rows += self._memory.unsent(limit, skip)
        return sorted(rows, key=lambda row: not row.entry.urgent)[:limit]

    def confirm(self, rows: Collection[Row], at_s: float) -> None:
        """The hub has these rows."""
        if self._disk is not None:
            on_disk = [row for row in rows if row not in self._memory] if len(self._memory) else rows
            self._disk.confirm(on_disk, at_s)
        self._memory.confirm(rows)

    def reject(self, rows: Collection[Row], reason: str, may_drop: MayDrop, now: float) -> list[Row] | None:
        """Set ``rows`` (a commit's worth) aside; the rows of the events that say so.

        None if the disk cannot be written now: they are as they were, and this is to be called again.
        """
        in_memory = [row for row in rows if row in self._memory]
        on_disk = [row for row in rows if row not in self._memory]
        said: list[Row] | None = []
        if on_disk and self._disk is not None:
            said = self._try(now, lambda disk: disk.reject(on_disk, reason, now, may_drop))
        if said is not None:
            said += self._memory.reject(in_memory, reason, now, may_drop)
            self.stored += len(said)
        return said

    def rejected(self, limit: int, now: float) -> Sequence[Rejected]:
        """Up to ``limit`` rows on disk that the hub will never have, the latest first."""
        return self._try(now, lambda disk: disk.rejected(limit), even_degraded=True) or []

    @property
    def unwritten_confirmations(self) -> int:
        return self._disk.unwritten_confirmations if self._disk is not None and self.degraded is None else 0

    def flush(self, may_drop: MayDrop, now: float) -> list[Row]:
        """Write confirmations and declare drops; the rows of such declarations."""
        rows = self._try(now, lambda disk: disk.flush(may_drop))
        if rows is None:
            rows = self._memory.flush(may_drop) if self.degraded is not None else []
        self.stored += len(rows)
        return rows

    def note_clock(self, boot_id: str, clock: BootClock, now: float) -> None:
        self._try(now, lambda disk: disk.set_clock(boot_id, clock))

    @property
    def clocks(self) -> Mapping[str, BootClock]:
        return self._disk.clocks if self._disk is not None else {}

    def expire(
        self, wall_s: float, keep_sent_s: float, max_age_s: float | None, may_drop: MayDrop, now: float
    ) -> bool:
        return self._try(now, lambda disk: disk.expire(wall_s, keep_sent_s, max_age_s, may_drop)) or False

    def stats(self, now: float) -> OutboxStats:
        """The disk's figures, as last read; zeros where there never was one."""
        self._stats = self._try(now, lambda disk: disk.stats(), even_degraded=True) or self._stats
        return self._stats

    @property
    def in_memory(self) -> int:
        return len(self._memory)

    @property
    def memory_dropped(self) -> int:
        return self._memory.dropped

    def close(self, now: float, may_drop: MayDrop = anything) -> None:
        """Write what can be written and let go of the disk."""
        if self.degraded is not None:
            self._return_to_disk(now, may_drop)
        if self._announcements:
            self.append([], may_drop, now)
        if self._disk is not None:
            self.stats(now)  # what is asked for from now on
            self._disk.close()
            self._disk = None
        if len(self._memory):
            lost = len(self._memory)
            log.error("outbox: %d rows stood in memory only and are lost", lost, extra=event("rows-lost"))

    # --- failures

    def _try(self, now: float, work: Callable[[Outbox], T], *, even_degraded: bool = False) -> T | None:
        """The result of ``work``, or None if the disk is out of use or fails now."""
        if self._disk is None or (self.degraded is not None and not even_degraded):
            return None
        try:
            return work(self._disk)
        except (sqlite3.Error, OSError) as error:
            self._failed(error, now)
            return None

    def _failed(self, error: Exception, now: float) -> None:
        if is_damaged(error):
            self._begin_anew(error, now)
        else:
            self._degrade(error, now)

    def _degrade(self, error: Exception, now: float) -> None:
        if self.degraded is not None:
            return
        self.degraded = str(error)
        self._retry_at = now if isinstance(error, StoreVanished) else now + _RETRY_DISK_S
        if self._disk is not None:
            self._memory.next_sequence = max(self._memory.next_sequence, self._disk.next_sequence)
        log.error("outbox: cannot write to %s (%s): readings are held in memory, tried again every %.0f s",
                  self._path, error, _RETRY_DISK_S, extra=event("storage-lost"))  # fmt: skip
        self._announce("storage-lost", now, reason=str(error))

    def _return_to_disk(self, now: float, may_drop: MayDrop, *, again: bool = True) -> None:
        try:
            moved, disk = 0, self._disk
            if disk is None or disk.vanished:
                disk = self._open(now)
                if self._disk is not None:
                    moved = self._move_from_vanished(self._disk, disk, may_drop)
            elif disk.read_only:
                if is_read_only(self._path):
                    return
                disk = self._opened_again(disk, now)
            self._disk = disk
            moved += self._move_from_memory(disk, may_drop)
            lost = self._memory.take_declaration()
            self._announcements += [lost] if lost is not None else []
            # the proof that it can be written, and the only one where nothing had to be moved
            back = self._event("storage-back", now, moved=moved)
            self.stored += len(disk.append([*self._announcements, back], may_drop))
        except (sqlite3.Error, OSError) as error:
            if is_damaged(error):
                self._begin_anew(error, now)
                if again and self._disk is not None:  # there may be no other time: the agent may be stopping
                    self._return_to_disk(now, may_drop, again=False)
            return
        self._announcements = []
        self.degraded = None
        log.info("outbox: the disk is back, %d rows moved to it", moved, extra=event("storage-back"))

    def _opened_again(self, disk: Outbox, now: float) -> Outbox:
        """The same store, now that it can be written; SQLite shares what it knows of a file that is open."""
        confirmed = disk.let_go()
        self._disk = None
        disk = self._open(now)
        disk.take_confirmations(confirmed)
        return disk

    def _move_from_memory(self, disk: Outbox, may_drop: MayDrop) -> int:
        """Rows whose numbers a store gave in earlier runs, while it could not be read in this one, stay."""
        rows = [row for row in self._memory.rows() if row.sequence >= disk.next_sequence]
        for part in commits(rows, _entry_of):
            disk.adopt(part, may_drop)
            self._memory.remove(part)
        disk.skip_to(self._memory.next_sequence)
        return len(rows)

    def _move_from_vanished(self, old: Outbox, new: Outbox, may_drop: MayDrop) -> int:
        """The open file can be read while it is open; an older copy in its place may be in the way."""
        floor, moved = new.next_sequence, 0
        for part in commits(old.backlog(), _entry_of):
            fitting = [row for row in part if row.sequence >= floor]
            new.adopt(fitting, may_drop)
            moved += len(fitting)
            for row in part:
                if row.sequence < floor:
                    self._memory.note_drop(row.sequence, row.sequence, "store-vanished")
        new.skip_to(old.next_sequence)
        old.close()
        return moved

    def _begin_anew(self, error: Exception, now: float) -> None:
        following = 1
        if self._disk is not None:
            following = self._disk.next_sequence
            self._disk.close()
            self._disk = None
        try:
            aside = set_aside(self._path)
            self._disk = self._open(now)
        except (OSError, sqlite3.Error) as worse:
            self._memory.next_sequence = max(self._memory.next_sequence, following)
            self._degrade(sqlite3.OperationalError(f"{error}; {worse}"), now)
            return
        self._disk.skip_to(following)
        log.error("outbox: the store is damaged (%s): set aside as %s, a new one begins",
                  error, aside, extra=event("store-damaged"))  # fmt: skip
        self._announce("store-damaged", now, reason=str(error), setAside=aside.name)

    def _open(self, now: float) -> Outbox:
        disk = self._open_outbox(self._path)
        if disk.created and not disk.read_only:
            self._announce("store-created", now)
        return disk

    def _announce(self, event: str, now: float, **details: Any) -> None:
        self._announcements.append(self._event(event, now, **details))

    def _event(self, event: str, now: float, **details: Any) -> Entry:
        return Entry("event", now, {"event": event, **details}, simulated=self._simulated, urgent=True)


def _entry_of(row: Row) -> Entry:
    return row.entry
