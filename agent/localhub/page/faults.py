"""The control call: make the hub misbehave, or well again.

    GET    /api/faults          what is on, and the table of what can be
    PUT    /api/faults/NAME     turn it on: {"value": …, "device": …, "times": …}, all optional
    DELETE /api/faults/NAME     turn it off
    DELETE /api/faults          turn all off

Each answers {"active": [...]}; an error is a 4xx with one line.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from ..fault_table import TABLE, Kind, kind_of
from ..faults import Fault, Faults
from ..records import InvalidRequest, StoreFailed, UnknownDevice, UnknownFault
from .source import Hub

_KEYS = ("value", "device", "times")

_Handler = Callable[[web.Request], Awaitable[web.Response]]


def install(app: web.Application, hub: Hub) -> None:
    """Serve the control call of ``hub``."""

    async def show(_request: web.Request) -> web.Response:
        table = [_row(kind) for kind in TABLE.values()]
        return web.json_response({"active": listed(hub.faults), "table": table})

    async def turn_on(request: web.Request) -> web.Response:
        fault = _fault(request.match_info["name"], await request.read())
        await asyncio.to_thread(_set, hub, fault)
        return web.json_response({"active": listed(hub.faults)})

    async def turn_off(request: web.Request) -> web.Response:
        await asyncio.to_thread(hub.faults.clear, request.match_info.get("name"))
        return web.json_response({"active": listed(hub.faults)})

    app.router.add_get("/api/faults", _answered(show))
    app.router.add_put("/api/faults/{name}", _answered(turn_on))
    app.router.add_delete("/api/faults/{name}", _answered(turn_off))
    app.router.add_delete("/api/faults", _answered(turn_off))


def listed(faults: Faults) -> list[dict[str, Any]]:
    """The faults that are on, as objects for JSON; ``text`` is for people."""
    return [{**asdict(fault), "text": str(fault)} for fault in faults.active()]


def _row(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.name,
        "usage": kind.usage,
        "takes": kind.takes or None,
        "counted": kind.counted,
        "perDevice": not kind.whole_hub,
        "sees": kind.sees,
    }


def _fault(name: str, content: bytes) -> Fault:
    kind_of(name)
    try:
        form = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body is not JSON") from error
    if not isinstance(form, dict):
        raise InvalidRequest("expected a JSON object")
    if unknown := sorted(form.keys() - set(_KEYS)):
        raise InvalidRequest(f"unknown key {unknown[0][:60]!r}; expected {', '.join(_KEYS)}")
    device = form.get("device")
    if not isinstance(device, str | None):
        raise InvalidRequest("device: expected the id of a device, or null for all")
    return Fault(name, form.get("value"), device, form.get("times"))


def _set(hub: Hub, fault: Fault) -> None:
    if fault.device is not None:
        hub.store.registry.get(fault.device)
    hub.faults.set(fault)


def _answered(handler: _Handler) -> _Handler:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except InvalidRequest as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        except (UnknownFault, UnknownDevice) as error:
            raise web.HTTPNotFound(text=str(error)) from error
        except StoreFailed as error:
            raise web.HTTPInternalServerError(text=str(error)) from error

    return answer
