"""One client's connection: login, sessions, and its end (OASIS AMQP 1.0 part 2, section 2.4).

Invariants:
1. Whatever a client sends, its connection ends with an error that it is told, and nothing else ends.
2. When ``run`` returns, every sink and every spring of the connection has been closed, once.
3. What a client sends is handled one after the other: while a message is being taken nothing more is read. An
   address must therefore not wait for the client in ``take``, ``after`` or ``settled``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..service_auth import ServiceAuthenticator
from .composite import Composite
from .frames import AMQP, AMQP_HEADER, SASL_HEADER, AmqpError, Frame, frame_bytes
from .line import Line
from .link import SessionError, error_of
from .node import Addresses, LinkError
from .performatives import Begin, Close, End, Error, Open
from .room import MAX_FRAME_BYTES, MAX_SESSIONS, Room
from .sasl import Refused, log_in
from .session import Session

LOGIN_WITHIN_S = 10.0
UNPROVED_FOR_S = 60.0
"""So long a connection may be without a policy, at first or when a proof has ended."""

_CHANNEL_MAX = 255
_MAX_OPEN_BYTES = 4096
_LEAST_FRAME_BYTES = 512  # part 2, section 2.7.1
_TICK_S = 1.0
_FASTEST_BEAT_S = 0.1

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Client:
    """Peer of node.py."""

    policy: str | None = None
    policy_until_s: float = math.inf
    policy_path: str = ""
    state: dict[str, Any] = field(default_factory=dict)


class Connection:
    """Thread safety: the hub's event loop only."""

    def __init__(
        self,
        line: Line,
        addresses: Addresses,
        authenticator: ServiceAuthenticator,
        now: Callable[[], float],
        idle_after_s: float,
    ) -> None:
        """``idle_after_s``: a client that is silent for longer is gone."""
        self.client = Client()
        self._line = line
        self._addresses = addresses
        self._authenticator = authenticator
        self._now = now
        self._idle_after_s = idle_after_s
        self._beat_s = math.inf
        self._max_frame_bytes = MAX_FRAME_BYTES
        self._room = Room()
        self._sessions: dict[int, Session] = {}
        self._ended: set[int] = set()
        self._opened = False
        self._stopping = asyncio.Event()
        self._unproved_since_s = asyncio.get_running_loop().time()

    def stop(self) -> None:
        """The hub stops: ``run`` is to return soon."""
        self._stopping.set()

    async def run(self) -> str:
        """Serve the client until it or the hub has enough; returns why. Never raises."""
        tasks = [asyncio.create_task(work) for work in (self._serve(), self._watch(), self._stopped())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            error = next((error for task in done if (error := task.exception())), None)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(session.close() for session in self._sessions.values()))
        return await self._leave(error)

    async def _leave(self, error: BaseException | None) -> str:
        match error:
            case None:
                await self._line.close(frame_bytes(Close()))
                return "closed by the client"
            case Refused() | OSError() | EOFError():
                await self._line.close()
                return str(error) or "the connection broke"
            case AmqpError():
                pass
            case _:
                logger.error("a connection failed", exc_info=error)
                error = AmqpError("amqp:internal-error", "the hub failed")
        told = frame_bytes(
            Close(error=Error(condition=error.condition, description=error.description, info={}))
        )
        await self._line.close(told if self._opened else b"", listen=True)
        return str(error)

    async def _stopped(self) -> None:
        await self._stopping.wait()
        raise AmqpError("amqp:connection:forced", "the hub stopped")

    async def _serve(self) -> None:
        try:
            async with asyncio.timeout(LOGIN_WITHIN_S):
                await self._log_in()
                await self._open()
        except TimeoutError:
            raise AmqpError("amqp:not-allowed", f"not logged in within {LOGIN_WITHIN_S:.0f} s") from None
        while True:
            frame = await self._line.frame(AMQP, MAX_FRAME_BYTES)
            if isinstance(frame.performative, Close):
                return
            if frame.performative is not None:
                await self._handle(frame, frame.performative)

    async def _log_in(self) -> None:
        """Microsoft's client for Node.js does without SASL, which is taken for ANONYMOUS."""
        header = await self._line.header()
        if header == SASL_HEADER:
            if (proof := await log_in(self._line, self._authenticator)) is not None:
                self.client.policy, self.client.policy_until_s, self.client.policy_path = proof
            header = await self._line.header()
        if header != AMQP_HEADER:
            await self._line.close(SASL_HEADER, listen=True)
            raise Refused(f"expected AMQP 1.0, not {header!r}")
        await self._line.write(AMQP_HEADER)

    async def _open(self) -> None:
        try:
            theirs = (await self._line.frame(AMQP, _MAX_OPEN_BYTES)).performative
        finally:
            await self._line.send(
                Open(
                    container_id="masthead",
                    max_frame_size=MAX_FRAME_BYTES,
                    channel_max=_CHANNEL_MAX,
                    idle_time_out=int(self._idle_after_s * 1000),
                )
            )
            self._opened = True
        if not isinstance(theirs, Open):
            raise AmqpError("amqp:not-allowed", "expected an open")
        if theirs.max_frame_size < _LEAST_FRAME_BYTES:
            raise AmqpError("amqp:invalid-field", f"a max-frame-size of {theirs.max_frame_size}")
        self._max_frame_bytes = min(theirs.max_frame_size, MAX_FRAME_BYTES)
        if theirs.idle_time_out:
            self._beat_s = max(_FASTEST_BEAT_S, theirs.idle_time_out / 2000)

    async def _handle(self, frame: Frame, performative: Composite) -> None:
        channel = frame.channel
        if isinstance(performative, Open):
            raise AmqpError("amqp:not-allowed", "a second open")
        if isinstance(performative, Begin):
            await self._begin(channel, performative)
            return
        session = self._sessions.get(channel)
        if session is None:
            # a client may not have seen its end yet, and there are those that detach links after it
            if channel not in self._ended:
                raise AmqpError(
                    "amqp:not-allowed", f"{performative.NAME} on channel {channel}, without a session"
                )
            return
        if isinstance(performative, End):
            await self._end(channel, End())
            return
        try:
            await session.handle(performative, frame.payload)
        except SessionError as error:
            await self._end(channel, End(error=error_of(error)))

    async def _begin(self, channel: int, begin: Begin) -> None:
        if channel in self._sessions or channel > _CHANNEL_MAX:
            raise AmqpError("amqp:not-allowed", f"a session on channel {channel}; at most {_CHANNEL_MAX}")
        if len(self._sessions) >= MAX_SESSIONS:
            raise AmqpError("amqp:resource-limit-exceeded", f"more than {MAX_SESSIONS} sessions")
        self._ended.discard(channel)
        session = Session(
            self._line,
            channel,
            begin,
            addresses=self._addresses,
            peer=self.client,
            room=self._room,
            max_frame=self._max_frame_bytes,
        )
        self._sessions[channel] = session
        await session.start()

    async def _end(self, channel: int, end: End) -> None:
        await self._sessions[channel].close()
        del self._sessions[channel]
        self._ended.add(channel)
        await self._line.send(end, channel)

    async def _watch(self) -> None:
        """What is due by the clock alone. The wall clock may be set meanwhile: it is looked at often."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_TICK_S, self._beat_s / 2, self._idle_after_s / 2))
            time_s = loop.time()
            if time_s - self._line.received_s > self._idle_after_s:
                raise AmqpError(
                    "amqp:resource-limit-exceeded", f"nothing came for {self._idle_after_s:.0f} s"
                )
            if self._opened and time_s - self._line.sent_s >= self._beat_s / 2:
                await self._line.beat()
            await self._check_proof(time_s)

    async def _check_proof(self, time_s: float) -> None:
        client = self.client
        if client.policy is not None:
            self._unproved_since_s = time_s
            if client.policy_until_s <= self._now():
                error = LinkError("amqp:unauthorized-access", f"the token of {client.policy!r} expired")
                client.policy = None
                for session in list(self._sessions.values()):
                    await session.detach_guarded(error)
        elif time_s - self._unproved_since_s > UNPROVED_FOR_S:
            raise AmqpError("amqp:unauthorized-access", f"no token for {UNPROVED_FOR_S:.0f} s")
