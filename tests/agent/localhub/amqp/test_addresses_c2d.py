"""Messages to devices, and what became of them, at the hub's addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from agent.localhub.amqp import feedback_node
from agent.localhub.amqp.node import ACCEPTED, RELEASED, Message, Outcome, Symbol, Timestamp
from agent.localhub.feedback import LOCK_S
from agent.localhub.topics import c2d
from tests.clock import FakeClock

from .service import Service, finish

TO = "/devices/mast-1/messages/devicebound"
FEEDBACK = "/messages/servicebound/feedback"


def _message(**change: Any) -> Message:
    message = Message(b"hello", properties={"to": TO, "message-id": "m1"})
    message.properties.update(change.get("properties", {}))
    message.application_properties.update(change.get("application_properties", {}))
    message.header.update(change.get("header", {}))
    message.value = change.get("value")
    return message


def _send(tmp_path: Path, *messages: Message) -> tuple[list[Outcome], Service]:
    """The outcomes, and the (closed) service."""

    async def run() -> tuple[list[Outcome], Service]:
        with Service(tmp_path) as service:
            sink = await service.sink("/messages/devicebound")
            outcomes = []
            for message in messages:
                outcomes.append(await sink.take(message))
                await sink.after(message)
            sink.close()
            return outcomes, service

    return finish(run())


def test_a_message_reaches_the_queue_with_all_that_it_says(tmp_path: Path) -> None:
    """System properties, the sender's own, expiry and acknowledgement; the device reads them in the topic."""
    properties = {
        "correlation-id": UUID(int=5),
        "user-id": "jürgen".encode(),
        "content-type": Symbol("application/json"),
        "content-encoding": Symbol("utf-8"),
        "absolute-expiry-time": Timestamp(int(FakeClock().wall() * 1000) + 90_000),
    }
    own = {"iothub-ack": "full", "text": "a/b", "yes": True, "number": 5, "none": None, "half": 0.5}
    [outcome], service = _send(tmp_path, _message(properties=properties, application_properties=own))
    assert outcome == ACCEPTED
    [sent] = service.sent
    assert (sent.device_id, sent.body, sent.ack, sent.message_id) == ("mast-1", b"hello", "full", "m1")
    assert sent.correlation_id == "00000000-0000-0000-0000-000000000005"
    assert (sent.user_id, sent.content_type, sent.content_encoding) == ("jürgen", "application/json", "utf-8")
    assert sent.expires_s - sent.enqueued_s == pytest.approx(90)
    assert sent.properties == {"text": "a/b", "yes": "true", "number": "5", "none": "", "half": "0.5"}
    topic = c2d(sent)
    assert "%24.uid=j%C3%BCrgen&%24.ct=application%2Fjson&%24.ce=utf-8&" in topic


@pytest.mark.parametrize(
    "to",
    [
        "devices/mast-1/messages/devicebound",
        "/devices/mast-1/messages/deviceBound",
        "/Devices/mast%2D1/Messages/devicebound",
    ],
)
def test_the_device_is_named_in_several_ways(tmp_path: Path, to: str) -> None:
    """Case of the path does not matter, and the id may be percent-encoded."""
    assert _send(tmp_path, _message(properties={"to": to}))[0] == [ACCEPTED]


@pytest.mark.parametrize(
    ("header", "expiry_s", "left_s"),
    [({}, None, 3600), ({"ttl": 5000}, None, 5), ({"ttl": 5000}, 3, 3), ({"ttl": 1000}, 3, 1)],
)
def test_the_earlier_end_counts(
    tmp_path: Path, header: dict[str, int], expiry_s: int | None, left_s: int
) -> None:
    """Of time to live and expiry; with neither, the hub's own hour."""
    properties = {}
    if expiry_s is not None:
        properties["absolute-expiry-time"] = Timestamp(int((FakeClock().wall() + expiry_s) * 1000))
    [outcome], service = _send(tmp_path, _message(header=header, properties=properties))
    assert outcome == ACCEPTED
    assert service.sent[0].expires_s - service.sent[0].enqueued_s == pytest.approx(left_s)


