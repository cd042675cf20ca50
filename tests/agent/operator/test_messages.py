"""Messages to devices, feedback, outcomes, and what is known of a message's fate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.commands.command import BadCommand, parse
from agent.operator.errors import BadMessage
from agent.operator.events import Event
from agent.operator.messages import C2dMessage, Fate, FeedbackRecord, feedback_records, outcome_in


def event(body: object, device: str = "mast-1", **system: str) -> Event:
    names = {name.replace("_", "-"): value for name, value in system.items()}
    return Event(device, "0", 1, "1", None, json.dumps(body).encode(), names)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"message_id": ""}, "message id ''"),
        ({"message_id": "x" * 129}, "expected 1 to 128"),
        ({"correlation_id": "ä"}, "correlation id 'ä'"),
        ({"expires_s": 0}, "expiry 0 s"),
        ({"expires_s": 172_801}, "at most 172800"),
        ({"body": b"x" * 65_000, "properties": {"k": "v" * 600}}, "are 65602 bytes, at most 65536"),
    ],
)
def test_what_no_hub_takes_is_not_sent(fields: dict[str, Any], words: str) -> None:
    """And says why."""
    with pytest.raises(BadMessage) as error:
        C2dMessage(**{"device_id": "m", "body": b"x", "message_id": "1", **fields})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id": "mine"}', ("m-1", "mine")),
        (b'{"id": "m-1"}', ("m-1",)),
        (b'{"id": 7}', ("m-1",)),
        (b'{"id": ""}', ("m-1",)),
        (b"text", ("m-1",)),
        (b"[]", ("m-1",)),
    ],
)
def test_a_command_is_called_by_its_own_id_or_the_messages(body: bytes, found: tuple[str, ...]) -> None:
    """As the agent calls it in the outcome."""
    assert C2dMessage("m", body, "m-1").command_ids == found


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "i", "command": "ping"}',
        b'{"id": "i", "command": "set", "actuator": "level", "value": 1e400}',
        b'{"id": "i", "command": "set", "actuator": "level", "value": NaN}',
        b'{"id": "i", "command": "ping", "command": "hold"}',
        b'{"id": "i", "id": "i", "command": "ping"}',
        '{"id": "i\u00a0", "command": "ping"}'.encode(),
        b'\xef\xbb\xbf{"id": "i", "command": "ping"}',
        '{"id": "i", "command": "ping"}'.encode("utf-16"),
        b'{"id": "%s", "command": "ping"}' % (b"i" * 129),
        b'{"id": "i", "command": "hold", "for": %s}' % (b"9" * 5000),
    ],
)
def test_the_id_that_the_agent_takes_is_one_of_them(body: bytes) -> None:
    """Whatever it finds wrong with the body."""
    try:
        taken = parse(body).command_id
    except BadCommand as bad:
        taken = bad.command_id
    message = C2dMessage("mast-1", body, "m-1")
    told = {"commandId": taken or "m-1", "status": "refused"}
    assert Fate().with_event(event(told), message).outcome == told


def test_feedback_is_read_as_azure_writes_it() -> None:
    """And what is none of it, is none."""
    record = {
        "originalMessageId": "m-1",
        "deviceId": "mast-1",
        "statusCode": "Success",
        "description": "Success",
        "enqueuedTimeUtc": "2026-11-20T17:34:00Z",
        "deviceGenerationId": "1",
    }
    assert feedback_records(json.dumps([record]).encode())[0].as_json() == record
    assert feedback_records(b'[{"description": "Expired"}, 7]')[0].status_code == "Expired"
    for body in (b"", b"\xff", b"7", b"null", b"[[]]", b"[" * 99_999):
        assert feedback_records(body) == []


OUTCOME = {"commandId": "c", "status": "done"}


@pytest.mark.parametrize(
    ("found", "given"),
    [
        (OUTCOME, event(OUTCOME)),
        (OUTCOME, event([{"windSpeed": 1}, OUTCOME])),
        ({"status": "ok"}, event({"status": "ok"}, correlation_id="c")),
        (None, event({"status": "ok"}, correlation_id="other")),
        (None, event({"status": "ok"})),
        (None, event({"commandId": "other", "status": "done"}, correlation_id="c")),
        (None, event({"commandId": "c"})),
        (None, event(OUTCOME, device="mast-2")),
        (None, event("text", correlation_id="c")),
    ],
)
def test_an_outcome_is_known_by_its_command(found: object, given: Event) -> None:
    """Of that device: by ``commandId``, alone or in an array; else by the correlation id."""
    assert outcome_in(given, "mast-1", ("c",)) == found


def test_the_message_id_goes_before_the_bodys() -> None:
    """It is of this message only: a body's id may be sent again, corrected."""
    other = {"commandId": "mine", "status": "done"}
    assert outcome_in(event([other, OUTCOME]), "mast-1", ("c", "mine")) == OUTCOME
    assert outcome_in(event([other]), "mast-1", ("c", "mine")) == other
    assert outcome_in(event({"status": "ok"}, correlation_id="mine"), "mast-1", ("c", "mine")) == {
        "status": "ok"
    }


def test_a_fate_is_settled_when_nothing_more_can_come() -> None:
    """All three stages, or a delivery that failed; good is only all three."""
    message = C2dMessage("mast-1", b"x", "c")
    other = FeedbackRecord("other", "mast-1", "Success", "", "", "")
    fate = Fate(taken=True).with_feedback(other, message)
    assert (fate.settled, fate.good, fate.missing) == (
        False,
        False,
        "the hub's feedback and the device's outcome",
    )
    expired = fate.with_feedback(FeedbackRecord("c", "mast-1", "Expired", "", "", ""), message)
    assert (expired.settled, expired.good) == (True, False)
    delivered = fate.with_feedback(FeedbackRecord("c", "mast-1", "Success", "", "", ""), message)
    assert (delivered.settled, delivered.missing) == (False, "the device's outcome")
    for status, good in (("done", True), ("refused", False)):
        told = delivered.with_event(event({"commandId": "c", "status": status}), message)
        assert (told.settled, told.good) == (True, good)
