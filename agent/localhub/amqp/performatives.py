"""What frames say: the performatives and what is in them (OASIS AMQP 1.0 parts 2, 3 and 5).

http://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html
http://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html
http://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-security-v1.0-os.html

Names, order, types and defaults of all fields are the standard's. A role is False for the sender of a link,
True for its receiver.
"""
# ruff: noqa: RUF009  (``of`` makes a field, not a default)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .composite import Composite, described_by, of

SENDER, RECEIVER = False, True
SETTLED, MIXED = 1, 2  # of snd-settle-mode
FIRST = 0  # of rcv-settle-mode

_UINT_MAX = 0xFFFF_FFFF


@described_by(0x10, "amqp:open:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Open(Composite):
    container_id: str = of("string")
    hostname: str | None = of("string", None)
    max_frame_size: int = of("uint", _UINT_MAX)
    channel_max: int = of("ushort", 0xFFFF)
    idle_time_out: int | None = of("uint", None)
    outgoing_locales: tuple[str, ...] | None = of("symbols", None)
    incoming_locales: tuple[str, ...] | None = of("symbols", None)
    offered_capabilities: tuple[str, ...] | None = of("symbols", None)
    desired_capabilities: tuple[str, ...] | None = of("symbols", None)
    properties: dict[str, Any] | None = of("map", None)


@described_by(0x11, "amqp:begin:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Begin(Composite):
    remote_channel: int | None = of("ushort", None)
    next_outgoing_id: int = of("uint")
    incoming_window: int = of("uint")
    outgoing_window: int = of("uint")
    handle_max: int = of("uint", _UINT_MAX)
    offered_capabilities: tuple[str, ...] | None = of("symbols", None)
    desired_capabilities: tuple[str, ...] | None = of("symbols", None)
    properties: dict[str, Any] | None = of("map", None)


@described_by(0x12, "amqp:attach:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Attach(Composite):
    name: str = of("string")
    handle: int = of("uint")
    role: bool = of("boolean")
    snd_settle_mode: int = of("ubyte", MIXED)
    rcv_settle_mode: int = of("ubyte", FIRST)
    source: Any = of("terminus", None)
    target: Any = of("terminus", None)
    unsettled: dict[Any, Any] | None = of("map", None)
    incomplete_unsettled: bool = of("boolean", False)
    initial_delivery_count: int | None = of("uint", None)
    max_message_size: int | None = of("ulong", None)
    offered_capabilities: tuple[str, ...] | None = of("symbols", None)
    desired_capabilities: tuple[str, ...] | None = of("symbols", None)
    properties: dict[str, Any] | None = of("map", None)


@described_by(0x13, "amqp:flow:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Composite):
    next_incoming_id: int | None = of("uint", None)
    incoming_window: int = of("uint")
    next_outgoing_id: int = of("uint")
    outgoing_window: int = of("uint")
    handle: int | None = of("uint", None)
    delivery_count: int | None = of("uint", None)
    link_credit: int | None = of("uint", None)
    available: int | None = of("uint", None)
    drain: bool = of("boolean", False)
    echo: bool = of("boolean", False)
    properties: dict[str, Any] | None = of("map", None)


@described_by(0x14, "amqp:transfer:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Composite):
    handle: int = of("uint")
    delivery_id: int | None = of("uint", None)
    delivery_tag: bytes | None = of("binary", None)
    message_format: int | None = of("uint", None)
    settled: bool | None = of("boolean", None)
    more: bool = of("boolean", False)
    rcv_settle_mode: int | None = of("ubyte", None)
    state: Any = of("composite", None)
    resume: bool = of("boolean", False)
    aborted: bool = of("boolean", False)
    batchable: bool = of("boolean", False)


@described_by(0x15, "amqp:disposition:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition(Composite):
    role: bool = of("boolean")
    first: int = of("uint")
    last: int | None = of("uint", None)
    settled: bool = of("boolean", False)
    state: Any = of("composite", None)
    batchable: bool = of("boolean", False)


@described_by(0x16, "amqp:detach:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Detach(Composite):
    handle: int = of("uint")
    closed: bool = of("boolean", False)
    error: Any = of("composite", None)


@described_by(0x17, "amqp:end:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class End(Composite):
    error: Any = of("composite", None)


@described_by(0x18, "amqp:close:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Close(Composite):
    error: Any = of("composite", None)


@described_by(0x1D, "amqp:error:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Error(Composite):
    condition: str = of("symbol")
    description: str | None = of("string", None)
    info: dict[str, Any] | None = of("map", None)


@described_by(0x28, "amqp:source:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Composite):
    address: Any = of("any", None)
    durable: int = of("uint", 0)
    expiry_policy: str = of("symbol", "session-end")
    timeout: int = of("uint", 0)
    dynamic: bool = of("boolean", False)
    dynamic_node_properties: dict[str, Any] | None = of("map", None)
    distribution_mode: str | None = of("symbol", None)
    filter: dict[str, Any] | None = of("map", None)
    default_outcome: Any = of("composite", None)
    outcomes: tuple[str, ...] | None = of("symbols", None)
    capabilities: tuple[str, ...] | None = of("symbols", None)


@described_by(0x29, "amqp:target:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Composite):
    address: Any = of("any", None)
    durable: int = of("uint", 0)
    expiry_policy: str = of("symbol", "session-end")
    timeout: int = of("uint", 0)
    dynamic: bool = of("boolean", False)
    dynamic_node_properties: dict[str, Any] | None = of("map", None)
    capabilities: tuple[str, ...] | None = of("symbols", None)


@described_by(0x23, "amqp:received:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Composite):
    section_number: int = of("uint")
    section_offset: int = of("ulong")


@described_by(0x24, "amqp:accepted:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Composite):
    pass


@described_by(0x25, "amqp:rejected:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Composite):
    error: Any = of("composite", None)


@described_by(0x26, "amqp:released:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Released(Composite):
    pass


@described_by(0x27, "amqp:modified:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class Modified(Composite):
    delivery_failed: bool = of("boolean", False)
    undeliverable_here: bool = of("boolean", False)
    message_annotations: dict[str, Any] | None = of("map", None)


@described_by(0x40, "amqp:sasl-mechanisms:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class SaslMechanisms(Composite):
    sasl_server_mechanisms: tuple[str, ...] = of("symbols")


@described_by(0x41, "amqp:sasl-init:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class SaslInit(Composite):
    mechanism: str = of("symbol")
    initial_response: bytes | None = of("binary", None)
    hostname: str | None = of("string", None)


@described_by(0x44, "amqp:sasl-outcome:list")
@dataclass(frozen=True, slots=True, kw_only=True)
class SaslOutcome(Composite):
    code: int = of("ubyte")
    additional_data: bytes | None = of("binary", None)
