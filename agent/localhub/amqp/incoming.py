"""A link by which a client sends: puts messages together and hands them to a sink.

Invariants:
1. A message that the client leaves unsettled gets exactly one disposition, before ``Sink.after`` is called.
2. The parts of messages that are not complete are, over all links of a connection, never more than
   ``MAX_MESSAGE_BYTES``.
3. Credit is told, and not insisted on (there are clients that send without): what a client sends is taken one
   message after the other, so too much of it waits at the client.
"""

from __future__ import annotations

from .link import MODULUS, Carrier, SessionError, state_of
from .message import message_of
from .node import LinkError, Outcome, Sink
from .performatives import RECEIVER, Disposition, Flow, Transfer
from .room import MAX_MESSAGE_BYTES, MAX_UNPROVED_BYTES
from .wire import DecodeError

_CREDIT = 100


class Incoming:
    """Thread safety: the hub's event loop only."""

    def __init__(self, carrier: Carrier, handle: int, delivery_count: int, sink: Sink, guarded: bool) -> None:
        self.handle = handle
        self.guarded = guarded
        self._carrier = carrier
        self._sink = sink
        self._delivery_count = delivery_count
        self._credit = 0
        self._delivery_id: int | None = None
        self._settled = False
        self._parts: list[bytes] = []
        self._partial_bytes = 0
        self._closed = False

    async def start(self) -> None:
        """Give the client its first credit. Raises OSError."""
        self._credit = _CREDIT
        await self._tell()

    async def flow(self, flow: Flow) -> None:
        """What the client says of the link: its count is the one that holds."""
        if flow.delivery_count is not None:
            self._delivery_count = flow.delivery_count
        if flow.echo:
            await self._tell()

    def wake(self) -> None:
        """Nothing here waits for the session."""

    async def transfer(self, transfer: Transfer, payload: bytes) -> None:
        """A message or a part of one. Raises SessionError, OSError, and what the sink raises."""
        if self._delivery_id is None:
            if transfer.delivery_id is None:
                raise SessionError("amqp:invalid-field", "the first part of a delivery has no delivery id")
            if transfer.message_format:
                raise LinkError("amqp:not-implemented", f"message format {transfer.message_format}")
            self._delivery_id = transfer.delivery_id
        elif transfer.delivery_id not in (None, self._delivery_id):
            raise SessionError("amqp:not-allowed", "a delivery begins in the middle of another")
        self._settled |= bool(transfer.settled)
        if not transfer.aborted:
            self._keep(payload)
            if transfer.more:
                return
        delivery_id, settled, content = self._delivery_id, self._settled, b"".join(self._parts)
        self._forget()
        if not transfer.aborted:
            await self._take(content, None if settled else delivery_id)
        await self._count()

    def _keep(self, payload: bytes) -> None:
        room = self._carrier.room
        most = MAX_MESSAGE_BYTES if self._carrier.peer.policy is not None else MAX_UNPROVED_BYTES
        if self._partial_bytes + len(payload) > most:
            raise LinkError("amqp:link:message-size-exceeded", f"a message of more than {most} bytes")
        if room.partial_bytes + len(payload) > MAX_MESSAGE_BYTES:
            raise LinkError("amqp:resource-limit-exceeded", "too much of unfinished messages on other links")
        room.partial_bytes += len(payload)
        self._partial_bytes += len(payload)
        if payload:
            self._parts.append(payload)

    def _forget(self) -> None:
        self._carrier.room.partial_bytes -= self._partial_bytes
        self._partial_bytes = 0
        self._parts = []
        self._delivery_id, self._settled = None, False

    async def _take(self, content: bytes, delivery_id: int | None) -> None:
        try:
            message = message_of(content)
        except DecodeError as error:
            await self._dispose(delivery_id, Outcome("rejected", "amqp:decode-error", str(error)))
            return
        await self._dispose(delivery_id, await self._sink.take(message))
        await self._sink.after(message)

    async def _dispose(self, delivery_id: int | None, outcome: Outcome) -> None:
        if delivery_id is not None:
            await self._carrier.send(
                Disposition(
                    role=RECEIVER, first=delivery_id, last=delivery_id, settled=True, state=state_of(outcome)
                )
            )

    async def _count(self) -> None:
        self._delivery_count = (self._delivery_count + 1) % MODULUS
        self._credit -= 1
        if self._credit <= _CREDIT // 2:
            self._credit = _CREDIT
            await self._tell()

    async def _tell(self) -> None:
        await self._carrier.tell(
            handle=self.handle, delivery_count=self._delivery_count, link_credit=max(0, self._credit)
        )

    async def close(self) -> None:
        """The link is over; may be called again."""
        if not self._closed:
            self._closed = True
            self._forget()
            self._sink.close()
