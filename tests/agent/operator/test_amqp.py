"""The adapter to azure.eventhub, against the local hub over TLS."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from agent.operator.access import Access
from agent.operator.amqp import EventReader, FeedbackReader, Sender
from agent.operator.errors import HubRejected, HubUnavailable, NoDevice, OperatorError
from agent.operator.events import Event
from agent.operator.messages import C2dMessage, Feedback
from tests.e2e.harness import free_host

from .site import DEVICE, Site

WAIT_S = 30.0


def sent(site: Site, policy: str = "service", **fields: Any) -> C2dMessage:
    """A message that the hub has taken."""
    message = C2dMessage(**{"device_id": DEVICE, "body": b"x", "message_id": uuid.uuid4().hex, **fields})
    sender = Sender(site.access(policy))
    try:
        sender.open()
        sender.send(message)
    finally:
        sender.close()
    return message


@pytest.fixture(autouse=True)
def nothing_waits(site: Site) -> Iterator[None]:
    """Neither for the device, nor feedback for anybody."""
    yield
    site.deliver()
    reader = FeedbackReader(site.access())
    reader.open()
    for feedback in all_of(reader, 0.5):
        reader.settle(feedback, taken=True)
    reader.close()


def all_of(reader: FeedbackReader, seconds: float) -> list[Feedback]:
    """What comes in that time."""
    found: list[Feedback] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found += reader.read()
    return found


def first_of(reader: FeedbackReader) -> list[Feedback]:
    """What comes first."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := reader.read():
            return found
    raise AssertionError("no feedback")


def test_a_message_arrives_as_it_was_sent(site: Site) -> None:
    """Body, ids, properties, expiry and the feedback that is asked for."""
    body = json.dumps({"command": "ping", "text": "ä"}).encode()
    before = time.time()
    message = sent(
        site, body=body, correlation_id="c-1", properties={"kind": "né"}, expires_s=90.0, ack="positive"
    )
    [arrived] = site.deliver()
    assert (arrived.body, arrived.message_id, arrived.correlation_id) == (body, message.message_id, "c-1")
    assert (dict(arrived.properties), arrived.ack) == ({"kind": "né"}, "positive")
    assert before + 89 < arrived.expires_s < time.time() + 91


def test_a_large_message_arrives(site: Site) -> None:
    """As large as a hub takes, in more than one frame."""
    body = (bytes(range(256)) * 256)[:-32]  # and its id
    sent(site, body=body)
    [arrived] = site.deliver()
    assert arrived.body == body


def test_a_device_that_there_is_not_is_named(site: Site) -> None:
    """At the sending."""
    with pytest.raises(NoDevice, match=r"no device 'nobody' \(masthead device list\)"):
        sent(site, device_id="nobody")


def test_a_full_queue_is_told(site: Site) -> None:
    """Later it may go."""
    for _ in range(50):
        site.hub.send_c2d(DEVICE, b"x")
    with pytest.raises(HubUnavailable, match="too many messages wait for 'mast-1'"):
        sent(site)


@pytest.mark.parametrize("policy", ["registryRead", "device"])
def test_a_policy_without_the_right_is_named(site: Site, policy: str) -> None:
    """With the right that it lacks, for each of the three."""
    with pytest.raises(HubRejected, match=f"refused policy '{policy}': this needs the right ServiceConnect"):
        sent(site, policy)
    with pytest.raises(HubRejected, match="ServiceConnect"):
        FeedbackReader(site.access(policy)).open()
    with pytest.raises(HubRejected, match="ServiceConnect"):
        EventReader(site.access(policy), "$Default")


def test_a_wrong_key_and_an_unknown_ca_are_told_apart(site: Site) -> None:
    """Neither is worth another attempt."""
    right = site.access()
    with pytest.raises(HubRejected, match="wrong or regenerated key in IOTHUB_CONNECTION_STRING"):
        Sender(Access(right.host, right.policy, "AAAA", right.ca_file)).open()
    with pytest.raises(HubRejected, match="for a private CA set MASTHEAD_CA_FILE"):
        Sender(Access(right.host, right.policy, right.key)).open()


