"""The outbox as the agent uses it: on disk, and on whatever is left when the disk fails.

A full or read-only card: a bounded ring in memory takes over, said once in the log and once as an event;
when the disk is back, what the ring holds moves there. A store that SQLite calls damaged is set aside and
a new one begun, its numbers following on. Nothing here raises sqlite3.Error.
Thread safety: one thread at a time, the outbox writer's.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .memory_outbox import MemoryOutbox
from .outbox import Outbox, OutboxStats
from .reading import Entry, Row
from .timekeeping import BootClock

log = logging.getLogger(__name__)
T = TypeVar("T")

_RETRY_DISK_S = 30.0
_NO_STATS = OutboxStats(0, 0, 1, 0, 0, 0, None)


class Storage:
    """``Outbox`` with its failures handled; see there for what the methods mean."""

    def __init__(self, path: Path, open_outbox: Callable[[Path], Outbox], run: str, boot_id: str) -> None:
        self._path = path
        self._open_outbox = open_outbox
        self._memory = MemoryOutbox(run=run, boot_id=boot_id)
        self._disk: Outbox | None = None
        self._announcements: list[Entry] = []
        self._retry_at = 0.0
        self.degraded: str | None = None

    def open(self, now: float) -> None:
        """Open the disk store; if that fails, begin in memory. Raises StoreUnreadable."""
        try:
            self._disk = self._open_outbox(self._path)
        except sqlite3.Error as error:
            if is_damaged(error):
                self._begin_anew(error, now)
            else:
                self._degrade(error, now)
            return
        if self._disk.created:
            self._announce("store-created", now)

    def maintain(self, now: float) -> float:
        """Try a failed disk again when it is time, and store announcements; when to be called next."""
        if self.degraded is not None and now >= self._retry_at:
            self._retry_at = now + _RETRY_DISK_S
            self._return_to_disk(now)
        return self._retry_at if self.degraded is not None else float("inf")

    @property
    def announcements(self) -> bool:
        """Whether the next ``append`` has something of its own to say."""
        return bool(self._announcements)

    def append(self, entries: Sequence[Entry], leased: Collection[int], now: float) -> list[Row]:
        """Store ``entries``, durably unless ``degraded`` says why not."""
        for _ in range(2):  # a damaged store has been replaced after the first failure
            batch = [*self._announcements, *entries]
            rows = self._try(now, lambda disk, batch=batch: disk.append(batch, leased))  # type: ignore[misc]
            if rows is not None:
                self._announcements = []
                return rows
        batch, self._announcements = [*self._announcements, *entries], []
        return self._memory.append(batch, leased)

    def unsent(self, limit: int, leased: Collection[int], now: float) -> list[Row]:
        """What to send next: from disk even while it cannot be written, then from memory."""
        rows = self._try(now, lambda disk: disk.unsent(limit, leased), even_degraded=True) or []
        rows += self._memory.unsent(limit, leased)
        return sorted(rows, key=lambda row: not row.entry.urgent)[:limit]

    def confirm(self, sequences: Collection[int], at_s: float) -> None:
        """The hub has these rows."""
        self._memory.confirm(sequences)
        if self._disk is not None:
            self._disk.confirm(sequences, at_s)

    @property
    def unwritten_confirmations(self) -> int:
        return self._disk.unwritten_confirmations if self._disk is not None and self.degraded is None else 0

    def flush(self, leased: Collection[int], now: float) -> list[Row]:
        """Write confirmations and declare drops; the rows of such declarations."""
        rows = self._try(now, lambda disk: disk.flush(leased)) or []
        return rows + self._memory.flush(leased)

    def note_clock(self, boot_id: str, clock: BootClock, now: float) -> None:
        self._try(now, lambda disk: disk.set_clock(boot_id, clock))

    @property
    def clocks(self) -> Mapping[str, BootClock]:
        return self._disk.clocks if self._disk is not None else {}

    def expire(self, wall_s: float, keep_sent_s: float, max_age_s: float | None, leased: Collection[int], now: float) -> None:
        self._try(now, lambda disk: disk.expire(wall_s, keep_sent_s, max_age_s, leased))

    def stats(self, now: float) -> OutboxStats:
        """The disk's figures; zeros where there is none."""
        return self._try(now, lambda disk: disk.stats(), even_degraded=True) or _NO_STATS

    @property
    def in_memory(self) -> int:
        return len(self._memory)

    @property
    def memory_dropped(self) -> int:
        return self._memory.dropped

    def close(self) -> None:
        if self._disk is not None:
            self._disk.close()

    # --- failures

    def _try(self, now: float, work: Callable[[Outbox], T], *, even_degraded: bool = False) -> T | None:
        """The result of ``work``, or None if the disk is out of use or fails now."""
        if self._disk is None or (self.degraded is not None and not even_degraded):
            return None
        try:
            return work(self._disk)
        except sqlite3.Error as error:
            if is_damaged(error):
                self._begin_anew(error, now)
            else:
                self._degrade(error, now)
            return None

    def _degrade(self, error: sqlite3.Error, now: float) -> None:
        if self.degraded is not None:
            return
        self.degraded = str(error)
        self._retry_at = now + _RETRY_DISK_S
        if self._disk is not None:
            self._memory.next_sequence = max(self._memory.next_sequence, self._disk.next_sequence)
        log.error("outbox: cannot write to %s (%s): readings are held in memory, tried again every %.0f s",
                  self._path, error, _RETRY_DISK_S)  # fmt: skip
        self._announce("storage-lost", now, reason=str(error))

    def _return_to_disk(self, now: float) -> None:
        try:
            if self._disk is None:
                self._disk = self._open_outbox(self._path)
            # a store that could not be read before may have given these numbers to others: then the rows
            # stay where they are until they are sent
            rows = [row for row in self._memory.rows() if row.sequence >= self._disk.next_sequence]
            self._disk.adopt(rows, self._memory.next_sequence)
        except sqlite3.Error as error:
            if is_damaged(error):
                self._begin_anew(error, now)
            return
        self._memory.confirm([row.sequence for row in rows])
        self.degraded = None
        log.info("outbox: the disk is back, %d rows moved to it from memory", len(rows))
        self._announce("storage-back", now, moved=len(rows))

    def _begin_anew(self, error: sqlite3.Error, now: float) -> None:
        following = self._memory.next_sequence
        if self._disk is not None:
            following = max(following, self._disk.next_sequence)
            self._disk.close()
            self._disk = None
        try:
            aside = set_aside(self._path)
            self._disk = self._open_outbox(self._path)
        except (OSError, sqlite3.Error) as worse:
            self._degrade(sqlite3.OperationalError(f"{error}; {worse}"), now)
            return
        self._disk.skip_to(following)
        log.error("outbox: the store is damaged (%s): set aside as %s, a new one begins", error, aside)
        self._announce("store-damaged", now, reason=str(error), setAside=aside.name)

    def _announce(self, event: str, now: float, **details: Any) -> None:
        self._announcements.append(Entry("event", now, {"event": event, **details}, urgent=True))


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is no sound database (and not merely out of reach)."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: Path) -> Path:
    """Rename a damaged store and its log out of the way; the new name of the store. Raises OSError."""
    number = 1
    while (aside := path.with_name(f"{path.stem}-damaged-{number}{path.suffix}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
