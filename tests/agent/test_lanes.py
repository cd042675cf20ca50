"""The lanes' invariants, each by its name in the head of agent/lanes.py, alone and against a model."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.lanes import Lanes, _Store
from agent.reading import Entry, Row


def row(sequence: int, urgent: bool = False) -> Row:
    return Row(sequence, "9f3c01ab", "boot", Entry("reading", 0.0, {}, urgent=urgent))


def rows(*sequences: int, urgent: bool = False) -> list[Row]:
    return [row(sequence, urgent) for sequence in sequences]


def numbers(of: Iterable[Row]) -> list[int]:
    return [row.sequence for row in of]


@pytest.fixture
def lanes() -> Lanes:
    """Small ones, beside a store that is empty."""
    lanes = Lanes(urgent=6, live=5, backlog=10)
    fetch(lanes, [])
    return lanes


def fetch(lanes: Lanes, store: Iterable[Row]) -> None:
    """What the outbox writer does about rows that are missing."""
    if limit := lanes.missing():
        known = lanes.known()
        line = sorted(store, key=lambda row: (not row.entry.urgent, row.sequence))
        lanes.fetched([row for row in line if row.object_id not in known][:limit], limit)


def test_urgent_first(lanes: Lanes) -> None:
    """An urgent row leaves before anything that waits, however often the backlog was passed over."""
    lanes.offer(rows(*range(1, 11)))
    for n in range(20, 26):
        lanes.offer(rows(n, urgent=True))
        assert numbers(lanes.take(1)) == [n]


def test_live_first_and_backlog_moves(lanes: Lanes) -> None:
    """Of four takes three are of the newest rows and the fourth of the oldest, while both wait."""
    lanes.offer(rows(*range(1, 11)))
    taken = [numbers(lanes.take(1)) for _ in range(10)]
    assert taken == [[6], [7], [8], [1], [9], [10], [2], [3], [4], [5]]
    assert lanes.take(1) == []


def test_without_a_backlog_rows_leave_in_order_of_sequence(lanes: Lanes) -> None:
    """Live rows alone are served alone."""
    lanes.offer(rows(1, 2, 3))
    assert numbers(lanes.take(2)) == [1, 2]
    lanes.offer(rows(4, 5))
    assert [numbers(lanes.take(1)) for _ in range(4)] == [[3], [4], [5], []]


def test_one_lane(lanes: Lanes) -> None:
    """However many are asked for, they are of one lane, and no take of nothing counts as a turn."""
    lanes.offer([*rows(*range(1, 9)), row(9, urgent=True)])
    assert lanes.take(0) == []
    assert numbers(lanes.take(20)) == [9]
    assert numbers(lanes.take(20)) == [4, 5, 6, 7, 8]
    assert numbers(lanes.take(20)) == [1, 2, 3]


def test_rows_given_back_return_to_their_lane_in_their_order(lanes: Lanes) -> None:
    """Whatever order they come back in; what is too many for the live lane is backlog again."""
    lanes.offer(rows(*range(1, 9)))
    live, backlog = lanes.take(3), [*lanes.take(1), *lanes.take(1)]
    assert numbers(live + backlog) == [4, 5, 6, 7, 8]
    old = lanes.take(2)
    assert numbers(old) == [1, 2]
    lanes.offer(rows(9))
    lanes.give_back([old[1], *backlog[::-1], old[0], *live[::-1]])
    assert numbers(lanes.take(9)) == [5, 6, 7, 8, 9]
    assert numbers(lanes.take(9)) == [1, 2, 3, 4]


def test_once(lanes: Lanes) -> None:
    """What is in flight or settled is neither offered nor fetched nor dropped, and given back once only."""
    stored = rows(1, 2, 3)
    lanes.offer(stored)
    first, second = lanes.take(2)
    lanes.settle([first])
    lanes.doubt()
    fetch(lanes, stored)
    assert not lanes.may_drop(first.object_id)
    assert not lanes.may_drop(second.object_id)
    lanes.give_back([first, second])
    lanes.give_back([second])
    assert numbers(lanes.take(9)) == [2, 3]
    lanes.release([first])
    assert lanes.may_drop(first.object_id)


def test_none_lost_what_is_let_go_of_is_fetched(lanes: Lanes) -> None:
    """Rows beyond the lanes' shares come from the store, in their order."""
    stored = rows(*range(1, 31))
    lanes.offer(stored)
    got: list[int] = []
    while taken := lanes.take(4):
        got += numbers(taken)
        fetch(lanes, [row for row in stored if row.sequence not in got])
    live = range(26, 31)
    assert sorted(got) == list(range(1, 31))
    assert [n for n in got if n not in live] == list(range(1, 26))


