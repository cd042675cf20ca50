"""Rows that the hub will never have, set aside with the reason, for a person to look at.

A message that brings the connection down again and again must not block those behind it. The table keeps the
newest hundred; each was declared by a ``rejected`` event when it was set aside.
Thread safety: one thread at a time, the outbox writer's.
"""

from __future__ import annotations

from dataclasses import dataclass

from .outbox_rows import COLUMNS, READ, OutboxRows, row_of
from .reading import Entry, Row

REJECTED_A_COMMIT = 16  # rows: each leaves its pages, besides those that it and its event come to

_KEPT = 100
_REASON_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was set aside. ``boot_id``, ``boot_time_s``: when, in seconds of that boot."""

    row: Row
    reason: str
    boot_id: str
    boot_time_s: float


class Rejections:
    """The table ``rejected``. It is changed within a transaction of ``rows``."""

    def __init__(self, rows: OutboxRows) -> None:
        self._rows = rows

    def add(self, rejected: Rejected) -> bool:
        """Copy the row here; False if it does not wait in the store (any more). The caller takes it out."""
        added = self._rows.db.execute(
            f"INSERT INTO rejected ({COLUMNS}, reason, rejected_boot_id, rejected_boot_time_s) "  # noqa: S608
            f"SELECT {COLUMNS}, ?, ?, ? FROM rows WHERE sequence = ? AND run = ? AND sent_at_s < 0",
            (
                rejected.reason, rejected.boot_id, rejected.boot_time_s,
                rejected.row.sequence, rejected.row.run,
            ),
        ).rowcount  # fmt: skip
        self._rows.rejected += added
        if self._rows.rejected > _KEPT:
            self.free_oldest()
        return bool(added)

    def free_oldest(self) -> bool:
        """Forget the one that was set aside first; False if there is none."""
        freed = self._rows.db.execute(
            "DELETE FROM rejected WHERE number = (SELECT MIN(number) FROM rejected)"
        ).rowcount
        self._rows.rejected -= freed
        return bool(freed)

    def newest(self, limit: int) -> list[Rejected]:
        """Up to ``limit`` of them, the latest first."""
        if not self._rows.rejected:  # in a store of schema 1 there is no table either
            return []
        found = self._rows.db.execute(
            f"SELECT {READ}, reason, rejected_boot_id, rejected_boot_time_s FROM rejected "  # noqa: S608
            "ORDER BY number DESC LIMIT ?",
            (limit,),
        )
        return [Rejected(row_of(values[:-3]), *values[-3:]) for values in found]


def rejected_event(row: Row, reason: str, boot_time_s: float, simulated: bool) -> Entry:
    """The declaration that the hub will never have ``row``."""
    body = {"event": "rejected", "objectId": row.object_id, "kind": row.entry.kind, "reason": bounded(reason)}
    return Entry("event", boot_time_s, body, simulated=simulated, urgent=True)


def is_rejection(entry: Entry) -> bool:
    """Whether ``entry`` is such a declaration: one that is rejected itself is not declared again."""
    return entry.kind == "event" and entry.body.get("event") == "rejected"


def bounded(reason: str) -> str:
    """``reason``, short enough for a message."""
    return reason[:_REASON_CHARACTERS]
