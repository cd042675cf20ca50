"""The worker between everybody and the outbox: the only thread that touches its disk.

Others hand it entries and never wait for the card; the uplink takes rows that are in memory already, and
hands back which were confirmed. A card that stalls for a minute stalls nothing but this thread.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from .outbox import OutboxStats
from .reading import Entry, Row
from .storage import Storage
from .timekeeping import BootClock, Timekeeper

_READY_ROWS = 400  # rows held in memory for the uplink; refilled below a half
_FLUSH_AT = 20  # confirmations that are worth a commit of their own: the uplink's window
_HOUSEKEEPING_S = 3600.0
_MORE_HOUSEKEEPING_S = 10.0
_CLOCK_TOLERANCE_S = 0.1


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """What the outbox looks like from outside, as of the last step.

    ``stored``, ``confirmed``: rows of this run. ``backlog``: all rows without a confirmation.
    ``degraded``: why new rows stand in memory only, or None.
    """

    stats: OutboxStats
    stored: int = 0
    confirmed: int = 0
    backlog: int = 0
    in_memory: int = 0
    dropped: int = 0
    degraded: str | None = None


class OutboxWriter:
    """Thread safety: ``open``, ``step`` and ``close`` on one thread at a time; the rest from any thread."""

    name = "outbox"
    step_bound_s = 60.0

    def __init__(
        self,
        storage: Storage,
        timekeeper: Timekeeper,
        *,
        keep_sent_s: float = 14 * 86400.0,
        max_age_s: float | None = None,
    ) -> None:
        self._storage = storage
        self._timekeeper = timekeeper
        self._keep_sent_s = keep_sent_s
        self._max_age_s = max_age_s
        self.wake: Callable[[], None] = lambda: None
        self.wake_uplink: Callable[[], None] = lambda: None
        self._lock = threading.Lock()  # guards the five fields that both sides touch
        self._incoming: list[tuple[Entry, Callable[[], None] | None]] = []
        self._confirmed: list[Row] = []
        self._ready: dict[str, Row] = {}  # next in line, in the order of sending
        self._taken: set[str] = set()  # in flight: not to be offered again, nor dropped
        self._all_ready = False  # whether every unsent row is ready or taken
        self._clocks: Mapping[str, BootClock] = {}
        self._housekeeping_at = 0.0
        self._confirmations = 0
        self.status = WriterStatus(storage.stats(0.0))

    # --- any thread

    def put(self, entry: Entry, when_durable: Callable[[], None] | None = None) -> None:
        """Have ``entry`` stored. ``when_durable`` is called on the writer's thread once it is on disk, and
        never if the disk fails first."""
        with self._lock:
            self._incoming.append((entry, when_durable))
        self.wake()

    def take(self, limit: int) -> list[Row]:
        """Up to ``limit`` rows to send now. Each comes back by ``confirm`` or ``give_back``."""
        with self._lock:
            rows = list(itertools.islice(self._ready.values(), limit))
            for row in rows:
                del self._ready[row.object_id]
                self._taken.add(row.object_id)
            low = self._low
        if low:
            self.wake()
        return rows

    def confirm(self, rows: Collection[Row]) -> None:
        """The hub has these rows."""
        with self._lock:
            self._confirmed += rows
            worth_a_step = len(self._confirmed) >= _FLUSH_AT or len(self._confirmed) >= len(self._taken)
        if worth_a_step:  # else more are on their way
            self.wake()

    def give_back(self, rows: Collection[Row]) -> None:
        """These rows were taken and not confirmed: they are next in line again, in their order."""
        with self._lock:
            self._taken.difference_update(row.object_id for row in rows)
            self._make_ready(rows)

    def boot_clock(self, boot_id: str) -> BootClock:
        """What time it was in that boot, as known now."""
        if boot_id == self._timekeeper.boot_id:
            return self._timekeeper.read()
        return self._clocks.get(boot_id, BootClock(0.0, False))

    @property
    def idle(self) -> bool:
        """Whether everything that was put is stored, and everything stored is confirmed."""
        with self._lock:
            waiting = self._incoming or self._confirmed or self._ready or self._taken
            return not (waiting or self.status.backlog)

    # --- the writer's thread

    def open(self, now: float) -> None:
        """Open the store. A disk that fails is reported, not raised. Raises StoreUnreadable."""
        self._storage.open(now)
        self._note_clock(now)
        self._refill(now)
        self._update_status(now)

    def step(self, now: float) -> float:
        """Store what was put, write confirmations, refill what the uplink takes from."""
        with self._lock:  # what is being stored stays listed, so that nobody thinks us idle
            incoming = self._incoming[:]
            confirmed = self._confirmed[:]
        self._storage.confirm(confirmed, self._timekeeper.clock.wall())
        with self._lock:
            self._taken.difference_update(row.object_id for row in confirmed)
        due = self._storage.maintain(now, self._may_drop)
        self._note_clock(now)
        if incoming or self._storage.announcements:
            self._store(incoming, now)
        if self._storage.unwritten_confirmations >= _FLUSH_AT:
            self._offer(self._storage.flush(self._may_drop, now))
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + (_MORE_HOUSEKEEPING_S if self._expire(now) else _HOUSEKEEPING_S)
        self._refill(now)
        self._confirmations += sum(row.run == self._storage.run for row in confirmed)
        self._update_status(now)
        with self._lock:
            del self._incoming[: len(incoming)]
            del self._confirmed[: len(confirmed)]
        return min(due, self._housekeeping_at)

    def close(self, now: float) -> None:
        """A clean stop, after the thread has ended: store what was put, write every confirmation."""
        self.step(now)
        self._storage.close(now, self._may_drop)
        self._update_status(now)

    def _store(self, incoming: Collection[tuple[Entry, Callable[[], None] | None]], now: float) -> None:
        self._offer(self._storage.append([entry for entry, _ in incoming], self._may_drop, now))
        if self._storage.degraded is None:
            for _, when_durable in incoming:
                if when_durable is not None:
                    when_durable()

    def _offer(self, rows: Collection[Row]) -> None:
        """New rows go straight to the uplink, unless older ones wait for it on disk; urgent ones always."""
        with self._lock:
            straight = [row for row in rows if self._all_ready or row.entry.urgent]
            self._all_ready = self._all_ready and len(straight) == len(rows)
            self._make_ready(straight)

    def _refill(self, now: float) -> None:
        with self._lock:
            low = self._low
            missing, skip = _READY_ROWS - len(self._ready), self._taken | self._ready.keys()
            self._all_ready |= low  # until the storage, or what others do meanwhile, says otherwise
        if low:
            rows = self._storage.unsent(missing, skip, now)
            with self._lock:
                if len(rows) == missing or self._storage.degraded is not None:
                    self._all_ready = False
                self._make_ready(rows)
        if self._ready:
            self.wake_uplink()

    @property
    def _low(self) -> bool:
        """Whether to fetch more. Called with the lock held."""
        return not self._all_ready and len(self._ready) < _READY_ROWS // 2

    def _make_ready(self, rows: Collection[Row]) -> None:
        """Line ``rows`` up; what does not fit is fetched again in time. Called with the lock held."""
        if rows:
            line = sorted((*self._ready.values(), *rows), key=_order)
            self._ready = {row.object_id: row for row in line[:_READY_ROWS]}
            self._all_ready = self._all_ready and len(line) <= _READY_ROWS

    def _may_drop(self, object_id: str) -> bool:
        """Whether this row is not in flight; it is then no longer offered, unless it turns out to be kept."""
        with self._lock:
            if self._ready.pop(object_id, None) is not None:
                self._all_ready = False
            return object_id not in self._taken

    def _update_status(self, now: float) -> None:
        stats, in_memory = self._storage.stats(now), self._storage.in_memory
        self.status = WriterStatus(
            stats=stats,
            stored=self._storage.stored,
            confirmed=self._confirmations,
            backlog=stats.unsent + in_memory,
            in_memory=in_memory,
            dropped=stats.dropped + self._storage.memory_dropped,
            degraded=self._storage.degraded,
        )

    def _note_clock(self, now: float) -> None:
        """Correct this boot's offset where the clock has been: one small row, not the readings."""
        boot_id, present = self._timekeeper.boot_id, self._timekeeper.read()
        self._clocks = self._storage.clocks
        known = self._clocks.get(boot_id)
        if (
            known is None
            or known.synchronised != present.synchronised
            or abs(known.offset_s - present.offset_s) > _CLOCK_TOLERANCE_S
        ):
            self._storage.note_clock(boot_id, present, now)

    def _expire(self, now: float) -> bool:
        clock = self._timekeeper.read()
        return clock.synchronised and self._storage.expire(
            clock.offset_s + now, self._keep_sent_s, self._max_age_s, self._may_drop, now
        )


def _order(row: Row) -> tuple[bool, int]:
    return (not row.entry.urgent, row.sequence)
