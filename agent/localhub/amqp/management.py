"""``$management`` of the event hub: how many partitions there are, and what they hold.

https://learn.microsoft.com/azure/event-hubs/event-hubs-amqp-protocol-guide
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from ..auth import BadCredentials, NotAuthorized
from ..database import PARTITIONS
from ..events import EventLog
from ..records import StoreFailed
from ..service_auth import LacksRight, Right, ServiceAuthenticator, demand, is_below
from . import replies
from .event_node import ENTITY, offset, timestamp
from .node import Int, Message, Peer, Timestamp

_EVENT_HUB = "com.microsoft:eventhub"
_PARTITION = "com.microsoft:partition"


class Management:
    """Thread safety: the hub's event loop only; the disk is waited for in threads."""

    def __init__(
        self, events: EventLog, authenticator: ServiceAuthenticator, now: Callable[[], float]
    ) -> None:
        self._events = events
        self._authenticator = authenticator
        self._created = timestamp(now())

    async def answer(self, request: Message, peer: Peer) -> Message:
        """READ of the event hub or a partition, if the request's token allows it, or else the peer's."""
        asked = request.application_properties
        try:
            policy = await self._policy(asked.get("security_token"), peer)
            demand(policy, Right.SERVICE_CONNECT)
            return await self._read(asked)
        except (NotAuthorized, BadCredentials, LacksRight) as error:
            return replies.reply(401, str(error))
        except StoreFailed as error:
            return replies.reply(503, str(error))

    async def _read(self, asked: Mapping[str, Any]) -> Message:
        operation, name, kind = (asked.get(key) for key in ("operation", "name", "type"))
        if operation != "READ":
            return replies.reply(400, f"operation {operation!r:.80}: expected 'READ'")
        if str(name).casefold() != ENTITY:
            return replies.reply(404, f"no event hub {name!r:.80}: there is {ENTITY!r}")
        if kind == _EVENT_HUB:
            return replies.reply(200, "OK", self._hub())
        if kind == _PARTITION:
            return await self._partition(asked.get("partition"))
        return replies.reply(404, f"type {kind!r:.80}: expected {_EVENT_HUB} or {_PARTITION}")

    async def _policy(self, token: Any, peer: Peer) -> str:
        if isinstance(token, bytes):
            token = token.decode("utf-8", "replace")
        if isinstance(token, str) and token:
            return (await asyncio.to_thread(self._authenticator.admit, token, resource=ENTITY)).policy
        if peer.policy is None:
            raise NotAuthorized("the request has no security_token")
        if not is_below(ENTITY, peer.policy_path):
            raise NotAuthorized(f"the token is for {peer.policy_path[:120]!r}, and not for {ENTITY!r}")
        return peer.policy

    def _hub(self) -> dict[str, Any]:
        return {
            "name": ENTITY,
            "type": _EVENT_HUB,
            "created_at": self._created,
            "partition_count": Int(PARTITIONS),
            "partition_ids": tuple(str(number) for number in range(PARTITIONS)),
        }

    async def _partition(self, name: Any) -> Message:
        if name not in {str(number) for number in range(PARTITIONS)}:
            return replies.reply(404, f"no partition {name!r:.80}: there are 0 to {PARTITIONS - 1}")
        span = await asyncio.to_thread(self._events.span, int(name))
        value = {
            "name": ENTITY,
            "type": _PARTITION,
            "partition": name,
            "begin_sequence_number": 0 if span is None else span.first,
            "last_enqueued_sequence_number": -1 if span is None else span.last,
            "last_enqueued_offset": offset(-1 if span is None else span.last),
            "last_enqueued_time_utc": Timestamp(0) if span is None else timestamp(span.last_enqueued_s),
            "is_partition_empty": span is None,
        }
        return replies.reply(200, "OK", value)
