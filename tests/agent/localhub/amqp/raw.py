"""A client that can be told to send anything, frame by frame."""

from __future__ import annotations

import socket
import ssl
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from agent.localhub.amqp.composite import Composite
from agent.localhub.amqp.frames import AMQP_HEADER, SASL, SASL_HEADER, Frame, frame_bytes, frame_of
from agent.localhub.amqp.message import message_bytes, message_of
from agent.localhub.amqp.node import (
    Message,
)
from agent.localhub.amqp.performatives import Attach as AttachFrame
from agent.localhub.amqp.performatives import (
    Begin,
    Close,
    Flow,
    Open,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Source,
    Target,
    Transfer,
)

_P = TypeVar("_P", bound=Composite)


class Raw:
    """A client of frames."""

    def __init__(self, ca: Path, port: int, login: bytes, version: ssl.TLSVersion | None = None) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        if version is not None:
            context.minimum_version = context.maximum_version = version
        self.login = login
        plain = socket.create_connection((str(IPv4Address("127.0.0.1")), port), timeout=10)
        self.socket = context.wrap_socket(plain, server_hostname="localhost")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()

    def send(self, *performatives: Composite, channel: int = 0, payload: bytes = b"") -> None:
        self.raw(b"".join(frame_bytes(p, channel, payload) for p in performatives))

    def raw(self, content: bytes) -> None:
        self.socket.sendall(content)

    def closing(self) -> str:
        """The condition by which the hub closes the connection, and then does."""
        while True:
            performative = self.frame().performative
            if isinstance(performative, Close):
                break
        assert self.is_closed()
        return str(performative.error.condition)

    def exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            part = self.socket.recv(count - len(content))
            if not part:
                raise EOFError
            content += part
        return content

    def frame(self) -> Frame:
        head = self.exactly(8)
        return frame_of(head, self.exactly(int.from_bytes(head[:4], "big") - 8))

    def get(self, kind: type[_P]) -> _P:
        """The next frame, which must say that; empty ones do not count."""
        while True:
            performative = self.frame().performative
            if performative is not None:
                assert isinstance(performative, kind), performative
                return performative

    def sasl(self, mechanism: str = "ANONYMOUS", response: bytes = b"") -> SaslOutcome:
        self.raw(SASL_HEADER)
        assert self.exactly(8) == SASL_HEADER
        assert self.get(SaslMechanisms).sasl_server_mechanisms == ("MSSBCBS", "PLAIN", "ANONYMOUS")
        self.raw(frame_bytes(SaslInit(mechanism=mechanism, initial_response=response), kind=SASL))
        return self.get(SaslOutcome)

    def open(self, mechanism: str = "PLAIN", response: bytes | None = None, **fields: Any) -> Open:
        """Log in and open the connection, with a session on channel 0."""
        assert self.sasl(mechanism, self.login if response is None else response).code == 0
        self.raw(AMQP_HEADER + frame_bytes(Open(container_id="raw", **fields)))
        assert self.exactly(8) == AMQP_HEADER
        return self.get(Open)

    def begin(self, channel: int = 0, incoming_window: int = 100) -> Begin:
        self.send(
            Begin(next_outgoing_id=0, incoming_window=incoming_window, outgoing_window=100), channel=channel
        )
        return self.get(Begin)

    def sender(self, address: str, handle: int = 0, **fields: Any) -> AttachFrame:
        """Attach a link to send by; the credit is taken."""
        self.send(attach(address, handle, role=False, initial_delivery_count=0, **fields))
        answer = self.get(AttachFrame)
        if answer.target is not None:
            assert self.get(Flow).link_credit == 100
        return answer

    def receiver(
        self, address: str, handle: int = 0, credit: int | None = None, **fields: Any
    ) -> AttachFrame:
        """Attach a link to receive by."""
        self.send(attach(address, handle, role=True, **fields))
        answer = self.get(AttachFrame)
        if credit is not None:
            self.send(flow(handle, credit))
        return answer

    def transfer(self) -> tuple[Transfer, bytes]:
        """The next frame, which must be of a message."""
        frame = self.frame()
        assert isinstance(frame.performative, Transfer), frame
        return frame.performative, frame.payload

    def message(self) -> tuple[Transfer, Message]:
        """The next message, whole."""
        first, payload = self.transfer()
        more = first.more
        while more:
            transfer, part = self.transfer()
            assert transfer.delivery_id == first.delivery_id
            payload, more = payload + part, transfer.more
        return first, message_of(payload)

    def put(self, handle: int, delivery_id: int, body: bytes = b"", **fields: Any) -> None:
        """Send a message in one frame."""
        payload = message_bytes(Message(body=body))
        self.send(Transfer(**{"handle": handle, "delivery_id": delivery_id, **fields}), payload=payload)

    def quiet(self, patience_s: float = 0.2) -> bool:
        """Whether the hub says nothing for a while."""
        self.socket.settimeout(patience_s)
        try:
            self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)
        return False

    def is_closed(self) -> bool:
        """Whether the hub ends the connection; what it still says is dropped."""
        try:
            while self.socket.recv(4096):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


def attach(address: str, handle: int, *, role: bool, **fields: Any) -> AttachFrame:
    """An attach to the address, from a terminus of no account."""
    ours = {"source": Source(address=address), "target": Target(address="mine")}
    if role is False:
        ours = {"source": Source(address="mine"), "target": Target(address=address)}
    return AttachFrame(**{"name": f"link {handle}", "handle": handle, "role": role, **ours, **fields})


def flow(handle: int | None, credit: int | None = None, count: int | None = None, **fields: Any) -> Flow:
    """A flow that keeps the session's window open."""
    given = {"next_incoming_id": None, "incoming_window": 100, "next_outgoing_id": 0, "outgoing_window": 100}
    return Flow(**{**given, "handle": handle, "link_credit": credit, "delivery_count": count, **fields})
