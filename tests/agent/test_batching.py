from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.batching import Batcher, metered_bytes
from agent.reading import Entry, Message, Row
from agent.timekeeping import BootClock

BODY = {
    "sensor": "top", "interval": 60, "windSpeed": 7.02, "windGust": 10.09, "windLull": 4.1,
    "windSpeedStdDev": 1.2, "windDirection": 231.0, "windVectorSpeed": 6.9, "quality": "good", "flags": [],
}  # fmt: skip


def clock(_: str) -> BootClock:
    return BootClock(1_790_000_000.0, True)


def row(number: int, run: str = "9f3c01ab", **changes: Any) -> Row:
    return Row(number, run, "boot", Entry("reading", float(number), BODY, **changes))


def build(batcher: Batcher, rows: list[Row]) -> tuple[Message, list[int], list[int]]:
    [(message, inside)], left_over = batcher.build(rows, 1, clock)
    return message, [r.sequence for r in inside], [r.sequence for r in left_over]


def test_object_is_one_row_a_message() -> None:
    """The first row goes, as an object under its own id."""
    batcher = Batcher("object", 4096, "mast-1", {})
    assert batcher.most_rows(7) == 7
    message, inside, left_over = build(batcher, [row(1), row(2)])
    assert (inside, left_over, message.message_id) == ([1], [2], "9f3c01ab-1")
    assert json.loads(message.body)["sequence"] == 1


def test_objects_are_made_for_the_room_there_is() -> None:
    """Where three messages may be sent, three rows go, each by itself, and the rest is left over."""
    messages, left_over = Batcher("object", 4096, "mast-1", {}).build([row(n) for n in range(5)], 3, clock)
    assert [[r.sequence for r in inside] for _, inside in messages] == [[0], [1], [2]]
    assert [r.sequence for r in left_over] == [3, 4]


def test_an_array_is_offered_what_the_last_one_held() -> None:
    """A backlog is not looked at over and over: the next array is offered a row more than fitted."""
    batcher = Batcher("array", 4096, "mast-1", {})
    rows = [row(n) for n in range(1, 33)]
    _, inside, _ = build(batcher, rows[: batcher.most_rows(1)])
    assert batcher.most_rows(1) == len(inside) + 1


def test_unlike_rows_do_not_make_the_offer_smaller() -> None:
    """Two instruments by turns: half the rows that are looked at fit, and the arrays stay full."""
    batcher = Batcher("array", 4096, "mast-1", {})
    rows = [row(n, calibration="ab"[n % 2]) for n in range(1, 200)]
    sizes = []
    while rows:
        most = batcher.most_rows(1)
        [(_, inside)], left_over = batcher.build(rows[:most], 1, clock)
        sizes.append(len(inside))
        rows = left_over + rows[most:]
    assert sum(sizes[:-2]) / len(sizes[:-2]) >= 11


def test_an_array_fills_a_metering_unit() -> None:
    """At least 12 readings fit, none more would, and the id names the first and the last."""
    rows = [row(n) for n in range(1, 33)]
    message, inside, left_over = build(Batcher("array", 4096, "mast-1", {"site": "north ridge"}), rows)
    assert len(inside) >= 12
    assert inside + left_over == list(range(1, 33))
    assert metered_bytes(message) <= 4096 < metered_bytes(message) + len(message.body) // len(inside)
    assert message.message_id == f"9f3c01ab-1..9f3c01ab-{inside[-1]}"
    assert [o["sequence"] for o in json.loads(message.body)] == inside
    assert message.properties == {"site": "north ridge", "schema": "1", "type": "reading"}


def test_array_of_one_is_an_array() -> None:
    """Where arrays are wanted always, one row is an array too, under its own id."""
    message, _, _ = build(Batcher("array", 4096, "mast-1", {}), [row(7)])
    assert message.message_id == "9f3c01ab-7"
    assert [o["sequence"] for o in json.loads(message.body)] == [7]


def test_auto_is_for_a_backlog() -> None:
    """A few rows go one by one; as many as are asked for at most are a backlog."""
    batcher = Batcher("auto", 4096, "mast-1", {})
    assert build(batcher, [row(1), row(2)])[1] == [1]
    assert len(build(batcher, [row(n) for n in range(batcher.most_rows(1))])[1]) >= 12


@pytest.mark.parametrize(
    "other",
    [
        row(2, run="00000000"),
        row(2, simulated=True),
        row(2, calibration="cert-7"),
        row(2, correlation_id="c-1"),
        Row(2, "9f3c01ab", "boot", Entry("event", 2.0, {"event": "started"})),
    ],
)
def test_only_like_goes_with_like(other: Row) -> None:
    """Rows of another run, type or with other properties wait for a message of their own."""
    _, inside, left_over = build(Batcher("array", 4096, "mast-1", {}), [row(1), other, row(3)])
    assert (inside, left_over) == ([1, 3], [2])


def test_a_row_beyond_a_unit_goes_alone() -> None:
    """On the free tier, or with a long body, a reading that exceeds a unit is sent by itself."""
    message, inside, left_over = build(Batcher("array", 128, "mast-1", {}), [row(1), row(2)])
    assert (inside, left_over) == ([1], [2])
    assert metered_bytes(message) > 128


def test_brackets_never_cost_a_message() -> None:
    """A row that fills its unit to the last byte goes without them: an array of one would be billed twice."""
    for padding in range(600):
        batcher = Batcher("array", 512, "mast-1", {})
        rows = [Row(n, "9f3c01ab", "boot", Entry("event", 1.0, {"event": "x" * padding})) for n in (1, 2)]
        alone, _ = batcher.alone(rows[0], clock)
        [(message, _)], _ = batcher.build(rows, 1, clock)
        assert (
            -(-metered_bytes(alone) // 512) == -(-metered_bytes(message) // 512) or metered_bytes(alone) > 512
        )


def test_what_is_metered() -> None:
    """Body, and names and values of all properties, in bytes of UTF-8."""
    message = Message("[ä]".encode(), "id", "c", {"näm": "v"})
    system = len("$.mid" + "id" + "$.cid" + "c" + "$.ct" + "application/json" + "$.ce" + "utf-8")
    assert metered_bytes(message) == 4 + 4 + 1 + system


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["a", "b"]), st.integers(0, 900)), min_size=1, max_size=40
    ),
    st.sampled_from([512, 4096]),
    st.sampled_from(["object", "auto", "array"]),
)
def test_every_row_is_in_one_message(kinds: list[tuple[bool, str, int]], unit: int, mode: Any) -> None:
    """Whatever waits, repeated building sends each row once, and no array of several exceeds a unit."""
    batcher = Batcher(mode, unit, "mast-1", {})
    rows = [
        Row(n, "run", "boot", Entry("event", float(n), {"event": "x" * size}, simulated, calibration))
        for n, (simulated, calibration, size) in enumerate(kinds)
    ]
    sent: list[int] = []
    while rows:
        most = batcher.most_rows(3)
        messages, left_over = batcher.build(rows[:most], 3, clock)
        assert 1 <= len(messages) <= 3
        for message, inside in messages:
            assert len(inside) == 1 or metered_bytes(message) <= unit
            sent += [r.sequence for r in inside]
        rows = left_over + rows[most:]
    assert sorted(sent) == list(range(len(kinds)))
