"""An MQTT client of a few bytes, for what no decent client would send."""

from __future__ import annotations

import base64
import hmac
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from agent.localhub.hub import LocalHub


def eventually(condition: Callable[[], object], patience_s: float = 60.0) -> None:
    """Wait until ``condition`` holds; fail if it does not."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def text(value: str | bytes) -> bytes:
    """A length-prefixed field."""
    content = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(content)) + content


def packet(first: int, body: bytes = b"") -> bytes:
    """A packet with its fixed header."""
    length, encoded = len(body), b""
    while True:
        length, low = divmod(length, 128)
        encoded += bytes([low | (0x80 if length else 0)])
        if not length:
            return bytes([first]) + encoded + body


def token(key: str, scope: str, expires_s: float, policy: str | None = None) -> str:
    """A shared access signature. ``scope`` is encoded here."""
    sr, se = quote(scope, safe=""), str(int(expires_s))
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), f"{sr}\n{se}".encode(), "sha256"))
    skn = f"&skn={policy}" if policy else ""
    return f"SharedAccessSignature sr={sr}&sig={quote(signature, safe='')}&se={se}{skn}"


def connect(
    client_id: str,
    username: str,
    password: str,
    *,
    clean: bool = True,
    keep_alive_s: int = 60,
    level: int = 4,
) -> bytes:
    """A CONNECT."""
    head = text("MQTT") + bytes([level, 0xC0 | (2 if clean else 0)]) + struct.pack("!H", keep_alive_s)
    return packet(0x10, head + text(client_id) + text(username) + text(password))


def publish(topic: str, body: bytes, packet_id: int = 1, first: int = 0x32) -> bytes:
    """A PUBLISH, by default of QoS 1."""
    return packet(first, text(topic) + (struct.pack("!H", packet_id) if first & 6 else b"") + body)


def subscribe(packet_id: int, *filters: tuple[str, int]) -> bytes:
    """A SUBSCRIBE."""
    return packet(0x82, struct.pack("!H", packet_id) + b"".join(text(f) + bytes([q]) for f, q in filters))


@dataclass(frozen=True)
class Received:
    """A PUBLISH from the hub."""

    topic: str
    body: bytes
    packet_id: int
    duplicate: bool


class RawClient:
    """A TLS connection to a hub."""

    def __init__(self, hub: LocalHub) -> None:
        self.hub = hub
        context = ssl.create_default_context(cafile=str(hub.ca_file))
        plain = socket.create_connection((hub.address, hub.port), timeout=10)
        self._socket = context.wrap_socket(plain, server_hostname=hub.host)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def login(
        self, device_id: str = "mast-1", *, clean: bool = True, keep_alive_s: int = 60
    ) -> tuple[int, int]:
        """CONNECT as the device does; (session present, return code)."""
        return self.log_in_with(
            device_id,
            token(
                self.hub.store.registry.get(device_id).primary_key,
                f"{self.hub.host}/devices/{device_id}",
                time.time() + 3600,
            ),
            clean=clean,
            keep_alive_s=keep_alive_s,
        )

    def log_in_with(self, device_id: str, password: str, **options: Any) -> tuple[int, int]:
        """CONNECT with this password; (session present, return code)."""
        username = f"{self.hub.host}/{device_id}/?api-version=2019-10-01"
        self.send(connect(device_id, username, password, **options))
        first, body = self.receive()
        assert first == 0x20
        return body[0], body[1]

    def receive(self) -> tuple[int, bytes]:
        """The next packet: its first byte and its body."""
        first = self._exactly(1)[0]
        length, shift = 0, 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                return first, self._exactly(length)
            shift += 7

    def message(self) -> Received:
        """The next packet, which must be a PUBLISH."""
        first, body = self.receive()
        assert first >> 4 == 3, (first, body)
        size = struct.unpack("!H", body[:2])[0]
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        if first & 6:
            return Received(topic, rest[2:], struct.unpack("!H", rest[:2])[0], bool(first & 8))
        return Received(topic, rest, 0, bool(first & 8))

    def acknowledge(self, message: Received) -> None:
        self.send(packet(0x40, struct.pack("!H", message.packet_id)))

    def ping(self) -> None:
        """Ask for an answer and get it: all that was sent before has been handled."""
        self.send(packet(0xC0))
        assert self.receive() == (0xD0, b"")

    def is_closed(self) -> bool:
        """Whether the hub ends the connection within the socket's patience; what it still says is dropped."""
        try:
            while self._socket.recv(4096):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def _exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            part = self._socket.recv(count - len(content))
            if not part:
                raise EOFError
            content += part
        return content
