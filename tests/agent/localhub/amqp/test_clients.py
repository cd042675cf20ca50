"""Microsoft's clients, the one in Python and the one in C, against a hub of toy addresses over TLS."""

from __future__ import annotations

import ssl
from types import ModuleType
from typing import Any

import pytest
from azure.eventhub._pyamqp import ReceiveClient, SendClient
from azure.eventhub._pyamqp.authentication import SASLPlainAuth, SASTokenAuth
from azure.eventhub._pyamqp.error import AMQPLinkError, AMQPLinkRedirect, MessageException, RetryPolicy
from azure.eventhub._pyamqp.message import Message as TheirMessage
from azure.eventhub._pyamqp.message import Properties
from azure.eventhub._pyamqp.outcomes import Accepted, Released

from agent.localhub.amqp.node import Message, Timestamp

from ..client import eventually
from .toy import KEY, Server

NUMBERS = [
    Message(
        body=b"x" * n * 30_000,
        properties={"message-id": str(n), "absolute-expiry-time": Timestamp(5)},
        application_properties={"n": n},
        annotations={"x-opt-sequence-number": n},
    )
    for n in range(5)
]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def options(server: Server, version: ssl.TLSVersion = VERSIONS[1], password: str = KEY) -> dict[str, Any]:
    """For a client of azure-eventhub's."""
    context = ssl.create_default_context(cafile=str(server.ca))
    context.minimum_version = context.maximum_version = version
    return {
        "auth": SASLPlainAuth("service@sas.root.localhost", password),
        "ssl_context": context,
        "custom_endpoint_address": f"sb://localhost:{server.port}",
        "retry_policy": RetryPolicy(retry_total=0),
    }


def receive(client: Any, count: int) -> list[Any]:
    """So many messages; a batch may be less."""
    got: list[Any] = []
    while len(got) < count:
        batch = client.receive_message_batch(max_batch_size=count - len(got), timeout=10)
        assert batch
        got += batch
    return got


@pytest.mark.parametrize("version", VERSIONS)
def test_sending(server: Server, version: ssl.TLSVersion) -> None:
    """Small messages and large ones arrive as they are."""
    with SendClient("localhost", "echo", **options(server, version)) as client:
        for n in range(3):
            client.send_message(
                TheirMessage(
                    data=[b"x" * n * 100_000],
                    properties=Properties(message_id=f"m{n}", to="/devices/d/messages/devicebound"),
                    application_properties={"a": "b", "n": n},
                    message_annotations={"iothub-ack": "full"},
                )
            )
    assert [len(message.body) for message in server.toy.taken] == [0, 100_000, 200_000]
    last = server.toy.taken[-1]
    assert last.properties == {"message-id": "m2", "to": "/devices/d/messages/devicebound"}
    assert (last.application_properties, last.annotations) == ({"a": "b", "n": 2}, {"iothub-ack": "full"})


def test_many_at_once(server: Server) -> None:
    """More than there is credit for, in several links of one connection."""
    with SendClient("localhost", "echo", **options(server)) as client:
        while not client.client_ready():
            pass
        waiting = [
            client._link.send_transfer(TheirMessage(data=[b"%d" % n]), send_async=True) for n in range(500)
        ]
        while client._link._pending_deliveries:
            client.do_work()
        assert all(delivery.settled for delivery in waiting)
    assert [message.body for message in server.toy.taken] == [b"%d" % n for n in range(500)]


@pytest.mark.parametrize("address", ["reject", "nowhere", "unlink", "bug"])
def test_sending_in_vain(server: Server, address: str) -> None:
    """The client raises with what the hub said."""
    expected = {"reject": "no such device", "nowhere": "no such address"}
    with (
        pytest.raises((AMQPLinkError, MessageException), match=expected.get(address)),
        SendClient("localhost", address, **options(server)) as client,
    ):
        client.send_message(TheirMessage(data=[b""]))


def test_redirect(server: Server) -> None:
    """The client is told where to go."""
    with (
        pytest.raises(AMQPLinkRedirect) as redirect,
        ReceiveClient("localhost", "moved", **options(server)) as client,
    ):
        client.receive_message_batch(timeout=10)
    assert (redirect.value.hostname, redirect.value.network_host) == ("other", "127.0.0.9")
    assert (redirect.value.port, redirect.value.address) == (5671, "amqps://other/x")


def test_a_bad_password(server: Server) -> None:
    """The client says so."""
    with (
        pytest.raises(ValueError, match="SASL negotiation failed"),
        SendClient("localhost", "echo", **options(server, password="wrong")) as client,
    ):
        client.send_message(TheirMessage(data=[b""]))


