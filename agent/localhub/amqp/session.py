"""A session: its links, and the windows that bound what is on the way (OASIS AMQP 1.0 part 2, section 2.5).

Invariants:
1. Every sink and every spring is closed exactly once, whoever ends its link, its session or the connection.
2. A link that this end has ended is answered to for nothing until the client has ended it, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from .attaching import open_link
from .composite import Composite
from .deliveries import Deliveries
from .incoming import Incoming
from .line import Line
from .link import MODULUS, Link, SessionError, error_of, link_error, outcome_of
from .node import RELEASED, Addresses, LinkError, Peer
from .performatives import (
    FIRST,
    MIXED,
    RECEIVER,
    SENDER,
    SETTLED,
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Transfer,
)
from .room import MAX_MESSAGE_BYTES, Room

HANDLE_MAX = 255
WINDOW = 2048


class Session:
    """Thread safety: the hub's event loop only."""

    def __init__(
        self,
        line: Line,
        channel: int,
        begin: Begin,
        *,
        addresses: Addresses,
        peer: Peer,
        room: Room,
        max_frame: int,
    ) -> None:
        """``max_frame``: what the client takes, in bytes."""
        self.room = room
        self.peer = peer
        self._line = line
        self._channel = channel
        self._addresses = addresses
        self._deliveries = Deliveries(self.send, begin.incoming_window, max_frame)
        self._links: dict[int, Link] = {}
        self._detached: set[int] = set()
        self._ending: set[Link] = set()
        self._next_incoming_id = begin.next_outgoing_id
        self._incoming_window = WINDOW

    async def start(self) -> None:
        """Answer the client's begin. Raises OSError."""
        await self.send(
            Begin(
                remote_channel=self._channel,
                next_outgoing_id=0,
                incoming_window=WINDOW,
                outgoing_window=WINDOW,
                handle_max=HANDLE_MAX,
            )
        )

    async def handle(self, performative: Composite, payload: bytes) -> None:
        """A frame of the session. Raises SessionError, OSError."""
        match performative:
            case Attach():
                await self._attach(performative)
            case Flow():
                await self._flow(performative)
            case Transfer():
                await self._transfer(performative, payload)
            case Disposition():
                await self._disposition(performative)
            case Detach():
                await self._detach(performative)
            case _:
                raise SessionError("amqp:not-allowed", f"{performative.NAME} in a session")

    async def close(self) -> None:
        """The session is over; may be called again."""
        self.room.links -= len(self._links)
        links, self._links = [*self._links.values(), *self._ending], {}
        for result in await asyncio.gather(*(link.close() for link in links), return_exceptions=True):
            if isinstance(result, Exception):
                link_error(result)

    async def detach_guarded(self, error: LinkError) -> None:
        """End the links that need a policy. Raises OSError."""
        for link in [link for link in self._links.values() if link.guarded]:
            await self.detach(link, error)

    async def _attach(self, attach: Attach) -> None:
        handle = attach.handle
        if handle > HANDLE_MAX or handle in self._links:
            raise SessionError("amqp:session:handle-in-use", f"handle {handle}; at most {HANDLE_MAX}")
        self._detached.discard(handle)
        answer: dict[str, Any] = {
            "name": attach.name,
            "handle": handle,
            "role": not attach.role,
            "snd_settle_mode": SETTLED if attach.snd_settle_mode == SETTLED else MIXED,
            "rcv_settle_mode": attach.rcv_settle_mode if attach.role is RECEIVER else FIRST,
            "initial_delivery_count": 0 if attach.role is RECEIVER else None,
            "max_message_size": MAX_MESSAGE_BYTES,
        }
        try:
            link = await open_link(attach, self, self._addresses)
        except Exception as error:  # noqa: BLE001  (an address that fails costs a link, and not the hub)
            reason = link_error(error)
            theirs = {"target": attach.target} if attach.role is RECEIVER else {"source": attach.source}
            self._detached.add(handle)
            await self.send(Attach(**answer, **theirs))
            await self.send(Detach(handle=handle, closed=True, error=error_of(reason)))
            return
        self._links[handle] = link
        self.room.links += 1
        await self.send(Attach(**answer, source=attach.source, target=attach.target))
        await link.start()

    async def _flow(self, flow: Flow) -> None:
        self._deliveries.flow(flow)
        self._wake()
        if flow.handle is None:
            if flow.echo:
                await self.tell()
            return
        link_ = self._attached(flow.handle)
        if link_ is not None:
            await link_.flow(flow)

    async def _transfer(self, transfer: Transfer, payload: bytes) -> None:
        self._next_incoming_id = (self._next_incoming_id + 1) % MODULUS
        self._incoming_window -= 1
        if self._incoming_window <= WINDOW // 2:
            self._incoming_window = WINDOW
            await self.tell()
        link = self._attached(transfer.handle)
        if link is None:
            return
        if not isinstance(link, Incoming):
            raise SessionError("amqp:not-allowed", "a transfer on a link to the client")
        try:
            await link.transfer(transfer, payload)
        except SessionError:
            raise
        except Exception as error:  # noqa: BLE001  (an address that fails costs a link, and not the hub)
            await self.detach(link, link_error(error))

    async def _disposition(self, disposition: Disposition) -> None:
        """What the client made of some deliveries. Those that it has sent are settled already."""
        if disposition.role is SENDER:
            return
        outcome = outcome_of(disposition.state) or (RELEASED if disposition.settled else None)
        if outcome is None:
            return
        for link, key in self._deliveries.taken(disposition):
            try:
                await link.settled(key, outcome)
            except Exception as error:  # noqa: BLE001  (an address that fails costs a link, and not the hub)
                await self.detach(link, link_error(error))
        if not disposition.settled:
            await self.send(dataclasses.replace(disposition, role=SENDER, settled=True))
        self._wake()

    def _wake(self) -> None:
        for link in self._links.values():
            link.wake()

    async def _detach(self, detach: Detach) -> None:
        link = self._attached(detach.handle)
        if link is None:
            self._detached.discard(detach.handle)
            return
        self._forget(link)
        await self._end(link)
        await self.send(Detach(handle=detach.handle, closed=detach.closed))

    async def _end(self, link: Link) -> None:
        """Close a link that is not among the others any more; ``close`` does, where this is cut short."""
        self._ending.add(link)
        await link.close()
        self._ending.discard(link)

    def _attached(self, handle: int) -> Link | None:
        """The link; None for one that this end has ended already. Raises SessionError."""
        if handle in self._detached:
            return None
        if handle not in self._links:
            raise SessionError("amqp:session:unattached-handle", f"handle {handle}")
        return self._links[handle]

    def _forget(self, link: Link) -> None:
        del self._links[link.handle]
        self.room.links -= 1
        self._deliveries.forget(link)

    @property
    def is_open(self) -> bool:
        """Whether something may be delivered to the client now."""
        return self._deliveries.is_open

    async def send(self, performative: Composite, payload: bytes = b"") -> None:
        """Send a frame. Raises OSError."""
        await self._line.send(performative, self._channel, payload)

    async def tell(self, **fields: Any) -> None:
        """Tell the state of the session, and that of a link with the fields given. Raises OSError."""
        await self.send(
            Flow(
                next_incoming_id=self._next_incoming_id,
                incoming_window=self._incoming_window,
                next_outgoing_id=self._deliveries.next_outgoing_id,
                outgoing_window=WINDOW,
                **fields,
            )
        )

    async def deliver(self, link: Link, payload: bytes, key: int | None) -> None:
        """Send a message, in as many frames as it needs and when the client lets them come. With a ``key``
        it is unsettled, and the link's ``settled`` is called when it is. Raises OSError."""
        await self._deliveries.deliver(link, payload, key)

    async def detach(self, link: Link, error: LinkError) -> None:
        """End the link for that reason. Raises OSError."""
        if self._links.get(link.handle) is not link:
            return
        self._forget(link)
        self._detached.add(link.handle)
        self._ending.add(link)
        await self.send(Detach(handle=link.handle, closed=True, error=error_of(error)))
        await self._end(link)
