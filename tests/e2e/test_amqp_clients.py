"""Microsoft's own AMQP clients against the local hub, over TLS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from azure.eventhub import EventData, EventHubConsumerClient, TransportType
from azure.eventhub._pyamqp import ReceiveClient, SendClient
from azure.eventhub._pyamqp.authentication import SASLPlainAuth, SASTokenAuth
from azure.eventhub._pyamqp.error import AMQPException, AMQPLinkError, AMQPLinkRedirect, RetryPolicy
from azure.eventhub._pyamqp.message import Header, Message, Properties
from azure.eventhub._pyamqp.utils import generate_sas_token
from azure.eventhub.exceptions import EventHubError

from agent.localhub.database import PARTITIONS, partition_of
from agent.localhub.hub import LocalHub
from agent.localhub.notices import EventStored
from agent.localhub.records import Arrival, Event
from agent.localhub.thread import HubThread
from tests.agent.localhub.client import RawClient, subscribe

from .harness import free_host, wait_for

NO_RETRY = {"retry_policy": RetryPolicy(retry_total=0)}


class AmqpHub:
    """A hub whose AMQP listens on the port that every client knows, 5671, of a 127.0.0.N of its own."""

    def __init__(self, folder: Path) -> None:
        self.thread = HubThread(LocalHub(folder, free_host()))
        self.thread.start()
        self.hub = self.thread.hub
        self.hub.ensure_device("mast-1")
        self.store = self.hub.store
        self.host = self.hub.address
        self.ca_file = str(self.hub.ca_file)
        assert self.hub.amqp_port == 5671

    def stop(self) -> None:
        self.thread.stop()

    def arrive(self, body: bytes, device_id: str = "mast-1", **system: str) -> Event:
        names = {name.replace("_", "-"): value for name, value in system.items()}
        [event] = self.store.events.append([Arrival(device_id, names, {"own": "ä"}, body)])
        self.hub._loop.call_soon_threadsafe(self.hub._board.post, EventStored(event))
        return event

    def readers(self) -> int:
        return sum(len(readers) for readers in self.hub._service._addresses._events._readers.values())

    def deliver(self) -> None:
        """What a device does that takes all that waits for it."""
        for message in self.store.c2d.take("mast-1", 100):
            self.store.c2d.delivered(message.sequence)

    def key(self, policy: str = "service") -> str:
        return str(self.store.registry.policy_key(policy))

    def plain(self, policy: str = "service", password: str | None = None) -> SASLPlainAuth:
        token = generate_sas_token(self.host, policy, self.key(policy), int(time.time()) + 3600)
        return SASLPlainAuth(f"{policy}@sas.root.{self.host}", password or token)

    def cbs(self, policy: str = "service", key: str | None = None) -> SASTokenAuth:
        return SASTokenAuth(self.host, self.host, policy, key or self.key(policy))

    def sender(self, auth: Any = None) -> SendClient:
        target = f"amqps://{self.host}/messages/devicebound"
        return SendClient(
            self.host, target, auth=auth or self.plain(), connection_verify=self.ca_file, **NO_RETRY
        )

    def receiver(self, address: str, auth: Any = None, **options: Any) -> ReceiveClient:
        return ReceiveClient(
            self.host,
            f"amqps://{self.host}/{address}",
            auth=auth or self.plain(),
            connection_verify=self.ca_file,
            **NO_RETRY,
            **options,
        )

    def events(self, group: str = "$Default", **options: Any) -> EventHubConsumerClient:
        return EventHubConsumerClient.from_connection_string(
            f"Endpoint=sb://{self.host}/;SharedAccessKeyName=service;SharedAccessKey={self.key()}"
            ";EntityPath=masthead",
            group,
            connection_verify=self.ca_file,
            transport_type=TransportType.Amqp,
            retry_total=0,
            **options,
        )


@pytest.fixture(scope="module")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmqpHub]:
    hub = AmqpHub(tmp_path_factory.mktemp("amqp") / "hub")
    try:
        yield hub
    finally:
        hub.stop()


@pytest.fixture
def hub(_hub: AmqpHub) -> AmqpHub:
    """A hub without messages or feedback."""
    _hub.store.c2d.purge("mast-1")
    while (batch := _hub.store.feedback.take()) is not None:
        _hub.store.feedback.complete(batch.token)
    wait_for(lambda: not _hub.readers(), "the end of all readers")
    return _hub


def _read(
    hub: AmqpHub,
    count: int,
    then: Callable[[], object] | None = None,
    group: str = "$Default",
    uamqp_transport: bool = False,
    **options: Any,
) -> list[EventData]:
    """So many events from all partitions, or from one. ``then`` is done once a reader is attached."""
    found: list[EventData] = []
    errors: list[Exception] = []

    def on_event(context: Any, event: EventData | None) -> None:
        if event is not None:
            found.append(event)

    arguments = {"on_event": on_event, "on_error": lambda _, error: errors.append(error), **options}
    client = hub.events(group, uamqp_transport=uamqp_transport)
    thread = threading.Thread(target=lambda: client.receive(**arguments), daemon=True)
    with client:
        thread.start()
        if then is not None:
            wait_for(hub.readers, "a reader")
            then()
        wait_for(lambda: errors or len(found) >= count, "events")
        time.sleep(0.3)
    thread.join(10)
    assert not errors
    return found


def _bodies(events: list[EventData]) -> list[bytes]:
    return sorted(b"".join(event.body) for event in events)


def test_events_are_read_from_all_partitions(hub: AmqpHub) -> None:
    """From the start, by each consumer group, with everything that IoT Hub says of them."""
    names = [next(f"d{n}" for n in range(100) if partition_of(f"d{n}") == p) for p in range(PARTITIONS)]
    for name in names:
        hub.arrive(
            name.encode(),
            name,
            message_id="m1",
            correlation_id="c1",
            content_type="application/json",
            content_encoding="utf-8",
            **{"iothub-message-source": "Telemetry", "iothub-connection-auth-generation-id": "5"},
        )
    wanted = sorted(name.encode() for name in names)
    for group in ("$Default", "masthead"):
        events = _read(hub, len(wanted), group=group, starting_position="-1")
        assert set(wanted) <= set(_bodies(events))
    event = next(event for event in events if b"".join(event.body) == names[0].encode())
    assert event.properties == {b"own": "ä".encode()}
    assert (event.content_type, event.correlation_id, event.message_id) == ("application/json", "c1", "m1")
    system = event.system_properties
    assert system[b"iothub-connection-device-id"] == names[0].encode()
    assert system[b"iothub-connection-auth-generation-id"] == b"5"
    assert system[b"iothub-message-source"] == b"Telemetry"
    assert system[b"content-encoding"] == b"utf-8"
    assert abs(system[b"iothub-enqueuedtime"] / 1000 - time.time()) < 60
    assert event.enqueued_time is not None
    assert abs(event.enqueued_time - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("kind", ["latest", "time", "sequence", "inclusive", "offset"])
def test_events_are_read_from_where_one_wants(hub: AmqpHub, kind: str) -> None:
    """From now on, or after a time, a sequence number or an offset."""
    partition = str(partition_of("mast-1"))
    events = []
    for _ in range(3):
        events.append(hub.arrive(b"old"))
        time.sleep(0.003)
    for event in events[1:]:
        assert event.enqueued_s - events[0].enqueued_s > 0.002
    after = events[1]
    position: Any = {
        "latest": "@latest",
        "time": datetime.fromtimestamp(round(after.enqueued_s, 3), UTC),
        "sequence": after.number,
        "inclusive": after.number,
        "offset": str(after.number),
    }[kind]
    expected = {"latest": [], "inclusive": [after.number, after.number + 1]}.get(kind, [after.number + 1])
    found = _read(
        hub,
        len(expected) or 1,
        (lambda: hub.arrive(b"new")) if kind == "latest" else None,
        partition_id=partition,
        starting_position=position,
        starting_position_inclusive=kind == "inclusive",
    )
    numbers = [event.sequence_number for event in found]
    assert numbers == (expected or [events[2].number + 1])


def test_the_event_hub_says_what_there_is(hub: AmqpHub) -> None:
    """Its partitions, and what each holds."""
    event = hub.arrive(b"x")
    with hub.events() as client:
        properties = client.get_eventhub_properties()
        assert properties["eventhub_name"] == "masthead"
        assert properties["partition_ids"] == ["0", "1", "2", "3"]
        partition = client.get_partition_properties(str(event.partition))
    assert partition["last_enqueued_sequence_number"] == event.number
    assert partition["last_enqueued_offset"] == str(event.number)
    assert partition["is_empty"] is False
    assert abs(partition["last_enqueued_time_utc"].timestamp() - event.enqueued_s) < 0.01


def test_what_is_not_there_is_an_error(hub: AmqpHub) -> None:
    """A group, a partition, an event hub: the client hears which."""
    with hub.events() as client, pytest.raises(EventHubError, match="no partition '9'"):
        client.get_partition_properties("9")
    for address in ("masthead/ConsumerGroups/nobody/Partitions/0", "nowhere"):
        with hub.receiver(address) as receiver, pytest.raises(AMQPLinkError) as error:
            wait_for(lambda: receiver.do_work() and None, "an error")
        assert error.value.condition == b"amqp:not-found"


def test_a_higher_epoch_takes_over(hub: AmqpHub) -> None:
    """The older reader ends with an error and the new one reads."""
    partition = str(partition_of("mast-1"))
    errors: list[Exception] = []
    with hub.events() as old:
        options = {"partition_id": partition, "starting_position": "@latest"}
        thread = threading.Thread(
            target=lambda: old.receive(
                lambda *_: None, on_error=lambda _, error: errors.append(error), owner_level=1, **options
            ),
            daemon=True,
        )
        thread.start()
        wait_for(hub.readers, "the older reader")
        hub.arrive(b"x")
        found = _read(hub, 1, owner_level=2, partition_id=partition, starting_position="-1")
        assert found
        wait_for(lambda: errors, "the end of the older reader")
    assert "epoch 2" in str(errors[0])


@pytest.mark.parametrize("below", ["", "/$management", "/ConsumerGroups/$Default/Partitions/0"])
def test_the_hub_says_where_its_events_are(hub: AmqpHub, below: str) -> None:
    """The redirect's parts lead a client to the event hub, also by Microsoft's samples' way to read it."""
    with hub.receiver(f"messages/events{below}") as receiver, pytest.raises(AMQPLinkRedirect) as redirect:
        wait_for(lambda: receiver.do_work() and None, "a redirect")
    info = redirect.value
    assert (info.hostname, info.network_host, info.port) == (hub.host, hub.host, 5671)
    assert info.address == f"amqps://{hub.host}:5671/masthead{below}"
    assert urlparse(info.address).path.split("/")[1] == "masthead"


