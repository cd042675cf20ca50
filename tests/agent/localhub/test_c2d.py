"""The queues of messages to devices, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.iot.device import Message
from azure.iot.device.iothub.pipeline.mqtt_topic_iothub import extract_message_properties_from_topic

from agent.localhub import topics
from agent.localhub.c2d import LOCK_S, MAX_DELIVERIES, MAX_PENDING
from agent.localhub.records import C2dMessage, InvalidRequest, QueueFull, UnknownDevice
from agent.localhub.store import Store
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    store = Store(tmp_path / "hub", clock.wall)
    store.registry.ensure("mast-1")
    yield store
    store.close()


def _now(store: Store, message: C2dMessage) -> C2dMessage:
    now = store.c2d.get(message.sequence)
    assert now is not None
    return now


def test_an_expired_message_is_never_sent_and_says_when_it_expired(store: Store, clock: FakeClock) -> None:
    """Its state is final also if its device never came."""
    message = store.c2d.add("mast-1", b"x", expires_in_s=10)
    clock.advance(10)
    assert store.c2d.take("mast-1", 10) == []
    [settled] = store.c2d.settle_overdue()
    assert (settled.state, settled.state_s) == ("expired", message.expires_s)
    assert store.c2d.delivered(message.sequence) is None
    assert _now(store, message) == settled


def test_a_message_in_flight_waits_for_its_answer(store: Store, clock: FakeClock) -> None:
    """An acknowledgement that comes after the expiry, within the lock, counts."""
    message = store.c2d.add("mast-1", b"x", expires_in_s=10)
    assert len(store.c2d.take("mast-1", 10)) == 1
    clock.advance(11)
    assert store.c2d.settle_overdue() == []
    assert store.c2d.delivered(message.sequence) == _now(store, message)
    assert _now(store, message).state == "delivered"


def test_what_its_device_rejects_is_over(store: Store) -> None:
    """It is never sent again, and an acknowledgement that comes all the same changes nothing."""
    message = store.c2d.add("mast-1", b"x")
    store.c2d.take("mast-1", 10)
    assert store.c2d.rejected(message.sequence) == _now(store, message)
    assert _now(store, message).state == "rejected"
    assert store.c2d.delivered(message.sequence) is None
    store.c2d.release("mast-1")
    assert store.c2d.take("mast-1", 10) == []


@pytest.mark.parametrize("gone", [True, False])
def test_without_an_answer_a_message_expires(store: Store, clock: FakeClock, gone: bool) -> None:
    """It expires when its device has gone, or when its lock is over."""
    message = store.c2d.add("mast-1", b"x", expires_in_s=10)
    store.c2d.take("mast-1", 10)
    if gone:
        store.c2d.release("mast-1")
    clock.advance(11 if gone else LOCK_S)
    store.c2d.settle_overdue()
    assert _now(store, message).state == "expired"


def test_after_ten_deliveries_a_message_is_given_up(store: Store) -> None:
    """It is dead-lettered and the queue goes on without it."""
    message = store.c2d.add("mast-1", b"x")
    for count in range(1, MAX_DELIVERIES + 1):
        [taken] = store.c2d.take("mast-1", 10)
        assert taken.delivery_count == count
        store.c2d.release("mast-1")
    assert store.c2d.take("mast-1", 10) == []
    store.c2d.settle_overdue()
    assert _now(store, message).state == "dead-lettered"


def test_what_is_in_flight_is_not_taken_twice(store: Store) -> None:
    """Until the connection is over; then it comes again, in its old place."""
    for n in range(3):
        store.c2d.add("mast-1", b"%d" % n)
    assert [m.body for m in store.c2d.take("mast-1", 2)] == [b"0", b"1"]
    assert [m.body for m in store.c2d.take("mast-1", 2)] == [b"2"]
    store.c2d.release("mast-1")
    assert [m.body for m in store.c2d.take("mast-1", 3)] == [b"0", b"1", b"2"]


def test_fifty_messages_may_wait(store: Store, clock: FakeClock) -> None:
    """The next is refused until one expires or is delivered."""
    for _ in range(MAX_PENDING):
        store.c2d.add("mast-1", b"x", expires_in_s=10)
    with pytest.raises(QueueFull, match="50 messages wait for 'mast-1'"):
        store.c2d.add("mast-1", b"x")
    clock.advance(10)
    store.c2d.add("mast-1", b"x")


def test_a_restart_keeps_messages_and_their_counts(tmp_path: Path, store: Store, clock: FakeClock) -> None:
    """What was in flight when the hub ended is sent again."""
    store.c2d.add("mast-1", b"x", message_id="m", correlation_id="c", properties={"a": "b"}, ack="full")
    store.c2d.take("mast-1", 1)
    store.close()
    again = Store(tmp_path / "hub", clock.wall)
    [message] = again.c2d.take("mast-1", 1)
    assert (message.body, message.delivery_count, message.ack) == (b"x", 2, "full")
    assert again.c2d.find("m") == message
    again.close()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"body": bytes(65_537)}, "65537 bytes"),
        ({"body": bytes(65_530), "properties": {"abc": "defg"}}, "65537 bytes"),
        ({"message_id": "x" * 129}, "message id"),
        ({"message_id": ""}, "message id"),
        ({"correlation_id": "é"}, "correlation id"),
        ({"expires_in_s": 0}, "expiry 0 s"),
        ({"expires_in_s": 172_801}, "expiry"),
        ({"expires_in_s": float("nan")}, "expiry"),
    ],
)
def test_what_azure_would_refuse_is_refused(store: Store, options: dict[str, object], match: str) -> None:
    """Sizes, ids and expiries have limits, and the message says which was broken."""
    arguments = {"body": b"x"} | options
    with pytest.raises(InvalidRequest, match=match):
        store.c2d.add("mast-1", **arguments)  # type: ignore[arg-type]


def test_a_device_reads_what_the_sender_says(store: Store) -> None:
    """The SDK finds every system property in the topic."""
    message = store.c2d.add(
        "mast-1",
        b"x",
        message_id="m",
        correlation_id="c",
        user_id="ann/ä",
        content_type="application/json; charset=utf-8",
        content_encoding="utf-8",
        properties={"a&b": "c=d"},
    )
    read = Message(message.body)
    extract_message_properties_from_topic(topics.c2d(message), read)
    assert (read.message_id, read.correlation_id, read.user_id) == ("m", "c", "ann/ä")
    assert (read.content_type, read.content_encoding) == ("application/json; charset=utf-8", "utf-8")
    assert read.custom_properties == {"a&b": "c=d"}


def test_nobody_waits_for_what_is_over(store: Store, clock: FakeClock) -> None:
    """The next expiry is that of a message that waits, or none."""
    store.c2d.add("mast-1", b"x", expires_in_s=5)
    store.c2d.take("mast-1", 1)
    store.c2d.delivered(1)
    assert store.c2d.next_expiry_s() is None
    store.c2d.add("mast-1", b"x", expires_in_s=10)
    assert store.c2d.next_expiry_s() == clock.wall() + 10


def test_an_unknown_device_gets_no_messages(store: Store) -> None:
    """It must be created first."""
    with pytest.raises(UnknownDevice, match="no device 'mast-2'"):
        store.c2d.add("mast-2", b"x")
