"""``/messages/devicebound``: where a service sends messages to devices.

https://learn.microsoft.com/azure/iot-hub/iot-hub-amqp-support#invoke-cloud-to-device-messages-service-client
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, get_args
from urllib.parse import unquote

from ..c2d import DEFAULT_TTL_S, MessageTooLarge
from ..records import (
    Ack,
    C2dMessage,
    HubError,
    InvalidRequest,
    QueueFull,
    StoreFailed,
    UnknownDevice,
)
from .node import ACCEPTED, Message, Outcome, Timestamp

_TO = re.compile(r"/?devices/([^/]+)/messages/devicebound", re.IGNORECASE)
_ACK = "iothub-ack"
_MAX_REASON = 500  # it quotes what the client sent, and has to fit into a frame

_CONDITIONS: tuple[tuple[type[HubError], str], ...] = (
    (UnknownDevice, "amqp:not-found"),
    (QueueFull, "amqp:resource-limit-exceeded"),
    (MessageTooLarge, "amqp:link:message-size-exceeded"),
    (InvalidRequest, "amqp:invalid-field"),
    (StoreFailed, "amqp:internal-error"),
)


class SendC2d(Protocol):
    """How a message to a device gets on its way. Any thread; may wait for the disk."""

    def __call__(
        self,
        device_id: str,
        body: bytes,
        *,
        message_id: str | None = None,
        correlation_id: str | None = None,
        expires_in_s: float = DEFAULT_TTL_S,
        ack: Ack = "none",
        properties: Mapping[str, str] | None = None,
        user_id: str | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
    ) -> C2dMessage:
        """Queue it. Raises UnknownDevice, InvalidRequest, QueueFull, StoreFailed."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceboundSink:
    """A Sink. ``now``: Unix seconds."""

    send: SendC2d
    now: Callable[[], float]

    async def take(self, message: Message) -> Outcome:
        """Sink: accepted is what is on the disk."""
        try:
            await asyncio.to_thread(self._queue, message)
        except HubError as error:
            condition = next(c for kind, c in _CONDITIONS if isinstance(error, kind))
            return Outcome("rejected", condition, str(error)[:_MAX_REASON])
        return ACCEPTED

    async def after(self, message: Message) -> None:
        """Sink: nothing to do."""

    def close(self) -> None:
        """Sink: nothing to do."""

    def _queue(self, message: Message) -> None:
        properties = dict(message.application_properties)
        ack = properties.pop(_ACK, None) or "none"
        if ack not in get_args(Ack):
            raise InvalidRequest(f"{_ACK} {ack!r:.80}: expected {', '.join(get_args(Ack))}")
        system = {name: _text(name, value) for name, value in message.properties.items() if name in _SYSTEM}
        self.send(
            _device_id(message.properties.get("to")),
            _body(message),
            message_id=system.get("message-id"),
            correlation_id=system.get("correlation-id"),
            expires_in_s=self._expires_in_s(message),
            ack=cast(Ack, ack),
            properties={
                str(name): _text(f"property {name!r:.80}", value) for name, value in properties.items()
            },
            user_id=system.get("user-id"),
            content_type=system.get("content-type"),
            content_encoding=system.get("content-encoding"),
        )

    def _expires_in_s(self, message: Message) -> float:
        """The earlier of what the message says of its end, and the hub's default if it says nothing."""
        expiry, ttl = message.properties.get("absolute-expiry-time"), message.header.get("ttl")
        left_s = []
        if isinstance(expiry, Timestamp):
            left_s.append(expiry / 1000 - self.now())
        if isinstance(ttl, int):
            left_s.append(ttl / 1000)
        return min(left_s, default=DEFAULT_TTL_S)


_SYSTEM = frozenset({"message-id", "correlation-id", "user-id", "content-type", "content-encoding"})


def _device_id(to: Any) -> str:
    if not isinstance(to, str):
        raise InvalidRequest("the message has no 'to': expected /devices/{id}/messages/devicebound")
    match = _TO.fullmatch(to)
    if match is None:
        raise InvalidRequest(f"to {to[:200]!r}: expected /devices/{{id}}/messages/devicebound")
    return unquote(match[1])


def _body(message: Message) -> bytes:
    """The data of a message; senders without data sections put a text or bytes in its value."""
    if message.value is None:
        return message.body
    if isinstance(message.value, str):
        return message.value.encode()
    if isinstance(message.value, bytes):
        return message.value
    raise InvalidRequest(f"the body is a {type(message.value).__name__}: expected data")


def _text(name: str, value: Any) -> str:
    """What a device reads of a property: topics carry nothing but text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"{name} is not UTF-8") from None
    if isinstance(value, list | dict):
        raise InvalidRequest(f"{name} is a {type(value).__name__}: expected a text")
    return "" if value is None else str(value)
