"""The outbox writer, stepped by hand with a fake clock and a real store."""

from __future__ import annotations

import random
import sqlite3
import tempfile
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.outbox import Outbox
from agent.reading import Entry, Row, build_message
from agent.storage import Storage
from agent.timekeeping import Timekeeper
from agent.writer import OutboxWriter
from tests.clock import FakeClock


class Bench:
    """A writer with all that it needs."""

    def __init__(
        self,
        path: Path,
        run: str = "9f3c01ab",
        boot_id: str = "boot-1",
        max_bytes: int = 8 << 20,
        synchronised: bool = True,
    ) -> None:
        self.clock = FakeClock()
        self.synchronised = synchronised
        self.timekeeper = Timekeeper(self.clock, boot_id, lambda: self.synchronised)
        self.storage = Storage(
            path, lambda p: Outbox(p, run=run, boot_id=boot_id, max_bytes=max_bytes), run, boot_id
        )
        self.writer = OutboxWriter(self.storage, self.timekeeper)
        self.writer.open(self.clock.monotonic())

    def step(self) -> float:
        return self.writer.step(self.clock.monotonic())

    def close(self) -> None:
        self.writer.close(self.clock.monotonic())

    def settle(self) -> None:
        """Confirm the announcement of the new store."""
        self.step()
        self.writer.confirm(self.writer.take(100))
        self.step()

    def put(self, *numbers: int, urgent: bool = False, when: Callable[[], None] | None = None) -> None:
        for n in numbers:
            self.writer.put(Entry("reading", self.clock.monotonic(), {"n": n}, urgent=urgent), when)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def bench(path: Path) -> Bench:
    bench = Bench(path)
    bench.settle()
    return bench


