"""The outbox in memory, for when there is no disk to write to: bounded, and honest about it.

It keeps the contract of agent/outbox.py but for durability (one suite tests both): its rows carry
``durable: false``, and what it drops or rejects is declared the same way, but a rejected row is not kept.
Thread safety: one thread at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from .outbox_limits import MayDrop, anything, declared_again, declared_by, dropped_event
from .reading import Entry, Row
from .rejections import is_rejection, rejected_event


class MemoryOutbox:
    """A ring of ``max_rows`` rows; the oldest that is not in flight goes first.

    It holds more than that only while all its rows are in flight.
    """

    def __init__(self, *, run: str, boot_id: str, max_rows: int = 2000, simulated: bool = False) -> None:
        self.run = run
        self.boot_id = boot_id
        self.next_sequence = 1
        self.dropped = 0
        self._max_rows = max_rows
        self._simulated = simulated
        self._rows: dict[str, Row] = {}
        self._drops: list[tuple[int, int, str]] = []
        self._heard = False  # whether anything was confirmed since the last declaration
        self._newest_s = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, row: Row) -> bool:
        return row.object_id in self._rows

    def append(self, entries: Sequence[Entry], may_drop: MayDrop = anything) -> list[Row]:
        """Hold ``entries``; the new rows. An entry whose key is held already yields none."""
        rows = self.flush(may_drop) if self._heard else []
        for entry in entries:
            if entry.key is None or all(row.entry.key != entry.key for row in self._rows.values()):
                rows.append(self._hold(entry, may_drop))
        return rows

    def unsent(self, limit: int, skip: Collection[str] = ()) -> list[Row]:
        """Up to ``limit`` rows to send next, urgent ones first, then by age; none of the ids in ``skip``."""
        free = [row for name, row in self._rows.items() if name not in skip]
        return sorted(free, key=lambda row: (not row.entry.urgent, row.sequence))[:limit]

    def confirm(self, rows: Collection[Row]) -> None:
        """The hub has these rows."""
        for row in rows:
            self._heard |= self._rows.pop(row.object_id, None) is not None

    def flush(self, may_drop: MayDrop = anything) -> list[Row]:
        """Declare what was dropped; the row of the declaration."""
        declaration = self.take_declaration()
        return [self._hold(declaration, may_drop)] if declaration else []

    def reject(
        self, rows: Sequence[Row], reason: str, boot_time_s: float, may_drop: MayDrop = anything
    ) -> list[Row]:
        """The hub will never have ``rows``: let go of them; the rows of the events that say so."""
        said = []
        for row in rows:
            if self._rows.pop(row.object_id, None) is None or is_rejection(row.entry):
                continue
            for first, last, why in declared_again(row.entry):
                self.note_drop(first, last, why)
            said.append(self._hold(rejected_event(row, reason, boot_time_s, self._simulated), may_drop))
        return said

    def take_declaration(self) -> Entry | None:
        """What was dropped and not declared yet; the caller stores it."""
        drops, self._drops, self._heard = self._drops, [], False
        return dropped_event(self._newest_s, drops, self._simulated) if drops else None

    def rows(self) -> list[Row]:
        """All rows, oldest first."""
        return list(self._rows.values())

    def remove(self, rows: Collection[Row]) -> None:
        """These rows stand elsewhere now."""
        for row in rows:
            del self._rows[row.object_id]

    def _hold(self, entry: Entry, may_drop: MayDrop) -> Row:
        if len(self._rows) >= self._max_rows:
            self._drop_oldest(may_drop)
        stamped = replace(entry, body={**entry.body, "durable": False})
        row = Row(self.next_sequence, self.run, self.boot_id, stamped)
        self._rows[row.object_id] = row
        self.next_sequence += 1
        self._newest_s = entry.boot_time_s
        return row

    def _drop_oldest(self, may_drop: MayDrop) -> None:
        name = next((name for name in self._rows if may_drop(name)), None)
        if name is None:
            return
        row = self._rows.pop(name)
        self.dropped += 1
        for first, last, reason in declared_by(row.entry.kind, row.entry.body):
            self.note_drop(first, last, reason)
        self.note_drop(row.sequence, row.sequence, "memory-full")

    def note_drop(self, first: int, last: int, reason: str) -> None:
        """Have these numbers declared as lost."""
        if self._drops and self._drops[-1][1:] == (first - 1, reason):
            first = self._drops.pop()[0]
        self._drops.append((first, last, reason))
