"""The control call: a direct method of a connected device.

    POST /api/devices/DEVICE/methods    {"methodName": "ping", "payload": …, "responseTimeoutInSeconds": 30}

``payload`` and the time-out (5 to 300) are optional. It answers when the device has: {"status": the device's
number, "payload": its JSON, or null}. An error is one line: 400 what is wrong with the call, 404 unknown
device or offline (the line says which), 504 no answer in time.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from ..records import (
    DeviceOffline,
    InvalidRequest,
    MethodResult,
    MethodTimeout,
    StoreFailed,
    UnknownDevice,
)
from .source import Hub

DEFAULT_TIMEOUT_S = 30.0

_KEYS = ("methodName", "payload", "responseTimeoutInSeconds")


def install(app: web.Application, hub: Hub) -> None:
    """Serve the control call of ``hub``."""

    async def call(request: web.Request) -> web.Response:
        try:
            name, payload, timeout_s = parse(await request.read())
            device_id = request.match_info["device"]
            result = await hub.call_method(device_id, name, payload, timeout_s=timeout_s)
        except InvalidRequest as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        except (UnknownDevice, DeviceOffline) as error:
            raise web.HTTPNotFound(text=str(error)) from error
        except MethodTimeout as error:
            raise web.HTTPGatewayTimeout(text=str(error)) from error
        except StoreFailed as error:
            raise web.HTTPInternalServerError(text=str(error)) from error
        return web.Response(body=answer(result), content_type="application/json")

    app.router.add_post("/api/devices/{device}/methods", call)


def parse(content: bytes) -> tuple[str, bytes, float]:
    """Name, payload and time-out (s) of the call. Raises InvalidRequest."""
    try:
        form = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not JSON") from error
    if not isinstance(form, dict):
        raise InvalidRequest("expected a JSON object")
    if unknown := sorted(form.keys() - set(_KEYS)):
        raise InvalidRequest(f"unknown key {unknown[0][:60]!r}; expected {', '.join(_KEYS)}")
    name = form.get("methodName")
    if not isinstance(name, str):
        raise InvalidRequest("methodName: expected the name of a method")
    payload = json.dumps(form.get("payload"), separators=(",", ":")).encode()
    return name, payload, _timeout_s(form.get("responseTimeoutInSeconds", DEFAULT_TIMEOUT_S))


def answer(result: MethodResult) -> bytes:
    """The answer for who called; the device's JSON goes through as it came."""
    return b'{"status": %d, "payload": %b}' % (result.status, result.payload or b"null")


def _timeout_s(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise InvalidRequest("responseTimeoutInSeconds: expected a number of seconds")
    return float(value)


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