def take_away(path: Path) -> None:
    """Remove the store with its log."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()


def taken(bench: Bench, limit: int) -> list[int]:
    return [row.entry.body["n"] for row in bench.writer.take(limit)]


def test_entries_are_offered_as_soon_as_they_are_stored(bench: Bench) -> None:
    """Nobody reads the disk for a row that has just been written, and the uplink is woken."""
    woken: list[int] = []
    bench.writer.wake_uplink = lambda: woken.append(1)
    bench.put(1, 2)
    assert taken(bench, 5) == []
    bench.step()
    assert woken
    assert taken(bench, 5) == [1, 2]
    assert taken(bench, 5) == []
    bench.close()


def test_a_backlog_larger_than_the_window_leaves_in_order(path: Path) -> None:
    """Urgent rows first, then what is new, then the rest by sequence; over a restart."""
    bench = Bench(path)
    bench.settle()
    bench.put(*range(1000))
    bench.put(5000, 5001, urgent=True)
    bench.step()
    bench.close()
    bench = Bench(path, run="00000002")
    bench.put(1000)
    bench.put(6000, urgent=True)
    bench.step()
    got: list[int] = []
    while rows := bench.writer.take(20):
        got += [row.entry.body["n"] for row in rows]
        bench.writer.confirm(rows)
        bench.step()
    assert got == [5000, 5001, 6000, 1000, *range(1000)]
    assert bench.writer.idle
    bench.close()


def test_what_is_given_back_is_next_in_line_in_its_order(bench: Bench) -> None:
    """Whatever order it comes back in."""
    bench.put(*range(90))
    bench.step()
    rows = bench.writer.take(30)
    bench.step()
    bench.writer.give_back(rows[:0:-1])
    assert taken(bench, 40) == list(range(1, 41))
    bench.writer.give_back(rows[:1])
    assert taken(bench, 2) == [0, 41]
    bench.close()


def test_confirmations_ride_with_the_next_append_or_are_flushed_by_the_window(bench: Bench) -> None:
    """A few wait for a commit that happens anyway; a window at the end of a drain makes one of its own."""
    bench.put(*range(60))
    bench.step()
    rows = bench.writer.take(60)
    bench.writer.confirm(rows[:5])
    bench.step()
    assert bench.storage.unwritten_confirmations == 5
    bench.put(60)
    bench.step()
    assert bench.storage.unwritten_confirmations == 0
    bench.writer.confirm(rows[5:25])
    bench.step()
    assert bench.storage.unwritten_confirmations == 20
    bench.writer.give_back(rows[30:])
    bench.writer.confirm(rows[25:29])
    bench.step()
    assert bench.storage.unwritten_confirmations == 24
    bench.writer.confirm(rows[29:30])
    bench.step()
    assert bench.storage.unwritten_confirmations == 0
    bench.writer.confirm(bench.writer.take(2))
    bench.close()
    again = Bench(bench.storage._path, run="00000002")
    assert taken(again, 100) == list(range(32, 61))
    again.close()


def test_a_drain_is_confirmed_by_the_hundred(path: Path) -> None:
    """While more are in flight a hundred confirmations make one step and one commit."""
    bench = Bench(path)
    bench.settle()
    bench.put(*range(400))
    bench.close()
    bench = Bench(path, run="00000002")
    bench.step()
    statements: list[str] = []
    assert bench.storage._disk is not None
    bench.storage._disk._rows.db.set_trace_callback(statements.append)
    rows = bench.writer.take(400)
    woken: list[int] = []
    bench.writer.wake = lambda: woken.append(1)
    for n in range(120):
        bench.writer.confirm(rows[n : n + 1])
    assert woken == [1]
    bench.step()
    assert statements.count("COMMIT") == 1
    assert bench.storage.unwritten_confirmations == 0
    bench.close()
    again = Bench(path, run="00000003")
    assert taken(again, 1) == [120]
    again.close()


def test_one_step_is_asked_for_at_a_time(bench: Bench) -> None:
    """Waking a thread costs the one that wakes; a step that is on its way takes everything with it."""
    woken: list[int] = []
    bench.writer.wake = lambda: woken.append(1)
    bench.put(*range(50))
    assert woken == [1]
    bench.step()
    bench.put(50)
    assert woken == [1, 1]
    bench.step()
    assert len(taken(bench, 100)) == 51
    bench.close()


def test_a_fresh_reading_does_not_wait_behind_a_backlog(path: Path) -> None:
    """What is measured now leaves next, and the backlog goes on."""
    bench = Bench(path)
    bench.settle()
    bench.put(*range(1000))
    bench.step()
    bench.close()
    bench = Bench(path, run="00000002")
    bench.writer.confirm(bench.writer.take(5))
    bench.put(5000)
    bench.step()
    assert taken(bench, 5) == [5000]
    assert taken(bench, 5) == [5, 6, 7, 8, 9]
    bench.close()


def test_what_the_storage_says_of_its_return_is_sent_as_well(path: Path) -> None:
    """A disk that fails and comes back while everything else is in memory leaves nothing behind."""
    bench = Bench(path)
    bench.settle()
    take_away(path)
    for _ in range(3):
        bench.put(1)
        bench.step()
        bench.clock.advance(31.0)
    assert bench.writer.status.degraded is None
    said: list[str] = []
    while rows := bench.writer.take(10):
        said += [row.entry.body["event"] for row in rows if row.entry.kind == "event"]
        bench.writer.confirm(rows)
        bench.step()
    assert {"storage-lost", "storage-back"} <= set(said)
    assert bench.writer.idle
    bench.close()


def read_by(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which the store is read from now on."""
    times: list[float] = []
    unsent = Outbox.unsent

    def reading(box: Outbox, limit: int, skip: Collection[str] = ()) -> list[Row]:
        times.append(bench.clock.monotonic())
        return unsent(box, limit, skip)

    monkeypatch.setattr(Outbox, "unsent", reading)
    return times


def refuse(*_: object, **__: object) -> NoReturn:
    raise sqlite3.OperationalError("attempt to write a readonly database")


def test_a_disk_that_cannot_be_written_is_read_as_often_as_it_is_tried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An uplink that asks once a second for rows that are not there does not keep the card busy."""
    monkeypatch.setattr(Outbox, "append", refuse)
    monkeypatch.setattr(Outbox, "reject", refuse)
    bench.put(1)
    due = bench.step()
    assert bench.writer.status.degraded
    assert due == bench.clock.monotonic() + 30.0, "when the disk is tried again"
    poison, *rest = [row for _ in range(2) for row in bench.writer.take(10)]
    bench.writer.confirm(rest)
    bench.writer.reject([poison], "poison")
    times = read_by(bench, monkeypatch)
    asked: list[int] = []
    bench.writer.wake = lambda: asked.append(1)
    for _ in range(600):
        bench.clock.advance(1.0)
        assert bench.writer.take(20) == []
        if asked or bench.clock.monotonic() >= due:
            asked.clear()
            due = bench.step()
    assert 18 <= len(times) <= 22
    assert min(later - time for time, later in pairwise(times[1:])) >= 29.0
    bench.close()


def test_rows_that_could_not_be_read_are_offered_when_the_disk_is_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asks for a step meanwhile: the writer itself comes back when the disk is tried again."""
    bench = Bench(path)
    bench.settle()
    bench.put(*range(3))
    bench.step()
    bench.close()
    with monkeypatch.context() as patched:
        patched.setattr(Outbox, "unsent", refuse)
        bench = Bench(path, run="00000002")
        due = bench.step()
        assert [row.entry.body["event"] for row in bench.writer.take(9)] == ["storage-lost"]
    assert bench.writer.take(9) == []
    bench.clock.advance(due - bench.clock.monotonic())
    bench.step()
    assert [row.entry.body["event"] for row in bench.writer.take(9)] == ["storage-back"]
    assert taken(bench, 9) == [0, 1, 2]
    bench.close()