def test_none_lost_a_row_that_a_drop_spared_is_fetched(lanes: Lanes) -> None:
    """A commit that dropped it and failed leaves it where it was."""
    stored = [*rows(1, 2), row(3, urgent=True)]
    lanes.offer(stored)
    assert all(lanes.may_drop(row.object_id) for row in stored)
    assert lanes.take(9) == []
    fetch(lanes, stored)
    assert [numbers(lanes.take(9)) for _ in range(3)] == [[3], [1, 2], []]


def test_bounded(lanes: Lanes) -> None:
    """Nothing grows while nobody takes."""
    for n in range(1, 200):
        lanes.offer(rows(n, urgent=n % 3 == 0))
    assert len(lanes.known()) == 6 + 5 + 10


def test_bounded_the_first_refill() -> None:
    """A store of readings alone fills the backlog's share, and what does not fit is fetched later."""
    lanes = Lanes(urgent=6, live=5, backlog=10)
    stored = rows(*range(1, 31))
    fetch(lanes, stored)
    assert len(lanes._backlog.rows) == 10
    lanes.fetched(stored[10:], 99)
    assert len(lanes._backlog.rows) == 10
    got: list[int] = []
    while taken := lanes.take(4):
        got += numbers(taken)
        fetch(lanes, [row for row in stored if row.sequence not in got])
    assert got == list(range(1, 31))


@pytest.mark.parametrize("share", [1, 2, 3, 10])
@pytest.mark.parametrize("limit", [1, 2, 5, 20])
def test_never_stuck(share: int, limit: int) -> None:
    """Where a take is of more rows than a lane may hold, it serves what the lane holds."""
    lanes = Lanes(urgent=share, live=share, backlog=share)
    stored = {row.object_id: row for row in [*rows(*range(1, 60)), *rows(*range(60, 70), urgent=True)]}
    while stored:
        taken = lanes.take(limit)
        lanes.settle(taken)
        for row in taken:
            del stored[row.object_id]
        lanes.release(taken)
        assert taken or lanes.missing()
        fetch(lanes, stored.values())


def test_a_backlog_that_has_run_low_waits_for_the_store() -> None:
    """Full arrays soon are better than what is left now; once the store has answered, what is left goes."""
    stored = rows(*range(1, 14))
    lanes = Lanes(urgent=6, live=5, backlog=10)
    fetch(lanes, stored)
    assert numbers(lanes.take(7)) == [1, 2, 3, 4, 5, 6, 7]
    assert lanes.take(7) == []
    limit = lanes.missing()
    lanes.known()
    assert lanes.take(7) == []
    assert lanes.missing() == 0, "asked once"
    lanes.fetched(stored[10:], limit)
    assert numbers(lanes.take(7)) == [8, 9, 10, 11, 12, 13]


def test_none_lost_what_is_let_go_of_while_the_store_is_asked(lanes: Lanes) -> None:
    """Live rows that come back and are too many are not in its answer, and are fetched after it."""
    stored = rows(*range(1, 6))
    lanes.offer(stored)
    taken = lanes.take(5)
    more = rows(*range(6, 11))
    lanes.offer(more)
    lanes.doubt()
    limit = lanes.missing()
    lanes.known()
    lanes.give_back(taken)
    lanes.fetched([], limit)
    fetch(lanes, stored + more)
    assert [numbers(lanes.take(9)) for _ in range(3)] == [[6, 7, 8, 9, 10], [1, 2, 3, 4, 5], []]


