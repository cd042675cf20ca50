"""What the page is told of the hub's records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.localhub.page import wire
from agent.localhub.records import Event


def event(
    body: bytes,
    properties: dict[str, str] | None = None,
    sequence: int = 1,
    system: dict[str, str] | None = None,
) -> Event:
    return Event(sequence, "mast-1", 12.5, system or {}, properties or {}, body)


@pytest.mark.parametrize(
    ("body", "properties", "kind"),
    [
        (b'{"windSpeed": 3}', {}, "reading"),
        (b'{"windSpeed": 3}', {"type": "reading"}, "reading"),
        (b'{"windSpeed": 3}', {"type": "forecast"}, "other"),
        (b'{"status": "done"}', {"type": "outcome"}, "outcome"),
        (b'{"event": "started"}', {"type": "event"}, "event"),
        (b'{"hello": 1}', {}, "other"),
        (b"3", {"type": "reading"}, "other"),
    ],
)
def test_a_message_is_what_its_sender_says(body: bytes, properties: dict[str, str], kind: str) -> None:
    """The type is the property's; a foreign program's wind speed counts as a reading."""
    assert [item["type"] for item in wire.items_of(event(body, properties))] == [kind]


@pytest.mark.parametrize(
    "body", [b'{"windSpeed": NaN}', b'{"windSpeed": 1e999}', b"[" * 100_000, b"\xff\x00"]
)
def test_what_is_no_json_is_shown_as_text(body: bytes) -> None:
    """A body that no browser could parse is passed on as text, never as a number."""
    [item] = wire.items_of(event(body, {"type": "reading"}))
    assert (item["type"], item["body"]) == ("other", None)
    assert json.loads(json.dumps(item, allow_nan=False)) == item


def test_long_things_are_cut() -> None:
    """A huge body or property is shown by its beginning, so that a page stays small."""
    long = event(
        b'{"a": "' + b"x" * 200_000 + b'"}', {"p" * 900: "v" * 900}, system={"message-id": "m" * 900}
    )
    [item] = wire.items_of(long)
    assert item["body"] is None
    message = wire.message_of(long, [item])
    assert message["size"] == 200_009
    assert message["beginning"] == '{"a": "' + "x" * 193
    assert len(json.dumps([item, message])) < 2000


def test_what_is_long_is_so_in_every_script() -> None:
    """Characters are counted, not the escapes that they could be written with."""
    body = {"note": "ü" * 3900}
    [item] = wire.items_of(event(json.dumps(body).encode()))
    assert item["body"] == body


def test_an_array_of_readings_is_taken_apart() -> None:
    """Objects of an array are items of their own; an array of anything else is text."""
    items = wire.items_of(event(b'[{"windSpeed": 1}, {"windSpeed": 2}]', {"type": "reading"}))
    assert [item["body"]["windSpeed"] for item in items] == [1, 2]
    assert [item["body"] for item in wire.items_of(event(b"[1, {}]"))] == [None]
    assert wire.items_of(event(b"[]")) == []


def test_what_is_shown_at_once_is_bounded() -> None:
    """However many sensors a device invents, the newest sixteen are kept."""
    items: list[dict[str, Any]] = []
    for n in range(40):
        items += wire.items_of(event(json.dumps({"windSpeed": 1, "sensor": f"s{n}"}).encode(), sequence=n))
        items += wire.items_of(event(b"hello", sequence=n))
    kept = wire.newest(items)
    assert [i["body"]["sensor"] for i in kept if i["type"] == "reading"] == [f"s{n}" for n in range(24, 40)]
    assert len(kept) == 16 + 40


def test_messages_are_told_in_order_and_bounded_by_kind() -> None:
    """Sixty readings and sixty others, so that many of the one do not push out the other."""
    messages = []
    for n in range(200):
        body = b'{"windSpeed": 1}' if n % 10 else b"[]"
        message = event(body, sequence=n)
        messages.append(wire.message_of(message, wire.items_of(message)))
    kept = wire.newest_messages(messages)
    numbers = [m["sequence"] for m in kept]
    assert numbers == sorted(numbers)
    assert [m["type"] for m in kept].count("reading") == 60
    assert [n for n, m in zip(numbers, kept, strict=True) if m["type"] == "other"] == list(range(0, 200, 10))


def test_the_memory_for_duplicates_is_bounded() -> None:
    """The oldest ids are forgotten after twenty thousand."""
    once = wire.Deduplicator()

    def items(n: int) -> list[dict[str, Any]]:
        return wire.items_of(event(json.dumps({"run": "a", "sequence": n}).encode()))

    assert all(once.fresh(items(n)) for n in range(20_001))
    assert once.fresh(items(20_000)) == []
    assert once.fresh(items(0)) != []
