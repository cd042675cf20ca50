"""The port: how many are let in, and what becomes of those who send garbage."""

from __future__ import annotations

import logging
import random
import socket

import pytest

from agent.localhub.amqp import line, listener
from agent.localhub.amqp.frames import AMQP_HEADER, SASL, SASL_HEADER, frame_bytes
from agent.localhub.amqp.message import message_bytes
from agent.localhub.amqp.node import Described, Message
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

from ..client import eventually
from ..fuzz import mutated
from .raw import attach, flow
from .toy import KEY, Server

CONVERSATION = [
    SASL_HEADER,
    frame_bytes(
        SaslInit(mechanism="PLAIN", initial_response=b"\0service\0" + KEY.encode(), hostname="localhost"),
        kind=SASL,
    ),
    AMQP_HEADER,
    frame_bytes(Open(container_id="fuzz", idle_time_out=60_000, properties={"a": 1})),
    frame_bytes(Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100)),
    frame_bytes(attach("echo", 0, role=False, initial_delivery_count=0, properties={"p": "v"})),
    frame_bytes(
        attach("numbers", 1, role=True, source=Source(address="numbers", filter={"f": Described("d", "x")}))
    ),
    frame_bytes(flow(1, 10, 0)),
    frame_bytes(
        Transfer(handle=0, delivery_id=0, delivery_tag=b"t"),
        payload=message_bytes(
            Message(body=b"x" * 50, properties={"message-id": "m"}, annotations={"a": [1]})
        ),
    ),
    frame_bytes(Transfer(handle=0, delivery_id=1, more=True), payload=bytes(3000)),
    frame_bytes(Disposition(role=True, first=0, last=9, settled=False, state=Accepted())),
    frame_bytes(Detach(handle=1, closed=True)),
    frame_bytes(End()),
    frame_bytes(Close()),
]


def _converse(server: Server, content: bytes, patience_s: float = 0.02) -> None:
    """Until the hub ends it, or says nothing for so long."""
    with server.connect() as client:
        client.socket.settimeout(patience_s)
        try:
            client.raw(content)
            while client.socket.recv(65536):
                pass
        except OSError:
            pass


def test_the_conversation(server: Server) -> None:
    """It is a good one, before it is spoilt."""
    _converse(server, b"".join(CONVERSATION), patience_s=30)
    assert [message.body for message in server.toy.taken] == [b"x" * 50]
    assert len(server.toy.attached) == 2


def test_garbage(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Connections that go wrong in many ways leave no link behind; then a good one works."""
    rng = random.Random(5672)
    for _ in range(100):
        server.toy.queue("numbers").extend(Message(body=bytes(1000)) for _ in range(5))
        _converse(server, b"".join(mutated(rng, CONVERSATION, 3)))
        server.toy.waiting.clear()
    eventually(lambda: server.listener.connections == 0)
    server.toy.waiting.clear()
    _converse(server, b"".join(CONVERSATION), patience_s=30)
    assert server.toy.taken[-1].body == b"x" * 50
    assert not [
        record
        for record in caplog.records
        if record.exc_info or (record.levelno >= logging.WARNING and record.name.startswith("agent."))
    ]


def test_no_more_than_so_many(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One more is turned away; when another leaves there is room."""
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 3)
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.open()
    with server.connect() as client:
        assert client.is_closed()
    clients[0].__exit__()
    eventually(lambda: server.listener.connections == 2)
    with server.connect() as client:
        client.open()
        client.begin()
    for client in clients[1:]:
        client.begin()
        client.__exit__()


def test_a_client_that_takes_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has asked for messages and does not read them for long is gone, and they are there for others."""
    monkeypatch.setattr(line, "STALLED_AFTER_S", 0.2)
    server.toy.queue("numbers").extend(Message(body=bytes(100_000)) for _ in range(1000))
    with server.connect() as client:
        client.open()
        client.begin()
        client.receiver("numbers")
        client.send(flow(0, 1000, 0, incoming_window=10_000))
        eventually(lambda: server.listener.connections == 0)
    assert len(server.toy.queue("numbers")) == 1000


def test_without_tls(server: Server) -> None:
    """Who does not speak TLS gets nowhere, and does not stand in the way."""
    strangers = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(5)]
    for stranger in strangers[:3]:
        stranger.sendall(SASL_HEADER * 3)
    with server.connect() as client:
        client.open()
    for stranger in strangers:
        stranger.close()


def test_a_port_that_is_taken(server: Server) -> None:
    """Starting says so; stopping one that never started does nothing."""
    another = listener.AmqpListener(server.toy, server.listener._authenticator)
    with pytest.raises(OSError, match="in use"):
        server.run(another.start("127.0.0.1", server.port, server.context))
    server.run(another.stop())
