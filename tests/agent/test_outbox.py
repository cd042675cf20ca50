"""The outbox's invariants, each by its name in the head of agent/outbox.py, against a model and alone."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.outbox import Outbox, StoreUnreadable, commits
from agent.outbox_file import FRAME_BYTES
from agent.outbox_limits import declared_by
from agent.outbox_rows import CONFIRMATION_PAGES
from agent.reading import Entry, Row
from agent.rejections import REJECTED_A_COMMIT
from agent.timekeeping import BootClock

MIB = 1 << 20
NOW_S = 1_790_000_000.0


def reading(number: int = 0, size: int = 200, **changes: Any) -> Entry:
    """A reading of about ``size`` bytes."""
    return Entry("reading", 60.0 * number, {"sensor": "top", "n": number, "pad": "x" * size}, **changes)


def files(path: Path) -> list[Path]:
    return [p for p in (path, Path(f"{path}-wal"), Path(f"{path}-shm")) if p.exists()]


def size_on_disk(path: Path) -> int:
    return sum(p.stat().st_size for p in files(path)[:2] if not p.name.endswith("-shm"))


def copy(path: Path, folder: Path, with_index: bool = True) -> Path:
    """What a machine that stops now leaves on its disk."""
    folder.mkdir()
    for part in files(path):
        if with_index or not part.name.endswith("-shm"):
            shutil.copy(part, folder / part.name)
    return folder / path.name


@dataclass(frozen=True)
class Contents:
    """The store as another process sees it."""

    rows: dict[int, tuple[bool, str | None, dict[str, Any]]]  # sequence -> (sent, key, body)
    undeclared: list[list[Any]]
    rejected: set[int] = field(default_factory=set)

    @property
    def unsent(self) -> set[int]:
        return {sequence for sequence, (sent, _, _) in self.rows.items() if not sent}

    @property
    def sent(self) -> set[int]:
        return self.rows.keys() - self.unsent

    @property
    def keys(self) -> Counter[str]:
        return Counter(key for _, key, _ in self.rows.values() if key is not None)


def contents(path: Path) -> Contents:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT sequence, sent_at_s >= 0, key, body FROM rows").fetchall()
        drops = db.execute("SELECT first, last, reason FROM drops").fetchall()
        rejected = {sequence for (sequence,) in db.execute("SELECT sequence FROM rejected")}
    return Contents(
        {s: (bool(sent), key, json.loads(body)) for s, sent, key, body in rows},
        [list(drop) for drop in drops],
        rejected,
    )


@dataclass
class Model:
    """What was promised: every number given, what it held, which are confirmed, what was declared where."""

    bodies: dict[int, dict[str, Any]] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)  # confirmed, and in a commit that has returned
    rejected: set[int] = field(default_factory=set)

    def lost_ranges(self, now: Contents) -> list[list[Any]]:
        """The ranges of declarations that still stand or were delivered, and those yet to be declared.

        One that was rejected has declared what is not to be declared again.
        """
        ranges = list(now.undeclared)
        for sequence, body in self.bodies.items():
            if body.get("event") == "dropped" and self.stands(sequence, now):
                final = [r for r in body["ranges"] if r[2].endswith(", again")]
                ranges += final if sequence in self.rejected else body["ranges"]
        return ranges

    def stands(self, sequence: int, now: Contents) -> bool:
        return sequence in now.rows or sequence in self.confirmed | self.rejected

    def rejections(self, now: Contents) -> set[int]:
        """The numbers of rejected rows that an event tells of, and of such events that were rejected."""
        events = {s: body for s, body in self.bodies.items() if body.get("event") == "rejected"}
        told = {int(b["objectId"].split("-")[1]) for s, b in events.items() if self.stands(s, now)}
        return told | (events.keys() & self.rejected)

    def dropped(self, now: Contents) -> Counter[int]:
        return Counter(s for first, last, _ in self.lost_ranges(now) for s in range(first, last + 1))


class OutboxMachine(RuleBasedStateMachine):
    """Any sequence of calls with a crash between, or within, any two of them."""

    @initialize(low=st.booleans(), commits=st.sampled_from([0, 4, 14]))
    def begin(self, low: bool, commits: int) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.folders = 0
        self.path = self.root / "outbox.db"
        self.low_disk = low
        self.model = Model()
        self.leased: dict[str, Row] = {}
        self.number = 0
        self.clock_offset: float | None = None
        self.open()
        for _ in range(commits):
            self.appending(count=32, size=3900, urgent=False, keys=[])

    def open(self) -> None:
        self.outbox = Outbox(
            self.path,
            run=f"run{self.folders}",
            boot_id="boot",
            max_bytes=MIB,
            min_free_bytes=1000,
            free_bytes=lambda _: 0 if self.low_disk else 10**9,
        )
        self.outbox._rows.db.set_trace_callback(self.traced)
        self.before_commit: Path | None = None

    def traced(self, statement: str) -> None:
        """Called by SQLite before each statement."""
        if statement != "COMMIT":
            return
        assert size_on_disk(self.path) <= MIB, "bounded"
        if self.before_commit is not None and not self.before_commit.exists():
            copy(self.path, self.before_commit)

    def may_drop(self, object_id: str) -> bool:
        return object_id not in self.leased

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
            shutil.rmtree(self.root)

    # --- what the model does at each call

    def append(self, entries: list[Entry]) -> None:
        before, following = contents(self.path), self.outbox.next_sequence
        pending = set(self.model.confirmed)
        rows = self.outbox.append(entries, self.may_drop)
        self.stored(rows, following)
        self.settle(before, following, pending)
        after = contents(self.path)
        kept = {key for sequence, (_, key, _) in before.rows.items() if sequence in after.rows}
        for entry in entries:
            if entry.key is not None and entry.key in kept:
                assert all(row.entry.key != entry.key for row in rows), "once"
            elif entry.key is not None:
                assert entry.key in after.keys, "once: and not less than once"

    def stored(self, rows: list[Row], following: int) -> None:
        assert [row.sequence for row in rows] == list(range(following, following + len(rows))), "gapless"
        assert self.outbox.next_sequence == following + len(rows)
        self.model.bodies.update({row.sequence: dict(row.entry.body) for row in rows})

    def settle(
        self, before: Contents, following: int, pending: set[int], rejected: Collection[int] = ()
    ) -> None:
        """After a commit: what it dropped it was right to drop."""
        after = contents(self.path)
        if self.outbox.unwritten_confirmations == 0:
            self.model.written |= pending
        gone = before.unsent - after.rows.keys() - pending - set(rejected)
        if gone:
            assert all(s >= following - 1 for s in after.sent), (
                "oldest first: sent rows go before unsent ones"
            )
            assert after.rejected <= set(rejected), "oldest first: rejected rows go before unsent ones"
            spared = {s for s in after.unsent if s < max(gone)}
            leased = {row.sequence for row in self.leased.values()}
            assert spared <= leased | pending | {following - 1}, "oldest first"

    # --- rules

    @rule(
        count=st.integers(1, 32),
        size=st.sampled_from([300, 1500, 2500, 3900]),
        urgent=st.booleans(),
        keys=st.lists(st.integers(0, 30), max_size=3, unique=True),
    )
    def appending(self, count: int, size: int, urgent: bool, keys: list[int]) -> None:
        entries = []
        for i in range(min(count, 32_000 // (size + 300))):
            key = f"k{keys[i]}" if i < len(keys) else None
            entries.append(reading(self.number, size, urgent=urgent, key=key))
            self.number += 1
        self.append(entries)

    @rule(limit=st.integers(1, 20))
    def lease(self, limit: int) -> None:
        rows = self.outbox.unsent(min(limit, 20 - len(self.leased)), self.leased.keys())
        waiting = (
            contents(self.path).unsent - self.model.confirmed - {r.sequence for r in self.leased.values()}
        )
        assert len(rows) == min(limit, 20 - len(self.leased), len(waiting))
        order = [(not row.entry.urgent, row.sequence) for row in rows]
        assert order == sorted(order)
        for row in rows:
            assert row.sequence in waiting
            assert dict(row.entry.body) == self.model.bodies[row.sequence], "kept, as it was"
        self.leased |= {row.object_id: row for row in rows}

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from(sorted(self.leased)), min_size=1, unique=True))
        rows = [self.leased.pop(name) for name in names]
        self.outbox.confirm(rows, NOW_S)
        self.model.confirmed |= {row.sequence for row in rows}

    @precondition(lambda self: self.leased)
    @rule()
    def give_up_leases(self) -> None:
        self.leased = {}

    @rule()
    def flush(self) -> None:
        before, following, pending = contents(self.path), self.outbox.next_sequence, set(self.model.confirmed)
        self.stored(self.outbox.flush(self.may_drop), following)
        self.settle(before, following, pending)
        assert self.outbox.unwritten_confirmations == 0
        assert not pending & contents(self.path).unsent, "confirmed"

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from(sorted(self.leased)), min_size=1, unique=True))
        rows = next(commits([self.leased[name] for name in names], lambda row: row.entry, REJECTED_A_COMMIT))
        before, following, pending = contents(self.path), self.outbox.next_sequence, set(self.model.confirmed)
        said = self.outbox.reject(rows, "poison", 5.0, self.may_drop)
        self.stored(said, following)
        sequences = [row.sequence for row in rows]
        declared = [row.object_id for row in rows if row.entry.body.get("event") != "rejected"]
        assert [row.entry.body["objectId"] for row in said] == declared, "rejected"
        self.model.rejected |= set(sequences)
        for row in rows:
            del self.leased[row.object_id]
        self.settle(before, following, pending, sequences)
        assert set(sequences) <= contents(self.path).rejected, "rejected"
        assert self.outbox.reject(rows, "poison", 5.0, self.may_drop) == [], "rejected, once"

    @rule(data=st.data(), committed=st.booleans())
    @precondition(lambda self: self.leased)
    def crash_while_rejecting(self, data: st.DataObject, committed: bool) -> None:
        """Before the commit the row waits and nothing is said of it, after it is set aside and declared."""
        model = deepcopy(self.model)
        self.before_commit = self.new_folder()
        self.reject(data)
        if committed:
            self.reopen(copy(self.path, self.new_folder()))
        else:
            self.model = model
            self.reopen(self.before_commit / self.path.name)

    @rule()
    def toggle_low_disk(self) -> None:
        self.low_disk = not self.low_disk

    @rule(offset=st.floats(1e9, 2e9), synchronised=st.booleans())
    def set_clock(self, offset: float, synchronised: bool) -> None:
        self.outbox.set_clock("boot", BootClock(offset, synchronised))
        self.clock_offset = offset

    @rule(keep_s=st.sampled_from([0.0, 1e9]), age_s=st.sampled_from([None, 1200.0]))
    def expire(self, keep_s: float, age_s: float | None) -> None:
        """Only rows of a trusted clock have an age."""
        before, clock = contents(self.path), self.outbox.clocks.get("boot")
        now_s = (clock.offset_s if clock else NOW_S) + 60.0 * self.number
        self.outbox.expire(now_s, keep_s, age_s, self.may_drop)
        gone = before.unsent - contents(self.path).unsent
        assert not gone & self.model.confirmed
        assert not gone or (age_s is not None and clock is not None and clock.synchronised)

    @rule(with_index=st.booleans())
    def crash(self, with_index: bool) -> None:
        """Between two calls."""
        self.reopen(copy(self.path, self.new_folder(), with_index))

    @rule(count=st.integers(1, 32), size=st.sampled_from([300, 3900]), committed=st.booleans())
    def crash_while_appending(self, count: int, size: int, committed: bool) -> None:
        """Just before the commit nothing of it is there, and just after it all; never anything less."""
        model = deepcopy(self.model)
        self.before_commit = self.new_folder()
        self.append([reading(self.number + i, size) for i in range(min(count, 32_000 // (size + 300)))])
        self.number += count
        if committed:
            self.reopen(copy(self.path, self.new_folder()))
        else:
            self.model = model
            self.reopen(self.before_commit / self.path.name)

    @rule(committed=st.booleans())
    def crash_while_flushing(self, committed: bool) -> None:
        model = deepcopy(self.model)
        self.before_commit = self.new_folder()
        self.flush()
        if committed:
            self.reopen(copy(self.path, self.new_folder()))
        else:
            self.model = model
            self.reopen(self.before_commit / self.path.name)

    def new_folder(self) -> Path:
        self.folders += 1
        return self.root / str(self.folders)

    def reopen(self, path: Path) -> None:
        following = max(self.model.bodies, default=0) + 1
        self.outbox.close()
        self.path, self.leased = path, {}
        self.open()
        assert self.outbox.next_sequence == following, "gapless, across a crash"
        unsent = contents(path).unsent
        assert not unsent & self.model.written, "confirmed"
        self.model.confirmed -= unsent  # these are repeated

    # --- invariants

    @invariant()
    def every_number_is_accounted_for(self) -> None:
        if not hasattr(self, "outbox"):
            return
        now = contents(self.path)
        assert size_on_disk(self.path) <= MIB, "bounded"
        dropped, rejections = self.model.dropped(now), self.model.rejections(now)
        assert all(count == 1 for count in dropped.values()), "declared exactly once"
        for sequence, body in self.model.bodies.items():
            if sequence in now.unsent:
                assert now.rows[sequence][2] == body, "durable"
                assert sequence not in dropped, "declared, but there"
            elif sequence in self.model.rejected:
                assert (sequence in dropped) != (sequence in rejections), "declared, one way or the other"
            elif sequence not in self.model.confirmed:
                assert sequence in dropped, "kept"
            else:
                assert sequence not in dropped
        assert not self.model.rejected & now.unsent, "rejected"
        assert now.rejected <= self.model.rejected, "rejected"
        assert now.rows.keys() <= self.model.bodies.keys()
        assert all(count == 1 for count in now.keys.values()), "once"
        stats = self.outbox.stats()
        assert stats.unsent == len(now.unsent - self.model.confirmed)
        assert stats.unsent + stats.sent == len(now.rows)
        assert stats.rejected == len(now.rejected)


def test_any_history_of_calls_and_crashes_keeps_the_invariants() -> None:
    """Every invariant holds after any sequence of calls, with a crash between or within any two."""
    run_state_machine_as_test(
        OutboxMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would take minutes
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def new(path: Path, **changes: Any) -> Outbox:
    return Outbox(path, **{"run": "9f3c01ab", "boot_id": "boot", "max_bytes": 4 * MIB, **changes})


def test_bounded_the_file_stops_growing_when_the_disk_is_nearly_full(tmp_path: Path) -> None:
    """With too little free disk the file keeps its size, and its oldest rows make room for new ones."""
    free = 10**9
    box = new(tmp_path / "outbox.db", min_free_bytes=10**6, free_bytes=lambda _: free)
    for n in range(60):
        box.append([reading(n * 20 + i, 1000) for i in range(20)])
    free = 0
    box.append([reading(0, 1000)])
    pages = box._rows.value("PRAGMA page_count")
    assert pages > 256
    for n in range(60):
        rows = box.append([reading(n, 1000)])
        assert box._rows.value("PRAGMA page_count") <= pages
    assert rows[0].sequence == box.next_sequence - 1
    assert 40 <= box.stats().dropped <= 120
    box.close()


def test_bounded_a_limit_that_was_lowered_shrinks_the_file(tmp_path: Path) -> None:
    """Opened with a smaller limit, the store gives up its oldest rows and then its pages, bit by bit."""
    path = tmp_path / "outbox.db"
    box = new(path)
    for n in range(60):
        box.append([reading(n * 10 + i, 3000) for i in range(10)])
    box.close()
    assert path.stat().st_size > 2 * MIB
    box = new(path, max_bytes=MIB)
    for n in range(60):
        box.append([reading(n, 3000)])
    assert size_on_disk(path) <= MIB
    assert box.unsent(1)[0].sequence + box.stats().unsent == box.next_sequence
    box.close()


def test_kept_sent_rows_go_after_their_time_and_old_ones_only_with_a_trusted_clock(tmp_path: Path) -> None:
    """Sent rows are deleted after keep_sent; unsent ones dropped by age where their clock is known."""
    box = new(tmp_path / "outbox.db")
    rows = box.append([reading(n) for n in range(10)])
    box.confirm(rows[:4], NOW_S)
    box.flush()
    assert not box.expire(NOW_S + 10, 100.0, 300.0)
    box.set_clock("boot", BootClock(NOW_S - 540, False))
    assert box.stats().unsent == 6
    box.expire(NOW_S + 200, 100.0, 100.0)
    assert (box.stats().sent, box.stats().unsent) == (0, 6)
    box.set_clock("boot", BootClock(NOW_S - 540, True))
    box.expire(NOW_S, 100.0, 200.0)
    assert [row.sequence for row in box.unsent(9)] == [7, 8, 9, 10]
    assert box.flush()[0].entry.body["ranges"] == [[5, 6, "age"]]
    box.close()


def test_a_body_that_json_cannot_carry_is_stored_as_what_it_can(tmp_path: Path) -> None:
    """NaN becomes null and half a surrogate pair a question mark: no row may block the queue."""
    box = new(tmp_path / "outbox.db")
    odd = Entry(
        "event", 0.0, {"a": float("nan"), "b": ["\ud800", {"c": float("inf")}]}, correlation_id="\udfff"
    )
    box.append([odd])
    (row,) = box.unsent(1)
    assert row.entry.body == {"a": None, "b": ["?", {"c": None}]}
    assert row.entry.correlation_id == "?"
    box.close()


@pytest.mark.parametrize("clean", [True, False])
def test_a_store_of_a_newer_version_is_left_untouched(tmp_path: Path, clean: bool) -> None:
    """Not a byte changes, and nothing is left beside it, whether it was closed cleanly or killed."""
    box = new(tmp_path / "outbox.db")
    box.append([reading()])
    box._rows.db.execute("PRAGMA user_version = 99")
    path = tmp_path / "copy" / "outbox.db"
    if clean:
        box.close()
    copy(tmp_path / "outbox.db", tmp_path / "copy", with_index=False)
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    with pytest.raises(StoreUnreadable, match="schema 99"):
        new(path)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    box.close()


def test_the_newest_row_carries_the_count_when_everything_is_sent(tmp_path: Path) -> None:
    """A store whose rows were all sent and expired goes on counting where it was."""
    box = new(tmp_path / "outbox.db")
    rows = box.append([reading(n) for n in range(5)])
    box.confirm(rows, NOW_S)
    box.flush()
    box.expire(NOW_S + 100, 1.0, None)
    assert box.stats().sent == 1
    box.close()
    box = new(tmp_path / "outbox.db")
    assert not box.created
    assert box.append([reading()])[0].sequence == 6
    box.close()


def test_clocks_of_boots_without_rows_are_forgotten(tmp_path: Path) -> None:
    """A mast that starts a thousand times keeps the clocks of boots whose rows it has, and its own."""
    path = tmp_path / "outbox.db"
    for boot in range(300):
        box = Outbox(path, run="run", boot_id=f"boot-{boot}", max_bytes=8 << 20)
        box.set_clock(f"boot-{boot}", BootClock(NOW_S, True))
        if boot == 7:
            box.append([Entry("reading", 1.0, {"n": 1})])
        if boot < 299:
            box.close()
    box.expire(NOW_S + 10, 1e9, None)
    assert set(box.clocks) == {"boot-7", "boot-299"}
    box.close()


def reject(box: Outbox, rows: list[Row], reason: str = "poison", at_s: float = 99.0) -> list[Row]:
    return [
        row for part in commits(rows, lambda row: row.entry, 16) for row in box.reject(part, reason, at_s)
    ]


def test_rejected_a_row_is_set_aside_and_declared_in_one_commit(tmp_path: Path) -> None:
    """It is offered no more, is there to be looked at with the reason, and the hub hears of it at once."""
    box = new(tmp_path / "outbox.db", simulated=True)
    first, poison, last = box.append([reading(1), reading(2, correlation_id="c"), reading(3)])
    (event,) = box.reject([poison], "x" * 500, 99.0)
    assert box.unsent(9) == [event, first, last]
    assert (event.entry.urgent, event.entry.simulated, event.entry.boot_time_s) == (True, True, 99.0)
    assert event.entry.body == {
        "event": "rejected", "objectId": poison.object_id, "kind": "reading", "reason": "x" * 200,
    }  # fmt: skip
    (kept,) = box.rejected(9)
    assert (kept.row, kept.reason, kept.boot_id, kept.boot_time_s) == (poison, "x" * 200, "boot", 99.0)
    assert (box.stats().rejected, box.stats().unsent) == (1, 3)
    box.close()


def test_rejected_what_fails_changes_nothing(tmp_path: Path) -> None:
    """Neither in the file nor in the figures, and it can be done again."""
    box = new(tmp_path / "outbox.db")
    rows = box.append([reading(1), reading(2)])
    before = box.stats()
    box._rows.db.execute(
        "CREATE TEMP TRIGGER fails BEFORE DELETE ON rows BEGIN SELECT RAISE(ABORT, 'it fails'); END"
    )
    with pytest.raises(sqlite3.Error, match="it fails"):
        reject(box, rows[:1])
    assert box.stats() == before
    assert box.unsent(9) == rows
    box._rows.db.execute("DROP TRIGGER fails")
    assert len(reject(box, rows[:1])) == 1
    assert box.stats().rejected == 1
    box.close()


def test_rejected_a_rejection_that_is_rejected_breeds_no_other(tmp_path: Path) -> None:
    """The chain ends, also where its last row carries the count of the store."""
    box = new(tmp_path / "outbox.db")
    (event,) = reject(box, box.append([reading()]))
    assert reject(box, [event]) == []
    assert box.unsent(9) == []
    assert [kept.row for kept in box.rejected(1)] == [event]
    box.close()
    box = new(tmp_path / "outbox.db")
    assert box.append([reading()])[0].sequence == 3
    box.close()


def test_rejected_the_newest_hundred_are_kept(tmp_path: Path) -> None:
    """The table is bounded; the older ones were declared."""
    box = new(tmp_path / "outbox.db")
    rows = [row for n in range(5) for row in box.append([reading(n * 30 + i) for i in range(30)])]
    events = reject(box, rows)
    assert len(events) == 150
    assert [kept.row for kept in box.rejected(999)] == rows[:49:-1]
    assert box.stats().rejected == 100
    box.close()


def test_rejected_rows_make_room_before_unsent_ones(tmp_path: Path) -> None:
    """In a full store no reading is dropped for the sake of one that the hub will never have."""
    box = new(tmp_path / "outbox.db", max_bytes=MIB)
    for n in range(3):
        reject(box, box.append([reading(n * 8 + i, 3900) for i in range(8)]))
    n = 0
    while box.stats().rejected:
        assert box.stats().dropped == 0
        box.append([reading(n, 3900)])
        n += 1
        assert size_on_disk(tmp_path / "outbox.db") <= MIB
    assert n > 20
    box.close()


def test_the_clocks_of_rejected_rows_are_kept(tmp_path: Path) -> None:
    """When it was made and when it was rejected can still be told."""
    path = tmp_path / "outbox.db"
    for boot in range(110):
        box = Outbox(path, run="run", boot_id=f"boot-{boot}", max_bytes=8 << 20)
        box.set_clock(f"boot-{boot}", BootClock(NOW_S, True))
        if boot == 7:
            box.append([reading()])
        if boot == 9:
            reject(box, box.unsent(1))
            box.confirm(box.unsent(9), NOW_S)
        if boot == 11:
            box.append([reading()])
            box.expire(NOW_S + 1000, 1.0, None)
        if boot < 109:
            box.close()
    box.expire(NOW_S + 10, 1e9, None)
    assert set(box.clocks) == {"boot-7", "boot-9", "boot-11", "boot-109"}
    box.close()


SCHEMA_1 = """
PRAGMA page_size = 4096;
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
CREATE TABLE rows (
    sequence INTEGER PRIMARY KEY,
    run TEXT NOT NULL, boot_id TEXT NOT NULL, boot_time_s REAL NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, simulated INTEGER NOT NULL, calibration TEXT,
    correlation_id TEXT, key TEXT, urgent INTEGER NOT NULL,
    sent_at_s REAL NOT NULL
);
CREATE INDEX unsent ON rows (urgent DESC, sequence) WHERE sent_at_s < 0;
CREATE UNIQUE INDEX keyed ON rows (key) WHERE key IS NOT NULL;
CREATE TABLE clocks (boot_id TEXT PRIMARY KEY, offset_s REAL NOT NULL, synchronised INTEGER NOT NULL);
CREATE TABLE drops (first INTEGER NOT NULL, last INTEGER NOT NULL, reason TEXT NOT NULL);
INSERT INTO rows VALUES (4, 'run1', 'boot-1', 1.5, 'reading', '{"n":4}', 1, 'cal', NULL, NULL, 0, 1.79e9);
INSERT INTO rows VALUES (5, 'run1', 'boot-1', 2.5, 'outcome', '{"n":5}', 0, NULL, 'c', 'k', 1, -0.5);
INSERT INTO clocks VALUES ('boot-1', 1.78e9, 1);
INSERT INTO drops VALUES (1, 3, 'full');
PRAGMA user_version = 1;
"""


@pytest.mark.parametrize("killed", [False, True])
def test_a_store_of_schema_1_is_brought_to_2_with_all_it_holds(tmp_path: Path, killed: bool) -> None:
    """By the first commit; all is as it was, and rows can be rejected; killed or closed."""
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA_1)
        if killed:
            path = copy(path, tmp_path / "copy", with_index=False)
    box = new(path)
    (row,) = box.unsent(9)
    assert (box.rejected(9), box.stats().rejected) == ([], 0)
    assert [row.entry.body.get("ranges") for row in box.flush()] == [[[1, 3, "full"]]]
    with closing(sqlite3.connect(copy(path, tmp_path / "crash"))) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,), "durable"
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert row == Row(
        5, "run1", "boot-1", Entry("outcome", 2.5, {"n": 5}, correlation_id="c", key="k", urgent=True)
    )
    assert box.clocks == {"boot-1": BootClock(1.78e9, True)}
    assert (box.next_sequence, box.stats().sent, box.created) == (7, 1, False)
    (event,) = reject(box, [row])
    assert [kept.row for kept in box.rejected(9)] == [row]
    assert event.entry.body["kind"] == "outcome"
    box.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of one commit with what was to be written; the store can be read before, and written after."""
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA_1)
    box = new(path)
    before = box.stats()
    with monkeypatch.context() as patched:
        patched.setattr("agent.outbox_file._SCHEMAS", ("", "CREATE TABLE rejected (n); no SQL;"))
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError):
                box.append([reading()])
    assert box.stats() == before
    assert [row.sequence for row in box.unsent(9)] == [5]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'rejected'").fetchone() == (0,)
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT COUNT(*) FROM rows").fetchone() == (2,)
    assert [row.sequence for row in box.append([reading()])] == [6]
    assert len(reject(box, box.unsent(1))) == 1
    box.close()