def test_what_is_left_of_a_backlog_leaves_at_once_when_the_store_has_no_more(path: Path) -> None:
    """The uplink is woken by the answer, though it is an empty one."""
    bench = Bench(path)
    bench.settle()
    bench.put(*range(30))
    bench.step()
    bench.close()
    bench = Bench(path, run="00000002")
    bench.writer._lanes.doubt()
    woken: list[int] = []
    bench.writer.wake_uplink = lambda: woken.append(1)
    assert bench.writer.take(40) == []
    bench.step()
    assert woken
    assert taken(bench, 40) == list(range(30))
    bench.close()


def test_a_rejected_row_is_declared_and_shown_and_never_offered_again(bench: Bench) -> None:
    """The event goes out first; status tells which row it was, and why."""
    bench.put(1, 2)
    bench.step()
    poison, well = bench.writer.take(2)
    bench.writer.reject([poison], "6 connections were lost right after it was sent")
    assert not bench.writer.idle
    bench.step()
    (event,) = bench.writer.take(5)
    assert event.entry.body == {
        "event": "rejected",
        "objectId": poison.object_id,
        "kind": "reading",
        "reason": "6 connections were lost right after it was sent",
    }
    (shown,) = bench.writer.status.rejected
    assert (shown.row, shown.reason[:13]) == (poison, "6 connections")
    assert bench.writer.status.stats.rejected == 1
    bench.writer.confirm([well, event])
    bench.step()
    assert bench.writer.idle
    bench.close()
    again = Bench(bench.storage._path, run="00000002")
    assert again.writer.take(5) == []
    assert [rejected.row for rejected in again.writer.status.rejected] == [poison]
    again.close()


def test_a_rejection_waits_for_a_disk_that_cannot_be_written(path: Path) -> None:
    """The row is withheld, what is behind it goes on, and it is set aside when the disk is back."""
    bench = Bench(path)
    bench.settle()
    bench.put(1, 2)
    bench.step()
    (poison,) = bench.writer.take(1)
    take_away(path)
    bench.writer.reject([poison], "poison")
    bench.step()
    assert bench.writer.status.degraded
    assert not bench.writer.status.rejected
    assert 2 in [row.entry.body.get("n") for _ in range(3) for row in bench.writer.take(1)]
    bench.clock.advance(31.0)
    bench.step()
    bench.step()
    assert bench.writer.status.degraded is None
    assert [rejected.row.object_id for rejected in bench.writer.status.rejected] == [poison.object_id]
    bench.close()
    again = Bench(path, run="00000002")
    assert [
        row.entry.body["n"] for _ in range(3) for row in again.writer.take(9) if row.entry.kind == "reading"
    ] == [2]
    again.close()


def test_when_durable_is_called_on_disk_only(tmp_path: Path) -> None:
    """An entry that stands in memory is not yet what a journal may rely on."""
    said: list[int] = []
    bench = Bench(tmp_path / "missing" / "outbox.db")
    bench.put(1, when=lambda: said.append(1))
    bench.step()
    assert bench.writer.status.degraded
    assert said == []
    (tmp_path / "missing").mkdir()
    bench.clock.advance(31.0)
    bench.put(2, when=lambda: said.append(2))
    bench.step()
    assert bench.writer.status.degraded is None
    assert said == [2]
    assert bench.writer.status.in_memory == 0
    got = []
    while rows := bench.writer.take(3):
        got += [row.entry.body.get("n") for row in rows if row.entry.kind == "reading"]
        bench.writer.confirm(rows)
        bench.step()
    assert got == [1, 2]
    assert bench.writer.idle
    bench.close()


