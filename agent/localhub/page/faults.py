"""The control call: make the hub misbehave, or well again.

    GET    /api/faults          what is on, and the table of what can be
    PUT    /api/faults/NAME     turn it on: {"value": …, "device": …, "times": …}, all optional
    DELETE /api/faults/NAME     turn it off
    DELETE /api/faults          turn all off

Each answers {"active": [...]}; an error is a 4xx with one line.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from aiohttp import web

from ..fault_table import TABLE, Kind, kind_of
from ..faults import Fault, Faults
from ..records import InvalidRequest
from .calls import answered, form
from .source import Hub

_KEYS = ("value", "device", "times")


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

    app.router.add_get("/api/faults", answered(show))
    app.router.add_put("/api/faults/{name}", answered(turn_on))
    app.router.add_delete("/api/faults/{name}", answered(turn_off))
    app.router.add_delete("/api/faults", answered(turn_off))


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
    given = form(content or b"{}", _KEYS)
    device = given.get("device")
    if not isinstance(device, str | None):
        raise InvalidRequest("device: expected the id of a device, or null for all")
    return Fault(name, given.get("value"), device, given.get("times"))


def _set(hub: Hub, fault: Fault) -> None:
    if fault.device is not None:
        hub.store.registry.get(fault.device)
    hub.faults.set(fault)
