"""``/messages/servicebound/feedback``: what became of messages to devices, read by one service or several.

Invariants:
1. What a reader has and has not settled is nobody else's while its lock lasts (feedback.py); what is
   unsettled then, or at the reader's end, is given to others.
2. Records that come together are sent together: a reader that waits takes them a moment after the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from ..feedback import CONTENT_TYPE, FeedbackBatch, FeedbackQueue
from ..records import StoreFailed
from .event_node import timestamp
from .node import Delivery, LinkError, Message, Outcome, Symbol

_TOGETHER_S = 1.0  # IoT Hub waits for 15 s, or 64 records
_RECHECK_S = 60.0  # locks of other readers may end without a word


class FeedbackSpring:
    """A Spring. Thread safety: the hub's event loop only; the disk is waited for in threads."""

    def __init__(self, queue: FeedbackQueue, host: str) -> None:
        """``host``: the hub's name."""
        self._queue = queue
        self._host = host
        self._due = asyncio.Event()
        self._taking: asyncio.Future[FeedbackBatch | None] | None = None
        self._unsettled: dict[int, str] = {}
        self._given = 0
        self._closed = False
        self._told = partial(_from_any_thread, asyncio.get_running_loop(), self._due.set)
        queue.subscribe(self._told)

    async def next(self) -> Delivery:
        """Spring: the next batch."""
        while True:
            self._due.clear()
            batch = await self._take()
            if batch is not None:
                self._given += 1
                self._unsettled[self._given] = batch.token
                return Delivery(self._given, message(batch, self._host))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RECHECK_S):
                    await self._due.wait()
                await asyncio.sleep(_TOGETHER_S)

    async def settled(self, key: int, outcome: Outcome) -> None:
        """Spring: accepted and rejected are read; all else gives it back. Once its lock is over it changes
        nothing, and that is no error: the records come again."""
        token = self._unsettled.pop(key, None)
        if token is None:
            return
        if outcome.state in ("accepted", "rejected"):
            try:
                await asyncio.to_thread(self._queue.complete, token)
            except StoreFailed as error:
                self._queue.abandon(token)
                raise LinkError("amqp:internal-error", str(error)) from error
        else:
            self._queue.abandon(token)

    def close(self) -> None:
        """Spring: give back what is unsettled."""
        self._closed = True
        self._queue.unsubscribe(self._told)
        for token in self._unsettled.values():
            self._queue.abandon(token)
        self._unsettled.clear()
        if self._taking is not None:
            self._taking.add_done_callback(self._give_back)

    async def _take(self) -> FeedbackBatch | None:
        """What a caller that was cancelled did not wait for is had by the next."""
        if self._taking is None:
            self._taking = asyncio.ensure_future(asyncio.to_thread(self._queue.take))
        try:
            batch = await asyncio.shield(self._taking)
        except StoreFailed as error:
            self._taking = None
            raise LinkError("amqp:internal-error", str(error)) from error
        self._taking = None
        return batch

    def _give_back(self, taking: asyncio.Future[FeedbackBatch | None]) -> None:
        if taking.cancelled() or taking.exception() is not None:
            return
        if (batch := taking.result()) is not None:
            self._queue.abandon(batch.token)


def message(batch: FeedbackBatch, host: str) -> Message:
    """A batch as a service reads it."""
    return Message(
        batch.body,
        properties={
            "message-id": str(uuid4()),
            "user-id": host.encode(),
            "to": "/messages/servicebound/feedback",
            "content-type": Symbol(CONTENT_TYPE),
            "content-encoding": Symbol("utf-8"),
        },
        annotations={"iothub-enqueuedtime": timestamp(batch.enqueued_s)},
        header={"delivery-count": batch.delivery_count - 1},
    )


def _from_any_thread(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is over, and its readers with it
        loop.call_soon_threadsafe(call)