def accounted_for(box: Outbox) -> set[int]:
    """Numbers that are there, or are declared by what waits or is to come."""
    now = contents(box._rows.path)
    bodies = [body for sent, _, body in now.rows.values() if not sent]
    ranges = [*now.undeclared, *(r for body in bodies for r in body.get("ranges", ()))]
    rejected = {int(b["objectId"].split("-")[1]) for b in bodies if b.get("event") == "rejected"}
    return now.rows.keys() | rejected | {s for first, last, _ in ranges for s in range(first, last + 1)}


def fill_up(box: Outbox) -> None:
    """Until all that stood there was dropped."""
    last = box.next_sequence - 1
    while last in contents(box._rows.path).unsent:
        box.append([reading(n, 3900) for n in range(8)])


def test_declared_a_rejection_whose_event_is_dropped(tmp_path: Path) -> None:
    """The number of the row that was set aside is then in a range, with why."""
    box = new(tmp_path / "outbox.db", max_bytes=MIB)
    rows = box.append([reading(n) for n in range(5)])
    reject(box, rows[2:3])
    fill_up(box)
    assert accounted_for(box) == set(range(1, box.next_sequence))
    (declaration,) = box.flush()
    assert [3, 3, "rejected"] in declaration.entry.body["ranges"]
    box.close()