@pytest.mark.parametrize("version", VERSIONS)
def test_receiving(server: Server, version: ssl.TLSVersion) -> None:
    """Messages of every size, as they are."""
    server.toy.queue("settled").extend(NUMBERS)
    with ReceiveClient("localhost", "settled", **options(server, version)) as client:
        got = receive(client, 5)
    assert [len(b"".join(message.data)) for message in got] == [n * 30_000 for n in range(5)]
    assert [message.properties.message_id for message in got] == [b"%d" % n for n in range(5)]
    assert [message.application_properties for message in got] == [{b"n": n} for n in range(5)]
    assert [message.message_annotations for message in got] == [
        {b"x-opt-sequence-number": n} for n in range(5)
    ]


def test_settling(server: Server) -> None:
    """What the client settles is settled so; what it leaves goes back when it goes."""
    server.toy.queue("numbers").extend(NUMBERS)
    with ReceiveClient("localhost", "numbers", link_credit=5, **options(server)) as client:
        while client._received_messages.qsize() < 5:
            client.do_work()
        for outcome in (Accepted(), Released(), Accepted()):
            frame, _ = client._received_messages.get()
            client._link.send_disposition(
                first_delivery_id=frame[1], delivery_tag=frame[2], settled=True, delivery_state=outcome
            )
        eventually(lambda: len(server.toy.did) == 3)
    eventually(lambda: server.toy.closed == 1)
    assert server.toy.did[:3] == [("settled", "accepted"), ("settled", "released"), ("settled", "accepted")]
    left = [message.properties["message-id"] for message in server.toy.queue("numbers")]
    assert left == ["3", "4", "1"]


def test_a_token_at_cbs(server: Server) -> None:
    """A client that logs in by a token asks at $cbs, on links of its own, before it attaches others."""
    token = SASTokenAuth("sb://localhost/echo", "sb://localhost/echo", "service", KEY)
    with SendClient("localhost", "echo", **{**options(server), "auth": token}) as client:
        client.send_message(TheirMessage(data=[b"x"]))
    assert [attach.address for attach in server.toy.attached] == ["$cbs", "$cbs", "echo"]
    assert server.toy.taken[0].application_properties["operation"] == "put-token"
    assert server.toy.taken[0].value.startswith("SharedAccessSignature ")
    assert server.toy.taken[1].body == b"x"


# --- the client in C


@pytest.fixture
def uamqp() -> ModuleType:
    """The module, where there are wheels of it."""
    return pytest.importorskip("uamqp")


def plain(uamqp: ModuleType, server: Server, password: str = KEY) -> Any:
    """Credentials."""
    return uamqp.authentication.SASLPlain(
        "localhost", "service@sas.root.localhost", password, port=server.port, verify=str(server.ca)
    )


def test_c_sending(server: Server, uamqp: ModuleType) -> None:
    """Small messages and large ones arrive as they are."""
    client = uamqp.SendClient("amqps://localhost/echo", auth=plain(uamqp, server))
    for n in range(3):
        properties = uamqp.message.MessageProperties(message_id=f"m{n}", to="/devices/d/messages/devicebound")
        client.queue_message(
            uamqp.Message(b"x" * n * 100_000, properties=properties, application_properties={"a": "b"})
        )
    assert client.send_all_messages() == [uamqp.constants.MessageState.SendComplete] * 3
    assert [len(message.body) for message in server.toy.taken] == [0, 100_000, 200_000]
    assert server.toy.taken[-1].properties["to"] == "/devices/d/messages/devicebound"
    assert server.toy.taken[-1].application_properties == {"a": "b"}


@pytest.mark.parametrize(("address", "error"), [("nowhere", "LinkDetach"), ("moved", "LinkRedirect")])
def test_c_refused(server: Server, uamqp: ModuleType, address: str, error: str) -> None:
    """A link that is refused, or led elsewhere, is one to this client, too."""
    policy = uamqp.errors.ErrorPolicy(max_retries=0)
    client = uamqp.SendClient(f"amqps://localhost/{address}", auth=plain(uamqp, server), error_policy=policy)
    client.queue_message(uamqp.Message(b""))
    with pytest.raises(getattr(uamqp.errors, error)) as raised:
        client.send_all_messages(close_on_done=False)
    client.close()
    if address == "moved":
        assert (raised.value.hostname, raised.value.port) == (b"other", 5671)


@pytest.mark.parametrize("address", ["numbers", "settled"])
def test_c_receiving(server: Server, uamqp: ModuleType, address: str) -> None:
    """Messages of every size, settled or to be settled."""
    server.toy.queue(address).extend(NUMBERS)
    client = uamqp.ReceiveClient(f"amqps://localhost/{address}", auth=plain(uamqp, server), prefetch=10)
    got: list[Any] = []
    while len(got) < 5:
        got += client.receive_message_batch(max_batch_size=5 - len(got), timeout=10_000)
    assert [len(b"".join(message.get_data())) for message in got] == [n * 30_000 for n in range(5)]
    assert [message.annotations for message in got] == [{b"x-opt-sequence-number": n} for n in range(5)]
    if address == "numbers":
        eventually(lambda: client.do_work() and server.toy.did == [("settled", "accepted")] * 5)
    client.close()
    assert not server.toy.queue(address)
