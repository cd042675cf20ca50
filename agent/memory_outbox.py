"""The outbox in memory, for when there is no disk to write to: bounded, and honest about it.

It keeps the contract of agent/outbox.py but for durability (one suite tests both): its rows carry
``durable: false``, and what it drops is declared the same way. Thread safety: one thread at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from .reading import Entry, Row


class MemoryOutbox:
    """A ring of at most ``max_rows`` rows; the oldest that is not in flight goes first."""

    def __init__(self, *, run: str, boot_id: str, max_rows: int = 2000) -> None:
        self.run = run
        self.boot_id = boot_id
        self.next_sequence = 1
        self.dropped = 0
        self._max_rows = max_rows
        self._rows: dict[int, Row] = {}
        self._drops: list[list[int]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, entries: Sequence[Entry], leased: Collection[int] = ()) -> list[Row]:
        """Hold ``entries``; the new rows. An entry whose key is held already yields none."""
        rows = []
        for entry in entries:
            if entry.key is not None and any(r.entry.key == entry.key for r in self._rows.values()):
                continue
            stamped = replace(entry, body={**entry.body, "durable": False})
            row = Row(self.next_sequence, self.run, self.boot_id, stamped)
            self._rows[row.sequence] = row
            self.next_sequence += 1
            rows.append(row)
        self._make_room(leased)
        return rows

    def unsent(self, limit: int, leased: Collection[int] = ()) -> list[Row]:
        """Up to ``limit`` rows to send next, urgent ones first, then by age, but for ``leased`` ones."""
        free = [row for sequence, row in self._rows.items() if sequence not in leased]
        return sorted(free, key=lambda row: (not row.entry.urgent, row.sequence))[:limit]

    def confirm(self, sequences: Collection[int]) -> None:
        """The hub has these rows."""
        for sequence in sequences:
            self._rows.pop(sequence, None)

    def flush(self, leased: Collection[int] = ()) -> list[Row]:
        """Declare what was dropped; the row of the declaration."""
        if not self._drops:
            return []
        ranges = [[first, last, "memory-full"] for first, last in self._drops]
        body = {"event": "dropped", "count": sum(b - a + 1 for a, b in self._drops), "ranges": ranges}
        newest = max((row.entry.boot_time_s for row in self._rows.values()), default=0.0)
        self._drops = []
        return self.append([Entry("event", newest, body, urgent=True)], leased)

    def rows(self) -> list[Row]:
        """All rows, oldest first."""
        return list(self._rows.values())

    def _make_room(self, leased: Collection[int]) -> None:
        excess = len(self._rows) - self._max_rows
        for sequence in [s for s in self._rows if s not in leased][: max(0, excess)]:
            body = self._rows.pop(sequence).entry.body
            self.dropped += 1
            if body.get("event") == "dropped":  # a lost declaration is declared again
                for first, last, _ in body["ranges"]:
                    self._note_drop(first, last)
            self._note_drop(sequence, sequence)

    def _note_drop(self, first: int, last: int) -> None:
        if self._drops and self._drops[-1][1] == first - 1:
            self._drops[-1][1] = last
        else:
            self._drops.append([first, last])
