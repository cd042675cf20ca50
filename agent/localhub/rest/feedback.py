"""What became of messages to devices, read over HTTPS: take a batch, then complete or abandon it.

https://learn.microsoft.com/rest/api/iothub/service/cloud-to-device-messages
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..feedback import CONTENT_TYPE
from ..service_auth import Right
from ..twins import iso_time
from .errors import Refused
from .routes import Routes
from .source import Hub


async def _take(hub: Hub, _request: web.Request) -> web.Response:
    batch = await asyncio.to_thread(hub.store.feedback.take)
    if batch is None:
        return web.Response(status=204)
    headers = {
        "ETag": f'"{batch.token}"',
        "iothub-enqueuedtime": iso_time(batch.enqueued_s),
        "iothub-deliverycount": str(batch.delivery_count - 1),
    }
    return web.Response(body=batch.body, content_type=CONTENT_TYPE, headers=headers)


async def _complete(hub: Hub, request: web.Request) -> web.Response:
    return _over(await asyncio.to_thread(hub.store.feedback.complete, request.match_info["token"]))


async def _abandon(hub: Hub, request: web.Request) -> web.Response:
    return _over(await asyncio.to_thread(hub.store.feedback.abandon, request.match_info["token"]))


def _over(held: bool) -> web.Response:
    if not held:
        raise Refused("DeviceMessageLockLost", "nobody holds a batch with this lock token any more", 412)
    return web.Response(status=204)


_PATH = "/messages/serviceBound/feedback"

ROUTES: Routes = (
    ("GET", _PATH, Right.SERVICE_CONNECT, _take),
    ("DELETE", _PATH + "/{token}", Right.SERVICE_CONNECT, _complete),
    ("POST", _PATH + "/{token}/abandon", Right.SERVICE_CONNECT, _abandon),
)
