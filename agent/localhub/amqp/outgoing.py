"""A link by which a client receives: takes messages from a spring while the client wants them.

Invariants:
1. ``Spring.next`` is called, and waits, only while the client has given credit and its session lets something
   through; when it takes either back, the call is cancelled.
2. Every delivery with an outcome gets it once by ``Spring.settled``, or is left to ``Spring.close``.
3. ``Spring.close`` is called exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib

from .link import MODULUS, Carrier, link_error
from .message import message_bytes
from .node import ACCEPTED, Delivery, Outcome, Spring
from .performatives import SETTLED, Flow

_DRAINED_AFTER_S = 0.25
"""A client that drains a link waits so long: a spring does not say that it has nothing."""


class Outgoing:
    """Thread safety: the hub's event loop only."""

    def __init__(
        self, carrier: Carrier, handle: int, snd_settle_mode: int, spring: Spring, guarded: bool
    ) -> None:
        self.handle = handle
        self.guarded = guarded
        self._carrier = carrier
        self._presettled = snd_settle_mode == SETTLED
        self._spring = spring
        self._delivery_count = 0
        self._credit = 0
        self._drain = False
        self._wake = asyncio.Event()
        self._asked: asyncio.Task[Delivery] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin to give."""
        self._task = asyncio.create_task(self._run())

    async def flow(self, flow: Flow) -> None:
        """The client gives credit, or takes it back. Raises OSError."""
        if flow.link_credit is not None:
            limit = (flow.delivery_count or 0) + flow.link_credit
            credit = (limit - self._delivery_count) % MODULUS
            self._credit = credit if credit < MODULUS // 2 else 0
            self._drain = flow.drain
        self.wake()
        if flow.echo or (self._drain and not self._credit):
            await self._tell()

    def wake(self) -> None:
        """Look again whether something may be sent."""
        self._wake.set()

    async def settled(self, key: int, outcome: Outcome) -> None:
        """What the client made of a delivery. Raises what the spring raises."""
        await self._spring.settled(key, outcome)

    async def close(self) -> None:
        """The link is over; may be called again."""
        tasks = [task for task in (self._task, self._asked) if task and task is not asyncio.current_task()]
        try:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            if not self._closed:
                self._closed = True
                self._spring.close()

    async def _run(self) -> None:
        with contextlib.suppress(OSError):  # whoever reads from the connection sees its end, too
            try:
                while True:
                    delivery = await self._next()
                    if delivery is not None:
                        await self._give(delivery)
            except Exception as error:  # noqa: BLE001  (an address that fails costs a link, and not the hub)
                await self._carrier.detach(self, link_error(error))

    def _may_send(self) -> bool:
        return self._credit > 0 and self._carrier.is_open

    async def _next(self) -> Delivery | None:
        """A delivery that may be sent now, or None after some time."""
        while not self._may_send():
            self._wake.clear()
            await self._wake.wait()
        if self._asked is None:
            self._asked = asyncio.create_task(self._spring.next())
        while not self._asked.done() and self._may_send():
            await self._wait_for(self._asked)
        if not self._may_send():
            await self._take_back(self._asked)
            return None
        asked, self._asked = self._asked, None
        return asked.result()

    async def _wait_for(self, asked: asyncio.Task[Delivery]) -> None:
        """Until there is a delivery, or something to look at, or the time to say that there is none."""
        self._wake.clear()
        waked = asyncio.create_task(self._wake.wait())
        try:
            timeout_s = _DRAINED_AFTER_S if self._drain else None
            done, _ = await asyncio.wait(
                (asked, waked), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waked.cancel()
        if not done:
            self._delivery_count = (self._delivery_count + self._credit) % MODULUS
            self._credit = 0
            await self._tell()

    async def _take_back(self, asked: asyncio.Task[Delivery]) -> None:
        """Ask no longer; what came at the last moment is kept for when it may be sent."""
        asked.cancel()
        await asyncio.wait((asked,))
        if asked.cancelled():
            self._asked = None

    async def _give(self, delivery: Delivery) -> None:
        payload = message_bytes(delivery.message)
        self._credit -= 1
        self._delivery_count = (self._delivery_count + 1) % MODULUS
        settled = delivery.settled or self._presettled
        await self._carrier.deliver(self, payload, None if settled else delivery.key)
        if settled and not delivery.settled:
            await self._spring.settled(delivery.key, ACCEPTED)

    async def _tell(self) -> None:
        await self._carrier.tell(
            handle=self.handle,
            delivery_count=self._delivery_count,
            link_credit=self._credit,
            drain=self._drain,
        )
