"""What one connection may cost the hub, over all its sessions."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FRAME_BYTES = 65_536
MAX_MESSAGE_BYTES = 262_144
"""Of a message from a client: IoT Hub takes 64 KB, in which encoding and annotations are not counted."""
MAX_UNPROVED_BYTES = 16_384
"""Of a message from somebody who has not proved a policy: a token is less than one kilobyte."""

MAX_SESSIONS = 8
MAX_LINKS = 64
MAX_UNSETTLED = 2048
"""Deliveries of a session that the client has not settled; until it does it is given no more."""


@dataclass(slots=True)
class Room:
    """What is in use."""

    links: int = 0
    partial_bytes: int = 0