def test_nobody_there_is_worth_another_attempt() -> None:
    """And says where."""
    host = free_host()
    with pytest.raises(HubUnavailable, match=f"nobody listens at {host}:5671"):
        Sender(Access(host, "service", "AAAA")).open()


def test_feedback_is_gone_once_taken_and_comes_again_once_released(site: Site) -> None:
    """To the next reader."""
    message = sent(site, ack="full")
    site.deliver()
    for taken in (False, True):
        reader = FeedbackReader(site.access())
        reader.open()
        [feedback] = first_of(reader)
        [record] = feedback.records
        assert record.is_of(message)
        assert record.status_code == "Success"
        reader.settle(feedback, taken=taken)
        reader.read()
        reader.close()
    reader = FeedbackReader(site.access())
    reader.open()
    assert all_of(reader, 0.5) == []
    reader.close()


class Stream:
    """An event reader at work."""

    def __init__(self, site: Site, group: str = "$Default") -> None:
        self.reader = EventReader(site.access("service"), group)
        self.items: queue.Queue[Event | OperatorError] = queue.Queue()

    def start(self, positions: dict[str, Any]) -> None:
        self.reader.start(positions, self.items.put, self.items.put)

    def next(self) -> Event:
        item = self.items.get(timeout=WAIT_S)
        assert isinstance(item, Event), item
        return item

    def error(self) -> OperatorError:
        while isinstance(item := self.items.get(timeout=WAIT_S), Event):
            pass
        return item


@pytest.fixture
def stream(site: Site) -> Iterator[Stream]:
    stream = Stream(site)
    yield stream
    stream.reader.close()


def test_events_come_from_all_partitions_with_their_properties(site: Site, stream: Stream) -> None:
    """The hub's, the message's and the sender's, from after a sequence number on."""
    partitions = stream.reader.partitions()
    assert partitions == ["0", "1", "2", "3"]
    positions = {partition: stream.reader.last_sequence(partition) for partition in partitions}
    stream.start({partition: last if last >= 0 else "-1" for partition, last in positions.items()})
    devices = [f"mast-{number}" for number in range(1, 13)]
    for device in devices:
        site.hub.ensure_device(device)
        site.arrive({"from": device}, device, message_id="m", content_type="application/json")
    found = {event.device_id: event for event in (stream.next() for _ in devices)}
    assert set(found) == set(devices)
    assert len({event.partition for event in found.values()}) > 1
    event = found["mast-3"]
    assert json.loads(event.body) == {"from": "mast-3"}
    assert dict(event.properties) == {"site": "north"}
    assert (event.system["message-id"], event.system["content-type"]) == ("m", "application/json")
    assert event.system["iothub-connection-device-id"] == "mast-3"
    assert event.enqueued is not None
    assert abs(event.enqueued.timestamp() - time.time()) < 60


def test_a_reader_is_told_when_its_connection_breaks(site: Site, stream: Stream) -> None:
    """Once it is of use, and while another begins."""
    stream.start(dict.fromkeys(stream.reader.partitions(), "-1"))
    site.arrive("x")
    stream.next()
    access = site.access()
    with site.down():
        assert isinstance(stream.error(), HubUnavailable)
        with pytest.raises(HubUnavailable, match="nobody listens"):
            EventReader(access, "$Default")


def test_an_unknown_consumer_group_is_named(site: Site) -> None:
    """And not tried again."""
    stream = Stream(site, "nobody's")
    stream.start(dict.fromkeys(stream.reader.partitions(), "-1"))
    error = stream.error()
    assert isinstance(error, HubRejected)
    assert "no consumer group" in str(error)
    stream.reader.close()


def test_nothing_is_logged_past_us() -> None:
    """What the library has to say is told as an error, in one line."""
    program = "import agent.operator.amqp, logging; logging.getLogger('azure.eventhub').warning('chatter')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