class LanesMachine(RuleBasedStateMachine):
    """Lanes beside a store: a list of rows with what is known of each."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(urgent=4, live=3, backlog=6)
        self.store: dict[str, Row] = {}  # unsent
        self.flying: dict[str, Row] = {}
        self.settled: dict[str, Row] = {}  # told to the lanes, not to the store
        self.readable = True
        self.number = 0
        self.passed_over = 0

    @rule(urgent=st.lists(st.booleans(), min_size=1, max_size=8))
    def append(self, urgent: list[bool]) -> None:
        fresh = []
        for flag in urgent:
            self.number += 1
            fresh.append(row(self.number, flag))
        self.store |= {row.object_id: row for row in fresh}
        self.lanes.offer(fresh)

    @rule(limit=st.integers(0, 5))
    def take(self, limit: int) -> None:
        waiting = self.held()
        live, backlog = set(self.lanes._live.rows), set(self.lanes._backlog.rows)
        whole = self.lanes._backlog.store is _Store.HAS_NO_MORE
        moves = bool(backlog) and (len(backlog) >= min(limit, 3) or whole)
        taken = self.lanes.take(limit)
        assert len({row.object_id for row in taken} & self.flying.keys()) == 0, "once"
        assert all(row.object_id in self.store and row.object_id not in self.settled for row in taken), "once"
        assert numbers(taken) == sorted(numbers(taken)), "one lane: in order"
        urgent_waits = any(self.store[name].entry.urgent for name in waiting if name in self.store)
        assert all(row.entry.urgent == urgent_waits for row in taken), "urgent first"
        if waiting and limit and not taken:
            assert waiting == backlog, "live first"
            assert self.lanes.missing(), "never stuck: a short backlog waits for a refill only"
        if taken and not urgent_waits:
            was_live = taken[0].object_id in live
            assert was_live or not live or self.passed_over == 3, "live first"
            self.passed_over = (self.passed_over + moves) if was_live else 0
            assert self.passed_over <= 3, "backlog moves"
        self.flying |= {row.object_id: row for row in taken}

    def held(self) -> set[str]:
        lanes = (self.lanes._urgent, self.lanes._live, self.lanes._backlog)
        names = [name for lane in lanes for name in lane.rows]
        assert len(names) == len(set(names)), "once"
        return set(names)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), how=st.sampled_from(["give back", "settle"]))
    def answer(self, data: st.DataObject, how: str) -> None:
        chosen = data.draw(st.permutations(sorted(self.flying)))[: data.draw(st.integers(1, 6))]
        found = [self.flying.pop(name) for name in chosen]
        if how == "give back":
            self.lanes.give_back(found)
        else:
            self.settled |= {row.object_id: row for row in found}
            self.lanes.settle(found)

    @precondition(lambda self: self.settled)
    @rule()
    def store_hears(self) -> None:
        """The store writes confirmations and rejections."""
        for name in self.settled:
            del self.store[name]
        self.lanes.release(list(self.settled.values()))
        self.settled = {}

    @precondition(lambda self: self.store)
    @rule(spared=st.booleans(), data=st.data())
    def drop(self, spared: bool, data: st.DataObject) -> None:
        """``spared``: the commit failed, and the row is as it was."""
        name = data.draw(st.sampled_from(sorted(self.store)))
        may = self.lanes.may_drop(name)
        assert may == (name not in self.flying and name not in self.settled), "once"
        if may and not spared:
            del self.store[name]

    @rule()
    def fail_or_return(self) -> None:
        """While the store cannot be read, it gives nothing, and what it has is in doubt."""
        self.readable = not self.readable
        self.lanes.doubt()

    @rule(meanwhile=st.booleans())
    def refill(self, meanwhile: bool) -> None:
        """``meanwhile``: the uplink gives everything back while the store is read."""
        if limit := self.lanes.missing():
            known = self.lanes.known()
            line = sorted(self.store.values(), key=lambda row: (not row.entry.urgent, row.sequence))
            found = [row for row in line if row.object_id not in known][:limit] if self.readable else []
            if meanwhile:
                self.lanes.give_back(list(self.flying.values()))
                self.flying = {}
            most = [max(lane.share, len(lane.rows)) for lane in (self.lanes._urgent, self.lanes._backlog)]
            self.lanes.fetched(found, limit)
            assert len(self.lanes._urgent.rows) <= most[0], "bounded"
            assert len(self.lanes._backlog.rows) <= most[1], "bounded"
            if not self.readable:
                self.lanes.doubt()

    @invariant()
    def nothing_is_in_two_places(self) -> None:
        held = self.held()
        assert held <= self.store.keys()
        assert not held & (self.flying.keys() | self.settled.keys()), "once"
        lanes = self.lanes
        for lane in (lanes._urgent, lanes._live, lanes._backlog):
            assert numbers(lane.rows.values()) == sorted(numbers(lane.rows.values()))
        assert len(lanes._live.rows) <= 3, "bounded"

    def teardown(self) -> None:
        """None is lost or stuck: everything leaves once the store can be read, the uplink only taking."""
        self.store_hears()
        if not self.readable:
            self.fail_or_return()
        self.lanes.give_back(list(self.flying.values()))
        self.flying = {}
        while True:
            self.refill(False)
            taken = self.lanes.take(3)
            if not taken:
                break
            self.lanes.settle(taken)
            self.settled |= {row.object_id: row for row in taken}
            self.store_hears()
        assert not self.store, "none lost"
        assert not self.lanes.busy


def test_any_history_keeps_the_invariants() -> None:
    """Nothing is lost, offered twice at once or stuck, whatever happens in whatever order."""
    run_state_machine_as_test(
        LanesMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
