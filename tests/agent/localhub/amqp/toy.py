"""A hub of a few addresses, of which only the connections are real."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

from agent.localhub.amqp.listener import AmqpListener
from agent.localhub.amqp.node import (
    ACCEPTED,
    Attach,
    Delivery,
    Int,
    LinkError,
    Message,
    Outcome,
    Peer,
    Sink,
    Spring,
)
from agent.localhub.ca import ServerFiles
from agent.localhub.service_auth import ServiceAuthenticator

from .raw import Raw

KEY = "c2VjcmV0c2VjcmV0c2VjcmV0"
_Result = TypeVar("_Result")


def name(attach: Attach) -> str:
    """The last part of the address: there are clients that send it whole."""
    return attach.address.rpartition("/")[2]


class Keys:
    """A registry that knows one policy."""

    def policy_key(self, name: str) -> str | None:
        return KEY if name == "service" else None


class ToySink:
    """Takes everything, or does what its address says."""

    def __init__(self, toy: Toy, attach: Attach, peer: Peer) -> None:
        self.toy, self.name, self.peer = toy, name(attach), peer

    async def take(self, message: Message) -> Outcome:
        self.toy.did.append(("take", self.name))
        self.toy.taken.append(message)
        match self.name:
            case "reject":
                return Outcome("rejected", "amqp:not-found", "no such device")
            case "unlink":
                raise LinkError("amqp:link:detach-forced", "no more")
            case "bug":
                raise RuntimeError("a bug")
            case "$cbs":
                self.peer.policy, self.peer.policy_until_s = "service", float(message.body or 2e9)
        return ACCEPTED

    async def after(self, message: Message) -> None:
        self.toy.did.append(("after", self.name))
        if self.name == "$cbs" and message.value is not None:
            answer = Message(application_properties={"status-code": Int(200), "status-description": "OK"})
            answer.properties["correlation-id"] = message.properties["message-id"]
            self.toy.queue("$cbs").append(answer)
        if self.name == "ask":
            self.toy.queue("answers").append(Message(body=message.body))
            await asyncio.sleep(0.05)  # long enough for the answer to overtake what is not sent yet

    def close(self) -> None:
        self.toy.did.append(("close", self.name))


class ToySpring:
    """Gives what ``toy.waiting`` has for its address; what is not accepted comes back."""

    def __init__(self, toy: Toy, attach: Attach) -> None:
        self.toy, self.name = toy, name(attach)
        self.given: dict[int, Message] = {}
        self.keys = 0

    async def next(self) -> Delivery:
        queue = self.toy.queue(self.name)
        self.toy.asked += 1
        try:
            while not queue:
                await asyncio.sleep(0.01)
        finally:
            self.toy.asked -= 1
        if self.name == "unlink":
            raise LinkError("amqp:link:detach-forced", "no more")
        if self.name == "bug":
            raise RuntimeError("a bug")
        self.keys += 1
        message = queue.popleft()
        if self.name in ("settled", "$cbs"):
            return Delivery(self.keys, message, settled=True)
        self.given[self.keys] = message
        return Delivery(self.keys, message)

    async def settled(self, key: int, outcome: Outcome) -> None:
        self.toy.did.append(("settled", outcome.state))
        message = self.given.pop(key)
        if outcome.state in ("released", "modified"):
            self.toy.queue(self.name).append(message)
        elif outcome.state == "rejected":
            self.toy.rejected.append(outcome)

    def close(self) -> None:
        self.toy.did.append(("close", self.name))
        self.toy.queue(self.name).extendleft(reversed(self.given.values()))
        self.given.clear()


class Toy:
    """The addresses."""

    def __init__(self) -> None:
        self.did: list[tuple[str, str]] = []
        self.taken: list[Message] = []
        self.rejected: list[Outcome] = []
        self.attached: list[Attach] = []
        self.policies: list[str | None] = []
        self.paths: list[str] = []
        self.waiting: dict[str, deque[Message]] = {}
        self.asked = 0
        self.opened = 0

    def queue(self, address: str) -> deque[Message]:
        return self.waiting.setdefault(address, deque())

    @property
    def closed(self) -> int:
        return sum(what == "close" for what, _ in self.did)

    async def sink(self, attach: Attach, peer: Peer) -> Sink:
        self._check(attach, peer)
        return ToySink(self, attach, peer)

    async def spring(self, attach: Attach, peer: Peer) -> Spring:
        self._check(attach, peer)
        return ToySpring(self, attach)

    def _check(self, attach: Attach, peer: Peer) -> None:
        self.attached.append(attach)
        self.policies.append(peer.policy)
        self.paths.append(peer.policy_path)
        if name(attach) == "nowhere":
            raise LinkError("amqp:not-found", "no such address")
        if name(attach) == "failing":
            raise RuntimeError("a bug")
        if name(attach) == "moved":
            info = {
                "hostname": "other",
                "network-host": "127.0.0.9",
                "port": 5671,
                "address": "amqps://other/x",
            }
            raise LinkError("amqp:link:redirect", "over there", info)
        self.opened += 1


class Server:
    """An AmqpListener on a thread of its own."""

    def __init__(self, files: ServerFiles, *, idle_after_s: float = 240.0) -> None:
        self.ca = files.ca
        self.toy = Toy()
        self.now_s = 1e9
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        context = self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(files.certificate, files.key)
        authenticator = ServiceAuthenticator(Keys(), {"localhost"}, lambda: self.now_s)  # type: ignore[arg-type]
        self.listener = AmqpListener(self.toy, authenticator, lambda: self.now_s, idle_after_s=idle_after_s)
        self.port = self.run(self.listener.start("127.0.0.1", 0, context))

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def stop(self) -> None:
        self.run(self.listener.stop())
        self.run(self._rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _rest(self) -> None:
        """Nothing of the listener's is left to do."""
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), 5)
        await self._loop.shutdown_default_executor()

    def connect(self, **options: Any) -> Raw:
        return Raw(self.ca, self.port, f"\0service@sas.root.localhost\0{KEY}".encode(), **options)