def _message(message_id: str, body: bytes = b"hello", **own: str) -> Message:
    properties = Properties(
        message_id=message_id,
        correlation_id="c1",
        user_id=b"ann",
        content_type="text/plain",
        to="/devices/mast-1/messages/devicebound",
    )
    names: dict[str | bytes, Any] = {name.replace("_", "-"): value for name, value in own.items()}
    return Message(properties=properties, application_properties=names, data=[body])


@pytest.mark.parametrize("how", ["token in PLAIN", "key in PLAIN", "token at $cbs"])
def test_a_message_is_sent_to_a_device_and_its_feedback_read(hub: AmqpHub, how: str) -> None:
    """With each way to log in; what the sender says of it is with the device, and feedback comes once."""
    auths = {
        "token in PLAIN": hub.plain,
        "key in PLAIN": lambda: hub.plain(password=hub.key()),
        "token at $cbs": hub.cbs,
    }
    with hub.sender(auths[how]()) as sender:
        sender.send_message(_message("m1", iothub_ack="full", site="north ridge"))
    [queued] = hub.store.c2d.latest("mast-1")[-1:]
    assert (queued.body, queued.message_id, queued.correlation_id) == (b"hello", "m1", "c1")
    assert (queued.user_id, queued.content_type, queued.ack) == ("ann", "text/plain", "full")
    assert queued.properties == {"site": "north ridge"}
    with hub.receiver("messages/servicebound/feedback", auths[how](), link_credit=10) as receiver:
        hub.deliver()
        found = _feedback(receiver, "accepted")
    assert [(r["originalMessageId"], r["statusCode"], r["deviceId"]) for r in found] == [
        ("m1", "Success", "mast-1")
    ]
    assert hub.store.feedback.take() is None


