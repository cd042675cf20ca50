"""The control call: a direct method of a connected device.

    POST /api/devices/DEVICE/methods    {"methodName": "ping", "payload": …, "responseTimeoutInSeconds": 30,
                                         "connectTimeoutInSeconds": 0}

``payload`` and the time-outs are optional: 5 to 300 for the answer, 0 to 300 for a device that has yet to
connect. It answers when the device has: {"status": the device's
number, "payload": its JSON, or null}. An error is one line: 400 what is wrong with the call, 404 unknown
device or offline (the line says which), 504 no answer in time.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from ..methods import payload_bytes
from ..records import InvalidRequest, MethodResult
from .calls import Form, answered, form
from .source import Hub

DEFAULT_TIMEOUT_S = 30.0
MAX_CONNECT_S = 300.0

_KEYS = ("methodName", "payload", "responseTimeoutInSeconds", "connectTimeoutInSeconds")


@dataclass(frozen=True, slots=True)
class Call:
    """A direct method as it is asked for. ``payload``: JSON."""

    name: str
    payload: bytes
    timeout_s: float
    connect_within_s: float


def install(app: web.Application, hub: Hub) -> None:
    """Serve the control call of ``hub``."""

    async def call(request: web.Request) -> web.Response:
        wanted = parse(await request.read())
        result = await hub.call_method(
            request.match_info["device"],
            wanted.name,
            wanted.payload,
            timeout_s=wanted.timeout_s,
            connect_within_s=wanted.connect_within_s,
        )
        return web.Response(body=answer(result), content_type="application/json")

    app.router.add_post("/api/devices/{device}/methods", answered(call))


def parse(content: bytes) -> Call:
    """The call that the body asks for. Raises InvalidRequest."""
    given = form(content, _KEYS)
    name = given.get("methodName")
    if not isinstance(name, str):
        raise InvalidRequest("methodName: expected the name of a method")
    connect_within_s = _seconds(given, "connectTimeoutInSeconds", 0.0)
    if not 0 <= connect_within_s <= MAX_CONNECT_S:
        raise InvalidRequest(
            f"connectTimeoutInSeconds is {connect_within_s:g}: expected 0 to {MAX_CONNECT_S:g}"
        )
    return Call(
        name,
        payload_bytes(given.get("payload")),
        _seconds(given, "responseTimeoutInSeconds", DEFAULT_TIMEOUT_S),
        connect_within_s,
    )


def answer(result: MethodResult) -> bytes:
    """The answer for who called; the device's JSON goes through as it came."""
    return b'{"status": %d, "payload": %b}' % (result.status, result.payload or b"null")


def _seconds(given: Form, name: str, default: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise InvalidRequest(f"{name}: expected a number of seconds")
    return float(value)
