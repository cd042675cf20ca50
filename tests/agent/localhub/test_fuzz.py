"""Connections at random, nearly right or noise, by every protocol: the hub lives on and serves others."""

from __future__ import annotations

import random
import time

import pytest

from agent.localhub.amqp.frames import AMQP_HEADER, SASL, SASL_HEADER, frame_bytes
from agent.localhub.amqp.message import message_bytes
from agent.localhub.amqp.node import Described, Int, Message, Timestamp
from agent.localhub.amqp.performatives import (
    Accepted,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Open,
    SaslInit,
    Source,
    Transfer,
)
from agent.localhub.hub import LocalHub

from .amqp.raw import Raw, attach, flow
from .client import RawClient, connect, packet, publish, subscribe, text, token
from .fuzz import Attack, attack_it, converse, mutated
from .rest_client import RestClient
from .test_rest_fuzz import send, spoilt
from .test_websocket import BINARY, WebSocketClient, frame

DEVICES = [f"mast-{number}" for number in range(1, 5)]


def telemetry(hub: LocalHub, rng: random.Random) -> list[bytes]:
    """What a device says from its CONNECT to its DISCONNECT."""
    device = rng.choice(DEVICES)
    key = hub.store.registry.get(device).primary_key
    password = token(key, f"{hub.host}/devices/{device}", time.time() + 3600)
    own = f"devices/{device}/messages"
    return [
        connect(device, f"{hub.host}/{device}/?api-version=2019-10-01", password, clean=rng.random() < 0.5),
        subscribe(1, (f"{own}/devicebound/#", 1), ("$iothub/methods/POST/#", 0)),
        subscribe(2, ("$iothub/twin/res/#", 0), ("$iothub/twin/PATCH/properties/desired/#", 0)),
        publish(f"{own}/events/%24.mid=1&site=north", b'{"wind": 4.5}', 3),
        publish("$iothub/twin/GET/?$rid=1", b"", first=0x30),
        publish("$iothub/twin/PATCH/properties/reported/?$rid=2", b'{"a": {"b": [1, null]}}', 4),
        publish("$iothub/methods/res/200/?$rid=1", b"{}", first=0x30),
        packet(0x40, b"\0\1"),
        packet(0xC0),
        packet(0xA2, b"\0\5" + text("$iothub/twin/res/#")),
        packet(0xE0),
    ]


def mqtt(hub: LocalHub, rng: random.Random) -> None:
    with RawClient(hub) as client:
        converse(client._socket, b"".join(mutated(rng, telemetry(hub, rng), 1)))


def mqtt_over_websocket(hub: LocalHub, rng: random.Random) -> None:
    """The packets are wrong, or the frames that they come in."""
    with WebSocketClient(hub) as client:
        if rng.random() < 0.5:
            frames = [frame(BINARY, part) for part in mutated(rng, telemetry(hub, rng), 1)]
        else:
            frames = mutated(rng, [frame(BINARY, part) for part in telemetry(hub, rng)], 1)
        converse(client._socket, b"".join(frames))