def _feedback(receiver: ReceiveClient, outcome: str | None) -> list[dict[str, Any]]:
    """The records of the next message, which is settled so, or left."""
    wait_for(lambda: (receiver.do_work(), not receiver._received_messages.empty())[1], "feedback")
    frame, message = receiver._received_messages.get()
    assert message.properties.content_type == b"application/vnd.microsoft.iothub.feedback.json"
    assert b"iothub-enqueuedtime" in message.message_annotations
    if outcome is not None:
        receiver.settle_messages(frame[1], frame[2], outcome)
        for _ in range(3):
            receiver.do_work()
    records: list[dict[str, Any]] = json.loads(b"".join(message.data))
    return records


def test_a_connected_device_has_the_message_at_once_and_its_sender_the_feedback(hub: AmqpHub) -> None:
    """Nobody asks for either: both wait."""
    receiver = hub.receiver("messages/servicebound/feedback", link_credit=10)
    with hub.sender() as sender, receiver, RawClient(hub.hub) as device:
        device.login()
        device.send(subscribe(1, ("devices/mast-1/messages/devicebound/#", 1)))
        device.receive()
        wait_for(receiver.client_ready, "the feedback link")
        receiver.do_work()
        sender.send_message(_message("m1", iothub_ack="positive"))
        message = device.message()
        assert message.body == b"hello"
        assert "%24.uid=ann&%24.ct=text%2Fplain&" in message.topic
        device.acknowledge(message)
        assert [r["statusCode"] for r in _feedback(receiver, "accepted")] == ["Success"]


