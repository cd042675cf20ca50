from __future__ import annotations

import json
import random
from concurrent.futures import Future

import pytest

from agent.batching import Batcher, Batching, metered_bytes
from agent.cloud import Failure, HubError
from agent.reading import Row
from agent.uplink import HANDED_OVER, LinkTimes, Uplink
from tests.clock import FakeClock
from tests.fakes import FakeHub, FakeRows, object_ids


class Rig:
    """An uplink stepped by hand. ``run`` steps it as its thread would, for so many seconds."""

    def __init__(
        self, rows: int = 0, seed: int = 1, token_life_s: float = 3600.0, batching: Batching = "object"
    ) -> None:
        self.clock = FakeClock()
        self.hub = FakeHub()
        self.rows = FakeRows(rows)
        self.confirmed: list[tuple[Row, int]] = []
        self.stored_at: dict[int, float] = {}
        self.confirmed_at: dict[int, float] = {}
        self.uplink = Uplink(
            self.rows,
            self.hub.client,
            batcher=Batcher(batching, 4096, "mast-1", {"site": "ridge"}),
            clock=self.clock,
            rng=random.Random(seed),
            times=LinkTimes(token_life_s=token_life_s),
            on_confirmed=self._told,
        )
        self.woken = False
        self.uplink.wake = self._wake

    def _wake(self) -> None:
        self.woken = True

    def step(self) -> float:
        return self.uplink.step(self.clock.monotonic())

    def step_while_woken(self) -> float:
        due = self.step()
        while self.woken:
            self.woken = False
            due = self.step()
        return due

    def run(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while True:
            due = self.step_while_woken()
            if due >= end:
                self.clock.advance(end - self.clock.monotonic())
                return
            self.clock.advance(max(due - self.clock.monotonic(), 0.001))

    def live(self, seconds: float, every_s: float = 60.0) -> None:
        """``run`` with a new row now and then."""
        for _ in range(int(seconds / every_s)):
            self.rows.add(1)
            self.stored_at[self.rows.added] = self.clock.monotonic()
            self.run(every_s)

    def longest_wait(self) -> float:
        """Of the live rows, from their storing to their confirmation."""
        return max(self.confirmed_at[number] - at for number, at in self.stored_at.items())

    def _told(self, row: Row, total: int) -> None:
        self.confirmed.append((row, total))
        self.confirmed_at[row.sequence] = self.clock.monotonic()


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
    assert (rig.uplink.status.last_error or "").startswith("no answer within 30 s: ")
    assert 4 * 3600 / 330 <= len(rig.hub.clients) <= 4 * 3600 / 100
    rig.hub.answers_connect = True
    rig.run(600.0)
    assert rig.hub.ids() == ["0badcafe-1"]


@pytest.mark.parametrize(
    "error",
    [HubError(Failure.CLOSED, "nobody listens"), HubError(Failure.REFUSED, "wrong key"), RuntimeError("odd")],
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
        rig.hub.refusal = HubError(Failure.CLOSED, "nobody listens")
        rig.hub.newest.lose()
        rig.run(24 * 3600.0)
        rig.hub.refusal = None
        rig.run(301.0)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("hub link down: connection lost: ")
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
    rig.hub.refusal = HubError(Failure.REFUSED, "wrong key, or this machine's clock is wrong")
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


POISON = "0badcafe-50"


@pytest.mark.parametrize("batching", ["object", "auto"])
def test_a_poison_message_is_rejected_and_everything_else_arrives(batching: Batching) -> None:
    """A row whose publication ends the connection goes to the rejected, and it alone, within the hour."""
    rig = Rig(rows=200, batching=batching)
    rig.hub.poison = {POISON}
    rig.live(3600.0)
    assert [row.object_id for row, _ in rig.rows.rejected] == [POISON]
    assert "published alone" in rig.rows.rejected[0][1]
    arrived = [name for message in rig.hub.stored for name in sorted(object_ids(message))]
    assert sorted(arrived) == sorted(
        f"0badcafe-{n}" for n in range(1, rig.rows.added + 1) if f"0badcafe-{n}" != POISON
    )
    assert rig.rows.taken == {}
    assert not rig.rows.waiting
    assert rig.uplink.status.suspects == 0
    assert rig.uplink.status.state == "up"


def test_a_poison_message_needs_three_strikes_and_three_trials() -> None:
    """It is published three times in the crowd and three times alone before it is given up."""
    rig = Rig(rows=1)
    rig.hub.poison = {"0badcafe-1"}
    while not rig.rows.rejected:
        assert bool(rig.uplink.status.suspects) == (rig.hub.ended >= 3)
        rig.live(1.0, every_s=1.0)
    assert rig.hub.ended >= 6
    assert [row.sequence for row, _ in rig.rows.rejected] == [1]


@pytest.mark.parametrize("seed", range(5))
def test_a_poison_message_holds_up_live_rows_for_some_pauses_at_most(seed: int) -> None:
    """While it is found out, no live row waits for longer than three of the longest pauses."""
    rig = Rig(rows=3, seed=seed)
    rig.hub.poison = {"0badcafe-2"}
    rig.live(4 * 3600.0)
    assert [row.sequence for row, _ in rig.rows.rejected] == [2]
    assert rig.longest_wait() <= 3 * 300.0


def test_two_poison_messages_are_both_found() -> None:
    """Each is tried alone, and everything else arrives."""
    rig = Rig(rows=100)
    rig.hub.poison = {"0badcafe-10", "0badcafe-90"}
    rig.live(6 * 3600.0)
    assert {row.sequence for row, _ in rig.rows.rejected} == {10, 90}
    assert sorted(row.sequence for row in rig.rows.confirmed) == [
        n for n in range(1, rig.rows.added + 1) if n not in (10, 90)
    ]


def test_a_message_that_is_never_confirmed_is_rejected_and_the_rest_arrives() -> None:
    """Others are confirmed, it is not: it is tried alone, given up, and the link is well again."""
    rig = Rig(rows=3)
    rig.hub.unconfirmed = {"0badcafe-2"}
    rig.live(6 * 3600.0, every_s=10.0)
    assert [row.sequence for row, _ in rig.rows.rejected] == [2]
    assert len(rig.rows.confirmed) == rig.rows.added - 1
    assert rig.uplink.status.state == "up"


@pytest.mark.parametrize("every_s", [60.0, 600.0])
def test_a_message_that_is_never_confirmed_is_found_with_few_readings_too(every_s: float) -> None:
    """A message that others overtake is found although they were handed over in the same moment."""
    rig = Rig(rows=3)
    rig.hub.unconfirmed = {"0badcafe-2"}
    rig.live(24 * 3600.0, every_s)
    assert [row.sequence for row, _ in rig.rows.rejected] == [2]


def test_a_hub_that_takes_nothing_rejects_nothing_and_is_tried_slowly() -> None:
    """A quota that is used up for a day: few attempts, no row given up, and all arrives at midnight."""
    rig = Rig(rows=500, batching="auto")
    rig.hub.full = True
    rig.live(24 * 3600.0)
    assert rig.rows.rejected == []
    assert 24 * 3600 / 300 <= len(rig.hub.clients) <= 24 * 3600 / 120
    assert (rig.uplink.status.last_error or "").startswith("looks like the daily quota is used up")
    rig.hub.full = False
    rig.live(3600.0)
    assert rig.rows.rejected == []
    assert sorted(row.sequence for row in rig.rows.confirmed) == [*range(1, rig.rows.added + 1)]
    assert rig.uplink.status.suspects == 0


def test_a_hub_that_confirms_nothing_rejects_nothing_and_is_tried_slowly() -> None:
    """Connections that stand, and no confirmation ever: no row is given up."""
    rig = Rig(rows=100)
    rig.hub.confirms = False
    rig.live(12 * 3600.0)
    assert rig.rows.rejected == []
    assert rig.uplink.status.suspects == 0
    assert len(rig.hub.clients) <= 12 * 3600 / 120
    rig.hub.confirms = True
    rig.live(1200.0)
    assert len(rig.rows.confirmed) == rig.rows.added


class Flapping:
    """A link that goes at random, and needs a while for each confirmation."""

    def __init__(self, rig: Rig, seed: int, life_s: float, round_trip_s: float) -> None:
        self._rig = rig
        self._rng = random.Random(seed)
        self._life_s = life_s
        self._round_trip_s = round_trip_s
        rig.hub.confirms = False

    def run(self, seconds: float, every_s: float) -> None:
        """The uplink, stepped as its thread would, with a new row every ``every_s``."""
        rig, clock, waiting = self._rig, self._rig.clock, dict[Future[None], float]()
        end, row_at, ends_at, client = clock.monotonic() + seconds, clock.monotonic(), 0.0, None
        while (now := clock.monotonic()) < end:
            if now >= row_at:
                rig.rows.add(1)
                row_at += every_s
            due = min(rig.step_while_woken(), row_at)
            newest = rig.hub.newest
            if newest.connected:
                if newest is not client:
                    client, ends_at, waiting = newest, now + self._rng.expovariate(1 / self._life_s), {}
                for _, future in newest.in_flight:
                    waiting.setdefault(future, now + self._round_trip_s * self._rng.uniform(0.7, 1.3))
                newest.confirm_those(lambda future: waiting[future] <= now)  # noqa: B023  (called at once)
                if now >= ends_at:
                    newest.lose()
                due = min([due, ends_at, *(waiting[future] for _, future in newest.in_flight)])
            if not rig.woken:
                clock.advance(max(due - now, 0.001))


@pytest.mark.parametrize(
    ("life_s", "round_trip_s", "every_s", "backlog"),
    [(5.0, 0.2, 60.0, 300), (5.0, 2.0, 10.0, 300), (1.0, 0.5, 10.0, 100), (20.0, 5.0, 10.0, 0)],
)
def test_a_link_that_flaps_rejects_nothing(
    life_s: float, round_trip_s: float, every_s: float, backlog: int
) -> None:
    """Disconnects that have nothing to do with the messages never cost one, however bad the link is."""
    for seed in range(6):
        rig = Rig(rows=backlog, seed=seed)
        link = Flapping(rig, seed, life_s, round_trip_s)
        link.run(6 * 3600.0, every_s)
        assert [row.object_id for row, _ in rig.rows.rejected] == [], f"seed {seed}"


def test_after_a_link_has_flapped_everything_arrives() -> None:
    """What was held as a suspect on the way is sent once the link is well."""
    rig = Rig(rows=200)
    Flapping(rig, 1, 5.0, 0.5).run(2 * 3600.0, 10.0)
    rig.hub.confirms = True
    rig.hub.newest.lose()
    rig.live(1200.0)
    arrived = {row.sequence for row in rig.rows.confirmed} | {row.sequence for row, _ in rig.rows.rejected}
    assert arrived == {*range(1, rig.rows.added + 1)}


def test_a_message_that_is_too_large_does_not_cost_the_connection() -> None:
    """It is rejected before it is sent, with its size, and what is behind it arrives at once."""
    rig = Rig(rows=2)
    rig.rows.add(1, note="x" * 300_000)
    rig.rows.add(2)
    rig.run(2.0)
    [(row, reason)] = rig.rows.rejected
    assert row.sequence == 3
    assert reason.endswith("of which a message may have 262144")
    assert len(rig.rows.confirmed) == 4
    assert len(rig.hub.clients) == 1


def test_a_message_that_the_client_does_not_take_is_rejected_and_the_rest_arrives() -> None:
    """What fails each time that it is sent is found like poison, whoever refuses it."""
    rig = Rig(rows=30)
    rig.hub.unsendable = {"0badcafe-7"}
    rig.live(3600.0)
    assert [row.sequence for row, _ in rig.rows.rejected] == [7]
    assert len(rig.rows.confirmed) == rig.rows.added - 1
    assert rig.uplink.status.state == "up"


def test_one_line_for_each_kind_of_trouble_in_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """A quota that is used up for a day: the texts change, the log has a line for each kind."""
    rig = Rig(rows=100)
    rig.run(1.0)
    rig.hub.full = True
    with caplog.at_level("WARNING", "agent.uplink"):
        rig.live(24 * 3600.0)
    kinds = [record.getMessage().split(": ", 1)[1][:20] for record in caplog.records]
    assert len(kinds) == len(set(kinds)) <= 3


def test_the_error_is_known_since_its_kind_began() -> None:
    """The text may change from attempt to attempt; since when it is wrong does not."""
    rig = Rig(rows=1)
    rig.hub.refusal = HubError(Failure.CLOSED, "nobody listens")
    rig.run(1.0)
    since = rig.uplink.status.error_since_boot_s
    rig.hub.refusal = HubError(Failure.CLOSED, "nobody listens, again")
    rig.run(3600.0)
    assert rig.uplink.status.last_error == "nobody listens, again"
    assert rig.uplink.status.error_since_boot_s == since
    rig.hub.refusal = HubError(Failure.NAME, "no such name")
    rig.run(600.0)
    assert (rig.uplink.status.error_since_boot_s or 0.0) > (since or 0.0)
    rig.hub.refusal = None
    rig.run(600.0)
    assert rig.uplink.status.error_since_boot_s is None


def test_the_clients_own_reason_goes_before_what_the_sends_say() -> None:
    """A dead link is told as such, although each send in flight only knows that it was cancelled."""
    rig = Rig(rows=5)
    rig.hub.confirms = False
    rig.run(1.0)
    rig.hub.newest.lost = HubError(Failure.DEAD, "no reply to a ping")
    rig.hub.newest.lose()
    rig.step()
    assert rig.uplink.status.last_error == "no reply to a ping"
    assert rig.uplink.status.suspects == 0


def test_a_hub_that_throttles_gets_less_at_once_and_more_again_later() -> None:
    """Connections that end in bursts halve what is in flight; half an hour of peace restores it."""
    rig = Rig(rows=3000)
    rig.hub.confirms = False

    def connected() -> None:
        while not rig.hub.clients or not rig.hub.newest.connected:
            rig.run(1.0)
        rig.step_while_woken()

    for _ in range(2):
        connected()
        for _ in range(3):
            rig.hub.newest.confirm_all()
            rig.step_while_woken()
        rig.hub.newest.lose()
        rig.step_while_woken()
    assert (rig.uplink.status.last_error or "").startswith("looks like throttling")
    connected()
    assert len(rig.hub.newest.in_flight) == HANDED_OVER // 2
    rig.hub.confirms = True
    rig.hub.newest.confirm_all()
    rig.live(1800.0)
    rig.hub.confirms = False
    rig.rows.add(200)
    rig.run(5.0)
    assert len(rig.hub.newest.in_flight) == HANDED_OVER


@pytest.mark.parametrize("seed", range(4))
def test_yesterdays_outage_does_not_delay_todays_reconnect(seed: int) -> None:
    """After a day of a good link that renewed its token now and then, a loss is followed by a short wait."""
    rig = Rig(seed=seed)
    rig.hub.refusal = HubError(Failure.CLOSED, "nobody listens")
    rig.run(3600.0)
    rig.hub.refusal = None
    rig.run(86400.0)
    connections = len(rig.hub.clients)
    while len(rig.hub.clients) == connections:
        rig.run(1.0)
    rig.run(30.0)
    rig.hub.newest.lose()
    rig.run(3.1)
    assert rig.uplink.status.state == "up"


def slowly(rig: Rig, bytes_per_s: float, seconds: float) -> None:
    """The hub stores and confirms in order, as fast as the link carries messages."""
    rig.hub.confirms, carried, client = False, 0.0, None
    for _ in range(int(seconds / 0.25)):
        rig.run(0.25)
        if rig.hub.newest is not client:
            client, carried = rig.hub.newest, 0.0
        carried += bytes_per_s * 0.25
        while client.in_flight and carried >= (size := 100 + metered_bytes(client.in_flight[0][0])):
            carried -= size
            message, future = client.in_flight.pop(0)
            rig.hub.stored.append(message)
            future.set_result(None)
        if not client.in_flight:
            carried = 0.0


@pytest.mark.parametrize(
    ("batching", "bytes_per_s"), [("array", 1000.0), ("array", 4000.0), ("object", 300.0)]
)
def test_a_slow_link_is_not_torn_down(batching: Batching, bytes_per_s: float) -> None:
    """While confirmations come, however slowly, the connection is kept, and nothing is sent twice."""
    rig = Rig(rows=20_000, batching=batching)
    slowly(rig, bytes_per_s, 600.0)
    assert len(rig.hub.clients) == 1
    assert sum(100 + metered_bytes(message) for message in rig.hub.stored) > 0.8 * 600 * bytes_per_s
    assert len(set(rig.hub.ids())) == len(rig.hub.ids())


def test_an_alarm_waits_behind_one_window_of_a_slow_link_at_most() -> None:
    """The second window is handed over only while the wire takes it."""
    rig = Rig(rows=3000, batching="array")
    slowly(rig, 6000.0, 60.0)
    assert len(rig.hub.newest.in_flight) <= HANDED_OVER // 2


def test_a_poison_message_is_told_as_what_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a quota nor another client is blamed for it, and it is named."""
    rig = Rig(rows=3)
    rig.hub.poison = {"0badcafe-2"}
    with caplog.at_level("WARNING", "agent.uplink"):
        rig.live(3600.0)
    assert [row.sequence for row, _ in rig.rows.rejected] == [2]
    said = [record.getMessage() for record in caplog.records]
    assert not [line for line in said if "looks like" in line]
    assert any("message 0badcafe-2 was sent" in line for line in said)


def test_a_poison_message_after_an_outage_blocks_nothing() -> None:
    """First in the queue, a hub that took nothing for hours, and then it alone is refused."""
    rig = Rig(rows=1)
    rig.hub.poison = {"0badcafe-1"}
    rig.hub.full = True
    rig.live(3 * 3600.0)
    rig.hub.full = False
    rig.live(6 * 3600.0)
    assert [row.sequence for row, _ in rig.rows.rejected] == [1]
    assert {row.sequence for row in rig.rows.confirmed} == {*range(2, rig.rows.added + 1)}


def test_clients_that_end_at_last_are_forgiven() -> None:
    """Only those that still hang count towards a fresh start: a slow one a week is no reason for it."""
    rig = Rig()
    for _ in range(30):
        rig.hub.closes = False
        while not rig.hub.clients or not rig.hub.newest.connected:
            rig.run(10.0)
        slow = rig.hub.newest
        slow.lose()
        rig.run(600.0)
        assert rig.uplink.status.abandoned_clients == 1
        slow.closing.set_result(None)
        rig.hub.closes = True
        rig.run(10.0)
        assert rig.uplink.status.abandoned_clients == 0


def test_the_log_never_ends_with_up_while_the_link_stays_down(caplog: pytest.LogCaptureFixture) -> None:
    """A trouble that was told shortly before is told again if the wait is worth a line, and so is its end."""
    rig = Rig()
    with caplog.at_level("INFO", "agent.uplink"):
        for _ in range(12):
            rig.run(20.0)
            if rig.uplink.status.state == "up":
                rig.hub.newest.lose()
                rig.step()
                waits = (rig.uplink.status.retry_at_boot_s or 0.0) - rig.clock.monotonic()
                if waits > 10.0:
                    assert "hub link" in caplog.messages[-1]
                    assert "down" in caplog.messages[-1]
    assert any("hub link up" in message for message in caplog.messages)


@pytest.mark.parametrize("ill", ["full", "silent"])
def test_a_connection_that_confirms_nothing_is_not_said_to_be_up(
    caplog: pytest.LogCaptureFixture, ill: str
) -> None:
    """A hub that accepts and hangs up at the first message, or never confirms one, is down."""
    rig = Rig(rows=1)
    rig.hub.full, rig.hub.confirms = ill == "full", ill == "full"
    with caplog.at_level("INFO", "agent.uplink"):
        rig.live(3600.0)
    assert not [message for message in caplog.messages if message.startswith("hub link up")]
