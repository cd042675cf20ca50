"""Events as they are shown, and from where on they are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from agent.operator.events import Event, start_of

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def event(body: bytes, **fields: object) -> Event:
    return Event("mast-1", "2", 7, "7", NOW, body, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("now", "now"),
        ("start", "start"),
        ("60", datetime(2026, 11, 20, 11, 59, tzinfo=UTC)),
        ("2026-11-19T10:00:00Z", datetime(2026, 11, 19, 10, 0, tzinfo=UTC)),
        ("2026-11-19T10:00:00", datetime(2026, 11, 19, 10, 0, tzinfo=UTC)),
        ("2026-11-19T10:00:00+01:00", datetime(2026, 11, 19, 9, 0, tzinfo=UTC)),
    ],
)
def test_where_to_begin(text: str, start: object) -> None:
    """Words, seconds ago, or a time, in UTC where it does not say."""
    assert start_of(text, NOW) == start


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "nan", "inf", "604801", "2026-13-01"])
def test_where_nothing_can_begin(text: str) -> None:
    """Is an error."""
    with pytest.raises(ValueError):  # noqa: PT011  (whatever it says)
        start_of(text, NOW)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"windSpeed": 7.0}', {"body": {"windSpeed": 7.0}}),
        (b"text", {"body": "text"}),
        (b"NaN", {"body": "NaN"}),
        (b"\xff\x00", {"bodyBase64": "/wA="}),
        (b"", {"body": ""}),
    ],
)
def test_an_event_for_a_program(body: bytes, shown: dict[str, object]) -> None:
    """One JSON object, whatever the device sent."""
    found = event(body, properties={"site": b"north"}, system={"at": NOW, "raw": [1]}).as_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "deviceId": "mast-1",
        "enqueuedTime": "2026-11-20T12:00:00.000Z",
        "partition": "2",
        "sequenceNumber": 7,
        "offset": "7",
        **shown,
        "properties": {"site": "north"},
        "systemProperties": {"at": "2026-11-20T12:00:00.000Z", "raw": "[1]"},
    }


def test_an_event_for_a_person_is_one_line_and_one_more_for_each_property() -> None:
    """With the system's in brackets."""
    shown = event(b'{"a": 1}', properties={"site": "north"}, system={"message-id": "m"})
    assert shown.as_text() == '2026-11-20T12:00:00.000Z  mast-1  {"a": 1}'
    assert shown.as_text(props=True).splitlines()[1:] == ["    site = north", "    [message-id] = m"]
    assert "<2 bytes> /wA=" in event(b"\xff\x00").as_text()


def test_a_device_does_not_command_a_terminal() -> None:
    """Control characters are spelt out."""
    text = event(b"a\x1b[2J\nb\r", properties={"k\n": "v\x07"}).as_text(props=True)
    assert text.splitlines() == [r"2026-11-20T12:00:00.000Z  mast-1  a\x1b[2J\nb\r", r"    k\n = v\x07"]