@pytest.mark.parametrize("outcome", ["released", None])
def test_feedback_that_is_not_settled_is_given_to_another(hub: AmqpHub, outcome: str | None) -> None:
    """Released, or left by a reader whose connection ends; every kind of end has its record."""
    hub.hub.send_c2d("mast-1", b"x", message_id="delivered", ack="full")
    hub.deliver()
    hub.hub.send_c2d("mast-1", b"x", message_id="purged", ack="full")
    hub.hub.send_c2d("mast-1", b"x", message_id="unwanted", ack="positive")
    hub.store.c2d.purge("mast-1")
    with hub.receiver("messages/servicebound/feedback", link_credit=1) as one:
        first = _feedback(one, outcome)
        if outcome is not None:
            one.do_work()
    with hub.receiver("messages/servicebound/feedback", link_credit=1) as other:
        second = _feedback(other, "accepted")
    assert first == second
    assert [(r["originalMessageId"], r["statusCode"]) for r in second] == [
        ("delivered", "Success"),
        ("purged", "Purged"),
    ]


@pytest.mark.parametrize(
    ("change", "condition", "said"),
    [
        (
            {"properties": Properties(to="/devices/x/messages/devicebound")},
            b"amqp:not-found",
            b"no device 'x'",
        ),
        ({"properties": Properties()}, b"amqp:invalid-field", b"no 'to'"),
        ({"data": [bytes(65_537)]}, b"amqp:link:message-size-exceeded", b"at most 65536"),
        ({"header": Header(ttl=172_800_001)}, b"amqp:invalid-field", b"expiry"),
    ],
)
def test_a_sender_hears_why_its_message_was_not_taken(
    hub: AmqpHub, change: Mapping[str, Any], condition: bytes, said: bytes
) -> None:
    """With IoT Hub's condition; the link lives on."""
    with hub.sender() as sender:
        with pytest.raises(AMQPException) as error:
            sender.send_message(_message("m1")._replace(**change))
        sender.send_message(_message("m2"))
    assert error.value.condition == condition
    assert said in error.value.description


