"""Errors as IoT Hub tells them: a status, a header with its code, and a body of two texts.

https://learn.microsoft.com/azure/iot-hub/troubleshoot-error-codes
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime

from aiohttp import web

from ..auth import BadCredentials, NotAuthorized
from ..records import (
    DeviceExists,
    DeviceOffline,
    InvalidRequest,
    MethodTimeout,
    PreconditionFailed,
    QueueFull,
    StoreFailed,
    UnknownDevice,
)
from ..service_auth import LacksRight

_UNAUTHORIZED = (401, "IotHubUnauthorizedAccess")

_BY_KIND: dict[type[Exception], tuple[int, str]] = {
    NotAuthorized: _UNAUTHORIZED,
    BadCredentials: _UNAUTHORIZED,
    LacksRight: _UNAUTHORIZED,
    InvalidRequest: (400, "ArgumentInvalid"),
    UnknownDevice: (404, "DeviceNotFound"),
    DeviceOffline: (404, "DeviceNotOnline"),
    DeviceExists: (409, "DeviceAlreadyExists"),
    PreconditionFailed: (412, "PreconditionFailed"),
    QueueFull: (403, "DeviceMaximumQueueDepthExceeded"),
    MethodTimeout: (504, "GatewayTimeout"),
    StoreFailed: (503, "ServiceUnavailable"),
    UnicodeError: (400, "ArgumentInvalid"),
    web.RequestPayloadError: (400, "IotHubFormatError"),
    ConnectionError: (400, "IotHubFormatError"),  # it went in the middle of a body: nobody hears this
}

TOLD: tuple[type[Exception], ...] = (*_BY_KIND, web.HTTPException)
"""The exceptions that have an answer."""

_BY_STATUS = {
    404: "InvalidOperation",
    405: "InvalidOperation",
    413: "MessageTooLarge",
    503: "ServiceUnavailable",
}


class Refused(InvalidRequest):
    """A request that IoT Hub refuses with a code of its own."""

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


def answer(error: Exception) -> web.Response:
    """What the client is told of one of the exceptions in ``TOLD``."""
    if isinstance(error, Refused):
        return response(error.status, error.code, str(error))
    if isinstance(error, web.HTTPException):
        code = _BY_STATUS.get(error.status, "GenericBadRequest")
        answered = response(error.status, code, _text(error))
        if "Allow" in error.headers:
            answered.headers["Allow"] = error.headers["Allow"]
        return answered
    status, code = next(_BY_KIND[kind] for kind in type(error).__mro__ if kind in _BY_KIND)
    return response(status, code, str(error))


def _text(error: web.HTTPException) -> str:
    text = error.text or ""
    return (
        error.reason if text.startswith(f"{error.status}: ") else text
    )  # aiohttp's own says the status, too


def response(status: int, code: str, text: str) -> web.Response:
    """An error with IoT Hub's code."""
    stamp = datetime.now(UTC).strftime("%m/%d/%Y %H:%M:%S")
    body = {
        "Message": f"ErrorCode:{code};{text}",
        "ExceptionMessage": f"Tracking ID:{secrets.token_hex(16)}-G:0-TimeStamp:{stamp}",
    }
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        content_type="application/json",
        charset="utf-8",
        headers={"iothub-errorcode": code},
    )
