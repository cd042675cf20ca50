"""The worker between everybody and the outbox: the only thread that touches its disk.

Others hand it entries and never wait for the card; the uplink takes rows that are in memory already, and
hands back which were confirmed. A card that stalls for a minute stalls nothing but this thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from .lanes import Lanes
from .outbox import commits
from .reading import Entry, Row
from .rejections import REJECTED_A_COMMIT, Rejected
from .service import event
from .storage import Storage
from .timekeeping import BootClock, Timekeeper
from .writer_status import WriterStatus

log = logging.getLogger(__name__)

_FLUSH_AT = 100  # confirmations that are worth a commit of their own in a drain,
_FLUSH_WINDOW = 20  # and when it has ended: no more than the uplink's window are repeated after a crash
_REJECTED_SHOWN = 10
_HOUSEKEEPING_S = 3600.0
_MORE_HOUSEKEEPING_S = 10.0
_CLOCK_TOLERANCE_S = 0.1


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
        self._rejections: list[tuple[list[Row], str]] = []  # a commit's worth each
        self._lanes = Lanes()
        self._asked = False  # whether a step is on its way
        self._clocks: Mapping[str, BootClock] = {}
        self._housekeeping_at = 0.0
        self._disk_due = storage.due
        self._confirmations = 0
        self._rejected: Sequence[Rejected] = ()
        self.status = WriterStatus.of(storage, 0.0, 0, ())

    # --- any thread

    def put(self, entry: Entry, when_durable: Callable[[], None] | None = None) -> None:
        """Have ``entry`` stored. ``when_durable`` is called on the writer's thread once it is on disk, and
        never if the disk fails first."""
        with self._lock:
            self._incoming.append((entry, when_durable))
        self._ask()

    def take(self, limit: int) -> list[Row]:
        """Up to ``limit`` rows to send now, of one lane (agent/lanes.py), in order of sequence.

        Each comes back by ``confirm``, ``give_back`` or ``reject``.
        """
        with self._lock:
            rows = self._lanes.take(limit)
            low = self._lanes.missing() > 0
        if low:
            self._ask()
        return rows

    def confirm(self, rows: Collection[Row]) -> None:
        """The hub has these rows."""
        with self._lock:
            self._lanes.settle(rows)
            self._confirmed += rows
            worth_a_step = len(self._confirmed) >= _FLUSH_AT or not self._lanes.in_flight
        if worth_a_step:  # else more are on their way
            self._ask()

    def give_back(self, rows: Collection[Row]) -> None:
        """These rows were taken and not confirmed: they are next in their lane again, in their order."""
        with self._lock:
            self._lanes.give_back(rows)
            worth_a_step = bool(self._confirmed) and not self._lanes.in_flight
        if worth_a_step:
            self._ask()

    def reject(self, rows: Collection[Row], reason: str) -> None:
        """These rows were taken, and the hub will never have them: they are set aside and declared.

        While the disk cannot be written they are withheld, and offered again only by the next process.
        """
        parts = [(part, reason) for part in commits(rows, lambda row: row.entry, REJECTED_A_COMMIT)]
        with self._lock:
            self._lanes.settle(rows)
            self._rejections += parts
        self._ask()

    def _ask(self) -> None:
        """Have ``step`` called, unless it will be anyway."""
        with self._lock:
            asked, self._asked = self._asked, True
        if not asked:
            self.wake()

    def boot_clock(self, boot_id: str) -> BootClock:
        """What time it was in that boot, as known now."""
        if boot_id == self._timekeeper.boot_id:
            return self._timekeeper.read()
        return self._clocks.get(boot_id, BootClock(0.0, False))

    @property
    def idle(self) -> bool:
        """Whether everything that was put is stored, and everything stored is confirmed."""
        with self._lock:
            return not (self._incoming or self._lanes.busy or self.status.backlog)

    # --- the writer's thread

    def open(self, now: float) -> None:
        """Open the store. A disk that fails is reported, not raised. Raises StoreUnreadable."""
        self._storage.open(now)
        self._note_clock(now)
        self._rejected = self._storage.rejected(_REJECTED_SHOWN, now)
        self._refill(now)
        self.status = WriterStatus.of(self._storage, now, self._confirmations, self._rejected)

    def step(self, now: float) -> float:
        """Store what was put, write confirmations and rejections, refill what the uplink takes from."""
        with self._lock:  # what is being stored stays listed, so that nobody thinks us idle
            self._asked = False
            incoming = self._incoming[:]
            confirmed, self._confirmed = self._confirmed, []
            rejections = self._rejections[:]
        self._storage.confirm(confirmed, self._timekeeper.clock.wall())
        self._storage.maintain(now, self._may_drop)
        self._note_clock(now)
        if incoming or self._storage.announcements:
            self._store(incoming, now)
        for rejection in rejections:
            self._reject(rejection, now)
        if self._worth_a_flush:
            self._offer(self._storage.flush(self._may_drop, now))
        if now >= self._housekeeping_at:
            self._housekeeping_at = now + (_MORE_HOUSEKEEPING_S if self._expire(now) else _HOUSEKEEPING_S)
        if self._storage.due != self._disk_due:
            self._disk_due = self._storage.due
            with self._lock:
                self._lanes.doubt()
        self._refill(now)
        self._confirmations += sum(row.run == self._storage.run for row in confirmed)
        self.status = WriterStatus.of(self._storage, now, self._confirmations, self._rejected)
        with self._lock:
            del self._incoming[: len(incoming)]
            self._lanes.release(confirmed)
        return min(self._storage.due, self._housekeeping_at)

    def close(self, now: float) -> None:
        """A clean stop, after the thread has ended: store what was put, write every confirmation."""
        self.step(now)
        self._storage.close(now, self._may_drop)
        self.status = WriterStatus.of(self._storage, now, self._confirmations, self._rejected)

    def _store(self, incoming: Collection[tuple[Entry, Callable[[], None] | None]], now: float) -> None:
        self._offer(self._storage.append([entry for entry, _ in incoming], self._may_drop, now))
        if self._storage.degraded is None:
            for _, when_durable in incoming:
                if when_durable is not None:
                    when_durable()

    def _reject(self, rejection: tuple[list[Row], str], now: float) -> None:
        rows, reason = rejection
        said = self._storage.reject(rows, reason, self._may_drop, now)
        if said is None:
            return  # and is tried again at the next step
        named = ", ".join(row.object_id for row in rows)
        log.warning("rejected, never to be sent: %s (%s)", named, reason, extra=event("rejected"))
        self._offer(said)
        self._rejected = self._storage.rejected(_REJECTED_SHOWN, now)
        with self._lock:
            self._rejections.remove(rejection)
            self._lanes.release(rows)

    @property
    def _worth_a_flush(self) -> bool:
        unwritten = self._storage.unwritten_confirmations
        return unwritten >= _FLUSH_AT or (unwritten >= _FLUSH_WINDOW and not self._lanes.in_flight)

    def _offer(self, rows: Collection[Row]) -> None:
        """New rows go straight to the uplink: nobody reads the disk for them."""
        with self._lock:
            self._lanes.offer(rows)
        if rows:
            self.wake_uplink()

    def _refill(self, now: float) -> None:
        with self._lock:
            missing = self._lanes.missing()
            known = self._lanes.known() if missing else ()
        if missing:
            rows = self._storage.unsent(missing, known, now)
            with self._lock:
                self._lanes.fetched(rows, missing)
            self.wake_uplink()  # without new rows as well: what is left may have waited for them

    def _may_drop(self, object_id: str) -> bool:
        """Whether this row is not in flight; it is then no longer offered, unless it turns out to be kept."""
        with self._lock:
            return self._lanes.may_drop(object_id)

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