@pytest.mark.parametrize("value", ["hello", b"hello"])
def test_a_body_may_be_a_value(tmp_path: Path, value: Any) -> None:
    """Text or bytes."""
    [outcome], service = _send(tmp_path, _message(value=value))
    assert (outcome, service.sent[0].body) == (ACCEPTED, b"hello")


@pytest.mark.parametrize(
    ("change", "condition", "said"),
    [
        ({"properties": {"to": TO.replace("mast-1", "mast-7")}}, "amqp:not-found", "no device 'mast-7'"),
        ({"properties": {"to": None}}, "amqp:invalid-field", "no 'to'"),
        ({"properties": {"to": "/devices/mast-1"}}, "amqp:invalid-field", "to '/devices/mast-1': expected"),
        (
            {"properties": {"to": "/devices/a/modules/b/messages/devicebound"}},
            "amqp:invalid-field",
            "expected",
        ),
        ({"application_properties": {"iothub-ack": "some"}}, "amqp:invalid-field", "iothub-ack 'some'"),
        ({"application_properties": {"x": b"\xff"}}, "amqp:invalid-field", "'x' is not UTF-8"),
        ({"application_properties": {"x": [1]}}, "amqp:invalid-field", "'x' is a list"),
        ({"properties": {"message-id": "x" * 129}}, "amqp:invalid-field", "message id"),
        ({"properties": {"user-id": b"\xff"}}, "amqp:invalid-field", "user-id is not UTF-8"),
        ({"properties": {"absolute-expiry-time": Timestamp(5)}}, "amqp:invalid-field", "expiry"),
        ({"header": {"ttl": 172_800_001}}, "amqp:invalid-field", "expiry"),
        ({"value": "x" * 65_536}, "amqp:link:message-size-exceeded", "65538 bytes, at most 65536"),
        (
            {"value": "x" * 65_534, "properties": {"user-id": b"u"}},
            "amqp:link:message-size-exceeded",
            "65537 bytes",
        ),
        (
            {"application_properties": {"x": "ä" * 16_000}},
            "amqp:link:message-size-exceeded",
            "properties take more than 65535 bytes in a topic",
        ),
        ({"value": [1]}, "amqp:invalid-field", "the body is a list"),
        ({"properties": {"to": TO.replace("mast-1", "x" * 60_000)}}, "amqp:not-found", "no device 'xxx"),
        ({"properties": {"correlation-id": "x" * 60_000}}, "amqp:invalid-field", "correlation id 'xxx"),
    ],
)
def test_what_cannot_be_sent_is_rejected(
    tmp_path: Path, change: dict[str, Any], condition: str, said: str
) -> None:
    """With IoT Hub's condition and a text for a person; the next message goes through."""
    outcomes, service = _send(tmp_path, _message(**change), _message())
    assert (outcomes[0].state, outcomes[0].condition) == ("rejected", condition)
    assert said in str(outcomes[0].description)
    assert len(str(outcomes[0].description)) <= 500
    assert outcomes[1] == ACCEPTED
    assert len(service.sent) == 1


def test_fifty_messages_may_wait(tmp_path: Path) -> None:
    """The next is rejected."""
    outcomes, _ = _send(tmp_path, *[_message() for _ in range(51)])
    assert outcomes[:50] == [ACCEPTED] * 50
    assert outcomes[50].condition == "amqp:resource-limit-exceeded"
    assert outcomes[50].description == "50 messages wait for 'mast-1', at most 50"


def _deliver(service: Service, *message_ids: str) -> None:
    for message_id in message_ids:
        service.store.c2d.add("mast-1", b"x", message_id=message_id, ack="full")
    for message in service.store.c2d.take("mast-1", 100):
        service.store.c2d.delivered(message.sequence)


def _ids(message: Message) -> list[str]:
    return [record["originalMessageId"] for record in json.loads(message.body)]


