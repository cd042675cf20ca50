"""Direct methods.

https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-direct-methods
"""

from __future__ import annotations

from aiohttp import web

from ..methods import payload_bytes
from ..records import InvalidRequest
from ..service_auth import Right
from .requests import field, json_object, seconds
from .routes import Routes, device_id
from .source import Hub

DEFAULT_TIMEOUT_S = 30.0
MAX_CONNECT_S = 300.0


async def _call(hub: Hub, request: web.Request) -> web.Response:
    form = await json_object(request)
    name = field(form, "methodName", str, "the name of a method")
    if name is None:
        raise InvalidRequest("methodName: expected the name of a method")
    connect_within_s = seconds(form, "connectTimeoutInSeconds", 0.0)
    if not 0 <= connect_within_s <= MAX_CONNECT_S:
        raise InvalidRequest(
            f"connectTimeoutInSeconds is {connect_within_s:g}: expected 0 to {MAX_CONNECT_S:g}"
        )
    result = await hub.call_method(
        device_id(request),
        name,
        payload_bytes(form.get("payload")),
        timeout_s=seconds(form, "responseTimeoutInSeconds", DEFAULT_TIMEOUT_S),
        connect_within_s=connect_within_s,
    )
    # the device's JSON goes through as it came
    body = b'{"status":%d,"payload":%b}' % (result.status, result.payload or b"null")
    return web.Response(body=body, content_type="application/json", charset="utf-8")


ROUTES: Routes = (("POST", "/twins/{id}/methods", Right.SERVICE_CONNECT, _call),)
