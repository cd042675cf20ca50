"""Devices that speak MQTT over a WebSocket: the invariants at the head of websocket.py, and the real SDK."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse

from agent.localhub import websocket
from agent.localhub.faults import Fault
from agent.localhub.hub import LocalHub
from agent.localhub.thread import HubThread

from .client import RawClient, eventually, packet, publish, subscribe, text
from .rest_client import host_with_443

EVENTS = "devices/mast-1/messages/events/"
MUCH = 67_108_864  # more than any buffer of a kernel's
BINARY, TEXT, CLOSE, PING, PONG = 0x2, 0x1, 0x8, 0x9, 0xA


def frame(kind: int, content: bytes, final: bool = True, length: int | None = None) -> bytes:
    """The bytes of a frame, masked with zeros; ``length``: what it says of itself, if otherwise."""
    size = len(content) if length is None else length
    short = size if size < 126 else 126 if size < 65_536 else 127
    extended = b"" if short < 126 else struct.pack("!H" if short == 126 else "!Q", size)
    return bytes([(0x80 if final else 0) | kind, 0x80 | short]) + extended + bytes(4) + content


class WebSocketClient(RawClient):
    """As a RawClient, its bytes in frames."""

    def __init__(self, hub: LocalHub, protocol: str | None = "mqtt", path: str = websocket.PATH) -> None:
        self.hub = hub
        context = ssl.create_default_context(cafile=str(hub.ca_file))
        plain = socket.create_connection((hub.address, hub.https_port or 0), timeout=10)
        self._socket = context.wrap_socket(plain, server_hostname=hub.host)
        self._unread = b""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {hub.host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            *([f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []),
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            if not (part := self._socket.recv(4096)):  # nothing follows before it is asked for
                break
            head += part
        self.head = head.decode()
        self.status = int(self.head.split()[1])

    def send(self, content: bytes) -> None:
        self.frame(BINARY, content)

    def frame(self, kind: int, content: bytes, final: bool = True, length: int | None = None) -> None:
        """One frame; ``length``: what it says of itself, if otherwise."""
        self._socket.sendall(frame(kind, content, final, length))

    def next_frame(self) -> tuple[int, bytes]:
        """Kind and content of the next frame."""
        first, second = self._plain(2)
        size = second & 0x7F
        if size > 125:
            size = struct.unpack("!H" if size == 126 else "!Q", self._plain(2 if size == 126 else 8))[0]
        return first & 0x0F, self._plain(size)

    def _exactly(self, count: int) -> bytes:
        while len(self._unread) < count:
            kind, content = self.next_frame()
            if kind == CLOSE:
                raise EOFError
            assert kind == BINARY, kind
            self._unread += content
        taken, self._unread = self._unread[:count], self._unread[count:]
        return taken

    def _plain(self, count: int) -> bytes:
        return super()._exactly(count)


def test_a_device_speaks_mqtt_in_frames(hub: LocalHub) -> None:
    """It logs in, sends and receives as on the other port; the hub tells the subprotocol it has chosen."""
    with WebSocketClient(hub) as client:
        assert client.status == 101
        assert "sec-websocket-protocol: mqtt\r\n" in client.head.lower()
        assert client.login() == (0, 0)
        client.send(publish(EVENTS, b"x" * 200_000, packet_id=7))
        assert client.receive() == (0x40, b"\x00\x07")
        client.send(subscribe(1, ("devices/mast-1/messages/devicebound/#", 1)))
        client.receive()
        hub.send_c2d("mast-1", b"y" * 60_000)
        message = client.message()
        assert message.body == b"y" * 60_000
        client.acknowledge(message)
        eventually(lambda: hub.store.c2d.pending("mast-1") == 0)
        assert hub.connected() == {"mast-1"}
    eventually(lambda: not hub.connected())
    assert [len(event.body) for event in hub.store.events.after()] == [200_000]


def test_a_device_is_told_of_its_twin(hub: LocalHub) -> None:
    """A change of its desired properties comes at once."""
    with WebSocketClient(hub) as client:
        client.login()
        client.send(subscribe(1, ("$iothub/twin/PATCH/properties/desired/#", 1)))
        client.receive()
        hub.identities.update_twin("mast-1", desired={"x": 1})
        assert client.message().body == b'{"x":1,"$version":2}'


def test_frames_need_not_be_packets(hub: LocalHub) -> None:
    """A packet may be cut into frames and fragments, and a frame may hold several; pings are answered."""
    with WebSocketClient(hub) as client:
        client.login()
        first, second = publish(EVENTS, b"a", packet_id=1), publish(EVENTS, b"b", packet_id=2)
        for byte in first[:-2]:
            client.send(bytes([byte]))
        client.frame(BINARY, first[-2:-1], final=False)
        client.frame(PING, b"here?")
        client.frame(0x0, first[-1:])
        assert client.next_frame() == (PONG, b"here?")
        assert client.receive() == (0x40, b"\x00\x01")
        client.send(second + packet(0xC0))
        assert sorted([client.receive(), client.receive()]) == [(0x40, b"\x00\x02"), (0xD0, b"")]


@pytest.mark.parametrize("protocol", [None, "AMQPWSB10", "mqttv3.1"])
def test_another_subprotocol_is_refused(hub: LocalHub, protocol: str | None) -> None:
    """With a 400 and IoT Hub's error body, before anything is opened."""
    with WebSocketClient(hub, protocol) as client:
        assert client.status == 400
        assert "iothub-errorcode" in client.head.lower()


