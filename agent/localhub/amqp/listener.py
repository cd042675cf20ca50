"""The AMQP port: TLS, and a limit to how many are let in."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable

from ..service_auth import ServiceAuthenticator
from .connection import Connection
from .line import Line, Reader
from .node import Addresses

MAX_CONNECTIONS = 500
IDLE_AFTER_S = 240.0

_HANDSHAKE_WITHIN_S = 10.0
_READ_AHEAD_BYTES = 16_384

logger = logging.getLogger(__name__)


class AmqpListener:
    """Serves ``addresses`` to clients that speak AMQP 1.0. Thread safety: the hub's event loop only."""

    def __init__(
        self,
        addresses: Addresses,
        authenticator: ServiceAuthenticator,
        now: Callable[[], float] = time.time,
        *,
        idle_after_s: float = IDLE_AFTER_S,
    ) -> None:
        """``now``: the hub's clock, Unix seconds; ``idle_after_s``: how long a client may be silent."""
        self._addresses = addresses
        self._authenticator = authenticator
        self._now = now
        self._idle_after_s = idle_after_s
        self._open: dict[Connection, asyncio.Event] = {}
        self._server: asyncio.Server | None = None
        self._stopped = False

    async def start(self, address: str, port: int, context: ssl.SSLContext) -> int:
        """Listen; returns the port. Raises OSError if it is taken."""
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            address,
            port,
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE_WITHIN_S,
            ssl_shutdown_timeout=1.0,
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close every connection; their links are over when this returns."""
        self._stopped = True
        if self._server is None:
            return
        self._server.close()
        ended = list(self._open.values())
        for connection in list(self._open):
            connection.stop()
        await asyncio.gather(*(event.wait() for event in ended))

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._open)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = Reader(limit=_READ_AHEAD_BYTES)
        return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._accept(reader, writer))

    async def _accept(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        if self._stopped:  # during its handshake
            writer.transport.abort()
            return
        if len(self._open) >= MAX_CONNECTIONS:
            logger.warning("amqp: refused a connection: there are %d already", len(self._open))
            writer.transport.abort()
            return
        line = Line(reader, writer)
        connection = Connection(line, self._addresses, self._authenticator, self._now, self._idle_after_s)
        ended = self._open[connection] = asyncio.Event()
        try:
            reason = await connection.run()
            logger.info("amqp: %s: %.300s", connection.client.policy or "nobody", reason)
        finally:
            del self._open[connection]
            ended.set()
