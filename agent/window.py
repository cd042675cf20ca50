"""What is on its way to the hub over one connection after another, and what became of it.

Invariants, each with a test of its name in tests/agent/test_window.py:

1. bounded     never more than the given number of messages in flight, and a suspect only alone.
2. accounted   every row taken is confirmed, rejected, given back or held as a suspect; none twice.
3. deadline    no confirmation for ``send_timeout_s``, or a message that was passed over for so long, is a
               problem of the link.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from .batching import Batcher, Sendable, metered_bytes
from .cloud import MAX_MESSAGE_BYTES, WINDOW, Failure, HubClient, HubError
from .isolation import Isolation
from .reading import Message, Row
from .timekeeping import BootClock

_SLOW_S = 2.0
_SOON_S = 10.0  # a disconnect so soon after a message was published may be its doing
_LONG_BODY = MAX_MESSAGE_BYTES - 65_535  # properties travel in an MQTT topic, which holds no more than that


class RowSource(Protocol):
    """What is needed of the outbox writer."""

    def take(self, limit: int) -> list[Row]: ...
    def confirm(self, rows: list[Row]) -> None: ...
    def give_back(self, rows: list[Row]) -> None: ...
    def reject(self, rows: list[Row], reason: str) -> None: ...
    def boot_clock(self, boot_id: str) -> BootClock: ...


@dataclass(frozen=True, slots=True)
class _Sending:
    rows: list[Row]
    future: Future[None]
    at: float
    number: int  # on this connection


class Window:
    """Thread safety: one thread at a time; ``wake`` is called from any."""

    def __init__(
        self,
        rows: RowSource,
        batcher: Batcher,
        on_confirmed: Callable[[Row, int], None],
        send_timeout_s: float,
        proven_s: float,
    ) -> None:
        """``proven_s``: how long a connection has stood when its end tells something of a message."""
        self._rows = rows
        self._batcher = batcher
        self._send_timeout_s = send_timeout_s
        self._proven_s = proven_s
        self._on_confirmed = on_confirmed
        self.wake: Callable[[], None] = lambda: None
        self._isolation = Isolation()
        self._sending: list[_Sending] = []
        self._trial: Row | None = None
        self._others_since_trial = False  # whether any were confirmed, on this connection
        self._newest_confirmed = 0  # its number
        self._since = self._heard_at = 0.0
        self._open = _Open(self._call)
        self._sent = 0
        self.confirmed = 0
        """Messages on this connection."""
        self.total = 0
        """Rows confirmed, ever."""

    @property
    def in_flight(self) -> int:
        return len(self._sending)

    @property
    def suspects(self) -> int:
        """Rows that are sent alone, because the connection ended each time that they were published."""
        return len(self._isolation.rows)

    @property
    def trial(self) -> str | None:
        """The id of the suspect that is in flight, alone."""
        return None if self._trial is None else self._trial.object_id

    def begin(self, now: float) -> None:
        """A new connection."""
        self._since = self._heard_at = now
        self._sent = self.confirmed = self._newest_confirmed = 0
        self._others_since_trial = False
        self._open = _Open(self._call)  # what is left of the last connection does not count

    def _call(self) -> None:
        self.wake()

    # --- sending

    def fill(self, client: HubClient, now: float, most: int) -> None:
        """Hand over what waits, up to ``most`` messages in flight; ``wake`` when there is room for more."""
        if self._trial is not None:
            return
        if self._sending and now - self._sending[0].at > _SLOW_S:
            most = min(most, WINDOW)  # an alarm is not to wait behind what the wire is not ready for
        self._open.enough = most - max(1, most // 3)
        boot_clock = cache(self._rows.boot_clock)
        stable = now >= self._since + self._proven_s and self.confirmed > 0
        suspect = self._isolation.next(stable=stable)
        if not (suspect and self._others_since_trial):  # else what is in flight comes to its end first
            while (room := most - len(self._sending)) > 0:
                if not (offered := self._rows.take(self._batcher.most_rows(room))):
                    break
                messages, left_over = self._batcher.build(offered, room, boot_clock)
                if left_over:
                    self._rows.give_back(left_over)
                for message in messages:
                    self._send(client, message, now)
        if suspect and not self._sending:
            self._trial = suspect
            self._send(client, self._batcher.alone(suspect, boot_clock), now)

    def _send(self, client: HubClient, sendable: Sendable, now: float) -> None:
        message, rows = sendable
        if (size := _size(message)) > MAX_MESSAGE_BYTES:
            self._give_up(rows, f"{size} bytes, of which a message may have {MAX_MESSAGE_BYTES}")
            return
        future = client.send(message)
        self._sent += 1
        self._sending.append(_Sending(rows, future, now, self._sent))
        self._open.add(future)

    # --- what became of it

    def collect(self, now: float) -> HubError | None:
        """Confirm what the hub has; what is wrong with the link, if anything is."""
        problem: HubError | None = None
        waiting: list[_Sending] = []
        confirmed: list[Row] = []
        for sending in self._sending:
            if not sending.future.done():
                waiting.append(sending)
                if self._is_overdue(sending, now):
                    problem = problem or self._unconfirmed()
                continue
            error = outcome(sending.future)
            if error is None:
                confirmed += sending.rows
                self.confirmed += 1
                self._newest_confirmed = max(self._newest_confirmed, sending.number)
            else:
                waiting.append(sending)
                problem = error
        self._sending = waiting
        if confirmed:
            self._confirm(confirmed, now)
        return problem

    def _confirm(self, rows: list[Row], now: float) -> None:
        self._heard_at = now
        self._rows.confirm(rows)
        self._isolation.confirmed(rows)
        self._others_since_trial = self._trial is None
        self._trial = None
        for row in rows:
            self.total += 1
            self._on_confirmed(row, self.total)

    def _give_up(self, rows: list[Row], reason: str) -> None:
        self._rows.reject(rows, reason)
        self._isolation.confirmed(rows)
        self._trial = None

    def _unconfirmed(self) -> HubError:
        return HubError(
            Failure.UNCONFIRMED,
            f"no confirmation within {self._send_timeout_s:.0f} s: the link is dead, or the hub full",
        )

    def ended(self, now: float, *, by_the_hub: bool = False) -> int:
        """The connection is over: what is in flight is to be sent again, on the next one.

        ``by_the_hub``: for no reason that is known, so that a message may be what it did not like. Returns
        how many rows are suspects from now on.
        """
        self.collect(now)
        blamed, others = list[Row](), list[Row]()
        for sending in self._sending:
            (blamed if self._is_blamed(sending, now, by_the_hub) else others).extend(sending.rows)
        self._sending = []
        before = self.suspects
        if self._trial is not None:
            self._end_trial(bool(blamed), by_the_hub)
        else:
            self._give_back([*blamed, *others, *self._isolation.disconnected(blamed, others)])
        return max(0, self.suspects - before)

    def _end_trial(self, blamed: bool, by_the_hub: bool) -> None:
        trial, self._trial = self._trial, None
        assert trial is not None  # noqa: S101  (for the type checker)
        if blamed and self._isolation.failed_alone(trial, others_got_through=self.confirmed > 0):
            how = "ended the connection" if by_the_hub else "confirmed nothing"
            self._give_up([trial], f"the hub {how} whenever it was published alone, and took others")

    def _give_back(self, rows: list[Row]) -> None:
        """Each once, but for those that are suspects now."""
        each = {row.object_id: row for row in rows}
        for row in self._isolation.rows:
            each.pop(row.object_id, None)
        if each:
            self._rows.give_back([*each.values()])

    def _is_overdue(self, sending: _Sending, now: float) -> bool:
        """A link that confirms one after the other is slow, not dead; what was passed over is late."""
        passed_over = sending.number < self._newest_confirmed
        since = sending.at if passed_over else max(sending.at, self._heard_at)
        return now >= since + self._send_timeout_s

    def _is_blamed(self, sending: _Sending, now: float, by_the_hub: bool) -> bool:
        """Published right before the hub hung up, or passed over while later ones were confirmed."""
        passed_over = sending.number < self._newest_confirmed or self._trial is not None
        overdue = passed_over and self._is_overdue(sending, now)
        return overdue or (by_the_hub and now - sending.at <= _SOON_S)

    def stop(self, now: float) -> None:
        """No more connections: everything goes back, suspects too."""
        self.ended(now)
        self._rows.give_back(self._isolation.rows)
        self._isolation = Isolation()


class _Open:
    """Counts what is in flight on one connection, on whatever thread it ends; calls when it is few enough."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._count = 0
        self.enough = 0
        """A confirmation that leaves no more than this is worth a call; one that failed always is."""

    def add(self, future: Future[None]) -> None:
        with self._lock:
            self._count += 1
        future.add_done_callback(self._done)

    def _done(self, future: Future[None]) -> None:
        with self._lock:
            self._count -= 1
            few = self._count <= self.enough
        if few or future.cancelled() or future.exception() is not None:
            self._call()


def _size(message: Message) -> int:
    """Metered bytes, reckoned only where it may matter."""
    return metered_bytes(message) if len(message.body) > _LONG_BODY else len(message.body)


def outcome(future: Future[None]) -> HubError | None:
    """Why a future that is done failed, or None."""
    if future.cancelled():
        return HubError(Failure.LOST, "it was cancelled")
    error = future.exception()
    if error is None or isinstance(error, HubError):
        return error
    return HubError(Failure.LOST, f"{type(error).__name__}: {error}")
