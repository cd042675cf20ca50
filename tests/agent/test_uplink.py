from __future__ import annotations

import json
import random

import pytest

from agent.batching import Batcher, Batching
from agent.cloud import HubRefused, HubUnavailable
from agent.reading import Row
from agent.uplink import HANDED_OVER, Uplink
from tests.clock import FakeClock
from tests.fakes import FakeHub, FakeRows


class Rig:
    """An uplink stepped by hand. ``run`` steps it as its thread would, for so many seconds."""

    def __init__(
        self, rows: int = 0, seed: int = 1, token_life_s: float = 3600.0, batching: Batching = "object"
    ) -> None:
        self.clock = FakeClock()
        self.hub = FakeHub()
        self.rows = FakeRows(rows)
        self.confirmed: list[tuple[Row, int]] = []
        self.uplink = Uplink(
            self.rows,
            self.hub.client,
            batcher=Batcher(batching, 4096, "mast-1", {"site": "ridge"}),
            clock=self.clock,
            send_timeout_s=30.0,
            rng=random.Random(seed),
            token_life_s=token_life_s,
            on_confirmed=lambda row, total: self.confirmed.append((row, total)),
        )
        self._woken = False
        self.uplink.wake = self._wake

    def _wake(self) -> None:
        self._woken = True

    def step(self) -> float:
        return self.uplink.step(self.clock.monotonic())

    def run(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while True:
            due = self.step()
            while self._woken:
                self._woken = False
                due = self.step()
            if due >= end:
                self.clock.advance(end - self.clock.monotonic())
                return
            self.clock.advance(max(due - self.clock.monotonic(), 0.001))


def test_every_row_is_sent_and_confirmed_once() -> None:
    """A backlog larger than the window goes out in order and is confirmed row by row."""
    rig = Rig(rows=100)
    rig.run(1.0)
    assert rig.hub.ids() == [f"0badcafe-{n}" for n in range(1, 101)]
    assert [row.sequence for row in rig.rows.confirmed] == list(range(1, 101))
    assert rig.confirmed[-1][1] == 100
    assert rig.hub.stored[0].properties["site"] == "ridge"


def test_no_more_than_two_windows_are_handed_over() -> None:
    """While the hub confirms nothing, one window is on the wire, the next at hand, and no more."""
    rig = Rig(rows=100)
    rig.hub.confirms = False
    rig.run(5.0)
    assert len(rig.hub.newest.in_flight) == HANDED_OVER
    assert rig.uplink.status.in_flight == HANDED_OVER


def test_a_lost_connection_gives_everything_back() -> None:
    """What was in flight when the link broke is sent again over a new client, never over the old one."""
    rig = Rig(rows=30)
    rig.hub.confirms = False
    rig.run(1.0)
    first = rig.hub.newest
    first.lose()
    rig.hub.confirms = True
    rig.run(10.0)
    assert rig.hub.newest is not first
    assert sorted(rig.hub.ids(), key=lambda text: int(text.split("-")[1])) == [
        f"0badcafe-{n}" for n in range(1, 31)
    ]


def test_a_confirmation_that_stays_away_means_a_dead_link() -> None:
    """After the send timeout the connection is given up, although it claims to be up."""
    rig = Rig(rows=1)
    rig.hub.confirms = False
    rig.run(29.0)
    assert len(rig.hub.clients) == 1
    rig.hub.confirms = True
    rig.run(10.0)
    assert len(rig.hub.clients) == 2
    assert rig.hub.ids() == ["0badcafe-1"]


def test_an_idle_link_that_goes_down_is_noticed() -> None:
    """With nothing in flight a lost connection is seen within about a second."""
    rig = Rig()
    rig.run(1.0)
    rig.hub.newest.lose()
    rig.run(1.5)
    assert rig.uplink.status.state != "up" or len(rig.hub.clients) == 2
    rig.run(5.0)
    assert rig.uplink.status.state == "up"


def test_a_hub_that_never_answers_a_connect_is_given_up() -> None:
    """A silent host costs a bounded time an attempt, and the attempts slow down."""
    rig = Rig(rows=1)
    rig.hub.answers_connect = False
    rig.run(4 * 3600.0)
    assert rig.uplink.status.last_error == "no answer within 30 s"
    assert 4 * 3600 / 330 <= len(rig.hub.clients) <= 4 * 3600 / 100
    rig.hub.answers_connect = True
    rig.run(600.0)
    assert rig.hub.ids() == ["0badcafe-1"]


@pytest.mark.parametrize(
    "error", [HubUnavailable("nobody listens"), HubRefused("wrong key"), ValueError("odd")]
)
def test_failed_attempts_back_off_and_never_end(error: Exception) -> None:
    """Whatever the failure, it is tried again, more slowly, and works once the cause is gone."""
    rig = Rig(rows=1)
    rig.hub.refusal = error
    rig.run(24 * 3600.0)
    attempts = len(rig.hub.clients)
    assert 24 * 3600 / 300 <= attempts <= 24 * 3600 / 100
    assert rig.uplink.status.attempts == attempts
    assert str(error) in (rig.uplink.status.last_error or "")
    rig.hub.refusal = None
    rig.run(301.0)
    assert rig.hub.ids() == ["0badcafe-1"]
    assert rig.uplink.status.last_error is None


def test_transitions_are_logged_not_attempts(caplog: pytest.LogCaptureFixture) -> None:
    """A day without a hub is one line when it goes and one when it is back."""
    rig = Rig(rows=1)
    rig.run(1.0)
    with caplog.at_level("INFO", "agent.uplink"):
        rig.hub.refusal = HubUnavailable("nobody listens")
        rig.hub.newest.lose()
        rig.run(24 * 3600.0)
        rig.hub.refusal = None
        rig.run(301.0)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "hub link down: connection lost"
    assert messages[1] == "hub link still down: nobody listens"
    assert messages[2].startswith("hub link up after ")
    assert "h" in messages[2]
    assert len(messages) == 3


def test_the_token_is_renewed_before_it_expires_with_nothing_in_flight() -> None:
    """A new connection with a new token is made in time; no message is sent twice for it."""
    rig = Rig(token_life_s=3600.0)
    for _ in range(3 * 3600):
        rig.rows.add(1)
        rig.run(1.0)
    assert 3 <= len(rig.hub.clients) - 1 <= 4
    assert len(set(rig.hub.ids())) == len(rig.hub.ids()) == 3 * 3600


def test_a_clock_that_is_set_makes_a_new_connection() -> None:
    """The token carries the clock: a step of more than a minute replaces the connection."""
    rig = Rig()
    rig.run(5.0)
    rig.clock.set_wall(rig.clock.wall() + 59.0)
    rig.run(5.0)
    assert len(rig.hub.clients) == 1
    rig.clock.set_wall(rig.clock.wall() + 3600.0)
    rig.run(5.0)
    assert len(rig.hub.clients) == 2
    assert rig.uplink.status.state == "up"


def test_a_client_that_does_not_close_is_abandoned_and_counted() -> None:
    """The uplink goes on without waiting for it."""
    rig = Rig()
    rig.hub.closes = False
    rig.run(1.0)
    rig.hub.newest.lose()
    rig.run(250.0)
    assert rig.uplink.status.state == "up"
    assert rig.uplink.status.abandoned_clients == 1


def test_an_sdk_that_hangs_for_good_ends_the_process() -> None:
    """Clients that never end are counted; past the bound the worker fails, for a fresh start."""
    rig = Rig(rows=1)
    rig.hub.closes = False

    def flap() -> None:
        for _ in range(100):
            rig.run(300.0)
            rig.hub.newest.lose()

    with pytest.raises(RuntimeError, match="it hangs"):
        flap()


def test_no_second_client_waits_in_a_handshake() -> None:
    """While a client that was given up still sits in its connect, no other is made; then at once."""
    rig = Rig()
    rig.hub.answers_connect = rig.hub.closes = False
    rig.run(31.0)
    rig.run(100.0)
    assert len(rig.hub.clients) == 1
    rig.hub.answers_connect = rig.hub.closes = True
    rig.hub.newest.closing.set_result(None)
    rig.run(5.0)
    assert len(rig.hub.clients) == 2
    assert rig.uplink.status.state == "up"


def test_a_clock_that_becomes_right_ends_the_wait() -> None:
    """What a wrong clock kept out is tried again within seconds of the clock being set."""
    rig = Rig()
    rig.hub.refusal = HubRefused("wrong key, or this machine's clock is wrong")
    rig.run(3600.0)
    rig.hub.refusal = None
    rig.clock.set_wall(rig.clock.wall() + 86400.0)
    rig.run(6.0)
    assert rig.uplink.status.state == "up"


def test_stop_keeps_what_is_confirmed_and_gives_back_the_rest() -> None:
    """At the stop nothing is waited for, and nothing is lost."""
    rig = Rig(rows=3)
    rig.hub.confirms = False
    rig.run(1.0)
    message, future = rig.hub.newest.in_flight.pop(0)
    rig.hub.stored.append(message)
    future.set_result(None)
    rig.uplink.stop(rig.clock.monotonic())
    assert [row.sequence for row in rig.rows.confirmed] == [1]
    assert [row.sequence for row in rig.rows.waiting] == [2, 3]
    assert rig.uplink.closed


def test_a_step_never_waits() -> None:
    """With a hub that answers nothing at all, a step returns at once in every state."""
    rig = Rig(rows=50)
    rig.hub.answers_connect = rig.hub.closes = False
    for _ in range(500):
        due = rig.step()
        assert due >= rig.clock.monotonic()
        rig.clock.advance(max(1.0, due - rig.clock.monotonic()))
    assert len(rig.hub.clients) > 1


def test_a_backlog_goes_in_arrays() -> None:
    """With arrays every row of a backlog is sent and confirmed once, many to a message."""
    rig = Rig(rows=300, batching="auto")
    rig.run(1.0)
    assert [row.sequence for row in rig.rows.confirmed] == list(range(1, 301))
    sent = [json.loads(message.body) for message in rig.hub.stored]
    objects = [o for body in sent for o in (body if isinstance(body, list) else [body])]
    assert [o["sequence"] for o in objects] == list(range(1, 301))
    assert len(rig.hub.stored) < 300 / 6
    rig.rows.add(1)
    rig.run(2.0)
    assert isinstance(json.loads(rig.hub.stored[-1].body), dict), "caught up: one object again"
