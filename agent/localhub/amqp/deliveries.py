"""What a session sends to the client: its window, and what the client has not settled yet.

Invariants:
1. Nothing is sent that the client's incoming window does not let through (part 2, section 2.5.6).
2. A delivery that is to be settled is remembered until it is, or until its link is over; never more than
   ``MAX_UNSETTLED``, and one a link.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

from .link import MODULUS, Link, SessionError
from .outgoing import Outgoing
from .performatives import Disposition, Flow, Transfer
from .room import MAX_UNSETTLED

_ROOM_FOR_A_TRANSFER = 128  # its frame without the payload


class Deliveries:
    """Thread safety: the hub's event loop only."""

    def __init__(
        self, send: Callable[[Transfer, bytes], Awaitable[None]], window: int, max_frame_bytes: int
    ) -> None:
        """``window``: the client's at first; ``max_frame_bytes``: what it takes."""
        self.next_outgoing_id = 0
        self._send = send
        self._window = window
        self._window_changed = asyncio.Event()
        self._payload_bytes = max_frame_bytes - _ROOM_FOR_A_TRANSFER
        self._next_delivery_id = 0
        self._unsettled: dict[int, tuple[Outgoing, int]] = {}

    @property
    def is_open(self) -> bool:
        """Whether something may be delivered now."""
        return self._window > 0 and len(self._unsettled) < MAX_UNSETTLED

    def flow(self, flow: Flow) -> None:
        """The client says what it has seen, and how much more it takes."""
        on_the_way = (self.next_outgoing_id - (flow.next_incoming_id or 0)) % MODULUS
        self._window = max(0, flow.incoming_window - on_the_way)
        self._window_changed.set()

    async def deliver(self, link: Link, payload: bytes, key: int | None) -> None:
        """See Carrier. Raises OSError."""
        delivery_id: int | None = None
        for start in range(0, len(payload), self._payload_bytes):
            while self._window <= 0:
                self._window_changed.clear()
                await self._window_changed.wait()
            if delivery_id is None:
                delivery_id = self._begin(link, key)
            self._window -= 1
            self.next_outgoing_id = (self.next_outgoing_id + 1) % MODULUS
            end = start + self._payload_bytes
            transfer = Transfer(
                handle=link.handle,
                delivery_id=delivery_id,
                delivery_tag=struct.pack(">I", delivery_id),
                message_format=0,
                settled=key is None,
                more=end < len(payload),
            )
            await self._send(transfer, payload[start:end])

    def taken(self, disposition: Disposition) -> list[tuple[Outgoing, int]]:
        """The links and keys of those that it is about; they are forgotten. Raises SessionError."""
        first = disposition.first
        span = 0 if disposition.last is None else (disposition.last - first) % MODULUS
        if span >= MODULUS // 2:
            raise SessionError("amqp:invalid-field", f"a disposition from {first} to {disposition.last}")
        ids = [delivery_id for delivery_id in self._unsettled if (delivery_id - first) % MODULUS <= span]
        return [self._unsettled.pop(delivery_id) for delivery_id in ids]

    def forget(self, link: Link) -> None:
        """The link is over."""
        for delivery_id in [i for i, (owner, _) in self._unsettled.items() if owner is link]:
            del self._unsettled[delivery_id]

    def _begin(self, link: Link, key: int | None) -> int:
        delivery_id = self._next_delivery_id
        self._next_delivery_id = (delivery_id + 1) % MODULUS
        if key is not None and isinstance(link, Outgoing):
            self._unsettled[delivery_id] = (link, key)
        return delivery_id