def test_declared_a_drop_whose_event_is_rejected_is_told_once_more(tmp_path: Path) -> None:
    """Once something else got through; if that is rejected as well, it is the end of it."""
    box = new(tmp_path / "outbox.db", max_bytes=MIB)
    box.append([reading()])
    fill_up(box)
    (first,) = box.flush()
    (lost,) = first.entry.body["ranges"]
    (said,) = reject(box, [first])
    assert said.entry.body["objectId"] == first.object_id
    assert accounted_for(box) == set(range(1, box.next_sequence))
    assert [row.entry.kind for row in box.append([reading()])] == ["reading"], "nothing was confirmed"
    box.confirm(box.unsent(1), NOW_S)
    again, _ = box.append([reading()])
    assert again.entry.body["ranges"] == [[*lost[:2], "full, again"]]
    reject(box, [again])
    box.confirm(box.unsent(1), NOW_S)
    assert box.flush() == []
    box.close()


def pragma_of_each_commit(box: Outbox) -> list[str]:
    """How SQLite is told to write each commit from now on; with FULL it ends in an fsync of the log."""
    mode = ""
    modes: list[str] = []

    def traced(statement: str) -> None:
        nonlocal mode
        if statement.startswith("PRAGMA synchronous"):
            mode = statement.rpartition(" ")[2]
        elif statement == "COMMIT":
            modes.append(mode)

    box._rows.db.set_trace_callback(traced)
    return modes


