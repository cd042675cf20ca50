"""The end of a connection's bytes, which more than one may wait for."""

from __future__ import annotations

import asyncio
import socket

import pytest

from agent.localhub.amqp import line
from agent.localhub.amqp.line import Line, Reader


def test_two_who_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is cancelled while it waits for the end takes nothing from the other."""
    monkeypatch.setattr(line, "LAST_WORD_WITHIN_S", 0.1)

    async def close_twice() -> bool:
        ours, theirs = socket.socketpair()
        with theirs:
            reader = Reader()
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader), sock=ours
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            transport.write(bytes(10_000_000))  # nobody takes it: there is no end to wait for
            both = Line(reader, writer)
            first = asyncio.create_task(both.close())
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await both.close()
            return first.cancelled()

    assert asyncio.run(close_twice())
