"""MQTT over a WebSocket: its bytes as the streams that a connection is served on.

Invariants:
1. What waits in either direction is bounded: a peer that sends is read no further before its bytes are, and
   one that does not read holds up whoever writes to it.
2. The streams end with the WebSocket, and the WebSocket with the streams.
3. However much has come, everybody else has a turn after every ``_AT_A_TURN`` frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

PATH = "/$iothub/websocket"
SUBPROTOCOL = "mqtt"

_MAX_FRAME_BYTES = 524_288  # the longest packet, and those that a client sends with it
_READ_BYTES = 4096  # at a time: a frame waits in whole, and what it is cut into beside it
_AT_A_TURN = 16
_WRITE_BYTES = 65_536
_FLUSH_WITHIN_S = 1.0
_MAX_STRANGERS = 200  # each may have a frame half sent

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Bridge:
    """Serves WebSockets. Thread safety: the hub's event loop only."""

    def __init__(self, serve: Serve, strangers: Callable[[], int]) -> None:
        """``serve``: what serves a connection on streams, until it is over; ``strangers``: how many of those
        that it serves have not said yet who they are."""
        self._serve = serve
        self._strangers = strangers

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A request for ``PATH``. Raises HTTPException if it asks for anything but MQTT on a WebSocket, or if
        too many ask at once."""
        socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            compress=False,
            max_msg_size=_MAX_FRAME_BYTES,
            timeout=_FLUSH_WITHIN_S,
            autoping=False,  # it would answer all that have come at one go
        )
        asked = socket.can_prepare(request)
        if not asked.ok or asked.protocol != SUBPROTOCOL:
            raise web.HTTPBadRequest(text=f"{PATH} is for WebSockets of the subprotocol {SUBPROTOCOL!r}")
        if self._strangers() >= _MAX_STRANGERS:
            raise web.HTTPServiceUnavailable(text="too many connections at once that have not logged in")
        await socket.prepare(request)
        await self._run(socket, request)
        return socket

    async def _run(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        pipe = _Pipe(request, protocol)
        protocol.connection_made(pipe)
        writer = asyncio.StreamWriter(pipe, protocol, reader, loop)
        receiving = asyncio.create_task(_receive(socket, reader, pipe))
        sending = asyncio.create_task(pipe.pump(socket))
        try:
            await self._serve(reader, writer)
            pipe.close()
            await asyncio.wait({sending}, timeout=_FLUSH_WITHIN_S)
        finally:
            receiving.cancel()
            sending.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)
            pipe.abort()
            pipe.lost()


class _Pipe(asyncio.Transport):
    """What a StreamWriter writes to: its bytes wait here until the WebSocket takes them."""

    def __init__(self, request: web.Request, protocol: asyncio.StreamReaderProtocol) -> None:
        super().__init__()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self._request = request
        self._protocol = protocol
        self._outgoing = bytearray()
        self._something = asyncio.Event()
        self._holding_up = False
        self._closing = False
        self._lost = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the connection underneath."""
        return self._request.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether it takes no more."""
        return self._closing or self.is_cut()

    def is_cut(self) -> bool:
        """Whether the connection underneath is gone."""
        return self._request.transport is None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes; never waits."""
        if self.is_closing():
            return
        self._outgoing += data
        self._something.set()
        if len(self._outgoing) > _WRITE_BYTES and not self._holding_up:
            self._holding_up = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """How many bytes wait for the WebSocket."""
        return len(self._outgoing)

    def close(self) -> None:
        """End it when what was written is sent."""
        self._closing = True
        self._something.set()

    def abort(self) -> None:
        """End it at once."""
        self._closing = True
        self._outgoing.clear()
        self._something.set()
        if self._request.transport is not None:
            self._request.transport.abort()
        asyncio.get_running_loop().call_soon(self.lost)

    def pause_reading(self) -> None:
        """StreamReader: it has enough."""
        self.may_read.clear()

    def resume_reading(self) -> None:
        """StreamReader: it has room."""
        self.may_read.set()

    def lost(self) -> None:
        """The WebSocket is over: tell the streams, once."""
        if not self._lost:
            self._lost = True
            self._closing = True
            self._protocol.connection_lost(None)

    async def pump(self, socket: web.WebSocketResponse) -> None:
        """Send what is written, until all is and the pipe is closed."""
        try:
            while self._outgoing or not self._closing:
                await self._something.wait()
                self._something.clear()
                while self._outgoing:
                    part = bytes(self._outgoing[:_WRITE_BYTES])
                    del self._outgoing[:_WRITE_BYTES]
                    await socket.send_bytes(part)
                    self._go_on()
        except ConnectionError:
            self.lost()

    def _go_on(self) -> None:
        if self._holding_up and len(self._outgoing) <= _WRITE_BYTES // 2:
            self._holding_up = False
            self._protocol.resume_writing()


async def _receive(socket: web.WebSocketResponse, reader: asyncio.StreamReader, pipe: _Pipe) -> None:
    """Hand over what comes, until the WebSocket ends or carries anything but bytes."""
    try:
        received = 0
        async for message in socket:
            received += 1
            if received % _AT_A_TURN == 0:
                await asyncio.sleep(0)  # to read what has come already is no wait
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
                continue
            if message.type is WSMsgType.PONG:
                continue
            if message.type is not WSMsgType.BINARY:
                break
            for start in range(0, len(message.data), _READ_BYTES):
                reader.feed_data(message.data[start : start + _READ_BYTES])
                await pipe.may_read.wait()
                if pipe.is_cut():
                    return
    finally:
        pipe.lost()
