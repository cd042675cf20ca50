"""The uplink: keeps one connection to the hub after another, and never gives up.

    down ──(the wait is over)──> connecting ──(connected)──> up ──(lost, or the token is due)──> down

Every call to the hub has a deadline; ``step`` looks at futures and never waits. A connection that went down
is closed and never used again, because the SDK would confirm messages that nobody stored. Closing happens
beside the new connection; a client that does not end is abandoned and counted.

What is in flight: agent/window.py. What is wrong, and how fast to try again: agent/diagnosis.py.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal

from hw.clock import Clock

from .backoff import Backoff
from .batching import Batcher
from .cloud import NO_REASON, WINDOW, Failure, HubClient, HubError
from .cloud.twin import LastTrouble, Reporter
from .diagnosis import Diagnosis, Ending, Finding
from .reading import Row
from .service import event
from .window import RowSource, Window, outcome

log = logging.getLogger(__name__)

HANDED_OVER = 2 * WINDOW
"""In flight at most: a window on the wire, and the next one at hand, so that the wire never waits for us."""

_FEWEST = 4  # at once, however slowly the hub wants it: one that is never confirmed must not hold up all

_MOST_ABANDONED = 10  # past so many clients that never ended the process is better begun anew
_POLL_S = 1.0  # how soon a lost connection is noticed while nothing is in flight
_CLOCK_STEP_S = 60.0
_CLOCK_POLL_S = 5.0  # how soon a clock that was set is noticed while the link is down
_STABLE_S = 300.0
_PROVEN_UP_S = 5.0  # a connection with nothing to send is said to be up then; any other by a confirmation
_WORTH_A_LINE_S = 10.0

State = Literal["off", "down", "connecting", "up"]


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """Deadlines in seconds. ``token_life_s``: of the credential; it is renewed after 0.75 to 0.9 of it.

    ``close_s``: longer than the SDK may sit in a handshake. ``proven_s``: a connection that has stood so long
    does not end by chance while one message is sent.
    """

    connect_s: float = 30.0
    send_s: float = 30.0
    close_s: float = 200.0
    token_life_s: float = 3600.0
    proven_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """The link as of the last step; "off" without a credential. Times are CLOCK_BOOTTIME seconds.

    ``since_boot_s``: when the link came up, or when it went. ``attempts``: since it was up. ``last_error``:
    in words, what is wrong since ``error_since_boot_s``; None while all is well. ``suspects``: messages
    that are sent alone because the hub may be refusing them.
    """

    state: State
    since_boot_s: float
    attempts: int = 0
    in_flight: int = 0
    confirmed: int = 0
    last_error: str | None = None
    error_since_boot_s: float | None = None
    retry_at_boot_s: float | None = None
    suspects: int = 0
    abandoned_clients: int = 0


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
        rng: random.Random,
        times: LinkTimes | None = None,
        backoff: Backoff | None = None,
        on_confirmed: Callable[[Row, int], None] = lambda *_: None,
        on_link: Callable[[bool, float], None] = lambda *_: None,
        describe: Callable[[LastTrouble], dict[str, Any]] | None = None,
    ) -> None:
        """``new_client`` makes an unconnected client.

        ``on_confirmed`` is told each row and the running total, ``on_link`` whether the link is up and the
        time, both on the uplink's thread. ``describe``: what the twin is told (agent/cloud/twin.py).
        """
        self._new_client = new_client
        self._clock = clock
        self._rng = rng
        self._times = times or LinkTimes()
        self._window = Window(rows, batcher, on_confirmed, self._times.send_s, self._times.proven_s)
        self._backoff = backoff or Backoff(rng)
        self._on_link = on_link
        self._diagnosis = Diagnosis()
        self._reporter = None if describe is None else Reporter(describe)
        self._trouble: LastTrouble = None  # over or not
        self._most = HANDED_OVER
        self._client: HubClient | None = None
        self._connecting: Future[None] | None = None
        self._closing: list[_Closing] = []
        self._state: State = "down"
        now = clock.monotonic()
        self._since = self._down_since = now
        self._retry_at = self._deadline = self._renew_at = self._stable_at = now
        self._wall_offset = clock.wall() - now
        self._attempts = 0
        self._abandoned: list[Future[None]] = []  # clients that do not end
        self._error: tuple[str, str, float] | None = None  # its name, in words, since when
        self._said: set[str] = set()  # troubles logged since the link was stable
        self._said_up = False  # whether the last line was that it is up
        self._up_line = ""
        self.status = LinkStatus("down", now)

    @property
    def wake(self) -> Callable[[], None]:
        """Called from any thread when a step is worth its while."""
        return self._window.wake

    @wake.setter
    def wake(self, wake: Callable[[], None]) -> None:
        self._window.wake = wake

    def step(self, now: float) -> float:
        """Do what is due at ``now``; return when to be called next. Raises RuntimeError if the SDK hangs."""
        self._reap(now)
        if self._state == "down":
            if self._clock_was_set(now):  # it may have been what was wrong
                self._backoff.forget()
                self._retry_at = now
            # a new client waits behind one that still sits in the SDK's handshake
            if now >= self._retry_at and not any(closing.hung for closing in self._closing):
                self._connect(now)
        if self._state == "connecting":
            self._check_connecting(now)
        if self._state == "up":
            self._check_up(now)
        self._publish_status(now)
        return self._next_due(now)

    def stop(self, now: float) -> None:
        """Stop sending, keep what was confirmed, close. Does not wait."""
        self._window.stop(now)
        self._drop_client(now)
        self._enter("down", now)
        self._publish_status(now)

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
        self._deadline = now + self._times.connect_s
        self._enter("connecting", now)

    def _check_connecting(self, now: float) -> None:
        assert self._connecting is not None  # noqa: S101  (for the type checker)
        if self._connecting.done():
            error = outcome(self._connecting)
            if error is not None:
                self._fail(now, Ending(error))
                return
            self._up(now)
        elif now >= self._deadline:
            waited = f"no answer within {self._times.connect_s:.0f} s"
            remedy = "is the network up, or very slow? does a firewall drop port 8883? else the hub is busy"
            self._fail(now, Ending(HubError(Failure.SILENT, f"{waited}: {remedy}")))

    def _up(self, now: float) -> None:
        away = _span(now - self._down_since)
        self._up_line = "hub link up" + (
            f" after {self._attempts} attempts, {away}" if self._attempts > 1 else ""
        )
        self._attempts = 0
        self._error = None
        self._renew_at = now + self._times.token_life_s * self._rng.uniform(0.75, 0.9)
        self._stable_at = now + _STABLE_S
        self._window.begin(now)
        self._enter("up", now)

    # --- up

    def _check_up(self, now: float) -> None:
        assert self._client is not None  # noqa: S101  (for the type checker)
        problem = self._window.collect(now)
        idle = not self._window.in_flight and now >= self._since + _PROVEN_UP_S
        proven = self._window.confirmed > 0 or idle
        if not self._said_up and proven:
            log.info(self._up_line, extra=event("link-up"))
            self._said_up = True
        if problem is None and not self._client.connected:
            problem = HubError(Failure.LOST, NO_REASON)
        if problem is not None:
            self._lost(now, self._client.lost or problem)
        elif self._clock_was_set(now):
            log.info("the clock was set: connecting again with a new token", extra=event("clock-set"))
            self._reconnect(now)
        elif now >= self._renew_at:
            if not self._window.in_flight:  # the token is renewed between two windows
                self._reconnect(now)
        else:
            if now >= self._stable_at:
                self._stable_at = now + _STABLE_S
                self._stable()
            self._window.fill(self._client, now, self._most)
            if self._reporter is not None and proven:
                self._reporter.step(self._client, now, self._trouble)

    def _stable(self) -> None:
        """What was wrong before says nothing about what comes."""
        self._most = min(2 * self._most, HANDED_OVER)
        self._diagnosis.forget()
        self._backoff.forget()
        self._said.clear()

    # --- back to down

    def _lost(self, now: float, problem: HubError) -> None:
        self._down_since = now
        window = self._window
        ending = Ending(problem, now - self._since, window.confirmed, window.in_flight, window.trial)
        new_suspects = window.ended(now, by_the_hub=problem.failure is Failure.LOST)
        self._fail(now, replace(ending, new_suspects=new_suspects))

    def _fail(self, now: float, ending: Ending) -> None:
        found = self._diagnosis.judge(ending)
        delay_s = self._backoff.next_delay(found.pace, found.worked_for_s)
        self._say(found, delay_s)
        if found.slower:
            self._most = max(_FEWEST, self._most // 2)
        since = now if self._error is None or self._error[0] != found.name else self._error[2]
        self._error = (found.name, found.text, since)
        self._trouble = (found.text, since)
        self._drop_client(now, by_the_hub=True)
        self._retry_at = now + delay_s
        self._enter("down", now)

    def _say(self, found: Finding, delay_s: float) -> None:
        """Each trouble once, however often the link comes and goes; again if it stays away for a while."""
        if found.name not in self._said or (self._said_up and delay_s > _WORTH_A_LINE_S):
            still = "" if self._said_up or not self._said else "still "
            log.warning("hub link %sdown: %s", still, found.text, extra=event("link-down"))
            self._said.add(found.name)
            self._said_up = False

    def _reconnect(self, now: float) -> None:
        """Replace a connection that is well, without a wait."""
        self._window.ended(now)
        self._drop_client(now)
        self._down_since = self._retry_at = now
        self._enter("down", now)

    def _drop_client(self, now: float, *, by_the_hub: bool = False) -> None:
        if self._client is not None:
            if self._reporter is not None:
                self._reporter.ended(now, by_the_hub=by_the_hub)
            hung = self._connecting is not None and not self._connecting.done()
            closing = self._client.close()
            closing.add_done_callback(lambda _: self.wake())
            self._closing.append(_Closing(closing, now + self._times.close_s, hung))
        self._client = self._connecting = None

    def _reap(self, now: float) -> None:
        """Forget clients that have ended, and give up those that do not."""
        pending = [closing for closing in self._closing if not closing.future.done()]
        self._closing = [closing for closing in pending if now < closing.deadline]
        given_up = [closing.future for closing in pending if now >= closing.deadline]
        self._abandoned = [future for future in self._abandoned + given_up if not future.done()]
        if len(self._abandoned) > _MOST_ABANDONED:
            raise RuntimeError(f"{len(self._abandoned)} clients of the SDK do not end: it hangs")

    def _clock_was_set(self, now: float) -> bool:
        """Whether the wall clock has been stepped by more than a minute since this was last asked."""
        before, self._wall_offset = self._wall_offset, self._clock.wall() - now
        return abs(self._wall_offset - before) > _CLOCK_STEP_S

    def _enter(self, state: State, now: float) -> None:
        self._state, self._since = state, now
        self._on_link(state == "up", now)

    def _next_due(self, now: float) -> float:
        if self._state == "down":
            # overdue means behind a client that hangs: its end wakes us
            due = self._retry_at if self._retry_at > now else now + _POLL_S
            return min(due, now + _CLOCK_POLL_S)
        if self._state == "connecting":
            return self._deadline
        return now + _POLL_S

    def _publish_status(self, now: float) -> None:
        self.status = LinkStatus(
            state=self._state,
            since_boot_s=self._since if self._state == "up" else self._down_since,
            attempts=self._attempts,
            in_flight=self._window.in_flight,
            confirmed=self._window.total,
            last_error=self._error[1] if self._error else None,
            error_since_boot_s=self._error[2] if self._error else None,
            # past it means behind a client that hangs
            retry_at_boot_s=self._retry_at if self._state == "down" and self._retry_at > now else None,
            suspects=self._window.suspects,
            abandoned_clients=len(self._abandoned),
        )


def _span(seconds: float) -> str:
    minutes, hours = int(seconds // 60) % 60, int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {int(seconds) % 60:02d} s" if minutes else f"{int(seconds)} s"
