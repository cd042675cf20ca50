"""What the hub tells those who listen."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from agent.localhub.hub import LocalHub
from agent.localhub.notices import (
    C2dChanged,
    DeviceConnected,
    DeviceDisconnected,
    EventStored,
    Missed,
    Notice,
    NoticeBoard,
)

from .client import RawClient, publish, subscribe


def test_a_slow_listener_loses_the_oldest_and_is_told() -> None:
    """It hears how many it missed, then what is left, in order; another listener misses nothing."""

    async def listen() -> None:
        board = NoticeBoard()
        slow, quick = board.subscribe(2), board.subscribe(10)
        for n in range(5):
            board.post(DeviceConnected(str(n)))
        assert [await slow.get() for _ in range(3)] == [Missed(3), DeviceConnected("3"), DeviceConnected("4")]
        assert [await quick.get() for _ in range(5)] == [DeviceConnected(str(n)) for n in range(5)]
        slow.close()
        board.post(DeviceConnected("later"))
        async for notice in quick:
            assert notice == DeviceConnected("later")
            break
        quick.close()
        quick.close()

    asyncio.run(listen())


def test_the_story_of_a_device(hub: LocalHub) -> None:
    """Connected, event stored, message queued, sent and delivered, disconnected with the reason."""

    async def listen() -> list[Notice]:
        with_hub = hub.subscribe()
        started.set_result(None)
        story: list[Notice] = []
        async for notice in with_hub:
            story.append(notice)
            if isinstance(notice, DeviceDisconnected):
                break
        with_hub.close()
        return story

    started: Future[None] = Future()
    future = asyncio.run_coroutine_threadsafe(listen(), hub._loop)
    started.result(10)
    with RawClient(hub) as client:
        client.login()
        client.send(publish("devices/mast-1/messages/events/", b"x"))
        client.receive()
        client.send(subscribe(1, ("devices/mast-1/messages/devicebound/#", 1)))
        client.receive()
        hub.send_c2d("mast-1", b"y")
        client.acknowledge(client.message())
        client.ping()
        client.send(b"\xe0\x00")
        assert client.is_closed()
    connected, stored, *changes, gone = future.result(10)
    assert connected == DeviceConnected("mast-1")
    assert isinstance(stored, EventStored)
    assert stored.event.body == b"x"
    messages = [c.message for c in changes if isinstance(c, C2dChanged)]
    assert [(m.state, m.delivery_count) for m in messages] == [("queued", 0), ("queued", 1), ("delivered", 1)]
    assert gone == DeviceDisconnected("mast-1", "closed by the device")