def test_idle_is_when_all_that_was_put_is_confirmed(bench: Bench) -> None:
    """Not while anything is to be stored, waits, is in flight, or is confirmed but not yet noted."""
    assert bench.writer.idle
    bench.put(1)
    assert not bench.writer.idle
    bench.step()
    assert not bench.writer.idle
    rows = bench.writer.take(1)
    bench.step()
    assert not bench.writer.idle
    bench.writer.confirm(rows)
    assert not bench.writer.idle
    bench.step()
    assert bench.writer.idle
    assert bench.writer.status.stored == bench.writer.status.confirmed == 2
    bench.close()


def test_a_full_store_drops_what_is_ready_but_not_what_is_in_flight(path: Path) -> None:
    """Rows that were merely lined up go first, and are then offered no more."""
    bench = Bench(path, max_bytes=1 << 20)
    bench.settle()
    in_flight: list[int] = []
    for n in range(400):
        bench.writer.put(Entry("reading", 0.0, {"n": n, "pad": "x" * 2000}))
        bench.step()
        if n == 9:
            rows = bench.writer.take(5)
            in_flight = [row.entry.body["n"] for row in rows]
    assert bench.writer.status.dropped > 100
    bench.writer.give_back(rows)
    got: list[int] = []
    lost: set[int] = set()
    while rows := bench.writer.take(20):
        for row in rows:
            if row.entry.kind == "reading":
                got.append(row.entry.body["n"])
            else:
                lost |= {s for a, b, _ in row.entry.body["ranges"] for s in range(a, b + 1)}
        bench.writer.confirm(rows)
        bench.step()
        if not bench.writer.take(0) and bench.writer.idle:
            bench.writer._offer(bench.storage.flush(lambda _: True, bench.clock.monotonic()))
    assert in_flight == [0, 1, 2, 3, 4]
    assert set(in_flight) <= set(got)
    assert sorted(lost | {n + 2 for n in got}) == list(range(2, 402))
    assert not bench.writer._lanes.busy
    bench.close()


def test_a_row_is_sent_with_the_time_as_it_was_corrected_since(path: Path) -> None:
    """Stored before the clock was synchronised, if in an earlier boot, it goes with the right time."""
    first = Bench(path, synchronised=False)
    first.clock.set_wall(1000.0)
    first.put(1)
    first.step()
    made_s = first.clock.monotonic()
    first.clock.advance(10.0)
    first.clock.set_wall(1_790_000_010.0)
    first.synchronised = True
    first.step()
    first.close()
    second = Bench(path, run="00000002", boot_id="boot-2", synchronised=False)
    assert [row.entry.kind for row in second.writer.take(10)] == ["event"]
    (row,) = second.writer.take(10)
    clock = second.writer.boot_clock(row.boot_id)
    assert clock.synchronised
    assert clock.offset_s + made_s == pytest.approx(1_790_000_000.0)
    message = build_message(row, "mast-1", clock, {})
    assert b'"time":"2026-09-21T14:13:20.000Z","timeQuality":"synchronised"' in message.body
    assert not second.writer.boot_clock("boot-2").synchronised
    assert not second.writer.boot_clock("boot-0").synchronised
    second.close()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), backlog=st.integers(0, 900))
def test_any_mix_of_confirming_and_giving_back_drains_everything_once(seed: int, backlog: int) -> None:
    """Nothing in flight is offered again, nothing is left over, and the books are empty at the end."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "outbox.db")
        bench.put(*range(backlog))
        bench.step()
        rng = random.Random(seed)
        in_flight: dict[str, Row] = {}
        confirmed: list[int] = []
        n = backlog
        for _ in range(2000):
            rows = bench.writer.take(20 - len(in_flight))
            assert not in_flight.keys() & {row.object_id for row in rows}
            in_flight |= {row.object_id: row for row in rows}
            names = rng.sample(sorted(in_flight), rng.randint(0, len(in_flight)))
            chosen = [in_flight.pop(name) for name in names]
            if rng.random() < 0.2:
                bench.writer.give_back(chosen)
            else:
                confirmed += [row.entry.body["n"] for row in chosen if row.entry.kind == "reading"]
                bench.writer.confirm(chosen)
            if n < backlog + 50:
                bench.put(n, urgent=rng.random() < 0.2)
                n += 1
            if rng.random() < 0.7:
                bench.step()
            if n == backlog + 50 and bench.writer.idle:
                break
        assert sorted(confirmed) == list(range(n))
        assert not bench.writer._lanes.busy
        assert bench.writer.status.confirmed == bench.writer.status.stored == n + 1
        bench.close()
