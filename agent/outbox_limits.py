"""What must go from the outbox when there is no room, and how that is declared.

Sent rows go first, then rejected ones, which were declared already, then unsent rows, each kind oldest
first. A number that is dropped is noted in the same commit and stands in a ``dropped`` event later; what was
declared by an event that is lost itself is noted with it.
Thread safety: one thread at a time, the outbox writer's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .outbox_file import FRAME_BYTES, LOG_PAGES, PAGE_BYTES
from .outbox_rows import CONFIRMATION_PAGES, OutboxRows, parsed
from .reading import Entry, json_text, object_id
from .rejections import Rejections, is_rejection

_COMMIT_ENTRIES = 32
_COMMIT_BYTES = 32 * 1024
_DELETE_BATCH = 16
# what a commit touches besides the pages of its entries: each row that is deleted may take two
_COMMIT_PAGES = CONFIRMATION_PAGES + 2 * _DELETE_BATCH + 8
_SMALLEST_PAGES = 256  # a store may grow to 1 MiB even on a card that is nearly full
_EXPIRE_BATCH = 500
_DECLARED_RANGES = 50
_AGAIN = ", again"  # after the reason of what was declared by an event that was rejected

log = logging.getLogger(__name__)
T = TypeVar("T")

Range = tuple[int, int, str]
"""(first, last, reason) of numbers that the hub will not see."""

MayDrop = Callable[[str], bool]
"""Asked before a row (by its object id) is dropped; False while it is in flight."""


def anything(object_id: str) -> bool:  # noqa: ARG001  (a MayDrop)
    """No row is in flight."""
    return True


class OutboxLimits:
    """``max_bytes``: of the file and its log. Below ``min_free_bytes`` on the disk the file stops growing."""

    def __init__(
        self,
        rows: OutboxRows,
        rejections: Rejections,
        *,
        max_bytes: int,
        min_free_bytes: int,
        free_bytes: Callable[[Path], int],
    ) -> None:
        self.max_bytes = max_bytes
        self._rows = rows
        self._rejections = rejections
        self._min_free_bytes = min_free_bytes
        self._free_bytes = free_bytes

    def make_room(self, entries: Collection[Entry], may_drop: MayDrop) -> None:
        """Free what must go so that ``entries`` fit: they then come out of the file's own free pages."""
        rows, pages = self._rows, _pages(entries)
        size = rows.value("PRAGMA page_count")
        log_bytes = (LOG_PAGES + _COMMIT_PAGES + 2 * pages) * FRAME_BYTES
        budget = (self.max_bytes - log_bytes) // PAGE_BYTES
        if self._free_bytes(rows.path.parent) < self._min_free_bytes:
            budget = min(budget, max(size, _SMALLEST_PAGES))
        # a limit that was lowered is reached over several commits, each short enough for the log
        goal = max(budget - pages, rows.used_pages() - 2 * pages)
        while rows.used_pages() > goal and self._free_one(may_drop):
            pass
        for _ in range(min(size - budget, _COMMIT_PAGES // 2)):
            rows.db.execute("PRAGMA incremental_vacuum(1)")  # more than one would be stepped by one as well

    def expire(self, now_s: float, keep_sent_s: float, max_age_s: float | None, may_drop: MayDrop) -> bool:
        """Delete sent rows older than ``keep_sent_s`` and drop unsent ones older than ``max_age_s``.

        ``now_s``: trusted Unix time. Looks at the oldest few hundred rows only; True if it is worth calling
        again soon. Unsent rows of a boot whose clock was never synchronised have no age.
        """
        oldest = self._rows.db.execute(
            "SELECT sequence, run, sent_at_s, offset_s + boot_time_s FROM rows LEFT JOIN clocks "
            "ON rows.boot_id = clocks.boot_id AND synchronised WHERE sequence < ? ORDER BY sequence LIMIT ?",
            (self._rows.newest, _EXPIRE_BATCH),
        ).fetchall()
        stale = [sequence for sequence, _, sent, _ in oldest if 0 <= sent < now_s - keep_sent_s]
        old = [
            sequence
            for sequence, run, sent, made in oldest
            if max_age_s is not None and sent < 0 and made is not None and made < now_s - max_age_s
            and (name := object_id(run, sequence)) not in self._rows.confirmed and may_drop(name)
        ]  # fmt: skip
        for first in range(0, max(len(stale), len(old)), _DELETE_BATCH):
            with self._rows.transaction():
                self._rows.delete_sent(stale[first : first + _DELETE_BATCH])
                for sequence in old[first : first + _DELETE_BATCH]:
                    self._drop(sequence, "age")
        return bool(stale or old) and len(oldest) == _EXPIRE_BATCH

    @property
    def owing(self) -> bool:
        """Whether anything was dropped that is not declared yet."""
        return bool(self._rows.value("SELECT EXISTS (SELECT * FROM drops)"))

    def undeclared(self) -> list[Range]:
        """Ranges (first, last, reason) of dropped numbers for one event, which the caller now stores."""
        ranges = self._rows.db.execute(
            "SELECT first, last, reason FROM drops ORDER BY first LIMIT ?", (_DECLARED_RANGES,)
        ).fetchall()
        self._rows.db.executemany("DELETE FROM drops WHERE first = ? AND last = ? AND reason = ?", ranges)
        return ranges

    def note(self, ranges: Iterable[Range]) -> None:
        """Have these numbers declared as lost."""
        for first, last, reason in ranges:
            extended = self._rows.db.execute(
                "UPDATE drops SET last = ? WHERE last = ? AND reason = ?", (last, first - 1, reason)
            ).rowcount
            if not extended:
                self._rows.db.execute("INSERT INTO drops VALUES (?,?,?)", (first, last, reason))

    def _free_one(self, may_drop: MayDrop) -> bool:
        """Let the next batch of what may go go; False if nothing may."""
        if sent := self._rows.oldest_sent(_DELETE_BATCH):
            self._rows.delete_sent(sent)
            return True
        return self._rejections.free_oldest() or self._drop_oldest(may_drop)

    def _drop_oldest(self, may_drop: MayDrop) -> bool:
        newest = self._rows.newest
        oldest = next(
            (s for s, run, *_ in self._rows.by_age() if s != newest and may_drop(object_id(run, s))), None
        )
        if oldest is None:
            return False
        self._drop(oldest, "full")
        return True

    def _drop(self, sequence: int, reason: str) -> None:
        query = "SELECT kind, body, json_valid(body) FROM rows WHERE sequence = ?"
        kind, text, is_json = self._rows.db.execute(query, (sequence,)).fetchone()
        lost_with_it = declared_by(kind, parsed(text, is_json)) if kind == "event" else []
        self.note([*lost_with_it, (sequence, sequence, reason)])
        self._rows.delete_unsent(sequence)
        self._rows.dropped += 1


def commits(
    items: Iterable[T], entry_of: Callable[[T], Entry], most: int = _COMMIT_ENTRIES
) -> Iterator[list[T]]:
    """``items`` in parts for one commit each, short enough for the log to stay within its reserve."""
    part: list[T] = []
    size = 0
    for item in items:
        more = _bytes(entry_of(item))
        if part and (size + more > _COMMIT_BYTES or len(part) == most):
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


def declared_by(kind: str, body: Mapping[str, Any]) -> list[Range]:
    """What a row says is lost, if it is such an event: to be declared anew if the row is lost itself."""
    event = body.get("event") if kind == "event" else None
    try:
        if event == "dropped":
            return [(int(first), int(last), str(reason)) for first, last, reason in body["ranges"]]
        if event == "rejected":
            sequence = int(body["objectId"].rpartition("-")[2])
            return [(sequence, sequence, "rejected")]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):  # of an event that is garbled
        log.warning("outbox: a declaration of what was lost cannot be read: %.100r", body)
        return []
    return []


def declared_again(rejected: Entry) -> list[Range]:
    """What is declared once more since this event is rejected, marked so that there is no third time."""
    ranges = [] if is_rejection(rejected) else declared_by(rejected.kind, rejected.body)
    return [(first, last, why + _AGAIN) for first, last, why in ranges if not why.endswith(_AGAIN)]


def _pages(entries: Collection[Entry]) -> int:
    """At most so many pages are touched anew by storing ``entries``: their text (a row of more than half a
    page wastes the rest of it), and a split in each tree."""
    return 6 + 2 * sum(_bytes(entry) for entry in entries) // PAGE_BYTES


def _bytes(entry: Entry) -> int:
    return 200 + len(json_text(entry.body).encode())
