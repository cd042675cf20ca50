"""What an address of the hub is to a connection: something that takes messages, or something that gives them.

A connection (connection.py) knows frames, links and credit; an address knows what its messages mean. Both
know this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


class Symbol(str):
    """AMQP's symbol: ASCII."""

    __slots__ = ()


class Timestamp(int):
    """AMQP's timestamp: milliseconds since 1970, UTC."""

    __slots__ = ()


class Int(int):
    """AMQP's int, of 32 bits; a plain int is encoded as a long, of 64."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor: a symbol, or a number."""

    descriptor: str | int
    value: Any


@dataclass(slots=True)
class Message:
    """A message without its transport. ``body`` is its data sections, or ``value`` its AMQP value (in which a
    tuple of strings or symbols is an array).

    ``properties``: the standard ones by their AMQP names (``message-id``, ``to``, ``reply-to``,
    ``correlation-id``, ``content-type``, ``content-encoding``, ``absolute-expiry-time`` (Timestamp),
    ``subject`` …), absent where there is none.
    """

    body: bytes = b""
    value: Any = None
    properties: dict[str, Any] = field(default_factory=dict)
    application_properties: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery; ``condition`` and ``description`` of a rejected one."""

    state: Literal["accepted", "rejected", "released", "modified"]
    condition: str | None = None
    description: str | None = None


ACCEPTED = Outcome("accepted")
RELEASED = Outcome("released")


class LinkError(Exception):
    """The link is not to be, or not any longer: it is detached with this error."""

    def __init__(self, condition: str, description: str, info: Mapping[str, Any] | None = None) -> None:
        """``condition``: a symbol such as ``amqp:not-found``."""
        super().__init__(description)
        self.condition = condition
        self.description = description
        self.info = dict(info or {})


class Peer(Protocol):
    """Who is at the other end of a connection. Thread safety: the hub's event loop only."""

    policy: str | None
    """The policy that it has proved to have, by SASL PLAIN or at ``$cbs``; None before."""

    policy_until_s: float
    """Unix seconds at which that proof ends: links that need it are detached then
    (``amqp:unauthorized-access``), and ``policy`` is None again."""

    policy_path: str
    """For what that proof is: an address at or below that path; "" is all of them."""

    state: dict[str, Any]
    """For addresses that have something to remember of a connection, such as where replies go."""


@dataclass(frozen=True, slots=True)
class Attach:
    """A link that a client wants: ``address`` is the hub's end of it, as the client has it (there are those
    that send ``amqps://host/path``), ``reply_address`` its own (a target that it makes up to be answered at).
    ``filters``: of its source, by their names, described values included."""

    address: str
    reply_address: str | None
    filters: Mapping[str, Any]
    properties: Mapping[str, Any]


class Sink(Protocol):
    """Takes messages from one link, one after the other. Nothing else that the client sends is read
    meanwhile, so neither ``take`` nor ``after`` may wait for the client."""

    async def take(self, message: Message) -> Outcome:
        """What becomes of it. Raises LinkError, which ends the link."""
        ...

    async def after(self, message: Message) -> None:
        """Called when the client has been told the outcome, whatever it is: the time to reply."""
        ...

    def close(self) -> None:
        """The link is over."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to a client; ``key`` names it to its spring. A ``settled`` one has no outcome."""

    key: int
    message: Message
    settled: bool = False


class Spring(Protocol):
    """Gives messages to one link."""

    async def next(self) -> Delivery:
        """The next message, whenever there is one; called only while the client has given credit. It may be
        cancelled while it waits, and loses nothing then. Raises LinkError, which ends the link."""
        ...

    async def settled(self, key: int, outcome: Outcome) -> None:
        """The client's verdict on a delivery. It may not wait for the client. Raises LinkError, which ends
        the link."""
        ...

    def close(self) -> None:
        """The link is over: what was given and not settled is to be given to others."""
        ...


class Addresses(Protocol):
    """The hub's addresses. Both raise LinkError for what is not there or not allowed; a redirect is one, too
    (``amqp:link:redirect``, with ``hostname``, ``network-host``, ``port``, ``address`` in its info)."""

    async def sink(self, attach: Attach, peer: Peer) -> Sink:
        """Where a client wants to send."""
        ...

    async def spring(self, attach: Attach, peer: Peer) -> Spring:
        """Where a client wants to receive from."""
        ...