def test_the_fifty_first_message_is_refused(hub: AmqpHub) -> None:
    """Until the device has taken some."""
    with hub.sender() as sender:
        for n in range(50):
            sender.send_message(_message(f"m{n}"))
        with pytest.raises(AMQPException) as error:
            sender.send_message(_message("m50"))
        assert error.value.condition == b"amqp:resource-limit-exceeded"
        hub.deliver()
        sender.send_message(_message("m50"))


def test_a_policy_without_the_right_is_told_which(hub: AmqpHub) -> None:
    """At the link, with the names of the policies that have it."""
    with hub.sender(hub.plain("registryRead")) as sender, pytest.raises(AMQPException) as error:
        sender.send_message(_message("m1"))
    assert error.value.condition == b"amqp:unauthorized-access"
    assert b"lacks the right ServiceConnect" in error.value.description


def test_a_wrong_key_is_refused(hub: AmqpHub) -> None:
    """At $cbs with 401 and the reason."""
    said = "not signed with the key of policy 'service'"
    with pytest.raises(AMQPException, match=said), hub.sender(hub.cbs(key=hub.key("device"))) as sender:
        sender.send_message(_message("m1"))


needs_uamqp = pytest.mark.skipif(find_spec("uamqp") is None, reason="azure-iot-hub's uamqp is not installed")


@needs_uamqp
@pytest.mark.filterwarnings("ignore:uAMQP legacy support:DeprecationWarning")
def test_another_client_reads_events(hub: AmqpHub) -> None:
    """uamqp, Microsoft's AMQP in C, beneath the same consumer client."""
    event = hub.arrive(b"x", message_id="m1")
    found = _read(hub, 1, partition_id=str(event.partition), starting_position="-1", uamqp_transport=True)
    [same] = [one for one in found if one.sequence_number == event.number]
    assert (b"".join(same.body), same.message_id, same.properties) == (b"x", "m1", {b"own": "ä".encode()})
    with hub.events(uamqp_transport=True) as client:
        assert client.get_partition_ids() == ["0", "1", "2", "3"]
        assert client.get_partition_properties(str(event.partition))["is_empty"] is False


@needs_uamqp
def test_the_service_sdk_sends_messages_to_devices(hub: AmqpHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """azure-iot-hub's registry manager, with all properties that it knows."""
    import uamqp
    from azure.iot.hub import IoTHubRegistryManager
    from azure.iot.hub.iothub_amqp_client import IoTHubAmqpClientSharedAccessKeyAuth

    token_auth = uamqp.authentication.JWTTokenAuth
    monkeypatch.setattr(
        uamqp.authentication, "JWTTokenAuth", lambda **options: token_auth(verify=hub.ca_file, **options)
    )
    manager = IoTHubRegistryManager.from_connection_string(
        f"HostName={hub.host};SharedAccessKeyName=service;SharedAccessKey={hub.key()}"
    )
    assert isinstance(manager.amqp_svc_client, IoTHubAmqpClientSharedAccessKeyAuth)
    expiry = int((time.time() + 100) * 1000)
    try:
        manager.send_c2d_message(
            "mast-1",
            "hello",
            {
                "messageId": "sdk",
                "correlationId": "c",
                "contentType": "application/json",
                "contentEncoding": "utf-8",
                "expiryTimeUtc": expiry,
                "iothub-ack": "full",
                "site": "north ridge",
            },
        )
        [queued] = hub.store.c2d.latest("mast-1")[-1:]
        assert (queued.body, queued.message_id, queued.correlation_id) == (b"hello", "sdk", "c")
        assert (queued.content_type, queued.content_encoding) == ("application/json", "utf-8")
        assert (queued.ack, queued.properties) == ("full", {"site": "north ridge"})
        assert queued.expires_s == pytest.approx(expiry / 1000, abs=1)
        with pytest.raises(Exception, match="C2D message send failure"):
            manager.send_c2d_message("mast-7", "hello", {})
    finally:
        manager.amqp_svc_client.disconnect_sync()