def test_durable_all_but_confirmations_alone_is_written_with_an_fsync(tmp_path: Path) -> None:
    """Rows, rejections, clocks, drops and declarations are on the card when the call returns."""
    box = new(tmp_path / "outbox.db", max_bytes=MIB)
    modes = pragma_of_each_commit(box)
    rows = box.append([reading(n) for n in range(9)])
    box.confirm(rows[:3], NOW_S)
    box.flush()
    reject(box, rows[3:4])
    box.set_clock("boot", BootClock(NOW_S, True))
    box.expire(NOW_S + 10**6, 1e9, 1.0)
    assert len(box.flush()) == 1
    assert modes == ["FULL", "NORMAL", "FULL", "FULL", "FULL", "FULL"]
    box.close()


@pytest.mark.parametrize("seed", range(6))
def test_durable_a_power_cut_undoes_the_last_confirmations_alone(tmp_path: Path, seed: int) -> None:
    """Whatever became of what the log got since the last fsync: all, part, nothing or garbage of it."""
    rng = random.Random(seed)
    box = new(tmp_path / "outbox.db")
    box._rows.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows = [row for _ in range(4) for row in box.append([reading(n, 300) for n in range(10)])]
    log = Path(f"{box._rows.path}-wal")
    box.confirm(rows[:5], NOW_S)
    box.flush()
    before = log.stat().st_size
    last = box.append([reading()])
    synced = log.stat().st_size
    assert synced > before, "the log was not begun anew"
    for n in range(5, 25, 5):
        box.confirm(rows[n : n + 5], NOW_S)
        box.flush()
    written = log.stat().st_size
    assert written > synced
    for cut in range(12):
        path = copy(box._rows.path, tmp_path / f"cut-{cut}", with_index=False)
        with Path(f"{path}-wal").open("r+b") as file:
            at = synced if cut == 0 else rng.randrange(synced, written)
            if cut % 2:
                file.truncate(at)
            else:  # pages reach a card in any order
                file.seek(at)
                file.write(rng.choice([bytes, rng.randbytes])(min(FRAME_BYTES, written - at)))
        after = new(path, run="00000002")
        now = contents(path)
        assert now.rows.keys() == {row.sequence for row in rows + last}, "durable"
        assert set(range(1, 6)) <= now.sent <= set(range(1, 26)), "durable, with the append that followed"
        assert now.sent == set(range(1, len(now.sent) + 1)), "the last are undone first"
        assert after._rows.db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        after.close()
    box.close()


