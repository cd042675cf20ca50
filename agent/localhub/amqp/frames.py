"""Frames: their bytes both ways (OASIS AMQP 1.0 part 2, section 2.3, and part 5, section 5.3).

http://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html#section-framing
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .composite import Composite, composed, composite_bytes
from .wire import DecodeError, Decoder

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
AMQP, SASL = 0, 1  # types of frames

HEAD_BYTES = 8
EMPTY_FRAME = struct.pack(">IBBH", HEAD_BYTES, 2, AMQP, 0)
"""Says that there is somebody."""

_HEAD = struct.Struct(">IBBH")


class AmqpError(Exception):
    """The connection is over, for a reason that the peer is told."""

    def __init__(self, condition: str, description: str) -> None:
        """``condition``: a symbol such as ``amqp:decode-error``."""
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


@dataclass(frozen=True, slots=True)
class Frame:
    """``payload``: what follows the performative, a part of a message. An empty frame has no performative."""

    channel: int
    performative: Composite | None
    payload: bytes = b""


def body_length(head: bytes, kind: int, max_bytes: int) -> int:
    """How many bytes follow the eight of a frame's head. Raises AmqpError."""
    size, offset, frame_kind, _ = _HEAD.unpack(head)
    if frame_kind != kind or offset < 2 or not offset * 4 <= size <= max_bytes:
        raise AmqpError(
            "amqp:connection:framing-error",
            f"a frame of {size} bytes (at most {max_bytes}), type {frame_kind}, its body at {offset * 4}",
        )
    return int(size) - HEAD_BYTES


def frame_of(head: bytes, body: bytes) -> Frame:
    """Raises AmqpError."""
    _, offset, _, channel = _HEAD.unpack(head)
    content = body[offset * 4 - HEAD_BYTES :]
    if not content:
        return Frame(channel, None)
    decoder = Decoder(content)
    try:
        performative = composed(decoder.value())
    except DecodeError as error:
        raise AmqpError("amqp:decode-error", str(error)) from None
    if not isinstance(performative, Composite):
        raise AmqpError("amqp:decode-error", "a frame without a performative")
    return Frame(channel, performative, decoder.rest())


def frame_bytes(
    performative: Composite, channel: int = 0, payload: bytes = b"", *, kind: int = AMQP
) -> bytes:
    """Raises EncodeError."""
    body = composite_bytes(performative) + payload
    return _HEAD.pack(HEAD_BYTES + len(body), 2, kind, channel) + body