def test_the_query_of_other_sdks_is_no_matter(hub: LocalHub) -> None:
    """Some add one to the path."""
    with WebSocketClient(hub, path=websocket.PATH + "?iothub-no-client-cert=true") as client:
        assert client.login() == (0, 0)


def test_a_refused_login_is_told_before_the_end(hub: LocalHub) -> None:
    """The CONNACK arrives, then the WebSocket ends."""
    with WebSocketClient(hub) as client:
        assert client.log_in_with("mast-1", "SharedAccessSignature sr=x&sig=eA==&se=1") == (0, 5)
        assert client.is_closed()


@pytest.mark.parametrize("kind", [TEXT, CLOSE, 0x3])
def test_the_streams_end_with_the_websocket(hub: LocalHub, kind: int) -> None:
    """Invariant 2: a closing handshake, a frame of text or of no known kind is the end of the connection."""
    with WebSocketClient(hub) as client:
        client.login()
        client.frame(kind, struct.pack("!H", 1000))
        assert client.is_closed()
        eventually(lambda: not hub.connected())


def test_the_websocket_ends_with_the_streams(hub: LocalHub) -> None:
    """Invariant 2: what the hub cuts is gone at once, were it disabled, frozen or taken over."""
    with WebSocketClient(hub) as client:
        client.login()
        with RawClient(hub) as other:
            other.login()
            assert client.is_closed()
    with WebSocketClient(hub) as client:
        client.login()
        hub.faults.set(Fault("freeze"))
        eventually(lambda: hub._listener._of_device["mast-1"]._line._frozen_by)
        hub.faults.clear("freeze")
        assert client.is_closed()
    with WebSocketClient(hub) as client:
        client.login()
        hub.set_device_enabled("mast-1", False)
        assert client.is_closed()
    eventually(lambda: not hub.connected())


def test_faults_reach_a_websocket(hub: LocalHub) -> None:
    """A reset after a packet breaks the connection underneath."""
    hub.faults.set(Fault("reset", "publish", times=1))
    with WebSocketClient(hub) as client:
        client.login()
        client.send(publish(EVENTS, b"x"))
        assert client.is_closed()
    assert hub.store.events.after() == []


def test_too_long_a_frame_ends_it(hub: LocalHub) -> None:
    """Invariant 1: a length is believed and refused before its bytes are waited for."""
    with WebSocketClient(hub) as client:
        client.login()
        client.frame(BINARY, b"", length=2**62)
        assert client.is_closed()


def test_a_flood_that_is_not_read_ends_with_its_connection(hub: LocalHub) -> None:
    """A peer that asks without end, reads nothing and goes is gone for the hub at once, too."""
    with WebSocketClient(hub) as client:
        client.login()
        client._socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            for _ in range(200):
                client.send(packet(0xC0) * 50_000)
    eventually(lambda: not hub.connected())


