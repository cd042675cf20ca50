"""The HTTPS port: the service side for those that have a policy's key, and WebSockets for devices.

Invariants:
1. Whatever a client sends is answered with IoT Hub's error body and a 4xx, never with a 500.
2. Before a client has proved a right it costs a bounded number of connections with bounded headers, and no
   body is read.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

from aiohttp import web
from aiohttp.typedefs import Handler

from ..service_auth import ServiceAuthenticator
from ..websocket import PATH, Bridge
from . import devices, errors, feedback, methods, routes, twins
from .source import Hub

_MAX_BODY = 524_288  # a method's payload, escaped
_MAX_CONNECTIONS = 500
_MAX_HEADERS = 64
_MAX_FIELD = 4096
_KEEP_ALIVE_S = 75.0
_HANDSHAKE_WITHIN_S = 10.0
_FIRST_REQUEST_WITHIN_S = 10.0
_STOP_WITHIN_S = 1.0

_NO_LOG = logging.getLogger(f"{__name__}.access")
_NO_LOG.disabled = True

logger = logging.getLogger(__name__)


class RestServer:
    """Thread safety: the hub's event loop only."""

    def __init__(self, hub: Hub, authenticator: ServiceAuthenticator, bridge: Bridge) -> None:
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[_told])
        served = (*devices.ROUTES, *twins.ROUTES, *methods.ROUTES, *feedback.ROUTES)
        app.router.add_get(PATH, bridge.handle, allow_head=False, expect_handler=routes.expected)
        routes.install(app, hub, authenticator, served)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=_STOP_WITHIN_S
        )
        self._listening: asyncio.Server | None = None

    async def start(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Serve on a bound socket, which belongs to the server from now on."""
        await self._runner.setup()
        self._listening = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=listener,
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE_WITHIN_S,
            ssl_shutdown_timeout=1.0,
        )

    async def stop(self) -> None:
        """End at once. May be called twice, and without a start."""
        if self._listening is not None:
            self._listening.close()
        server = self._runner.server
        open_still = [] if server is None else [connection.transport for connection in server.connections]
        await self._runner.cleanup()
        for (
            transport
        ) in open_still:  # what takes its leave of TLS would do so after the end of the event loop
            if isinstance(transport, asyncio.Transport):
                transport.abort()

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= _MAX_CONNECTIONS:
            return _Full()
        loop = asyncio.get_running_loop()
        connection = _Connection(
            server,
            loop=loop,
            access_log=_NO_LOG,
            keepalive_timeout=_KEEP_ALIVE_S,
            max_line_size=_MAX_FIELD,
            max_headers=_MAX_HEADERS,
            max_field_size=_MAX_FIELD,
            lingering_time=_STOP_WITHIN_S,
            auto_decompress=False,
        )
        patience_s = _HANDSHAKE_WITHIN_S + _FIRST_REQUEST_WITHIN_S
        connection.deadline = loop.call_later(patience_s, connection.force_close)
        return connection


class _Connection(web.RequestHandler):
    """One that must send a request in time, and is told in IoT Hub's way what is no HTTP."""

    __slots__ = ("deadline",)

    deadline: asyncio.TimerHandle

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        self.deadline.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  (as it is called)
    ) -> web.StreamResponse:
        """The answer to what no handler could answer."""
        if status == 500:
            logger.error("cannot answer %s %.300s", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        if status == 500:
            answer = errors.response(status, "ServerError", "this hub has a fault: its log says which")
        else:
            answer = errors.response(status, "IotHubFormatError", "the request is not HTTP/1.1")
        answer.force_close()
        return answer


class _Full(asyncio.Protocol):
    """There are too many connections."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()


@web.middleware
async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors in IoT Hub's way, and let others have their turn: requests that came together would be
    answered together, where nothing is waited for."""
    await asyncio.sleep(0)
    if isinstance(request.protocol, _Connection):
        request.protocol.deadline.cancel()
    try:
        return await handler(request)
    except errors.TOLD as error:
        answer = errors.answer(error)
    if answer.status >= 500:
        logger.warning("%s %.300s: %s", request.method, request.path, answer.text)
    return answer
