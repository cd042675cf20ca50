"""The hub as the agent sees it. agent/cloud/azure.py is the one that talks to a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from ..reading import Message

WINDOW = 20
"""Messages on the wire without a confirmation, at most: paho's own limit."""

MAX_MESSAGE_BYTES = 262_144
"""Of one device-to-cloud message, its properties included. IoT Hub answers a longer one by disconnecting.
https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling"""


NO_REASON = "connection lost: the hub or the network ended it and gave no reason"
"""All that MQTT 3.1.1 lets a device know of most disconnects."""


class Failure(Enum):
    """What went wrong, as far as the wire shows it."""

    NAME = "the host name does not resolve"
    ROUTE = "no way to the host"
    CLOSED = "the host is there, and nobody listens"
    SILENT = "no answer in time"
    UNTRUSTED = "a certificate that we do not trust"
    CERTIFICATE_TIME = "a certificate that is not yet or no longer valid"
    UNAVAILABLE = "the hub says that it is unavailable"
    REFUSED = "the hub does not let this device in"
    UNSUBSCRIBED = "the hub does not let this device receive"
    LOST = "the connection went"
    DEAD = "the connection stands, and nothing comes back"
    UNCONFIRMED = "a confirmation stayed away"


class HubError(Exception):
    """What the hub or the way to it did not do. The text says what to check, in one line."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class CloudMessage:
    """A cloud-to-device message as it came: nothing in it has been checked.

    ``received_boot_s``: CLOCK_BOOTTIME seconds. ``expires``: the hub's ``$.exp`` as text, or None.
    """

    body: bytes
    received_boot_s: float
    message_id: str | None = None
    correlation_id: str | None = None
    expires: str | None = None
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A direct method as it was called: nothing in it has been checked.

    ``payload``: what should be JSON. ``received_boot_s``: CLOCK_BOOTTIME seconds. ``answer``: takes the
    status (an HTTP-like number) and the JSON to answer with, once; from any thread, never blocks, never
    raises, and what comes too late goes nowhere.
    """

    name: str
    payload: bytes
    received_boot_s: float
    answer: Callable[[int, bytes], None]


class HubClient(Protocol):
    """One connection, used once: a client that went down is closed and never connected again.

    No method blocks; what takes time is a future. Futures fail with HubError.
    Thread safety: any thread.
    """

    def connect(self) -> Future[None]:
        """Connect and subscribe to cloud-to-device messages and direct methods."""
        ...

    @property
    def connected(self) -> bool: ...

    @property
    def lost(self) -> HubError | None:
        """Why the connection went, as soon as it is known."""
        ...

    def send(self, message: Message) -> Future[None]:
        """Done when the hub has confirmed that it stored ``message`` (its PUBACK).

        More than WINDOW at once wait their turn in the client.
        """
        ...

    def report(self, properties: Mapping[str, Any]) -> Future[None]:
        """Merge ``properties`` into the twin's reported ones. Done when the hub has taken the message (its
        PUBACK); what it makes of a twin that breaks its rules, it does not tell us."""
        ...

    def close(self) -> Future[None]:
        """Let go of the connection; done when nothing is left of it. Never fails.

        Sends in flight fail. What has come is handed over before; to a method it is too late to answer.
        """
        ...