@pytest.mark.parametrize("seed", range(12))
def test_bounded_a_commit_of_confirmations_touches_no_more_pages_than_its_share(
    tmp_path: Path, seed: int
) -> None:
    """Whatever the size of the rows and whatever stood between them, and a backlog goes by the hundred."""
    rng = random.Random(seed)
    box = new(tmp_path / "outbox.db", max_bytes=64 * MIB)
    sizes = [[60], [300], [3900], [60, 3900], [9000], [60, 300, 1500, 2500]][seed % 6]
    for _ in range(30):
        box.append([reading(size=rng.choice(sizes), urgent=rng.random() < 0.02) for _ in range(20)])
    if seed >= 6:  # leaves that are no longer full
        box.confirm([row for row in box.unsent(999) if rng.random() < 0.6], NOW_S)
        box.flush()
        box.expire(NOW_S + 100, 1.0, None)
        box.expire(NOW_S + 100, 1.0, None)
    rows = box.unsent(999)
    box._rows.db.execute("PRAGMA wal_autocheckpoint = 0")
    box._rows.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log = Path(f"{box._rows.path}-wal")
    box.confirm([row for row in rows if rng.random() < 0.97 or seed < 3], NOW_S)
    most = 0
    while before := box.unwritten_confirmations:
        size = log.stat().st_size
        with box._rows.transaction():
            box._rows.write_confirmations()
        assert (log.stat().st_size - size) // FRAME_BYTES <= CONFIRMATION_PAGES
        most = max(most, before - box.unwritten_confirmations)
    assert most >= {0: 150, 1: 75}.get(seed, 4)
    box.close()


@pytest.mark.parametrize(
    "body",
    [
        {"event": "rejected", "objectId": "0badcafe-x"},
        {"event": "rejected", "objectId": 7},
        {"event": "rejected"},
        {"event": "dropped", "ranges": [[1]]},
        {"event": "dropped", "ranges": 3},
    ],
)
def test_declared_what_a_bad_card_garbled_is_no_reason_to_stop(body: dict[str, Any]) -> None:
    """A declaration that can be read no more says nothing, and raises nothing."""
    assert declared_by("event", body) == []
