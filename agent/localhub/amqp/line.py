"""One connection's bytes: frames in and out, each whole, and never more of them waiting than one a writer.

Invariant: however much has come, everybody else has a turn after every ``_AT_A_TURN`` frames.
"""

from __future__ import annotations

import asyncio
import contextlib

from .composite import Composite
from .frames import EMPTY_FRAME, HEAD_BYTES, Frame, body_length, frame_bytes, frame_of

STALLED_AFTER_S = 60.0
"""A peer that has not taken a frame for so long is gone."""

_MOST_UNSENT_BYTES = 65536
_AT_A_TURN = 16
LAST_WORD_WITHIN_S = 1.0
"""So long the end of a connection may take."""


class Reader(asyncio.StreamReader):
    """Knows that the peer has ended, also while there is something left to read."""

    ended = False

    def feed_eof(self) -> None:
        """The peer has ended."""
        self.ended = True
        super().feed_eof()


class Line:
    """Thread safety: one event loop."""

    def __init__(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()
        self._received = 0
        self._loop = asyncio.get_running_loop()
        self.received_s = self.sent_s = self._loop.time()
        """When something came and went last, by the event loop's clock."""
        writer.transport.set_write_buffer_limits(high=_MOST_UNSENT_BYTES)

    async def header(self) -> bytes:
        """The next eight bytes. Raises OSError, EOFError."""
        return await self._reader.readexactly(HEAD_BYTES)

    async def frame(self, kind: int, max_bytes: int) -> Frame:
        """The next frame. Raises AmqpError, OSError, EOFError."""
        self._received += 1
        if self._received % _AT_A_TURN == 0:
            await asyncio.sleep(0)  # to read what has come already is no wait
        head = await self._reader.readexactly(HEAD_BYTES)
        body = await self._reader.readexactly(body_length(head, kind, max_bytes))
        self.received_s = self._loop.time()
        return frame_of(head, body)

    async def send(self, performative: Composite, channel: int = 0, payload: bytes = b"") -> None:
        """Raises OSError, EncodeError."""
        await self.write(frame_bytes(performative, channel, payload))

    async def beat(self) -> None:
        """Send an empty frame, unless something else is on its way. Raises OSError."""
        if not self._sending.locked():
            await self.write(EMPTY_FRAME)

    async def write(self, content: bytes) -> None:
        """Send, and wait until the peer has taken enough of it. Raises OSError."""
        async with self._sending:
            if self._reader.ended or self._writer.is_closing():
                raise ConnectionResetError("the client is gone")
            self._writer.write(content)
            self.sent_s = self._loop.time()
            try:
                async with asyncio.timeout(STALLED_AFTER_S):
                    await self._writer.drain()
            except TimeoutError:
                self._writer.transport.abort()
                raise ConnectionResetError("the peer takes nothing") from None

    async def close(self, last_word: bytes = b"", *, listen: bool = False) -> None:
        """Send what is to be said last and close; never raises.

        ``listen``: the peer may be sending, and would lose the last word if nobody took what it sends.
        """
        with contextlib.suppress(OSError, EOFError):
            async with asyncio.timeout(LAST_WORD_WITHIN_S):
                if last_word:
                    await self.write(last_word)
                if listen:
                    while await self._reader.read(_MOST_UNSENT_BYTES):
                        pass
        self._writer.close()
        try:
            async with asyncio.timeout(LAST_WORD_WITHIN_S):
                # it is one future for all who wait, and who is cancelled would cancel it for the others
                await asyncio.shield(self._writer.wait_closed())
        except (OSError, EOFError):
            self._writer.transport.abort()
