"""Twins, and queries that find them.

Queries: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-query-language, of which this hub knows

    SELECT * FROM devices [WHERE deviceId = 'mast-1']
"""

from __future__ import annotations

import asyncio
import base64
import re

from aiohttp import web

from ..identities import DeviceStatus
from ..records import InvalidRequest, UnknownDevice
from ..service_auth import Right
from ..twins import Twin
from . import documents
from .requests import Json, count, field, header, if_match, json_object
from .routes import Routes, device_id
from .source import Hub

MOST_FOUND = 1000
"""Twins on a page of a query's result."""

_QUERY = re.compile(
    r"""\s*select\s+\*\s+from\s+devices(?:\s+where\s+(?:devices\.)?deviceId\s*=\s*('[^']*'|"[^"]*"))?\s*;?\s*""",
    re.IGNORECASE,
)


async def _get(hub: Hub, request: web.Request) -> web.Response:
    return _answer(*await asyncio.to_thread(_twin, hub, device_id(request)))


async def _patch(hub: Hub, request: web.Request) -> web.Response:
    return await _update(hub, request, replace=False)


async def _put(hub: Hub, request: web.Request) -> web.Response:
    return await _update(hub, request, replace=True)


async def _update(hub: Hub, request: web.Request, replace: bool) -> web.Response:
    etag = if_match(request)
    form = await json_object(request)
    properties = field(form, "properties", dict, "an object") or {}
    name = device_id(request)

    def update() -> tuple[DeviceStatus, Twin]:
        hub.identities.update_twin(
            name, tags=form.get("tags"), desired=properties.get("desired"), replace=replace, if_match=etag
        )
        return _twin(hub, name)

    return _answer(*await asyncio.to_thread(update))


async def _query(hub: Hub, request: web.Request) -> web.Response:
    match = _QUERY.fullmatch(field(await json_object(request), "query", str, "a text") or "")
    if match is None:
        raise InvalidRequest("query: this hub knows SELECT * FROM devices [WHERE deviceId = '…'] only")
    size = count(header(request, "x-ms-max-item-count"), "x-ms-max-item-count", MOST_FOUND)
    after = _after(header(request, "x-ms-continuation"))
    wanted = None if match[1] is None else match[1][1:-1]
    found, last = await asyncio.to_thread(_found, hub, wanted, after, size)
    headers = {"x-ms-item-type": "Twin"}
    if last:
        headers["x-ms-continuation"] = base64.urlsafe_b64encode(last.encode()).decode()
    return web.json_response(found, headers=headers)


def _found(hub: Hub, wanted: str | None, after: str, size: int) -> tuple[list[Json], str]:
    """One page, and the id that it ends with if there is another."""
    if wanted is None:
        statuses = hub.identities.statuses(size + 1, after)
    else:
        try:
            statuses = [hub.identities.status(wanted)] if wanted > after else []
        except UnknownDevice:
            statuses = []
    found = []
    for status in statuses[:size]:
        try:
            found.append(documents.twin(status, hub.store.twins.get(status.device.device_id)))
        except UnknownDevice:  # deleted meanwhile
            continue
    return found, statuses[size - 1].device.device_id if len(statuses) > size else ""


def _after(token: str | None) -> str:
    """The device id that a page ended with. Raises InvalidRequest."""
    if not token:
        return ""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise InvalidRequest("x-ms-continuation is none that this hub has given out") from error


def _twin(hub: Hub, name: str) -> tuple[DeviceStatus, Twin]:
    return hub.identities.status(name), hub.store.twins.get(name)


def _answer(status: DeviceStatus, twin: Twin) -> web.Response:
    return web.json_response(documents.twin(status, twin), headers={"ETag": f'"{twin.etag}"'})


ROUTES: Routes = (
    ("GET", "/twins/{id}", Right.SERVICE_CONNECT, _get),
    ("PATCH", "/twins/{id}", Right.SERVICE_CONNECT, _patch),
    ("PUT", "/twins/{id}", Right.SERVICE_CONNECT, _put),
    ("POST", "/devices/query", Right.SERVICE_CONNECT, _query),
)
