"""The registry, as the page handles it.

    POST   /api/devices                             create: {"deviceId": "mast-2"}
    PUT    /api/devices/DEVICE/enabled              {"enabled": false}: cut off, and may not connect
    DELETE /api/devices/DEVICE                      end it with all that is kept for it
    GET    /api/devices/DEVICE/connection-string    {"connectionString": …}, which holds the device's key

The first two answer with the device as the push stream lists it (201, 200), the third with 204. An error is
one line: 400 what is wrong, 404 unknown device, 409 it exists already.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..records import InvalidRequest
from .calls import answered, form
from .source import Hub
from .wire import device_of


def install(app: web.Application, hub: Hub) -> None:
    """Serve the registry of ``hub``."""

    async def create(request: web.Request) -> web.Response:
        device_id = form(await request.read(), ("deviceId",)).get("deviceId")
        if not isinstance(device_id, str):
            raise InvalidRequest("deviceId: expected the id of the new device")
        status = await asyncio.to_thread(hub.identities.create, device_id)
        return web.json_response(device_of(status.device, status.connected), status=201)

    async def enable(request: web.Request) -> web.Response:
        enabled = form(await request.read(), ("enabled",)).get("enabled")
        if not isinstance(enabled, bool):
            raise InvalidRequest("enabled: expected true or false")
        device_id = request.match_info["device"]
        await asyncio.to_thread(hub.identities.set_enabled, device_id, enabled)
        status = await asyncio.to_thread(hub.identities.status, device_id)
        return web.json_response(device_of(status.device, status.connected))

    async def delete(request: web.Request) -> web.Response:
        await asyncio.to_thread(hub.identities.delete, request.match_info["device"])
        return web.Response(status=204)

    async def connection_string(request: web.Request) -> web.Response:
        text = await asyncio.to_thread(_connection_string, hub, request.match_info["device"])
        return web.json_response({"connectionString": text})

    app.router.add_post("/api/devices", answered(create))
    app.router.add_put("/api/devices/{device}/enabled", answered(enable))
    app.router.add_delete("/api/devices/{device}", answered(delete))
    app.router.add_get("/api/devices/{device}/connection-string", answered(connection_string))


def _connection_string(hub: Hub, device_id: str) -> str:
    """With the key, or for a device that is known by its certificate in the SDKs' form for that."""
    device = hub.identities.status(device_id).device
    if device.primary_thumbprint or device.secondary_thumbprint:
        return f"HostName={hub.host};DeviceId={device_id};x509=true"
    return hub.device_connection_string(device_id)
