"""What every outbox keeps, wherever its rows stand: on disk, in memory, or on disk with memory behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from agent.memory_outbox import MemoryOutbox
from agent.outbox import MayDrop, Outbox, anything
from agent.reading import Entry, Row
from agent.storage import Storage

MAX_BYTES = 1 << 20


class Rig(Protocol):
    """An outbox with the arguments that all of them have."""

    def append(self, entries: list[Entry], may_drop: MayDrop = anything) -> list[Row]: ...
    def unsent(self, limit: int, skip: Collection[str] = ()) -> list[Row]: ...
    def confirm(self, rows: Collection[Row]) -> None: ...
    def flush(self) -> list[Row]: ...
    def reject(self, rows: list[Row], reason: str) -> list[Row]: ...
    def close(self) -> None: ...


class DiskRig:
    def __init__(self, path: Path) -> None:
        self.box = Outbox(path, run="9f3c01ab", boot_id="boot", max_bytes=MAX_BYTES)
        self.append, self.unsent, self.flush, self.close = (
            self.box.append, self.box.unsent, self.box.flush, self.box.close,
        )  # fmt: skip

    def confirm(self, rows: Collection[Row]) -> None:
        self.box.confirm(rows, 1.79e9)

    def reject(self, rows: list[Row], reason: str) -> list[Row]:
        return self.box.reject(rows, reason, 99.0)


class MemoryRig:
    def __init__(self, path: Path) -> None:
        self.box = MemoryOutbox(run="9f3c01ab", boot_id="boot", max_rows=100)
        self.append, self.unsent, self.flush = self.box.append, self.box.unsent, self.box.flush
        self.confirm = self.box.confirm

    def reject(self, rows: list[Row], reason: str) -> list[Row]:
        return self.box.reject(rows, reason, 99.0)

    def close(self) -> None: ...


class StorageRig:
    """``broken``: there is no folder for the file."""

    def __init__(self, path: Path, broken: bool = False) -> None:
        path = path.parent / "missing" / path.name if broken else path
        self.box = Storage(
            path, lambda p: Outbox(p, run="9f3c01ab", boot_id="boot", max_bytes=MAX_BYTES), "9f3c01ab", "boot"
        )
        self.box._memory._max_rows = 100
        self.box.open(0.0)
        self.box.append([], anything, 0.0)
        self.box.confirm(self.box.unsent(10, (), 0.0), 1.79e9)
        self.box.flush(anything, 0.0)

    def append(self, entries: list[Entry], may_drop: MayDrop = anything) -> list[Row]:
        return self.box.append(entries, may_drop, 0.0)

    def unsent(self, limit: int, skip: Collection[str] = ()) -> list[Row]:
        return self.box.unsent(limit, skip, 0.0)

    def confirm(self, rows: Collection[Row]) -> None:
        self.box.confirm(rows, 1.79e9)

    def flush(self) -> list[Row]:
        return self.box.flush(anything, 0.0)

    def reject(self, rows: list[Row], reason: str) -> list[Row]:
        said = self.box.reject(rows, reason, anything, 99.0)
        assert said is not None
        return said

    def close(self) -> None:
        self.box.close(0.0)


@pytest.fixture(params=["disk", "memory", "storage", "storage without a disk"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    path = tmp_path / "outbox.db"
    rigs: dict[str, Callable[[Path], Rig]] = {"disk": DiskRig, "memory": MemoryRig, "storage": StorageRig}
    rig = rigs[request.param](path) if request.param in rigs else StorageRig(path, broken=True)
    yield rig
    rig.close()


def reading(number: int, **changes: object) -> Entry:
    return Entry("reading", float(number), {"n": number, "pad": "x" * 20_000}, **changes)  # type: ignore[arg-type]


def test_numbers_count_up_by_one(box: Rig) -> None:
    """Every row gets the next number, and says which run it is of."""
    rows = box.append([reading(1), reading(2)]) + box.append([reading(3)])
    first = rows[0].sequence
    assert [row.sequence for row in rows] == [first, first + 1, first + 2]
    assert rows[0].object_id == f"9f3c01ab-{first}"


def test_rows_leave_urgent_first_then_by_age(box: Rig) -> None:
    """What is leased is not offered again."""
    a, b, c, d = box.append([reading(1), reading(2), reading(3, urgent=True), reading(4)])
    assert [r.sequence for r in box.unsent(3)] == [c.sequence, a.sequence, b.sequence]
    assert [r.sequence for r in box.unsent(9, {c.object_id, b.object_id})] == [a.sequence, d.sequence]


def test_what_is_confirmed_is_not_offered_again(box: Rig) -> None:
    """Neither before it is written nor after."""
    rows = box.append([reading(n) for n in range(3)])
    box.confirm(rows[:2])
    assert [r.sequence for r in box.unsent(9)] == [rows[2].sequence]
    box.flush()
    assert [r.sequence for r in box.unsent(9)] == [rows[2].sequence]


def test_an_entry_with_a_key_is_stored_once(box: Rig) -> None:
    """A second posting of the same entry yields no row and takes no number."""
    (first,) = box.append([reading(1, key="outcome:1")])
    assert box.append([reading(1, key="outcome:1")]) == []
    (after,) = box.append([reading(2)])
    assert after.sequence == first.sequence + 1


def test_drops_are_the_oldest_not_in_flight_and_are_declared_once(box: Rig) -> None:
    """A full outbox loses its oldest rows, spares what is in flight, and says which numbers are gone."""
    first = box.append([reading(0)])[0]
    for n in range(1, 200):
        box.append([reading(n)], lambda name: name != first.object_id)
    left = [row.sequence for row in box.unsent(1000)]
    (declaration,) = box.flush()
    assert declaration.entry.urgent
    body = declaration.entry.body
    gone = [s for a, b, _ in body["ranges"] for s in range(a, b + 1)]
    assert body["event"] == "dropped"
    assert body["count"] == len(gone)
    assert left[0] == first.sequence
    assert [first.sequence, *gone, *left[1:]] == list(range(first.sequence, first.sequence + 200))


def test_a_declaration_goes_out_once_something_gets_through(box: Rig) -> None:
    """While nothing is confirmed a declaration would only displace readings."""
    for n in range(150):
        box.append([reading(n)])
    assert all(row.entry.kind == "reading" for row in box.unsent(1000))
    box.confirm(box.unsent(5))
    assert [row.entry.kind for row in box.append([reading(150)])] == ["event", "reading"]


def test_a_rejected_row_is_offered_no_more_and_declared_once(box: Rig) -> None:
    """The declaration leaves ahead of the rest, and is the end of it though it be rejected itself."""
    rows = box.append([reading(n) for n in range(3)])
    (event,) = box.reject(rows[:1], "poison")
    assert event.entry.body["objectId"] == rows[0].object_id
    assert [r.sequence for r in box.unsent(9)] == [event.sequence, rows[1].sequence, rows[2].sequence]
    assert box.reject(rows[:1], "poison") == []
    assert box.reject([event], "poison") == []
    assert [r.sequence for r in box.unsent(9)] == [rows[1].sequence, rows[2].sequence]
    (after,) = box.append([reading(3)])
    assert after.sequence == event.sequence + 1


def lost(rows: Collection[Row]) -> set[int]:
    """The numbers that these rows declare as dropped."""
    ranges = [r for row in rows for r in row.entry.body.get("ranges", ())]
    return {n for first, last, _ in ranges for n in range(first, last + 1)}


def test_a_declaration_that_is_rejected_is_made_once_more(box: Rig) -> None:
    """When something else got through; if that is rejected too there is no third: the chain has an end."""
    for n in range(150):
        box.append([reading(n)])
    first = box.flush()
    assert lost(first)
    assert len(box.reject(first, "poison")) == 1
    assert not lost(box.append([reading(150)])), "nothing got through"
    box.confirm(box.unsent(1))
    again = box.append([reading(151)])[:1]
    assert lost(first) <= lost(again)
    box.reject(again, "poison")
    box.confirm(box.unsent(1))
    assert not lost(first) & lost(box.append([reading(152)]))


def test_a_rejection_whose_event_is_dropped_is_declared_as_a_drop(box: Rig) -> None:
    """That a number will never come is not forgotten with the event that said so."""
    rows = box.append([reading(n) for n in range(3)])
    (event,) = box.reject(rows[1:2], "poison")
    for n in range(150):
        box.append([reading(n)])
    assert {rows[1].sequence, event.sequence} <= lost(box.flush())
