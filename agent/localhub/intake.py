"""What one device sends, on its way to the disk.

Invariants:
1. A PUBACK goes out only after its message is on the disk, or, where there is nothing to store of it, was
   handled; and in the order in which messages came.
2. What waits here is bounded: who sends faster than the disk takes it is not read meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from . import mqtt, topics
from .auth import Admission
from .limits import Limits
from .line import Line
from .records import Arrival
from .storing import Storing, Ticket

_MAX_MESSAGE_BYTES = 262_144
MAX_PACKET_BYTES = _MAX_MESSAGE_BYTES + 65_535 + 4
"""Of a message with its topic and packet id."""

_MAX_UNSTORED_BYTES = 1_048_576
_TICKET_BYTES = 500  # what a message takes here beside its content


class Intake:
    """A Sender of storing.py. Thread safety: the hub's event loop only."""

    def __init__(
        self, admission: Admission, storing: Storing, limits: Limits, line: Line, end: Callable[[str], None]
    ) -> None:
        """``end``: ends the connection for the reason given."""
        self._admission = admission
        self._device_id = admission.device.device_id
        self._storing = storing
        self._limits = limits
        self._line = line
        self._end = end
        self._unstored_bytes = 0
        self._storing_went_on = asyncio.Event()

    async def store(self, packet: mqtt.Publish) -> None:
        """Take telemetry. Raises ProtocolError."""
        bag = topics.telemetry(self._device_id, packet.topic)
        if bag is None:
            raise mqtt.ProtocolError(f"PUBLISH to {packet.topic[:200]!r}, which is not for this device")
        system, properties = bag
        size_bytes = len(packet.body) + sum(
            len(text.encode()) for text in (*system.values(), *properties, *properties.values())
        )
        if size_bytes > _MAX_MESSAGE_BYTES:
            raise mqtt.ProtocolError(f"a message of {size_bytes} bytes, at most {_MAX_MESSAGE_BYTES}")
        if packet.retain:
            properties["mqtt-retain"] = "true"
        system |= self._admission.system
        await self._room()
        if not self._limits.within_quota(self._device_id, size_bytes):
            self._end("fault: the quota is used up")
            return
        wait_s = self._limits.wait_s(self._device_id)
        if wait_s is None:
            self._end("fault: throttled, and the queue is full")
            return
        due = asyncio.get_running_loop().time() + wait_s if wait_s else 0.0
        arrival = Arrival(self._device_id, system, properties, packet.body)
        self._put(arrival, Ticket(packet.packet_id, size_bytes + _TICKET_BYTES, due))

    async def confirm(self, packet: mqtt.Publish) -> None:
        """There is nothing to store of it, and its PUBACK waits for those before it."""
        await self._room()
        self._put(None, Ticket(packet.packet_id, _TICKET_BYTES))

    def stored(self, tickets: list[Ticket]) -> None:
        """Storing.Sender: confirm."""
        self._went_on(tickets)
        self._line.confirm([(mqtt.puback(t.packet_id), t.due) for t in tickets if t.packet_id is not None])

    def not_stored(self, tickets: list[Ticket], reason: str) -> None:
        """Storing.Sender: an unconfirmed message must be sent again, and only a new connection does that."""
        self._went_on(tickets)
        self._end(reason)

    def _went_on(self, tickets: list[Ticket]) -> None:
        self._unstored_bytes -= sum(t.size_bytes for t in tickets)
        self._storing_went_on.set()

    async def _room(self) -> None:
        while self._unstored_bytes > _MAX_UNSTORED_BYTES:
            self._storing_went_on.clear()
            await self._storing_went_on.wait()

    def _put(self, arrival: Arrival | None, ticket: Ticket) -> None:
        self._unstored_bytes += ticket.size_bytes
        self._storing.put(arrival, self, ticket)
