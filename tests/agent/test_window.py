"""The invariants of agent/window.py, by name, and over anything that may happen on the way."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.batching import Batcher, Batching
from agent.cloud import MAX_MESSAGE_BYTES, Failure, HubError
from agent.reading import Message, Row
from agent.window import Window
from tests.fakes import FakeHub, FakeHubClient, FakeRows, object_ids

SEND_TIMEOUT_S = 30.0
STABLE_S = 60.0
LOST = HubError(Failure.LOST, "connection lost")


class Link:
    """A window on one connection after another, and a hub that does only what it is told."""

    def __init__(self, rows: int = 0, batching: Batching = "object", most: int = 5) -> None:
        self.now = 1000.0
        self.most = most
        self.rows = FakeRows(rows)
        self.hub = FakeHub()
        self.hub.confirms = False
        self.totals: list[int] = []
        self.woken = 0
        self.batching = batching
        self.new_window()
        self.connect()

    def new_window(self) -> None:
        def told(row: Row, total: int) -> None:
            self.totals.append(total)

        self.window = Window(
            self.rows, Batcher(self.batching, 4096, "mast-1", {}), told, SEND_TIMEOUT_S, 60.0
        )
        self.window.wake = self._wake

    def _wake(self) -> None:
        self.woken += 1

    @property
    def client(self) -> FakeHubClient:
        return self.hub.newest

    def connect(self) -> None:
        self.hub.client().connect()
        self.window.begin(self.now)

    def fill(self) -> None:
        self.window.fill(self.client, self.now, self.most)

    def collect(self) -> HubError | None:
        return self.window.collect(self.now)

    def confirm_all(self) -> None:
        self.client.confirm_all()
        assert self.collect() is None

    def lose(self, *, by_the_hub: bool = True) -> None:
        self.client.lose()
        self.window.ended(self.now, by_the_hub=by_the_hub)
        self.connect()

    def make_suspects(self) -> None:
        """What goes next is in flight at three disconnects."""
        for _ in range(3):
            self.fill()
            self.lose()


def sequences(rows: list[Row]) -> list[int]:
    return [row.sequence for row in rows]


def in_flight(client: FakeHubClient) -> list[set[int]]:
    """The rows of each message, by their numbers."""
    return [{int(name.split("-")[1]) for name in object_ids(message)} for message, _ in client.in_flight]


def test_bounded_no_more_than_it_is_told() -> None:
    """Never more than the given number is in flight, also if the number is made smaller."""
    link = Link(rows=20)
    link.fill()
    assert link.window.in_flight == len(link.client.in_flight) == 5
    link.most = 2
    link.fill()
    assert link.window.in_flight == 5
    for _ in range(4):
        link.client.in_flight.pop(0)[1].set_result(None)
    link.collect()
    link.fill()
    assert link.window.in_flight == 2


def test_bounded_a_suspect_only_alone() -> None:
    """It waits until nothing is in flight, and nothing goes while it is."""
    link = Link(rows=1, most=2)
    link.make_suspects()
    assert link.window.suspects == 1
    link.rows.add(10)
    link.fill()
    assert in_flight(link.client) == [{2}, {3}]
    link.client.in_flight.pop(0)[1].set_result(None)
    link.collect()
    link.fill()
    assert in_flight(link.client) == [{3}], "others got through: no more of them before the trial"
    link.confirm_all()
    link.fill()
    link.fill()
    assert in_flight(link.client) == [{1}]
    link.confirm_all()
    link.fill()
    assert in_flight(link.client) == [{4}, {5}]
    assert link.window.suspects == 0


def test_bounded_the_wire_is_called_for_before_it_runs_dry() -> None:
    """Room for more wakes once a third of what may be in flight is confirmed, and a failure at once."""
    link = Link(rows=9, most=9)
    link.fill()
    for _ in range(2):
        link.client.in_flight.pop(0)[1].set_result(None)
    assert link.woken == 0
    link.client.in_flight.pop(0)[1].set_result(None)
    assert link.woken == 1
    link = Link(rows=9, most=9)
    link.fill()
    link.client.in_flight.pop()[1].set_exception(LOST)
    assert link.woken == 1


def test_bounded_what_ends_late_on_an_old_connection_is_no_room_on_the_new_one() -> None:
    """Only what is in flight on this connection counts."""
    link = Link(rows=9, most=3)
    link.fill()
    old = [future for _, future in link.client.in_flight]
    link.client.in_flight = []
    link.lose()
    link.fill()
    for future in old:
        future.set_result(None)
    assert link.window.in_flight == 3
    assert link.collect() is None
    assert link.rows.confirmed == []


def test_accounted_what_was_confirmed_before_the_end_is_confirmed() -> None:
    """At the end of a connection the last confirmations count, and only the rest goes back, in order."""
    link = Link(rows=4)
    link.fill()
    link.client.in_flight.pop(2)[1].set_result(None)
    link.lose()
    assert sequences(link.rows.confirmed) == [3]
    assert sequences([*link.rows.waiting]) == [1, 2, 4]
    assert link.window.in_flight == 0
    assert link.totals == [1]


def test_accounted_a_message_that_is_too_large_is_rejected() -> None:
    """The hub would answer it by disconnecting: it is never sent, and the next one goes."""
    link = Link()
    link.rows.add(1, note="x" * MAX_MESSAGE_BYTES)
    link.rows.add(1)
    link.fill()
    assert in_flight(link.client) == [{2}]
    [(row, reason)] = link.rows.rejected
    assert row.sequence == 1
    assert f"of which a message may have {MAX_MESSAGE_BYTES}" in reason


def test_accounted_properties_count_for_the_size() -> None:
    """A body that fits is too large with the properties that it travels with."""
    link = Link()
    link.window = Window(
        link.rows,
        Batcher("object", 4096, "mast-1", {"site": "s" * 300}),
        lambda *_: None,
        SEND_TIMEOUT_S,
        60.0,
    )
    [(message, _)], _ = Batcher("object", 4096, "mast-1", {}).build(
        FakeRows(1).take(1), 1, link.rows.boot_clock
    )
    link.rows.add(1, note="x" * (MAX_MESSAGE_BYTES - len(message.body) - 200))
    link.fill()
    assert link.client.in_flight == []
    assert len(link.rows.rejected) == 1


def test_accounted_a_message_that_the_client_does_not_take_is_rejected() -> None:
    """It looks like a link that goes each time that it is sent, and is found as such."""
    link = Link(rows=3)
    link.hub.unsendable = {"0badcafe-2"}
    for _ in range(3):
        link.fill()
        link.client.confirm_all()
        assert link.collect() is not None
        link.lose()
    assert link.window.suspects == 1
    for _ in range(3):
        link.rows.add(1)
        link.fill()
        link.confirm_all()
        link.now += STABLE_S
        link.fill()
        assert link.collect() is not None
        link.lose()
    assert sequences([row for row, _ in link.rows.rejected]) == [2]
    assert sequences(link.rows.confirmed) == [1, 3, 4, 5, 6]


def test_accounted_a_suspect_that_is_too_large_is_rejected() -> None:
    """An array may become suspect whose rows are sent alone; one of them that cannot be goes no further."""
    link = Link(rows=1)
    link.make_suspects()
    [suspect] = link.rows.taken.values()
    assert isinstance(suspect.entry.body, dict)
    suspect.entry.body["note"] = "x" * MAX_MESSAGE_BYTES
    link.fill()
    assert link.client.in_flight == []
    link.rows.add(1)
    link.fill()
    assert in_flight(link.client) == [{2}]


def test_accounted_rejected_only_where_others_got_through() -> None:
    """A row that brings each connection down is given up after three trials with others confirmed before."""
    link = Link(rows=1)
    link.make_suspects()
    link.fill()  # nothing else to send: no evidence
    assert in_flight(link.client) == [{1}]
    link.lose()
    assert link.rows.rejected == []
    for trial in range(3):
        assert link.rows.rejected == []
        link.rows.add(1)
        link.fill()
        link.confirm_all()
        link.fill()
        assert in_flight(link.client) == [], "it failed before: first the connection must prove stable"
        link.now += STABLE_S
        link.fill()
        assert in_flight(link.client) == [{1}], trial
        link.lose()
    [(row, reason)] = link.rows.rejected
    assert row.sequence == 1
    assert "whenever it was published alone" in reason
    assert link.window.suspects == 0


def test_accounted_a_disconnect_long_after_is_not_held_against_it() -> None:
    """Only what was published within the last ten seconds may have been the reason."""
    link = Link(rows=3)
    for _ in range(4):
        link.fill()
        link.now += 11.0
        link.lose()
        assert link.window.suspects == 0
    assert sequences([*link.rows.waiting]) == [1, 2, 3]


def test_accounted_a_connection_that_we_ended_is_held_against_nobody() -> None:
    """A token that is renewed, a dead link, a stop: no message is blamed."""
    link = Link(rows=3)
    for _ in range(4):
        link.fill()
        link.lose(by_the_hub=False)
        assert link.window.suspects == 0


def test_accounted_a_link_that_flaps_gives_suspects_back() -> None:
    """Connections that end with others in flight: it was not the suspect, which goes with the rest again."""
    link = Link(rows=1, most=1)
    link.make_suspects()
    for _ in range(4):
        assert link.window.suspects == 1
        link.rows.add(1)
        link.fill()
        link.client.confirm_all()
        link.collect()
        link.rows.add(1)
        link.most = 2
        link.lose()
    assert link.window.suspects == 0
    assert link.rows.taken == {}
    assert 1 in sequences([*link.rows.waiting])


def test_accounted_stop_gives_everything_back() -> None:
    """What is in flight, a trial, and suspects: all of it waits for the next start."""
    link = Link(rows=2, most=2)
    link.make_suspects()
    link.fill()
    assert link.window.suspects == 2
    assert link.window.in_flight == 1
    link.window.stop(link.now)
    assert sequences([*link.rows.waiting]) == [1, 2]
    assert link.rows.taken == {}
    assert link.window.suspects == link.window.in_flight == 0


def test_deadline_a_confirmation_that_stays_away() -> None:
    """It is a problem of the link at the deadline, and not before."""
    link = Link(rows=2)
    link.fill()
    link.now += SEND_TIMEOUT_S - 0.1
    assert link.collect() is None
    link.now += 0.1
    problem = link.collect()
    assert problem is not None
    assert problem.failure is Failure.UNCONFIRMED
    assert str(problem).startswith("no confirmation within 30 s: ")


def test_deadline_each_message_has_its_own() -> None:
    """One that was sent later has its time yet."""
    link = Link(rows=1)
    link.fill()
    link.now += 20.0
    link.confirm_all()
    link.rows.add(1)
    link.fill()
    link.now += SEND_TIMEOUT_S - 0.1
    assert link.collect() is None


def test_deadline_a_message_that_is_passed_over_becomes_suspect() -> None:
    """Later ones were confirmed, it was not, three times: it is tried alone, three times, and rejected."""
    link = Link(rows=1)
    link.hub.unconfirmed = {"0badcafe-1"}
    for _ in range(3):
        assert link.window.suspects == 0
        link.fill()
        link.now += 20.0
        link.rows.add(1)
        link.fill()
        link.client.confirm_all()
        link.now += 10.0
        problem = link.collect()
        assert problem is not None
        link.lose(by_the_hub=False)
    assert link.window.suspects == 1
    for _ in range(3):
        link.rows.add(1)
        link.fill()
        link.confirm_all()
        link.now += STABLE_S
        link.fill()
        assert in_flight(link.client) == [{1}]
        link.client.confirm_all()
        link.now += SEND_TIMEOUT_S
        assert link.collect() is not None
        link.lose(by_the_hub=False)
    assert sequences([row for row, _ in link.rows.rejected]) == [1]
    assert len(link.rows.confirmed) == 6


@pytest.mark.parametrize("error", [LOST, RuntimeError("odd"), None])
def test_a_failed_send_is_a_problem_of_the_link(error: Exception | None) -> None:
    """Whatever it fails with, and also if it is cancelled, the row is neither confirmed nor lost."""
    link = Link(rows=1)
    link.fill()
    [(_, future)] = link.client.in_flight
    link.client.in_flight = []
    if error is None:
        future.cancel()
    else:
        future.set_exception(error)
    problem = link.collect()
    assert problem is not None
    assert problem.failure is Failure.LOST
    link.window.ended(link.now)
    assert sequences([*link.rows.waiting]) == [1]


class AnythingHappens(RuleBasedStateMachine):
    """Completions, failures, time-outs, disconnects and trials in any order."""

    @initialize(batching=st.sampled_from(["object", "auto", "array"]), most=st.integers(1, 6))
    def begin(self, batching: Batching, most: int) -> None:
        self.link = Link(batching=batching, most=most)
        self.stored: set[str] = set()  # what the hub has confirmed

    @rule(count=st.integers(1, 40), large=st.booleans())
    def add(self, count: int, large: bool) -> None:
        if large:
            self.link.rows.add(1, note="x" * MAX_MESSAGE_BYTES)
        self.link.rows.add(count)

    @rule()
    def fill(self) -> None:
        self.link.fill()

    @rule()
    def collect(self) -> None:
        self.link.collect()

    @rule(seconds=st.sampled_from([0.1, 5.0, 11.0, SEND_TIMEOUT_S, STABLE_S]))
    def wait(self, seconds: float) -> None:
        self.link.now += seconds

    @rule(most=st.integers(1, 6))
    def other_bound(self, most: int) -> None:
        self.link.most = most

    @precondition(lambda self: self.link.client.in_flight)
    @rule(data=st.data())
    def confirm_one(self, data: st.DataObject) -> None:
        message, future = self._one(data)
        self.stored |= object_ids(message)
        future.set_result(None)

    @precondition(lambda self: self.link.client.in_flight)
    @rule()
    def confirm_all(self) -> None:
        for message, future in self.link.client.in_flight:
            self.stored |= object_ids(message)
            future.set_result(None)
        self.link.client.in_flight = []

    @precondition(lambda self: self.link.client.in_flight)
    @rule(data=st.data(), failure=st.sampled_from([Failure.LOST, Failure.UNCONFIRMED, Failure.SILENT]))
    def fail_one(self, data: st.DataObject, failure: Failure) -> None:
        self._one(data)[1].set_exception(HubError(failure, "failed"))

    @rule(by_the_hub=st.booleans())
    def lose(self, by_the_hub: bool) -> None:
        self.link.lose(by_the_hub=by_the_hub)

    @rule()
    def lose_right_after_it_was_filled(self) -> None:
        self.link.fill()
        self.link.lose()

    @rule()
    def restart(self) -> None:
        self.link.window.stop(self.link.now)
        assert self.link.rows.taken == {}
        self.link.client.lose()
        self.link.new_window()
        self.link.connect()

    def _one(self, data: st.DataObject) -> tuple[Message, Future[None]]:
        in_flight = self.link.client.in_flight
        return in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))

    @invariant()
    def bounded(self) -> None:
        if not hasattr(self, "link"):
            return
        window = self.link.window
        assert window.in_flight <= 6
        suspects = {row.object_id for row in window._isolation.rows}
        flying = [{row.object_id for row in sending.rows} for sending in window._sending]
        if any(names & suspects for names in flying):
            assert len(flying) == 1
            assert len(flying[0]) == 1

    @invariant()
    def accounted(self) -> None:
        if not hasattr(self, "link"):
            return
        rows, window = self.link.rows, self.link.window
        held = {row.object_id for row in window._isolation.rows}
        flying = [row.object_id for sending in window._sending for row in sending.rows]
        assert len(flying) == len(set(flying))
        assert held | set(flying) == rows.taken.keys()
        places = [
            *(row.sequence for row in rows.waiting),
            *(row.sequence for row in rows.taken.values()),
            *(row.sequence for row in rows.confirmed),
            *(row.sequence for row, _ in rows.rejected),
        ]
        assert sorted(places) == list(range(1, rows.added + 1))
        assert {row.object_id for row in rows.confirmed} <= self.stored
        assert self.link.window.total <= len(self.link.totals) == len(rows.confirmed)

    def teardown(self) -> None:
        """A hub that takes everything gets everything that was not rejected."""
        if not hasattr(self, "link"):
            return
        link = self.link
        link.lose(by_the_hub=False)
        link.now += STABLE_S
        for _ in range(2 * link.rows.added + 4):
            link.fill()
            self.confirm_all()
            assert link.collect() is None
        assert not link.rows.waiting
        assert not link.rows.taken


AnythingHappens.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnythingHappens = AnythingHappens.TestCase
