"""The hub's addresses without a wire: links are attached and used by direct calls."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from agent.localhub.amqp.addresses import HubAddresses
from agent.localhub.amqp.node import Attach, Message, Sink, Spring
from agent.localhub.notices import EventStored, NoticeBoard
from agent.localhub.records import Arrival, C2dMessage, Event
from agent.localhub.service_auth import ServiceAuthenticator
from agent.localhub.store import Store
from tests.clock import FakeClock

HOST = "localhost"

_Result = TypeVar("_Result")


def finish(work: Coroutine[Any, Any, _Result]) -> _Result:
    """What a coroutine returns; one that waits in vain fails."""
    return asyncio.run(asyncio.wait_for(work, 30))


@dataclass
class FakePeer:
    """A connection that has proved ``policy``, or nothing."""

    policy: str | None = None
    policy_until_s: float = float("inf")
    policy_path: str = ""
    state: dict[str, Any] = field(default_factory=dict)


class Service:
    """A hub of the device mast-1, and an operator with the policy "service". Within an event loop only."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.store = Store(folder / "hub", self.clock.wall)
        self.store.registry.ensure("mast-1")
        self.board = NoticeBoard()
        self.sent: list[C2dMessage] = []
        authenticator = ServiceAuthenticator(self.store.registry, {HOST}, self.clock.wall)
        self.addresses = HubAddresses(
            store=self.store,
            board=self.board,
            authenticator=authenticator,
            send=self._send,
            where=lambda: (HOST, 15671),
            now=self.clock.wall,
        )
        self.peer = FakePeer("service")

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    async def sink(self, address: str, peer: FakePeer | None = None) -> Sink:
        return await self.addresses.sink(attach(address), peer or self.peer)

    async def spring(
        self,
        address: str,
        peer: FakePeer | None = None,
        *,
        filters: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        reply_address: str | None = None,
    ) -> Spring:
        wanted = attach(address, filters=filters, properties=properties, reply_address=reply_address)
        return await self.addresses.spring(wanted, peer or self.peer)

    def token(self, policy: str = "service", *, scope: str = HOST, ttl_s: int = 3600) -> str:
        key = self.store.registry.policy_key(policy) or "AAAA"
        expires = int(self.clock.wall()) + ttl_s
        text = f"{quote(scope, safe='')}\n{expires}".encode()
        signature = base64.b64encode(hmac.digest(base64.b64decode(key), text, "sha256")).decode()
        return (
            f"SharedAccessSignature sr={quote(scope, safe='')}&sig={quote(signature, safe='')}"
            f"&se={expires}&skn={policy}"
        )

    def arrive(self, body: bytes, device_id: str = "mast-1", **system: str) -> Event:
        """A device's message is stored, and the hub told."""
        names = {name.replace("_", "-"): value for name, value in system.items()}
        [event] = self.store.events.append([Arrival(device_id, names, {"own": "ä"}, body)])
        self.board.post(EventStored(event))
        return event

    def _send(self, *arguments: Any, **options: Any) -> C2dMessage:
        message = self.store.c2d.add(*arguments, **options)
        self.sent.append(message)
        return message


def attach(
    address: str,
    *,
    filters: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    reply_address: str | None = None,
) -> Attach:
    return Attach(address, reply_address, filters or {}, properties or {})


async def ask(sink: Sink, spring: Spring, request: Message) -> Message:
    """The reply to a request, as a connection would get it."""
    outcome = await sink.take(request)
    assert outcome.state == "accepted", outcome
    await sink.after(request)
    return (await spring.next()).message
