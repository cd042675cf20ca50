"""Connections and sessions: limits, errors, and how they end."""

from __future__ import annotations

import ssl

import pytest

from agent.localhub.amqp import room
from agent.localhub.amqp.composite import Composite
from agent.localhub.amqp.frames import EMPTY_FRAME, SASL, SASL_HEADER, frame_bytes
from agent.localhub.amqp.performatives import (
    Accepted,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    SaslInit,
    Transfer,
)
from agent.localhub.amqp.performatives import Attach as AttachFrame
from agent.localhub.ca import ServerFiles

from ..client import eventually
from .raw import attach, flow
from .toy import Server


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_open_and_close(server: Server, version: ssl.TLSVersion) -> None:
    """Both versions of TLS; the hub says what it takes, and answers a close."""
    with server.connect(version=version) as client:
        theirs = client.open()
        assert (theirs.max_frame_size, theirs.channel_max, theirs.idle_time_out) == (65536, 255, 240_000)
        assert client.begin(channel=3).remote_channel == 3
        client.send(Close())
        assert client.get(Close).error is None
        assert client.is_closed()


@pytest.mark.parametrize(
    ("content", "condition"),
    [
        (frame_bytes(Open(container_id="x")), "amqp:not-allowed"),
        (frame_bytes(End(), 7), "amqp:not-allowed"),
        (frame_bytes(Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1)), "amqp:not-allowed"),
        (
            frame_bytes(Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1), 256),
            "amqp:not-allowed",
        ),
        (frame_bytes(SaslInit(mechanism="PLAIN"), kind=SASL), "amqp:connection:framing-error"),
        ((70_000).to_bytes(4, "big") + b"\2\0\0\0" + bytes(70_000), "amqp:connection:framing-error"),
        (b"\0\0\0\x14\2\0\0\0\0\x53\x10\xf0\0\0\0\5\x80\0\0\0\x40"[:20], "amqp:decode-error"),
    ],
)
def test_errors_of_a_connection(server: Server, content: bytes, condition: str) -> None:
    """The hub says what it was, also to somebody who goes on sending; others are untouched."""
    with server.connect() as other, server.connect() as client:
        other.open()
        other.begin()
        client.open()
        client.begin()
        client.raw(content + EMPTY_FRAME * 5000)
        assert client.closing() == condition
        other.sender("echo")


@pytest.mark.parametrize(
    ("performative", "condition"),
    [
        (attach("echo", 256, role=False), "amqp:session:handle-in-use"),
        (attach("echo", 0, role=False), "amqp:session:handle-in-use"),
        (Transfer(handle=5, delivery_id=0), "amqp:session:unattached-handle"),
        (flow(5, 1), "amqp:session:unattached-handle"),
        (Detach(handle=5), "amqp:session:unattached-handle"),
        (Transfer(handle=1, delivery_id=0), "amqp:not-allowed"),
        (Transfer(handle=0), "amqp:invalid-field"),
        (Disposition(role=True, first=5, last=4, settled=True), "amqp:invalid-field"),
        (SaslInit(mechanism="PLAIN"), "amqp:not-allowed"),
        (Accepted(), "amqp:not-allowed"),
    ],
)
def test_errors_of_a_session(server: Server, performative: Composite, condition: str) -> None:
    """Only the session ends; what comes late for it is ignored, and it can begin anew."""
    with server.connect() as client:
        client.open()
        client.begin(channel=0)
        client.begin(channel=1)
        client.sender("echo", 0)
        client.receiver("empty", 1)
        client.send(performative)
        assert client.get(End).error.condition == condition
        assert server.toy.closed == 2
        client.send(Detach(handle=0, closed=True), flow(1, 5), Transfer(handle=0, delivery_id=1), End())
        client.begin(channel=0)
        client.sender("echo", 0)


def test_several_sessions(server: Server) -> None:
    """Each has its own handles and ids; one that ends takes its links with it and nothing else."""
    with server.connect() as client:
        client.open()
        for channel in range(room.MAX_SESSIONS):
            client.begin(channel=channel)
            client.send(attach("echo", 0, role=False), channel=channel)
            client.get(AttachFrame)
            client.get(Flow)
        client.send(End(), channel=2)
        client.send(Detach(handle=0, closed=True), channel=2)
        assert client.get(End).error is None
        assert server.toy.closed == 1
        for channel in (0, 7):
            client.send(Transfer(handle=0, delivery_id=9), channel=channel, payload=b"\0\x53\x75\xa0\0")
            assert client.get(Disposition).first == 9
        client.begin(channel=2)
        client.send(Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1), channel=8)
        assert client.closing() == "amqp:resource-limit-exceeded"


def test_too_many_links(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there may be is refused; when one ends there is room again."""
    with server.connect() as client:
        client.open()
        client.begin(0)
        client.begin(1)
        for handle in range(room.MAX_LINKS):
            client.receiver("empty", handle)
        client.send(attach("empty", 5, role=True), channel=1)
        assert client.get(AttachFrame).source is None
        assert client.get(Detach).error.condition == "amqp:resource-limit-exceeded"
        client.send(Detach(handle=9, closed=True))
        assert client.get(Detach).closed
        client.send(attach("empty", 5, role=True), channel=1)
        assert client.get(AttachFrame).source is not None


def test_idle_timeouts(toy_files: ServerFiles) -> None:
    """The hub ends what is silent for longer than it said, and is not silent for as long as a client said."""
    server = Server(toy_files, idle_after_s=2)
    try:
        with server.connect() as client:
            assert client.open(idle_time_out=400).idle_time_out == 2000
            for _ in range(12):
                client.raw(EMPTY_FRAME)
                assert client.frame().performative is None
            assert client.closing() == "amqp:resource-limit-exceeded"
    finally:
        server.stop()


def test_a_client_that_vanishes(server: Server) -> None:
    """Links end with the connection."""
    with server.connect() as client:
        client.open()
        client.begin()
        client.sender("echo", 0)
        client.receiver("empty", 1, credit=5)
        eventually(lambda: server.toy.asked == 1)
    eventually(lambda: server.toy.closed == 2)
    eventually(lambda: server.listener.connections == 0)


def test_a_hub_that_stops(server: Server) -> None:
    """Clients are told, whatever they are at."""
    clients = [server.connect() for _ in range(4)]
    clients[0].open()
    clients[0].begin()
    clients[0].sender("echo", 0)
    clients[0].receiver("empty", 1, credit=5)
    clients[1].open()
    clients[2].raw(SASL_HEADER)
    server.run(server.listener.stop())
    assert [client.closing() for client in clients[:2]] == ["amqp:connection:forced"] * 2
    assert all(client.is_closed() for client in clients[2:])
    assert server.toy.closed == 2
    for client in clients:
        client.__exit__()
