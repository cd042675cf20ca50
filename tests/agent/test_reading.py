"""Messages as they travel: the wire format of section 5 of the design."""

from __future__ import annotations

import json

from agent.reading import Entry, Row, build_message, json_text
from agent.timekeeping import BootClock

CLOCK = BootClock(1_795_196_000.0, True)
BODY = {
    "sensor": "top", "interval": 60, "windSpeed": 7.02, "windGust": 10.09, "windLull": None,
    "quality": "good", "flags": [],
}  # fmt: skip


def row(**changes: object) -> Row:
    return Row(1204, "9f3c01ab", "boot", Entry("reading", 40.0, BODY, **changes))  # type: ignore[arg-type]


def test_a_reading_is_one_json_object_with_its_head_first() -> None:
    """deviceId, sensor, run, sequence, time and its quality lead; then the figures, null where none."""
    message = build_message(row(), "mast-1", CLOCK, {})
    assert message.body == (
        b'{"deviceId":"mast-1","sensor":"top","run":"9f3c01ab","sequence":1204,"time":"2026-11-20T17:34:00.000Z",'
        b'"timeQuality":"synchronised","interval":60,"windSpeed":7.02,"windGust":10.09,"windLull":null,'
        b'"quality":"good","flags":[]}'
    )
    assert message.message_id == "9f3c01ab-1204"
    assert message.correlation_id is None


def test_an_outcome_has_no_sensor_and_names_its_command() -> None:
    """Its head is the same but for the sensor."""
    entry = Entry("outcome", 40.0, {"commandId": "c1", "status": "done"}, correlation_id="c1")
    message = build_message(Row(7, "9f3c01ab", "boot", entry), "mast-1", BootClock(0.0, False), {})
    assert list(json.loads(message.body)) == [
        "deviceId", "run", "sequence", "time", "timeQuality", "commandId", "status",
    ]  # fmt: skip
    assert json.loads(message.body)["timeQuality"] == "unsynchronised"
    assert message.correlation_id == "c1"
    assert message.properties["type"] == "outcome"


def test_properties_are_the_agents_and_the_users() -> None:
    """simulated is there only where it is true, calibration where there is one; the agent's names win."""
    assert build_message(row(), "m", CLOCK, {"site": "ridge", "type": "x"}).properties == {
        "site": "ridge", "schema": "1", "type": "reading",
    }  # fmt: skip
    own = build_message(row(simulated=True, calibration="2026-a"), "m", CLOCK, {}).properties
    assert own == {"schema": "1", "type": "reading", "simulated": "true", "calibration": "2026-a"}


def test_a_body_cannot_take_the_place_of_the_head() -> None:
    """Whatever an event says of itself, the head is the agent's."""
    entry = Entry("event", 40.0, {"event": "odd", "run": "x", "time": "never"})
    body = json.loads(build_message(Row(7, "9f3c01ab", "boot", entry), "mast-1", CLOCK, {}).body)
    assert (body["run"], body["time"]) == ("9f3c01ab", "2026-11-20T17:34:00.000Z")


def test_what_json_cannot_carry_never_blocks_a_message() -> None:
    """NaN is null, half a surrogate pair a question mark, and other text stays as it is in UTF-8."""
    odd = {"a": float("nan"), "b": "Höhe \ud800", "c": (1, float("-inf"))}
    assert json_text(odd) == '{"a":null,"b":"Höhe ?","c":[1,null]}'
    entry = Entry("event", 0.0, {"event": "Böe"}, correlation_id="\udc00")
    message = build_message(Row(7, "9f3c01ab", "boot", entry), "mast-1", CLOCK, {})
    assert "Böe".encode() in message.body
    assert message.correlation_id == "?"
