"""How a request comes to its handler: who sends it, and whether it may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..auth import NotAuthorized
from ..service_auth import Right, ServiceAuthenticator, demand
from .errors import Refused
from .requests import check_version, header
from .source import Hub

Handler = Callable[[Hub, web.Request], Awaitable[web.StreamResponse]]

Routes = tuple[tuple[str, str, Right, Handler], ...]
"""Method, path, the right that a policy must have, and what answers."""


def install(app: web.Application, hub: Hub, authenticator: ServiceAuthenticator, routes: Routes) -> None:
    """Serve ``routes``, each for those only that have its right, and answer for all that is not there."""
    for method, path, right, handler in routes:
        app.router.add_route(
            method, path, _guarded(hub, authenticator, right, handler), expect_handler=expected
        )
    app.router.add_route("*", "/{rest:.*}", _nothing, expect_handler=expected)


def _guarded(
    hub: Hub, authenticator: ServiceAuthenticator, right: Right, handler: Handler
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def guarded(request: web.Request) -> web.StreamResponse:
        token = header(request, "Authorization")
        if token is None:
            raise NotAuthorized("there is no header Authorization: expected a shared access signature")
        proof = await asyncio.to_thread(authenticator.admit, token, resource=request.path)
        demand(proof.policy, right)
        check_version(request)
        return await handler(hub, request)

    return guarded


async def _nothing(request: web.Request) -> web.StreamResponse:
    """What aiohttp would answer by itself, but for its way with expectations."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        allowed |= (await resource.resolve(request))[1]
    if allowed := allowed - {"*"}:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound


async def expected(request: web.Request) -> None:
    """Let the body come only when it is wanted; other expectations go unheard (RFC 9110, 10.1.1)."""
    if request.headers["Expect"].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def device_id(request: web.Request) -> str:
    """The device that the path names."""
    found = request.match_info["id"]
    if not found.isprintable():
        raise Refused("DeviceNotFound", f"no device {found[:140]!r}", 404)
    return found