def bridged(
    serve: websocket.Serve, client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]
) -> None:
    """A bridge to ``serve``, without TLS, and a client whose WebSocket is open."""

    async def run() -> None:
        app = web.Application()
        app.router.add_get(websocket.PATH, websocket.Bridge(serve, lambda: 0).handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(
            f"GET {websocket.PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        try:
            await client(reader, writer)
        finally:
            writer.transport.abort()
            await runner.cleanup()

    asyncio.run(run())


async def steady(count: Callable[[], int]) -> int:
    """Its value once it does not rise any more."""
    last = -1
    while count() != last:
        last = count()
        await asyncio.sleep(0.3)
    return last


def test_who_writes_waits_for_a_peer_that_does_not_read() -> None:
    """Invariant 1: what was written and not sent is bounded, and goes on when the peer reads."""
    written = 0

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while written < MUCH:
            writer.write(b"x" * 65_536)
            await writer.drain()
            await asyncio.sleep(0)
            written += 65_536

    async def client(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        held_at = await steady(lambda: written)
        assert held_at < MUCH
        await reader.readexactly(held_at)
        assert await steady(lambda: written) > held_at

    bridged(serve, client)


def test_a_peer_waits_for_who_does_not_read() -> None:
    """Invariant 1: what was received and not read is bounded, and comes whole when it is read."""
    sent, read = 0, 0
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        nonlocal read
        await go_on.wait()
        while part := await reader.read(1_000_000):
            assert part.strip(b"x") == b""
            read += len(part)

    async def client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        frame = bytes([0x82, 0xFE]) + struct.pack("!H", 60_000) + bytes(4) + b"x" * 60_000

        async def send() -> None:
            nonlocal sent
            while sent < MUCH:
                writer.write(frame)
                sent += 60_000
                await writer.drain()

        sending = asyncio.create_task(send())
        assert await steady(lambda: sent) < MUCH
        go_on.set()
        await sending
        assert await steady(lambda: read) == sent

    bridged(serve, client)


def test_strangers_are_few(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a number of connections that have not logged in, a WebSocket is refused with 503; then no more."""
    monkeypatch.setattr(websocket, "_MAX_STRANGERS", 2)
    with WebSocketClient(hub) as first, WebSocketClient(hub) as second:
        eventually(lambda: hub._listener.strangers() == 2)
        with WebSocketClient(hub) as third:
            assert third.status == 503
        first.login()
        with WebSocketClient(hub) as third:
            assert third.status == 101
        second.send(packet(0x10, text("no CONNECT")))
        assert second.is_closed()


def test_a_hub_stops_with_websockets_open(tmp_path: Path) -> None:
    """At once, and every one of them hears of it."""
    thread = HubThread(LocalHub(tmp_path / "hub", "127.0.0.1", port=0))
    thread.start()
    thread.hub.ensure_device("mast-1")
    with WebSocketClient(thread.hub) as client, WebSocketClient(thread.hub) as stranger:
        client.login()
        started = time.monotonic()
        thread.stop()
        assert client.is_closed()
        assert stranger.is_closed()
        assert time.monotonic() - started < 10


@pytest.fixture
def hub_on_443(tmp_path: Path) -> Iterator[LocalHub]:
    """A hub whose HTTPS is where the SDK looks for it."""
    thread = HubThread(LocalHub(tmp_path / "hub", host_with_443(), port=0, https_port=443))
    thread.start()
    try:
        thread.hub.ensure_device("mast-1")
        yield thread.hub
    finally:
        thread.stop()


def test_the_sdk_over_websockets(hub_on_443: LocalHub) -> None:
    """azure-iot-device with ``websockets=True``: telemetry, a command, a direct method."""
    hub = hub_on_443
    client = IoTHubDeviceClient.create_from_connection_string(
        hub.device_connection_string("mast-1"),
        websockets=True,
        server_verification_cert=hub.ca_file.read_text(),
    )
    try:
        client.connect()
        got: list[bytes] = []
        client.on_message_received = lambda message: got.append(message.data)
        client.on_method_request_received = lambda request: client.send_method_response(
            MethodResponse.create_from_method_request(request, 200, {"name": request.name})
        )
        for number in range(20):
            client.send_message(Message(f"message {number}" + "x" * 10_000 * (number % 3)))
        hub.send_c2d("mast-1", b"a command")
        eventually(lambda: got == [b"a command"])
        call = asyncio.run_coroutine_threadsafe(hub.call_method("mast-1", "ping"), hub._loop)
        assert call.result(20).payload == b'{"name": "ping"}'
        assert len(hub.store.events.after()) == 20
    finally:
        client.shutdown()
