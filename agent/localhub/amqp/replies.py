"""Requests and replies over a pair of links at one address, as ``$cbs`` and ``$management`` have it.

Invariants:
1. The reply to a request comes after its disposition, and in the order of requests.
2. A peer that does not read its replies has at most ``_MAX_UNREAD`` of them here, on each of ``_MAX_BOXES``
   links.
3. Of several pairs of links with the same names, which clients have in the sessions of one connection, each
   gets its own replies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from .node import ACCEPTED, Attach, Delivery, Int, LinkError, Message, Outcome, Peer

_MAX_UNREAD = 16
_MAX_BOXES = 64

Answer = Callable[[Message, Peer], Awaitable[Message]]
"""What a node replies to a request (see ``reply``)."""


def reply(status: int, description: str, value: Any = None) -> Message:
    """A reply without its correlation id. The description has two names: Event Hubs', and the one by which
    azure-eventhub looks for it."""
    properties = {
        "status-code": Int(status),
        "status-description": description,
        "statusDescription": description,
    }
    return Message(value=value, application_properties=properties)


class ReplyBox:
    """A Spring: the replies for one receiving link."""

    def __init__(self, address: str | None, links: _Links) -> None:
        """``address``: what the client calls its end."""
        self.address = address
        self._links = links
        self._unread: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._given = 0

    @property
    def is_full(self) -> bool:
        """Whether it takes no more."""
        return len(self._unread) >= _MAX_UNREAD

    def put(self, message: Message) -> None:
        """Add a reply."""
        self._unread.append(message)
        self._arrived.set()

    async def next(self) -> Delivery:
        """Spring: the next reply. It is settled: no peer could do anything about it."""
        while not self._unread:
            self._arrived.clear()
            await self._arrived.wait()
        self._given += 1
        return Delivery(self._given, self._unread.popleft(), settled=True)

    async def settled(self, key: int, outcome: Outcome) -> None:
        """Spring: nothing to do."""

    def close(self) -> None:
        """Spring: forget what is unread."""
        self._links.boxes.remove(self)
        for sender in self._links.sinks:
            if sender.box is self:
                sender.box = None
        self._unread.clear()


class RequestSink:
    """A Sink: the requests of one sending link. ``box``: of the link that was attached together with it."""

    def __init__(self, answer: Answer, peer: Peer, links: _Links) -> None:
        self.box: ReplyBox | None = None
        self._answer = answer
        self._peer = peer
        self._links = links
        self._ready: dict[int, tuple[ReplyBox | None, Message]] = {}  # by id() of the request

    async def take(self, message: Message) -> Outcome:
        """Sink: do what is asked, and have the reply ready."""
        box = self._box_for(message.properties.get("reply-to"))
        if box is not None and box.is_full:
            reason = f"{_MAX_UNREAD} replies wait to be read"
            return Outcome("rejected", "amqp:resource-limit-exceeded", reason)
        answer = await self._answer(message, self._peer)
        answer.properties["correlation-id"] = message.properties.get("message-id")
        self._ready[id(message)] = (box, answer)
        return ACCEPTED

    async def after(self, message: Message) -> None:
        """Sink: reply, if anybody listens."""
        box, answer = self._ready.pop(id(message), (None, None))
        if box is not None and answer is not None:
            box.put(answer)

    def close(self) -> None:
        """Sink: no more requests."""
        self._links.sinks.remove(self)

    def _box_for(self, reply_to: Any) -> ReplyBox | None:
        """The link that the request names, or else the one attached together with this, or else the last."""
        named = [box for box in self._links.boxes if reply_to is not None and box.address == reply_to]
        if self.box is not None and (self.box in named or not named):
            return self.box
        return next(reversed(named or self._links.boxes), None)


@dataclass(slots=True)
class _Links:
    """Those of one connection at one node."""

    boxes: list[ReplyBox] = field(default_factory=list)
    sinks: list[RequestSink] = field(default_factory=list)


def sink(node: str, answer: Answer, peer: Peer) -> RequestSink:
    """Where a client sends its requests to ``node``."""
    links = _links(node, peer)
    made = RequestSink(answer, peer, links)
    paired = [other.box for other in links.sinks]
    made.box = next((box for box in reversed(links.boxes) if box not in paired), None)
    links.sinks.append(made)
    return made


def spring(node: str, attach: Attach, peer: Peer) -> ReplyBox:
    """Where a client reads the replies of ``node``. Raises LinkError for too many."""
    links = _links(node, peer)
    if len(links.boxes) >= _MAX_BOXES:
        raise LinkError("amqp:resource-limit-exceeded", f"{_MAX_BOXES} links read from {node!r} already")
    made = ReplyBox(attach.reply_address, links)
    links.boxes.append(made)
    alone = next((other for other in reversed(links.sinks) if other.box is None), None)
    if alone is not None:
        alone.box = made
    return made


def _links(node: str, peer: Peer) -> _Links:
    links: _Links = peer.state.setdefault(f"links of {node}", _Links())
    return links
