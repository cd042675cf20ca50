"""What the page's calls have in common: the form in their body, and errors as answers of one line."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiohttp import web

from ..records import (
    DeviceExists,
    DeviceOffline,
    HubError,
    InvalidRequest,
    MethodTimeout,
    PreconditionFailed,
    QueueFull,
    StoreFailed,
    UnknownDevice,
    UnknownFault,
)

Form = dict[str, Any]
_Handler = Callable[[web.Request], Awaitable[web.Response]]

_ANSWERS: dict[type[HubError], type[web.HTTPException]] = {
    InvalidRequest: web.HTTPBadRequest,
    UnknownDevice: web.HTTPNotFound,
    UnknownFault: web.HTTPNotFound,
    DeviceOffline: web.HTTPNotFound,
    DeviceExists: web.HTTPConflict,
    PreconditionFailed: web.HTTPPreconditionFailed,
    QueueFull: web.HTTPTooManyRequests,
    StoreFailed: web.HTTPInternalServerError,
    MethodTimeout: web.HTTPGatewayTimeout,
}


def answered(handler: _Handler) -> _Handler:
    """``handler``, whose HubErrors become the status that each of them has, with their line."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except tuple(_ANSWERS) as error:
            status = next(status for kind, status in _ANSWERS.items() if isinstance(error, kind))
            raise status(text=str(error)) from error

    return answer


def form(content: bytes, keys: Collection[str]) -> Form:
    """The JSON object in a body, with none but these keys. Raises InvalidRequest."""
    try:
        value = json.loads(content, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise InvalidRequest(f"the body is not JSON: {error.msg} at {place}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidRequest("expected a JSON object")
    if unknown := sorted(value.keys() - set(keys)):
        raise InvalidRequest(f"unknown key {unknown[0][:60]!r}; expected {', '.join(keys)}")
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)
