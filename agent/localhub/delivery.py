"""Messages on their way to one connected device (C2D).

Invariant: they go out in order, counted on the disk before they are sent, at most ``_WINDOW`` of them
unacknowledged; what is unacknowledged at the end is sent again on the next connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from . import mqtt, topics
from .c2d import C2dQueue
from .faults import Faults
from .line import Line
from .notices import C2dChanged, NoticeBoard
from .records import C2dMessage

_WINDOW = 10


class Delivery:
    """Thread safety: the hub's event loop only; the disk is waited for in threads."""

    def __init__(
        self, queue: C2dQueue, board: NoticeBoard, device_id: str, line: Line, faults: Faults
    ) -> None:
        self._queue = queue
        self._board = board
        self._device_id = device_id
        self._line = line
        self._faults = faults
        self._qos: int | None = None
        self._in_flight: dict[int, int] = {}  # packet id -> sequence
        self._due = asyncio.Event()
        self._over = False

    def subscribed(self, qos: int | None) -> None:
        """The device wants its messages with this QoS, or no longer (None)."""
        self._qos = qos
        self._due.set()

    def wake(self) -> None:
        """A message was queued."""
        self._due.set()

    async def run(self) -> None:
        """Send what waits, as acknowledgements make room, until stopped. Raises OSError and StoreFailed."""
        while not self._over:
            await self._due.wait()
            self._due.clear()
            room = _WINDOW - len(self._in_flight)
            if room and self._qos is not None and not self._over:
                for message in await asyncio.to_thread(self._queue.take, self._device_id, room):
                    await self._send(message)

    async def acknowledged(self, packet_id: int) -> None:
        """The device has the message. Unknown ids are ignored. Raises StoreFailed."""
        sequence = self._in_flight.pop(packet_id, None)
        if sequence is not None:
            await self._settled(self._queue.delivered, sequence)

    def stop(self) -> None:
        """The connection is over: ``run`` returns, and is not cancelled, lest a thread of its goes on."""
        self._over = True
        self._due.set()

    async def release(self) -> None:
        """After ``run``: what is in flight is to be sent again. Raises StoreFailed."""
        await asyncio.to_thread(self._queue.release, self._device_id)

    async def _send(self, message: C2dMessage) -> None:
        self._board.post(C2dChanged(message))
        if self._faults.take("reject-c2d", self._device_id):
            await self._settled(self._queue.rejected, message.sequence)
            return
        if not self._qos:
            self._line.send("c2d", mqtt.publish(topics.c2d(message), message.body))
            await self._line.drain()
            await self._settled(self._queue.delivered, message.sequence)
            return
        packet_id = message.sequence % 65_535 + 1  # the same at every delivery, also after a restart
        while packet_id in self._in_flight:
            packet_id = packet_id % 65_535 + 1
        self._in_flight[packet_id] = message.sequence
        duplicate = message.delivery_count > 1
        self._line.send("c2d", mqtt.publish(topics.c2d(message), message.body, packet_id, duplicate))
        await self._line.drain()

    async def _settled(self, settle: Callable[[int], C2dMessage | None], sequence: int) -> None:
        message = await asyncio.to_thread(settle, sequence)
        if message is not None:
            self._board.post(C2dChanged(message))
        self._due.set()
