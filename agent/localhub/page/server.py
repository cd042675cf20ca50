"""The page's server: static files, the push stream and the calls, on 127.0.0.1 only."""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
import uuid
from contextlib import aclosing
from importlib import resources

from aiohttp import web
from aiohttp.typedefs import Handler

from . import devices, faults, guard, messages, methods, twins
from .calls import answered
from .command import command_body
from .source import Hub
from .stream import lines

EXPIRY_S = 60.0
"""How long a command of the form waits for its device."""

_HOST = "127.0.0.1"
_PORTS = 100
_MAX_BODY = 524_288  # a method's payload, escaped
_WRITE_TIMEOUT_S = 30.0
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class PageServer:
    """A running page. Thread safety: the event loop that started it only."""

    def __init__(self, hub: Hub, port: int, token: str) -> None:
        self.token = token
        """New at each start; whoever has it may read and do everything that the page can."""
        self.address = f"http://{_HOST}:{port}/"
        """Where the page is, without the token."""
        self._hub = hub
        self._streams: set[asyncio.Task[None]] = set()
        app = web.Application(client_max_size=_MAX_BODY)
        guard.install(app, port, token)
        for name, (content, kind) in _static_files().items():
            app.router.add_get(f"/{name}", _sender(content, kind))
        app.router.add_get("/api/stream", self._stream)
        app.router.add_post("/api/devices/{device}/commands", answered(self._command))
        for calls in (devices, twins, messages, methods, faults):
            calls.install(app, hub)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    @property
    def url(self) -> str:
        """The address to open: the token is in the fragment, which browsers never send."""
        return f"{self.address}#token={self.token}"

    async def start(self, listener: socket.socket) -> None:
        """Serve on a bound socket, which belongs to the server from now on."""
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """End at once, open streams included. May be called twice."""
        for stream in self._streams:
            stream.cancel()
        await self._runner.cleanup()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        task = asyncio.create_task(_push(self._hub, response))
        self._streams.add(task)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            self._streams.discard(task)
        if request.transport is not None:
            request.transport.abort()  # also when the reader has stopped reading
        if not task.cancelled():
            task.result()
        return response

    async def _command(self, request: web.Request) -> web.Response:
        body = command_body(await request.read())
        message = await asyncio.to_thread(
            self._hub.send_c2d,
            request.match_info["device"],
            body,
            message_id=str(uuid.uuid4()),
            expires_in_s=EXPIRY_S,
        )
        return web.json_response({"id": message.message_id}, status=201)


async def start_page(hub: Hub, first_port: int = 8080) -> PageServer:
    """Start the page on 127.0.0.1, on ``first_port`` or the next that is free.

    Raises OSError if none of a hundred ports is free.
    """
    listener = _listen(first_port)
    page = PageServer(hub, listener.getsockname()[1], secrets.token_urlsafe(24))
    await page.start(listener)
    return page


async def _push(hub: Hub, response: web.StreamResponse) -> None:
    """Write lines until the reader goes or is too slow."""
    try:
        async with aclosing(lines(hub)) as stream:
            async for line in stream:
                async with asyncio.timeout(_WRITE_TIMEOUT_S):
                    await response.write(line)
    except (ConnectionError, TimeoutError):
        return


def _listen(first_port: int) -> socket.socket:
    for port in range(first_port, first_port + _PORTS):
        try:
            return socket.create_server((_HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"no free port from {first_port} to {first_port + _PORTS - 1}")


def _static_files() -> dict[str, tuple[bytes, str]]:
    files = {}
    for file in resources.files(f"{__package__}.static").iterdir():
        kind = _TYPES.get(f".{file.name.rpartition('.')[2]}")
        if kind is not None:
            files["" if file.name == "index.html" else file.name] = (file.read_bytes(), kind)
    return files


def _sender(content: bytes, kind: str) -> Handler:
    async def send(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return send
