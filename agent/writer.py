"""The worker between everybody and the outbox: the only thread that touches its disk.

Others hand it entries and never wait for the card; the uplink takes rows that are in memory already, and
hands back which were confirmed. A card that stalls for a minute stalls nothing but this thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from .outbox import OutboxStats
from .reading import Entry, Row
from .storage import Storage
from .timekeeping import BootClock, Timekeeper

_READY_ROWS = 400  # rows held in memory for the uplink; refilled below a half
_FLUSH_AT = 20  # confirmations that are worth a commit of their own: the uplink's window
_HOUSEKEEPING_S = 3600.0
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
        self._lock = threading.Lock()  # guards the fields that both sides touch, down to _waiting
        self._incoming: list[tuple[Entry, Callable[[], None] | None]] = []
        self._confirmed: list[int] = []
        self._ready: deque[Row] = deque()
        self._leased: set[int] = set()  # ready, or taken and not confirmed
        self._stepping = False
        self._waiting = 0  # rows on disk or in memory that are not leased
        self._clocks: Mapping[str, BootClock] = {}
        self._housekeeping_at = 0.0
        self._stored = self._confirmations = 0
        self.status = WriterStatus(storage.stats(0.0))

    # --- any thread

    def put(self, entry: Entry, when_durable: Callable[[], None] | None = None) -> None:
        """Have ``entry`` stored. ``when_durable`` is called on the writer's thread once it is on disk."""
        with self._lock:
            self._incoming.append((entry, when_durable))
        self.wake()

    def take(self, limit: int) -> list[Row]:
        """Up to ``limit`` rows to send now. Each comes back by ``confirm`` or ``give_back``."""
        with self._lock:
            rows = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
            low = self._waiting > 0 and len(self._ready) < _READY_ROWS // 2
        if low:
            self.wake()
        return rows

    def confirm(self, rows: Collection[Row]) -> None:
        """The hub has these rows."""
        with self._lock:
            self._confirmed += [row.sequence for row in rows]
        self.wake()

    def give_back(self, rows: Collection[Row]) -> None:
        """These rows were taken and not confirmed: they are next in line again, in their order."""
        with self._lock:
            self._ready = deque(sorted((*rows, *self._ready), key=_order))

    def boot_clock(self, boot_id: str) -> BootClock:
        """What time it was in that boot, as known now."""
        if boot_id == self._timekeeper.boot_id:
            return self._timekeeper.read()
        return self._clocks.get(boot_id, BootClock(0.0, False))

    @property
    def idle(self) -> bool:
        """Whether everything that was put is stored, and everything stored is confirmed."""
        with self._lock:
            pending = self._incoming or self._confirmed or self._ready or self._waiting
            return not (pending or self._stepping or self.status.backlog)

    # --- the writer's thread

    def open(self, now: float) -> None:
        """Open the store. A disk that fails is reported, not raised. Raises StoreUnreadable."""
        self._storage.open(now)
        self._note_clock(now)
        self._waiting = self._storage.stats(now).unsent
        self._refill(now)

    def step(self, now: float) -> float:
        """Store what was put, write confirmations, refill what the uplink takes from."""
        with self._lock:
            self._stepping = True
            incoming, self._incoming = self._incoming, []
            confirmed, self._confirmed = self._confirmed, []
            self._leased.difference_update(confirmed)
            leased = frozenset(self._leased)
        self._confirmations += len(confirmed)
        self._storage.confirm(confirmed, self._timekeeper.clock.wall())
        due = self._storage.maintain(now)
        self._note_clock(now)
        if incoming or self._storage.announcements:
            rows = self._storage.append([entry for entry, _ in incoming], leased, now)
            self._offer(rows)
            if self._storage.degraded is None:
                for _, when_durable in incoming:
                    if when_durable is not None:
                        when_durable()
        if self._storage.unwritten_confirmations >= _FLUSH_AT:
            self._offer(self._storage.flush(leased, now))
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + _HOUSEKEEPING_S
            self._expire(now, leased)
        self._refill(now)
        with self._lock:
            self._stepping = False
        return min(due, self._housekeeping_at)

    def close(self, now: float) -> None:
        """A clean stop, after the thread has ended: store what was put, write every confirmation."""
        self.step(now)
        self._storage.flush(frozenset(self._leased), now)
        self._update_status(now)
        self._storage.close()

    def _offer(self, rows: list[Row]) -> None:
        """New rows go straight to the uplink, unless older ones wait for it on disk; urgent ones always."""
        self._stored += len(rows)
        with self._lock:
            for row in rows:
                straight = self._waiting == 0 and len(self._ready) < _READY_ROWS
                if row.entry.urgent or straight:
                    self._ready.append(row)
                    self._leased.add(row.sequence)
                else:
                    self._waiting += 1
            if any(row.entry.urgent for row in rows):
                self._ready = deque(sorted(self._ready, key=_order))

    def _refill(self, now: float) -> None:
        with self._lock:
            missing, leased = _READY_ROWS - len(self._ready), frozenset(self._leased)
        fetch = self._waiting > 0 and missing > _READY_ROWS // 2
        rows = self._storage.unsent(missing, leased, now) if fetch else []
        self._update_status(now)
        with self._lock:
            if fetch:
                self._ready.extend(rows)
                self._leased.update(row.sequence for row in rows)
                self._waiting = max(0, self.status.backlog - len(self._leased)) if len(rows) == missing else 0
            any_ready = bool(self._ready)
        if any_ready:
            self.wake_uplink()

    def _update_status(self, now: float) -> None:
        stats, in_memory = self._storage.stats(now), self._storage.in_memory
        self.status = WriterStatus(
            stats=stats,
            stored=self._stored,
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

    def _expire(self, now: float, leased: Collection[int]) -> None:
        clock = self._timekeeper.read()
        if clock.synchronised:
            self._storage.expire(clock.offset_s + now, self._keep_sent_s, self._max_age_s, leased, now)


def _order(row: Row) -> tuple[bool, int]:
    return (not row.entry.urgent, row.sequence)