def service(hub: LocalHub) -> list[bytes]:
    """What a back end says from its login to its close."""
    key = hub.store.registry.policy_key("service")
    login = f"\0service@sas.root.localhost\0{key}".encode()
    to_device = Message(
        body=b"x" * 50,
        properties={
            "message-id": "m",
            "to": "/devices/mast-1/messages/devicebound",
            "absolute-expiry-time": Timestamp((time.time() + 1) * 1000),
        },
        application_properties={"iothub-ack": "full", "n": Int(1)},
    )
    put = Message(
        value="SharedAccessSignature sr=localhost&sig=AAAA&se=1&skn=service",
        properties={"message-id": "1", "reply-to": "here"},
        application_properties={
            "operation": "put-token",
            "type": "servicebus.windows.net:sastoken",
            "name": "sb://localhost/masthead",
        },
    )
    asked = {"operation": "READ", "type": "com.microsoft:eventhub", "name": "masthead"}
    ask = Message(properties={"message-id": "2", "reply-to": "here"}, application_properties=asked)
    selector = {"f": Described("apache.org:selector-filter:string", "amqp.annotation.x-opt-offset > '-1'")}
    events = Source(address="masthead/ConsumerGroups/$Default/Partitions/0", filter=selector)
    senders = ["/messages/devicebound", "$cbs", "$management"]
    springs = ["/messages/servicebound/feedback", "$cbs", "$management"]
    return [
        SASL_HEADER,
        frame_bytes(SaslInit(mechanism="PLAIN", initial_response=login, hostname="localhost"), kind=SASL),
        AMQP_HEADER,
        frame_bytes(Open(container_id="fuzz", idle_time_out=60_000, properties={"a": 1})),
        frame_bytes(Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100)),
        *(
            frame_bytes(attach(address, handle, role=False, initial_delivery_count=0, properties={"p": "v"}))
            for handle, address in enumerate(senders)
        ),
        *(frame_bytes(attach(address, handle, role=True)) for handle, address in enumerate(springs, 3)),
        frame_bytes(attach("masthead", 6, role=True, source=events)),
        *(frame_bytes(flow(handle, 10, 0)) for handle in range(3, 7)),
        *(
            frame_bytes(Transfer(handle=n, delivery_id=n, delivery_tag=b"t"), payload=message_bytes(message))
            for n, message in enumerate((to_device, put, ask))
        ),
        frame_bytes(Transfer(handle=0, delivery_id=3, more=True), payload=bytes(3000)),
        frame_bytes(Disposition(role=True, first=0, last=9, settled=False, state=Accepted())),
        frame_bytes(Detach(handle=1, closed=True)),
        frame_bytes(End()),
        frame_bytes(Close()),
    ]


def amqp(hub: LocalHub, rng: random.Random) -> None:
    with Raw(hub.ca_file, hub.amqp_port, b"") as client:
        converse(client.socket, b"".join(mutated(rng, service(hub), 3)))


def rest(hub: LocalHub, rng: random.Random) -> None:
    """A request that may be wrong in what it says, or in its bytes."""
    client = RestClient(hub)
    if rng.random() < 0.5:
        answer = send(client, rng)
        assert answer.status < 500, answer
        return
    with client.connect() as connection:
        assert converse(connection, spoilt(client, rng))[9:12] < b"500"


PROTOCOLS = pytest.mark.parametrize("attack", [mqtt, mqtt_over_websocket, amqp, rest])


def _begin(hub: LocalHub) -> None:
    for device in DEVICES:
        hub.ensure_device(device)


def test_a_device_is_right_before_it_is_spoilt(hub: LocalHub) -> None:
    """All that it says is taken, in frames and without."""
    _begin(hub)
    unsuback = packet(0xB0, b"\0\5")
    for seed in range(2):
        *said, _disconnect = telemetry(hub, random.Random(1))
        with RawClient(hub) if seed else WebSocketClient(hub) as client:
            content = b"".join(said if seed else (frame(BINARY, part) for part in said))
            answer = converse(client._socket, content, until=unsuback)
        assert packet(0x90, b"\0\1\1\0") in answer
        assert packet(0x40, b"\0\3") in answer
        assert packet(0x40, b"\0\4") in answer
    assert [event.body for event in hub.store.events.after()] == [b'{"wind": 4.5}'] * 2


def test_a_back_end_is_right_before_it_is_spoilt(hub: LocalHub) -> None:
    """All that it says is taken, and it is closed as it wants to be."""
    _begin(hub)
    close = frame_bytes(Close())
    with Raw(hub.ca_file, hub.amqp_port, b"") as client:
        answer = converse(client.socket, b"".join(service(hub)), until=close)
    assert answer.endswith(frame_bytes(End()) + close)
    assert b"error" not in answer
    [message] = hub.store.c2d.latest("mast-1")
    assert (message.message_id, message.ack) == ("m", "full")


@PROTOCOLS
def test_five_hundred_connections(hub: LocalHub, attack: Attack) -> None:
    """They cost no memory, and nobody else anything."""
    _begin(hub)
    sizes = attack_it(hub, attack, 500, seed=6)
    assert sizes[-1] - sizes[0] < 500_000, sizes


@pytest.mark.long
@PROTOCOLS
def test_ten_thousand_connections(hub: LocalHub, attack: Attack) -> None:
    """They cost no memory, and nobody else anything."""
    _begin(hub)
    sizes = attack_it(hub, attack, 10_000, seed=7)
    print([f"{size / 1e6:.1f} MB" for size in sizes])
    assert sizes[-1] - sizes[0] < 10_000_000, sizes
