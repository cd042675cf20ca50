"""The registry: identities, how many there are, and the messages that wait for one."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..identities import DeviceStatus
from ..service_auth import Right
from . import documents
from .errors import Refused
from .requests import count, if_match, is_conditional, json_object
from .routes import Routes, device_id
from .source import Hub

MOST_LISTED = 1000


async def _list(hub: Hub, request: web.Request) -> web.Response:
    tops = request.query.getall("top", [])
    if len(tops) > 1:
        raise Refused("ArgumentInvalid", f"top is given {len(tops)} times, expected once")
    limit = count(tops[0] if tops else None, "top", MOST_LISTED)
    statuses = await asyncio.to_thread(hub.identities.statuses, limit)
    return web.json_response([documents.device(status) for status in statuses])


async def _get(hub: Hub, request: web.Request) -> web.Response:
    return _answer(await asyncio.to_thread(hub.identities.status, device_id(request)))


async def _put(hub: Hub, request: web.Request) -> web.Response:
    name = device_id(request)
    etag = if_match(request)
    settings = documents.settings(await json_object(request), name)
    if is_conditional(request):
        return _answer(await asyncio.to_thread(hub.identities.update, name, settings, etag))
    return _answer(await asyncio.to_thread(hub.identities.create, name, settings))


async def _delete(hub: Hub, request: web.Request) -> web.Response:
    if not is_conditional(request):
        raise Refused("ArgumentNull", 'the header If-Match is missing: expected "*" or the ETag')
    await asyncio.to_thread(hub.identities.delete, device_id(request), if_match(request))
    return web.Response(status=204)


async def _device_statistics(hub: Hub, _request: web.Request) -> web.Response:
    counted = await asyncio.to_thread(hub.store.registry.statistics)
    return web.json_response(
        {
            "totalDeviceCount": counted.total,
            "enabledDeviceCount": counted.enabled,
            "disabledDeviceCount": counted.total - counted.enabled,
        }
    )


async def _service_statistics(hub: Hub, _request: web.Request) -> web.Response:
    return web.json_response({"connectedDeviceCount": len(hub.connected())})


async def _purge(hub: Hub, request: web.Request) -> web.Response:
    name = device_id(request)
    purged = await asyncio.to_thread(hub.identities.purge, name)
    return web.json_response({"totalMessagesPurged": purged, "deviceId": name, "moduleId": None})


def _answer(status: DeviceStatus) -> web.Response:
    return web.json_response(documents.device(status), headers={"ETag": f'"{status.device.etag}"'})


ROUTES: Routes = (
    ("GET", "/devices", Right.REGISTRY_READ, _list),
    ("GET", "/devices/", Right.REGISTRY_READ, _list),  # as azure-iothub for Node.js asks
    ("GET", "/devices/{id}", Right.REGISTRY_READ, _get),
    ("PUT", "/devices/{id}", Right.REGISTRY_WRITE, _put),
    ("DELETE", "/devices/{id}", Right.REGISTRY_WRITE, _delete),
    ("DELETE", "/devices/{id}/commands", Right.SERVICE_CONNECT, _purge),
    ("GET", "/statistics/devices", Right.REGISTRY_READ, _device_statistics),
    ("GET", "/statistics/service", Right.REGISTRY_READ, _service_statistics),
)
