"""The outbox in memory: what it does beyond the contract that all outboxes keep."""

from __future__ import annotations

from agent.memory_outbox import MemoryOutbox
from agent.reading import Entry


def memory(max_rows: int = 3) -> MemoryOutbox:
    return MemoryOutbox(run="9f3c01ab", boot_id="boot", max_rows=max_rows, simulated=True)


def readings(count: int) -> list[Entry]:
    return [Entry("reading", float(n), {"n": n}) for n in range(count)]


def test_its_rows_say_that_they_are_not_durable() -> None:
    """Each row carries durable: false; what it says of itself is stamped simulated where the wind is."""
    box = memory()
    rows = box.append(readings(4)) + box.flush()
    assert all(row.entry.body["durable"] is False for row in rows)
    assert rows[-1].entry.simulated


def test_a_lost_declaration_is_declared_again() -> None:
    """Every number that was lost stands in exactly one range, though declarations are lost as well."""
    box = memory()
    box.append(readings(5))
    box.flush()
    box.append(readings(4))
    (row,) = box.flush()
    lost = [n for first, last, _ in row.entry.body["ranges"] for n in range(first, last + 1)]
    held = [row.sequence for row in box.rows()]
    undeclared = box.take_declaration()
    lost += [
        n
        for first, last, _ in (undeclared.body["ranges"] if undeclared else [])
        for n in range(first, last + 1)
    ]
    assert sorted(lost + held) == list(range(1, box.next_sequence))


def test_it_grows_only_while_everything_is_in_flight() -> None:
    """A row in flight is never dropped, and a new one is never refused."""
    box = memory()
    box.append(readings(5), lambda _: False)
    assert len(box) == 5


def test_a_rejected_row_is_let_go_of_and_declared() -> None:
    """As on disk, but that it is not kept; a declaration that is rejected breeds no other."""
    box = memory(10)
    poison, well = box.append(readings(2))
    (event,) = box.reject([poison], "poison", 99.0)
    assert event.entry.body == {
        "event": "rejected", "objectId": poison.object_id, "kind": "reading", "reason": "poison",
        "durable": False,
    }  # fmt: skip
    assert event.entry.simulated
    assert box.unsent(9) == [event, well]
    assert box.reject([poison, event], "poison", 99.0) == []
    assert box.unsent(9) == [well]


def numbers_lost(box: MemoryOutbox) -> list[int]:
    """What is to be declared."""
    declaration = box.take_declaration()
    ranges = declaration.body["ranges"] if declaration else []
    return [n for first, last, _ in ranges for n in range(first, last + 1)]


def test_a_rejection_whose_event_is_dropped_is_declared() -> None:
    """The number of the row that was let go of is then in a range, once."""
    box = memory()
    rows = box.append(readings(2))
    box.reject(rows[:1], "poison", 99.0)
    box.append(readings(3))
    assert sorted(numbers_lost(box)) == [1, 2, 3]


def test_a_drop_whose_event_is_rejected_is_declared_once_more() -> None:
    """As on disk: a second rejection is the end of it."""
    box = memory(4)
    box.append(readings(5))
    (first,) = box.flush()
    box.remove(box.rows()[:2])
    (event,) = box.reject([first], "poison", 99.0)
    assert event.entry.body["objectId"] == first.object_id
    box.confirm([event])
    again, _ = box.append(readings(1))
    assert again.entry.body["ranges"] == [[2, 2, "memory-full"], [1, 1, "memory-full, again"]]
    box.reject([again], "poison", 99.0)
    assert numbers_lost(box) == [2]