def test_feedback_is_read_as_iot_hub_sends_it(tmp_path: Path) -> None:
    """An array of records, with the content type by which SDKs know it."""

    async def run() -> None:
        with Service(tmp_path) as service:
            _deliver(service, "m1", "m2")
            spring = await service.spring(FEEDBACK)
            delivery = await spring.next()
            message = delivery.message
            assert _ids(message) == ["m1", "m2"]
            assert message.properties["content-type"] == "application/vnd.microsoft.iothub.feedback.json"
            assert message.properties["user-id"] == b"localhost"
            assert message.annotations == {"iothub-enqueuedtime": Timestamp(service.clock.wall() * 1000)}
            assert (message.header, delivery.settled) == ({"delivery-count": 0}, False)
            await spring.settled(delivery.key, ACCEPTED)
            spring.close()
            assert service.store.feedback.take() is None

    finish(run())


@pytest.mark.parametrize("state", ["accepted", "rejected", "released", "modified", "lost"])
def test_feedback_is_kept_until_it_is_read(tmp_path: Path, state: Any) -> None:
    """Released, modified or with its link lost it is another reader's; accepted and rejected it is gone."""

    async def run() -> None:
        with Service(tmp_path) as service:
            _deliver(service, "m1")
            one, other = await service.spring(FEEDBACK), await service.spring(FEEDBACK)
            delivery = await one.next()
            waiting = asyncio.ensure_future(other.next())
            await asyncio.sleep(0.01)
            assert not waiting.done()
            if state == "lost":
                one.close()
            else:
                await one.settled(delivery.key, Outcome(state))
                await one.settled(delivery.key, Outcome(state))
            if state in ("accepted", "rejected"):
                _deliver(service, "m2")
            again = await waiting
            expected = (["m2"], 0) if state in ("accepted", "rejected") else (["m1"], 1)
            assert (_ids(again.message), again.message.header["delivery-count"]) == expected
            other.close()

    _run(run, together_s=0)


@pytest.mark.parametrize("state", ["accepted", "released"])
def test_a_reader_that_never_settles_holds_nobody_up(tmp_path: Path, state: Any) -> None:
    """When its lock is over the batch is another's; what it says of it then changes nothing, and is no
    error."""

    async def run() -> None:
        with Service(tmp_path) as service:
            _deliver(service, "m1")
            slow, other = await service.spring(FEEDBACK), await service.spring(FEEDBACK)
            held = await slow.next()
            service.clock.advance(LOCK_S - 1)
            assert service.store.feedback.take() is None
            service.clock.advance(1)
            again = await other.next()
            assert (_ids(again.message), again.message.header["delivery-count"]) == (["m1"], 1)
            await slow.settled(held.key, Outcome(state))
            slow.close()
            assert service.store.feedback.take() is None
            await other.settled(again.key, RELEASED)
            [record] = _ids((await other.next()).message)
            assert record == "m1"
            other.close()

    finish(run())


def test_a_reader_that_waits_gets_what_comes_together(tmp_path: Path) -> None:
    """A moment after the first record it takes all that there are by then."""

    async def run() -> None:
        with Service(tmp_path) as service:
            spring = await service.spring(FEEDBACK)
            waiting = asyncio.ensure_future(spring.next())
            await asyncio.sleep(0.01)
            _deliver(service, "m1")
            await asyncio.sleep(0.01)
            _deliver(service, "m2")
            assert _ids((await waiting).message) == ["m1", "m2"]
            spring.close()

    _run(run, together_s=0.2)


def test_a_reader_that_is_cancelled_loses_nothing(tmp_path: Path) -> None:
    """What was being read for it is had by its next call, or by others once it is closed."""

    async def run() -> None:
        with Service(tmp_path) as service:
            _deliver(service, "m1")
            spring = await service.spring(FEEDBACK)
            for _ in range(5):
                waiting = asyncio.ensure_future(spring.next())
                await asyncio.sleep(0)
                waiting.cancel()
            delivery = await spring.next()
            assert _ids(delivery.message) == ["m1"]
            await spring.settled(delivery.key, RELEASED)
            waiting = asyncio.ensure_future(spring.next())
            await asyncio.sleep(0)
            waiting.cancel()
            spring.close()
            other = await service.spring(FEEDBACK)
            assert _ids((await other.next()).message) == ["m1"]
            other.close()

    _run(run, together_s=0)


def _run(run: Callable[[], Coroutine[Any, Any, None]], together_s: float) -> None:
    """With readers that wait so long for further records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feedback_node, "_TOGETHER_S", together_s)
        finish(run())
