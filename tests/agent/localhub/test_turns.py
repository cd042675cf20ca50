"""Who sends much at once keeps nobody waiting, whatever it speaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web

from agent.localhub.amqp import line
from agent.localhub.amqp.frames import EMPTY_FRAME
from agent.localhub.connection import Connection
from agent.localhub.hub import LocalHub
from agent.localhub.rest import errors

from .amqp.raw import Raw
from .client import RawClient, packet
from .rest_client import RestClient
from .test_websocket import PING, WebSocketClient, frame

BURST = 400
PINGREQ = packet(0xC0)


@contextmanager
def standing_still(hub: LocalHub) -> Iterator[None]:
    """The hub does nothing meanwhile, so that what it is sent is all there when it goes on."""
    stands, go_on = threading.Event(), threading.Event()

    def stand() -> None:
        stands.set()
        go_on.wait(30)

    hub._loop.call_soon_threadsafe(stand)
    assert stands.wait(30)
    try:
        yield
    finally:
        go_on.set()


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the hub did, in order: "other" for a packet of mast-2, "burst" for what counts of the others'."""
    done: list[str] = []

    def note(owner: Any, name: str, of: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def noting(*arguments: Any, **more: Any) -> Any:
            done.append(of(*arguments))
            return original(*arguments, **more)

        monkeypatch.setattr(owner, name, noting)

    note(Connection, "_handle", lambda own, *_: "other" if own.device_id == "mast-2" else "burst")
    note(web.WebSocketResponse, "pong", lambda *_: "burst")
    note(line, "frame_of", lambda *_: "burst")
    note(errors, "answer", lambda *_: "burst")
    return done


def mqtt(hub: LocalHub) -> tuple[Any, Callable[[], None]]:
    client = RawClient(hub)
    client.login()
    return client, lambda: client.send(PINGREQ * BURST)


def mqtt_in_frames(hub: LocalHub) -> tuple[Any, Callable[[], None]]:
    client = WebSocketClient(hub)
    client.login()
    return client, lambda: client.send(PINGREQ * BURST)


def frames(hub: LocalHub) -> tuple[Any, Callable[[], None]]:
    client = WebSocketClient(hub)
    client.login()
    ping = frame(PING, b"")
    return client, lambda: client._socket.sendall(ping * BURST)


def amqp(hub: LocalHub) -> tuple[Any, Callable[[], None]]:
    key = hub.store.registry.policy_key("service")
    client = Raw(hub.ca_file, hub.amqp_port, f"\0service@sas.root.localhost\0{key}".encode())
    client.open()
    return client, lambda: client.raw(EMPTY_FRAME * BURST)


def rest(hub: LocalHub) -> tuple[Any, Callable[[], None]]:
    connection = RestClient(hub).connect()
    return connection, lambda: connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * BURST)


@pytest.mark.parametrize("speak", [mqtt, mqtt_in_frames, frames, amqp, rest])
def test_another_is_served_meanwhile(hub: LocalHub, order: list[str], speak: Callable[..., Any]) -> None:
    """Of two that sent at the same time, the one that sent little has its answer before the other's last."""
    hub.ensure_device("mast-2")
    with RawClient(hub) as other:
        other.login("mast-2")
        client, burst = speak(hub)
        with client:
            order.clear()
            with standing_still(hub):
                burst()
                other.send(PINGREQ)
            assert other.receive() == (0xD0, b"")
            assert "other" in order
            assert order.index("other") < BURST // 4


def test_a_long_subscription_is_refused(hub: LocalHub) -> None:
    """Taking one apart holds up everybody, so that only a message may be long."""
    with RawClient(hub) as client:
        client.login()
        client.send(packet(0x82, b"\0\1" + b"\0\1a\0" * 5000))
        assert client.is_closed()
