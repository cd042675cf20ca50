"""Who may talk to the page's server: any page open in the browser could reach 127.0.0.1.

Invariants:
1. A request whose Host is not ours (DNS rebinding) or whose Origin is another's is refused first.
2. Nothing under /api is done or told without the token; everything else holds nothing secret.
3. Every response carries the headers that keep other pages out; none allows CORS.
"""

from __future__ import annotations

import secrets

from aiohttp import web
from aiohttp.typedefs import Handler

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def install(app: web.Application, port: int, token: str) -> None:
    """Guard every request of ``app``, which listens on 127.0.0.1:``port``."""
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    wanted = f"Bearer {token}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            host = request.headers.get("Host", "")
            if host not in hosts:
                raise web.HTTPForbidden(text="this server is asked by another name than its own")
            if request.headers.get("Origin", f"http://{host}") != f"http://{host}":
                raise web.HTTPForbidden(text="another page may not ask this server")
            if request.path.startswith("/api/"):
                given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
                if not secrets.compare_digest(given, wanted):
                    raise web.HTTPUnauthorized(text="the token is missing or not this hub's")
            return await handler(request)
        except web.HTTPException as error:
            return web.json_response({"error": error.text}, status=error.status)

    async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)

    app.middlewares.append(guard)
    app.on_response_prepare.append(add_headers)
