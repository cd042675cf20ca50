"""What the hub keeps: devices, events from them (D2C), messages to them (C2D); and what can go wrong.

Times are Unix seconds, UTC; their names end in ``_s``.

    HubError
    ├── HubUnavailable     "another hub uses /home/ann/.local/share/masthead-hub"  (nothing was started)
    ├── UnknownDevice      "no device 'mast-7'"                                    (create it first)
    ├── DeviceExists       "device 'mast-1' exists"
    ├── PreconditionFailed "the twin of 'mast-1' has another ETag"                 (read it again first)
    ├── InvalidRequest     "body and properties are 70000 bytes, at most 65536"    (a person must act)
    ├── UnknownFault       "no fault 'refuze', did you mean 'refuse'?"
    ├── QueueFull          "50 messages wait for 'mast-1'"                         (try again later)
    ├── DeviceOffline      "'mast-1' is not connected"                             (nothing was done)
    ├── MethodTimeout      "'mast-1' has not answered within 30 s"                 (it may have been done)
    └── StoreFailed        "the store failed: disk I/O error"                      (nothing was changed)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

C2dState = Literal["queued", "delivered", "expired", "dead-lettered", "rejected", "purged"]
"""queued: waiting, or sent and not yet acknowledged; the others are final. delivered: the device's PUBACK has
come; expired: its time ran out first; dead-lettered: sent ten times and never acknowledged; rejected: the
device would not have it, which MQTT cannot say, so only a fault does (reject-c2d); purged: taken out of the
queue by the back end."""

MethodState = Literal["called", "answered", "offline", "no-answer"]
"""called: the answer is waited for; the other three are final. offline: the device is not connected, not
subscribed, or went before it answered; no-answer: none in time."""

Ack = Literal["none", "positive", "negative", "full"]
"""Which feedback the sender wants, as Azure spells it."""

_DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@$']{1,128}\Z")


class HubError(Exception):
    """Anything the hub refuses, as one line for a person."""


class HubUnavailable(HubError):
    """The hub cannot run with what it was given."""


class UnknownDevice(HubError):
    """There is no such device."""


class DeviceExists(HubError):
    """There is such a device already."""


class PreconditionFailed(HubError):
    """It was changed since the ETag that was given."""


class InvalidRequest(HubError):
    """The request breaks a rule of IoT Hub, however often it is made."""


class UnknownFault(HubError):
    """The hub cannot be ill in that way."""


class QueueFull(HubError):
    """As many messages wait for the device as a hub keeps."""


class DeviceOffline(HubError):
    """The device cannot be called: it is not connected, not subscribed, or went before it answered."""


class MethodTimeout(HubError):
    """The device has been called and has not answered in time."""


class StoreFailed(HubError):
    """The disk did not do what was asked of it."""


@dataclass(frozen=True, slots=True)
class Device:
    """An identity. Keys are base64 of 16 to 64 bytes; ``generation_id`` tells two devices of one id apart.

    With a thumbprint (SHA-1 or SHA-256 of a certificate in hexadecimal) it is known by that, and not by its
    keys. ``etag``: of this state. ``status_s``: since when it is enabled or not.
    """

    device_id: str
    primary_key: str
    secondary_key: str
    enabled: bool
    generation_id: str
    created_s: float
    last_activity_s: float | None
    etag: str = "AAAAAAAAAAE="
    status_reason: str | None = None
    status_s: float = 0.0
    primary_thumbprint: str | None = None
    secondary_thumbprint: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A device's message that is not stored yet.

    ``system``: system properties by their AMQP names (``message-id``, ``content-type``, …);
    ``properties``: the sender's own.
    """

    device_id: str
    system: Mapping[str, str]
    properties: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """A stored message from a device. ``sequence`` rises over all devices and never repeats; ``number`` does
    so within ``partition``, without gaps, from 0."""

    sequence: int
    device_id: str
    enqueued_s: float
    system: Mapping[str, str]
    properties: Mapping[str, str]
    body: bytes
    partition: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class C2dMessage:
    """A message to a device. ``delivery_count``: how often sent; ``state_s``: since when it has its state.
    The last three are the sender's system properties of those names, for the device to read."""

    sequence: int
    device_id: str
    message_id: str | None
    correlation_id: str | None
    properties: Mapping[str, str]
    body: bytes
    ack: Ack
    enqueued_s: float
    expires_s: float
    delivery_count: int
    state: C2dState
    state_s: float
    user_id: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None


@dataclass(frozen=True, slots=True)
class MethodResult:
    """A device's answer to a direct method. ``payload``: JSON, or empty."""

    status: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A direct method and what became of it. ``state_s``: since when it has its state; ``result``: the answer
    if there is one. ``number`` rises over all devices and begins anew with each start of the hub."""

    number: int
    device_id: str
    name: str
    payload: bytes
    called_s: float
    state: MethodState
    state_s: float
    result: MethodResult | None


def check_device_id(device_id: str) -> str:
    """``device_id`` if Azure would take it. Raises InvalidRequest.

    Rules: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry
    """
    if not _DEVICE_ID.match(device_id):
        raise InvalidRequest(
            f"device id {device_id!r}: expected 1 to 128 of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ $ '"
        )
    return device_id
