"""Logging in: who is let in, as whom, and for how long."""

from __future__ import annotations

import base64
import hmac
import time
from urllib.parse import quote

import pytest

from agent.localhub.amqp import connection, room
from agent.localhub.amqp.frames import AMQP_HEADER, EMPTY_FRAME, SASL, SASL_HEADER, frame_bytes
from agent.localhub.amqp.performatives import (
    Accepted,
    Begin,
    Close,
    Detach,
    Disposition,
    Open,
    SaslInit,
    SaslMechanisms,
    Transfer,
)

from .toy import KEY, Server


def signature(host: str = "localhost", key: str = KEY, until_s: float = 2e9, skn: str = "") -> str:
    """A shared access signature."""
    sr, se = quote(host, safe=""), str(int(until_s))
    sig = base64.b64encode(hmac.digest(base64.b64decode(key), f"{sr}\n{se}".encode(), "sha256"))
    return f"SharedAccessSignature sr={sr}&sig={quote(sig, safe='')}&se={se}{skn}"


@pytest.mark.parametrize(
    ("user", "password", "path"),
    [
        ("service@sas.root.localhost", KEY, ""),
        ("service@sas.localhost", signature(), ""),
        ("service", signature(skn="&skn=service"), ""),
        ("service@sas.root.localhost", signature("localhost/Messages/events/"), "messages/events"),
    ],
)
def test_plain(server: Server, user: str, password: str, path: str) -> None:
    """A policy's key, or what is signed with it, for what it is signed for."""
    with server.connect() as client:
        client.open(response=f"\0{user}\0{password}".encode())
        client.begin()
        client.sender("echo")
    assert (server.toy.policies, server.toy.paths) == (["service"], [path])


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\0service@sas.root.localhost\0wrong"),
        ("PLAIN", b"\0nobody@sas.root.localhost\0" + KEY.encode()),
        ("PLAIN", f"\0service@sas.root.localhost\0{signature('other')}".encode()),
        ("PLAIN", f"\0service@sas.root.localhost\0{signature(until_s=1e9)}".encode()),
        ("PLAIN", f"\0service@sas.root.localhost\0{signature(key='AAAA')}".encode()),
        ("PLAIN", b"\0service@sas.root.localhost\0SharedAccessSignature sr"),
        ("PLAIN", b""),
        ("PLAIN", b"\xff\0\xff\0\xff"),
        ("PLAIN", b"a\0b\0c\0d"),
        ("EXTERNAL", b""),
    ],
)
def test_refused(server: Server, mechanism: str, response: bytes) -> None:
    """Whatever is wrong with a login is an outcome, and the end."""
    with server.connect() as client:
        assert client.sasl(mechanism, response).code == 1
        assert client.is_closed()


@pytest.mark.parametrize("mechanism", ["ANONYMOUS", "MSSBCBS"])
def test_let_in_without_a_policy(server: Server, mechanism: str) -> None:
    """Who it is is proved at $cbs, after which the links to it stand beyond that proof's end."""
    with server.connect() as client:
        client.open(mechanism, b"")
        client.begin()
        client.sender("$cbs", 0)
        client.send(Transfer(handle=0, delivery_id=0), payload=b"\0\x53\x75\xa0\x0a2000000000")
        assert isinstance(client.get(Disposition).state, Accepted)
        client.sender("echo", 1)
        client.receiver("empty", 2, credit=5)
        server.now_s = 2e9
        ended = [client.get(Detach), client.get(Detach)]
        assert [detach.error.condition for detach in ended] == ["amqp:unauthorized-access"] * 2
        assert {detach.handle for detach in ended} == {1, 2}
        client.sender("echo", 3)
        assert server.toy.policies == [None, "service", "service", None]
        client.send(Transfer(handle=0, delivery_id=0), payload=b"\0\x53\x75\xa0\x0a3000000000")
        assert isinstance(client.get(Disposition).state, Accepted)
        client.send(Detach(handle=1, closed=True), Detach(handle=2, closed=True))
        client.sender("echo", 1)


def test_without_a_proof(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that proves nothing is not kept."""
    monkeypatch.setattr(connection, "UNPROVED_FOR_S", 0.0)
    with server.connect() as client:
        client.open("ANONYMOUS", b"")
        assert client.closing() == "amqp:unauthorized-access"
    with server.connect() as client:
        client.open()
        time.sleep(1.2)
        client.send(Close())
        assert client.get(Close).error is None


def test_without_sasl(server: Server) -> None:
    """There are clients that do without; they are as good as anonymous."""
    with server.connect() as client:
        client.raw(AMQP_HEADER + frame_bytes(Open(container_id="raw")))
        assert client.exactly(8) == AMQP_HEADER
        client.get(Open)
        client.begin()
        client.sender("$cbs")
        client.put(0, 0, bytes(room.MAX_UNPROVED_BYTES))
        assert client.get(Detach).error.condition == "amqp:link:message-size-exceeded"


@pytest.mark.parametrize("header", [b"AMQP\x02\x01\x00\x00", b"AMQP\x00\x00\x09\x01", b"GET / HT", bytes(8)])
def test_another_protocol(server: Server, header: bytes) -> None:
    """The hub says what it would have liked, and ends it."""
    with server.connect() as client:
        client.raw(header)
        assert client.exactly(8) == SASL_HEADER
        assert client.is_closed()


@pytest.mark.parametrize(
    "content",
    [
        frame_bytes(Open(container_id="x")),
        frame_bytes(SaslMechanisms(sasl_server_mechanisms=("PLAIN",)), kind=SASL),
        frame_bytes(SaslInit(mechanism="PLAIN", initial_response=bytes(5000)), kind=SASL),
        b"\xff" * 100,
        EMPTY_FRAME,
    ],
)
def test_garbage_for_a_login(server: Server, content: bytes) -> None:
    """Anything but a small sasl-init ends it."""
    with server.connect() as client:
        client.raw(SASL_HEADER + content)
        client.exactly(8)
        client.get(SaslMechanisms)
        assert client.is_closed()


@pytest.mark.parametrize(
    ("content", "condition"),
    [
        (frame_bytes(Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1)), "amqp:not-allowed"),
        (frame_bytes(Open(container_id="x", max_frame_size=511)), "amqp:invalid-field"),
        (frame_bytes(Open(container_id="x" * 5000)), "amqp:connection:framing-error"),
        (EMPTY_FRAME, "amqp:not-allowed"),
        (b"\xff" * 100, "amqp:connection:framing-error"),
        (b"\0\0\0\x0c\2\0\0\0\x40\x40\x40\x40", "amqp:decode-error"),
    ],
)
def test_garbage_for_an_open(server: Server, content: bytes, condition: str) -> None:
    """The hub opens, so that it can close with an error."""
    with server.connect() as client:
        client.sasl("ANONYMOUS")
        client.raw(AMQP_HEADER + content)
        assert client.exactly(8) == AMQP_HEADER
        client.get(Open)
        assert client.closing() == condition


def test_a_login_takes_too_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing, or half of it, is not waited for."""
    monkeypatch.setattr(connection, "LOGIN_WITHIN_S", 0.3)
    for content in (b"", SASL_HEADER, SASL_HEADER + b"\0\0\0\x20\2\1\0\0"):
        with server.connect() as client:
            client.raw(content)
            assert client.is_closed()
    with server.connect() as client:
        client.open()
        time.sleep(0.5)
        client.begin()
