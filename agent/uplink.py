"""The uplink: takes rows from the outbox writer and gives them to the hub, one connection after another.

    down ──(the wait is over)──> connecting ──(connected)──> up ──(lost, or the token is due)──> down

Every call to the hub has a deadline; ``step`` looks at futures and never waits. A connection that went down
is closed and never used again, because the SDK would confirm messages that nobody stored. Closing happens
beside the new connection; a client that does not end is abandoned and counted.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol

from hw.clock import Clock

from .backoff import Backoff
from .batching import Batcher
from .cloud import WINDOW, HubClient, HubError
from .reading import Row
from .timekeeping import BootClock

log = logging.getLogger(__name__)

HANDED_OVER = (
    2 * WINDOW
)  # a window on the wire, and the next one at hand, so that the wire never waits for us
_CONNECT_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 200.0
_MOST_ABANDONED = 10  # past so many clients that never ended the process is better begun anew
_POLL_S = 1.0  # how soon a lost connection is noticed while nothing is in flight
_CLOCK_STEP_S = 60.0
_CLOCK_POLL_S = 5.0  # how soon a clock that was set is noticed while the link is down
_TOKEN_LIFE_S = 3600.0

State = Literal["down", "connecting", "up"]


class RowSource(Protocol):
    """What the uplink needs of the outbox writer."""

    def take(self, limit: int) -> list[Row]: ...
    def confirm(self, rows: list[Row]) -> None: ...
    def give_back(self, rows: list[Row]) -> None: ...
    def boot_clock(self, boot_id: str) -> BootClock: ...


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """The link as of the last step. ``since_boot_s``: when ``state`` began. ``attempts``: since it was up."""

    state: State
    since_boot_s: float
    attempts: int = 0
    in_flight: int = 0
    confirmed: int = 0
    last_error: str | None = None
    retry_at_boot_s: float | None = None
    abandoned_clients: int = 0


@dataclass(slots=True)
class _Sending:
    rows: list[Row]
    future: Future[None]
    deadline: float


@dataclass(frozen=True, slots=True)
class _Closing:
    """A client on its way out. ``hung``: given up while connecting, where the SDK may still sit."""

    future: Future[None]
    deadline: float
    hung: bool


class Uplink:
    """Thread safety: ``step`` and ``stop`` on one thread at a time; ``status`` from any."""

    name = "uplink"
    step_bound_s = 2.0

    def __init__(
        self,
        rows: RowSource,
        new_client: Callable[[], HubClient],
        *,
        batcher: Batcher,
        clock: Clock,
        send_timeout_s: float,
        rng: random.Random,
        token_life_s: float = _TOKEN_LIFE_S,
        on_confirmed: Callable[[Row, int], None] = lambda *_: None,
    ) -> None:
        """``new_client`` makes an unconnected client.

        ``on_confirmed`` is told each row and the running total, on the uplink's thread.
        """
        self._rows = rows
        self._new_client = new_client
        self._batcher = batcher
        self._clock = clock
        self._send_timeout_s = send_timeout_s
        self._rng = rng
        self._token_life_s = token_life_s
        self._on_confirmed = on_confirmed
        self.wake: Callable[[], None] = lambda: None
        self._backoff = Backoff(rng)
        self._client: HubClient | None = None
        self._connecting: Future[None] | None = None
        self._closing: list[_Closing] = []
        self._sending: list[_Sending] = []
        self._state: State = "down"
        now = clock.monotonic()
        self._since = now
        self._down_since = now
        self._retry_at = now
        self._deadline = now
        self._renew_at = now
        self._wall_offset = clock.wall() - now
        self._attempts = self._confirmed = self._abandoned = 0
        self._last_error: str | None = None
        self._said: set[str] = set()  # problems logged since the link was up
        self.status = LinkStatus("down", now)

    def step(self, now: float) -> float:
        """Do what is due at ``now``; return when to be called next."""
        self._reap(now)
        if self._state == "down":
            if self._clock_was_set(now):
                self._retry_at, self._backoff = now, Backoff(self._rng)  # it may have been what was wrong
            # a new client waits behind one that still sits in the SDK's handshake
            if now >= self._retry_at and not any(closing.hung for closing in self._closing):
                self._connect(now)
        if self._state == "connecting":
            self._check_connecting(now)
        if self._state == "up":
            self._check_up(now)
        self._publish_status()
        return self._next_due(now)

    def stop(self, now: float) -> None:
        """Stop sending, keep what was confirmed, close. Does not wait."""
        self._collect(now)
        self._drop_client(now)
        self._enter("down", now)
        self._publish_status()

    @property
    def closed(self) -> bool:
        """Whether every client has let go of its connection."""
        return self._client is None and all(closing.future.done() for closing in self._closing)

    # --- down -> connecting -> up

    def _connect(self, now: float) -> None:
        self._attempts += 1
        self._client = self._new_client()
        self._connecting = self._client.connect()
        self._connecting.add_done_callback(lambda _: self.wake())
        self._deadline = now + _CONNECT_TIMEOUT_S
        self._enter("connecting", now)

    def _check_connecting(self, now: float) -> None:
        assert self._connecting is not None  # noqa: S101  (for the type checker)
        if self._connecting.done():
            error = _error(self._connecting)
            if error is not None:
                self._fail(now, error)
                return
            self._up(now)
        elif now >= self._deadline:
            self._fail(now, f"no answer within {_CONNECT_TIMEOUT_S:.0f} s")

    def _up(self, now: float) -> None:
        away = now - self._down_since
        log.info(
            "hub link up" + (f" after {self._attempts} attempts, {_span(away)}" if self._attempts > 1 else "")
        )
        self._attempts = 0
        self._last_error = None
        self._said.clear()
        self._renew_at = now + self._token_life_s * self._rng.uniform(0.75, 0.9)
        self._enter("up", now)

    # --- up

    def _check_up(self, now: float) -> None:
        problem = self._collect(now)
        if problem is None and (self._client is None or not self._client.connected):
            problem = "connection lost"
        if problem is not None:
            self._fail(now, problem, up_for_s=now - self._since)
            return
        if self._clock_was_set(now):
            log.info("the clock was set: connecting again with a new token")
            self._reconnect(now)
        elif now >= self._renew_at:
            if not self._sending:  # the token is renewed between two windows
                self._reconnect(now)
        else:
            self._fill(now)

    def _fill(self, now: float) -> None:
        assert self._client is not None  # noqa: S101  (for the type checker)
        while len(self._sending) < HANDED_OVER and (offered := self._rows.take(self._batcher.most_rows)):
            message, inside, left_over = self._batcher.build(offered, self._rows.boot_clock)
            if left_over:
                self._rows.give_back(left_over)
            future = self._client.send(message)
            self._sending.append(_Sending(inside, future, now + self._send_timeout_s))
            future.add_done_callback(lambda _: self.wake())

    def _collect(self, now: float) -> str | None:
        """Confirm what the hub has; what is wrong with the link, if anything is."""
        problem: str | None = None
        waiting: list[_Sending] = []
        confirmed: list[Row] = []
        failed: list[Row] = []
        for sending in self._sending:
            if sending.future.done():
                error = _error(sending.future)
                if error is not None:
                    failed += sending.rows
                    problem = error
                else:
                    confirmed += sending.rows
            else:
                waiting.append(sending)
                if now >= sending.deadline:
                    problem = problem or f"no confirmation within {self._send_timeout_s:.0f} s"
        self._sending = waiting
        if confirmed:
            self._rows.confirm(confirmed)
            for row in confirmed:
                self._confirmed += 1
                self._on_confirmed(row, self._confirmed)
        if failed:
            self._rows.give_back(failed)
        return problem

    # --- back to down

    def _fail(self, now: float, problem: str, up_for_s: float = 0.0) -> None:
        if problem not in self._said:
            log.warning("hub link %sdown: %s", "still " if self._said else "", problem)
            self._said.add(problem)
        if self._state == "up":
            self._down_since = now
        self._last_error = problem
        self._drop_client(now)
        self._retry_at = now + self._backoff.next_delay(up_for_s)
        self._enter("down", now)

    def _reconnect(self, now: float) -> None:
        """Replace a connection that is well, without a wait."""
        self._drop_client(now)
        self._down_since = now
        self._retry_at = now
        self._enter("down", now)

    def _drop_client(self, now: float) -> None:
        if self._sending:
            self._rows.give_back([row for sending in self._sending for row in sending.rows])
            self._sending = []
        if self._client is not None:
            hung = self._connecting is not None and not self._connecting.done()
            closing = self._client.close()
            closing.add_done_callback(lambda _: self.wake())
            self._closing.append(_Closing(closing, now + _CLOSE_TIMEOUT_S, hung))
        self._client = self._connecting = None

    def _reap(self, now: float) -> None:
        """Forget clients that have ended, and give up those that do not."""
        pending = [closing for closing in self._closing if not closing.future.done()]
        self._closing = [closing for closing in pending if now < closing.deadline]
        self._abandoned += len(pending) - len(self._closing)
        if self._abandoned > _MOST_ABANDONED:
            raise RuntimeError(f"{self._abandoned} clients of the SDK did not end: it hangs")

    def _clock_was_set(self, now: float) -> bool:
        """Whether the wall clock has been stepped by more than a minute since this was last asked."""
        before, self._wall_offset = self._wall_offset, self._clock.wall() - now
        return abs(self._wall_offset - before) > _CLOCK_STEP_S

    def _enter(self, state: State, now: float) -> None:
        self._state, self._since = state, now

    def _next_due(self, now: float) -> float:
        if self._state == "down":
            # overdue means behind a client that hangs: its end wakes us
            due = self._retry_at if self._retry_at > now else now + _POLL_S
            return min(due, now + _CLOCK_POLL_S)
        if self._state == "connecting":
            return self._deadline
        return now + _POLL_S

    def _publish_status(self) -> None:
        self.status = LinkStatus(
            state=self._state,
            since_boot_s=self._since,
            attempts=self._attempts,
            in_flight=len(self._sending),
            confirmed=self._confirmed,
            last_error=self._last_error,
            retry_at_boot_s=self._retry_at if self._state == "down" else None,
            abandoned_clients=self._abandoned,
        )


def _error(future: Future[None]) -> str | None:
    """Why a future that is done failed, or None."""
    if future.cancelled():
        return "it was cancelled"
    error = future.exception()
    if error is None or isinstance(error, HubError):
        return None if error is None else str(error)
    return f"{type(error).__name__}: {error}"


def _span(seconds: float) -> str:
    minutes, hours = int(seconds // 60) % 60, int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {int(seconds) % 60:02d} s" if minutes else f"{int(seconds)} s"
