"""Requests taken apart. What is wrong with one raises InvalidRequest."""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

from aiohttp import web

from ..records import InvalidRequest
from .errors import Refused

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?", re.ASCII)
_ETAG = re.compile(r'(?:W/)?(?:"([\x21\x23-\x7e]{1,200})"|([\x21\x23-\x2b\x2d-\x7e]{1,200}))')

_Kind = TypeVar("_Kind")

Json = dict[str, Any]


def check_version(request: web.Request) -> None:
    """Every version that IoT Hub ever had is taken for the newest that is known here, 2021-04-12."""
    versions = request.query.getall("api-version", [])
    if len(versions) != 1 or not _VERSION.fullmatch(versions[0]):
        given = ", ".join(versions)[:60] or "none"
        raise Refused(
            "InvalidProtocolVersion", f"api-version is {given}: expected one date, such as 2021-04-12"
        )


def header(request: web.Request, name: str) -> str | None:
    """The one header of that name, None if there is none."""
    values = request.headers.getall(name, [])
    if len(values) > 1:
        raise InvalidRequest(f"{len(values)} headers {name}, expected one")
    return values[0] if values else None


def is_conditional(request: web.Request) -> bool:
    """Whether the request says for which state it is meant, be that any."""
    return header(request, "If-Match") is not None


def if_match(request: web.Request) -> str | None:
    """The ETag of the state that the request is meant for, None for any: ``*``, with or without quotes, or
    none given."""
    value = header(request, "If-Match")
    if value is None:
        return None
    match = _ETAG.fullmatch(value.strip())
    if match is None:
        raise InvalidRequest(f'If-Match is {value[:60]!r}: expected "*" or one ETag')
    etag = match[1] or match[2]
    return None if etag == "*" else etag


async def json_object(request: web.Request) -> Json:
    """The body, which must be a JSON object."""
    content = await request.read()
    try:
        value = json.loads(content, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Refused("IotHubFormatError", "the body is not JSON") from error
    if not isinstance(value, dict):
        raise Refused("IotHubFormatError", "the body is not a JSON object")
    return value


def field(form: Json, name: str, kind: type[_Kind], what: str) -> _Kind | None:
    """The value of that name, None if it is missing or null. ``what`` says what is expected."""
    value = form.get(name)
    if value is None or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
        return value
    raise InvalidRequest(f"{name}: expected {what}")


def seconds(form: Json, name: str, default: float) -> float:
    """A time-out, ``default`` if it is missing or null."""
    value = form.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
        raise InvalidRequest(f"{name}: expected a number of seconds")
    return float(value)


def count(text: str | None, name: str, most: int) -> int:
    """A number of items, ``most`` if none is given or it is out of 1 to ``most``, as IoT Hub has it."""
    if text is None:
        return most
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip(), re.ASCII):
        raise InvalidRequest(f"{name} is {text[:60]!r}: expected a whole number")
    value = int(text)
    return value if 1 <= value <= most else most


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)
