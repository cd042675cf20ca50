"""The hub as the agent sees it. agent/cloud/azure.py is the one that talks to a real one.

HubError
├── HubUnavailable   no answer, connection lost, name not found   (try again later)
├── HubRefused       wrong key, unknown or disabled device        (try again later, tell a person)
└── HubUntrusted     the certificate is not one we trust          (try again later, tell a person)
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from ..reading import Message

WINDOW = 20
"""Messages on the wire without a confirmation, at most: paho's own limit."""


class HubError(Exception):
    """The hub could not be reached or did not take what it was given. The text says what to check."""


class HubUnavailable(HubError):
    """Nobody answers, or the connection was lost."""


class HubRefused(HubError):
    """The hub answered, and does not let this device in."""


class HubUntrusted(HubError):
    """Whoever answers cannot show a certificate that we trust."""


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


class HubClient(Protocol):
    """One connection, used once: a client that went down is closed and never connected again.

    No method blocks; what takes time is a future. Futures fail with HubError.
    Thread safety: any thread.
    """

    def connect(self) -> Future[None]:
        """Connect and subscribe to cloud-to-device messages."""
        ...

    @property
    def connected(self) -> bool: ...

    def send(self, message: Message) -> Future[None]:
        """Done when the hub has confirmed that it stored ``message`` (its PUBACK).

        More than WINDOW at once wait their turn in the client.
        """
        ...

    def close(self) -> Future[None]:
        """Let go of the connection; done when nothing is left of it. Sends in flight fail. Never fails."""
        ...
